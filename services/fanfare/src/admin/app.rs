//! `fanfare admin app …`

use clap::{Args, Subcommand};
use proto::control as wire;
use proto::control::app_service_client::AppServiceClient;

use super::client::Connection;
use super::key::NewKey;
use super::{Answer, Failure, arguments};

/// Apps asked for at one time; the server's most.
const PAGE_SIZE: u32 = 1_000;

/// What can be done with apps.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create an app with one key and print its secret, this once
    Create(Create),
    /// List all apps, ordered by id
    List,
    /// Show an app
    Get {
        /// The app's id
        id: String,
    },
    /// Change an app's settings; what is not named stays
    Update(Update),
    /// Refuse every connection and request of an app; what is open is closed
    Disable {
        /// The app's id
        id: String,
    },
    /// Undo disable
    Enable {
        /// The app's id
        id: String,
    },
    /// Remove an app and its keys; what is open is closed
    Delete {
        /// The app's id
        id: String,
    },
}

/// An app to be created.
#[derive(Args, Debug)]
pub(super) struct Create {
    /// The app's id, letters, digits, '-' and '_' [default: random digits]
    #[arg(long)]
    id: Option<String>,
    /// A name for people [default: the id]
    #[arg(long)]
    name: Option<String>,
    /// Let clients send client events
    #[arg(long)]
    client_events: bool,
    #[command(flatten)]
    bounds: Bounds,
    #[command(flatten)]
    key: NewKey,
}

/// New settings of an app.
#[derive(Args, Debug)]
pub(super) struct Update {
    /// The app's id
    id: String,
    /// Change only if this is the app's current revision
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    revision: Option<u64>,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// Whether clients may send client events
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    client_events: Option<bool>,
    #[command(flatten)]
    bounds: Bounds,
    /// Remove all namespaces
    #[arg(long, conflicts_with = "namespace")]
    no_namespaces: bool,
    /// Set all limits to their defaults
    #[arg(long, conflicts_with = "limit")]
    default_limits: bool,
}

/// Settings that both create and update take.
#[derive(Args, Debug)]
struct Bounds {
    /// Most connections at one time, or "none" for no limit
    #[arg(long, value_name = "NUMBER", value_parser = arguments::connections)]
    connections: Option<wire::Quota>,
    /// A rule for channels by prefix, as in tick-=ephemeral or log-=persistent:24h; repeatable; all of them together
    /// replace what was there
    #[arg(long, value_name = "PREFIX=TIER", value_parser = arguments::namespace)]
    namespace: Vec<wire::Namespace>,
    /// A limit, as in event_data_bytes=20000; repeatable; limits that are not named get their defaults
    #[arg(long, value_name = "NAME=NUMBER", value_parser = arguments::limit)]
    limit: Vec<(String, u32)>,
}

/// A request of the app service.
pub(super) enum Request {
    Create(wire::CreateAppRequest),
    List,
    Get(wire::GetAppRequest),
    Update(wire::UpdateAppRequest),
    Disable(wire::DisableAppRequest),
    Enable(wire::EnableAppRequest),
    Delete(wire::DeleteAppRequest),
}

impl Command {
    pub(super) fn request(self) -> Result<Request, Failure> {
        match self {
            Self::Create(create) => Ok(Request::Create(create.message()?)),
            Self::List => Ok(Request::List),
            Self::Get { id } => Ok(Request::Get(wire::GetAppRequest { id })),
            Self::Update(update) => Ok(Request::Update(update.message()?)),
            Self::Disable { id } => Ok(Request::Disable(wire::DisableAppRequest { id })),
            Self::Enable { id } => Ok(Request::Enable(wire::EnableAppRequest { id })),
            Self::Delete { id } => Ok(Request::Delete(wire::DeleteAppRequest { id })),
        }
    }
}

impl Create {
    fn message(self) -> Result<wire::CreateAppRequest, Failure> {
        let Self { id, name, client_events, bounds, key } = self;
        Ok(wire::CreateAppRequest {
            id: id.unwrap_or_default(),
            name: name.unwrap_or_default(),
            pusher: Some(wire::PusherSettings { client_events }),
            quota: bounds.connections,
            namespaces: bounds.namespace,
            limits: arguments::limits(&bounds.limit)?,
            key: Some(key.message()?),
        })
    }
}

impl Update {
    fn message(self) -> Result<wire::UpdateAppRequest, Failure> {
        let Self { id, revision, name, client_events, bounds, no_namespaces, default_limits } = self;
        let namespaces = bounds.namespace;
        let limits = arguments::limits(&bounds.limit)?;
        Ok(wire::UpdateAppRequest {
            id,
            revision: revision.unwrap_or_default(),
            name,
            pusher: client_events.map(|client_events| wire::PusherSettings { client_events }),
            quota: bounds.connections,
            limits: if default_limits { Some(wire::Limits::default()) } else { limits },
            namespaces: (no_namespaces || !namespaces.is_empty())
                .then_some(wire::update_app_request::NamespaceList { namespaces }),
        })
    }
}

pub(super) async fn send(request: Request, connection: Connection) -> Result<Answer, Failure> {
    let mut client = AppServiceClient::new(connection);
    match request {
        Request::Create(request) => Ok(Answer::Created(client.create_app(request).await?.into_inner())),
        Request::List => list(client).await,
        Request::Get(request) => Ok(Answer::App(client.get_app(request).await?.into_inner())),
        Request::Update(request) => Ok(Answer::App(client.update_app(request).await?.into_inner())),
        Request::Disable(request) => Ok(Answer::App(client.disable_app(request).await?.into_inner())),
        Request::Enable(request) => Ok(Answer::App(client.enable_app(request).await?.into_inner())),
        Request::Delete(request) => {
            client.delete_app(request).await?;
            Ok(Answer::Deleted)
        }
    }
}

async fn list(mut client: AppServiceClient<Connection>) -> Result<Answer, Failure> {
    let mut apps = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = wire::ListAppsRequest { page_size: PAGE_SIZE, page_token };
        let page = client.list_apps(request).await?.into_inner();
        apps.extend(page.apps);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(Answer::Apps(apps));
        }
    }
}
