//! `fanfare admin app …`

use clap::{ArgAction, Args, Subcommand};
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
    #[command(flatten)]
    switches: Switches,
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
    #[command(flatten)]
    switches: Switches,
    #[command(flatten)]
    bounds: Bounds,
    /// Remove all namespaces
    #[arg(long, conflicts_with = "namespace")]
    no_namespaces: bool,
    /// Remove all webhooks
    #[arg(long, conflicts_with = "webhook")]
    no_webhooks: bool,
    /// Set all limits to their defaults
    #[arg(long, conflicts_with = "limit")]
    default_limits: bool,
}

/// Switches of the Pusher surface. A switch without a value is on.
#[derive(Args, Debug)]
struct Switches {
    /// Whether clients may send client events [new apps: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    client_events: Option<bool>,
    /// Whether clients may sign in as a user [new apps: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    user_authentication: Option<bool>,
    /// Whether subscribers are told how many subscribe to their channel [new apps: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    subscription_count: Option<bool>,
    /// Whether signed-in users may watch which others are online [new apps: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    watchlist: Option<bool>,
    /// Within what time a connection must sign in or join a private or presence channel to stay, or "never"
    /// [new apps: never; without a value: 30s]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "30s",
        value_parser = arguments::authorized_connections
    )]
    authorized_connections: Option<u64>,
    /// Whether delivered events carry their position, for clients that catch up [new apps: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    positions: Option<bool>,
    /// Whether connections without TLS are refused [new apps: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    tls_only: Option<bool>,
    /// Where web pages that connect may come from, as in https://app.example.com or *.example.com; repeatable; all of
    /// them together replace what was there, and "any" lifts the restriction [new apps: any]
    #[arg(long, value_name = "ORIGIN")]
    allowed_origin: Vec<String>,
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
    /// A webhook, as in {"url": "https://example.com/hook", "events": ["member_added"], "prefix": "presence-",
    /// "batch_ms": 50, "headers": {"X-Name": "value"}}, of which only the url must be there, or @FILE with such a text,
    /// which is the place for headers that are secrets; repeatable; all of them together replace what was there
    #[arg(long, value_name = "JSON|@FILE", value_parser = arguments::webhook)]
    webhook: Vec<wire::Webhook>,
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

impl Switches {
    /// What is not given is absent, which for the server is the default or stays as it is.
    fn message(self) -> wire::PusherSettings {
        wire::PusherSettings {
            client_events: self.client_events,
            user_authentication: self.user_authentication,
            subscription_count: self.subscription_count,
            watchlist: self.watchlist,
            authorized_connections_ms: self.authorized_connections,
            positions: self.positions,
            tls_only: self.tls_only,
            allowed_origins: (!self.allowed_origin.is_empty()).then(|| wire::pusher_settings::Origins {
                patterns: self.allowed_origin.into_iter().filter(|origin| origin != "any").collect(),
            }),
        }
    }
}

impl Create {
    fn message(self) -> Result<wire::CreateAppRequest, Failure> {
        let Self { id, name, switches, bounds, key } = self;
        Ok(wire::CreateAppRequest {
            id: id.unwrap_or_default(),
            name: name.unwrap_or_default(),
            pusher: Some(switches.message()),
            quota: bounds.connections,
            namespaces: bounds.namespace,
            limits: arguments::limits(&bounds.limit)?,
            key: Some(key.message()?),
            webhooks: bounds.webhook,
        })
    }
}

impl Update {
    fn message(self) -> Result<wire::UpdateAppRequest, Failure> {
        let Self { id, revision, name, switches, bounds, no_namespaces, no_webhooks, default_limits } = self;
        let (namespaces, webhooks) = (bounds.namespace, bounds.webhook);
        let limits = arguments::limits(&bounds.limit)?;
        Ok(wire::UpdateAppRequest {
            id,
            revision: revision.unwrap_or_default(),
            name,
            pusher: Some(switches.message()),
            quota: bounds.connections,
            limits: if default_limits { Some(wire::Limits::default()) } else { limits },
            namespaces: (no_namespaces || !namespaces.is_empty())
                .then_some(wire::update_app_request::NamespaceList { namespaces }),
            webhooks: (no_webhooks || !webhooks.is_empty())
                .then_some(wire::update_app_request::WebhookList { webhooks }),
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
