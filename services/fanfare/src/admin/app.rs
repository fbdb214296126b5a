//! `fanfare admin app …`

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};
use proto::FieldMask;
use proto::control as wire;
use proto::control::app_service_client::AppServiceClient;

use super::arguments::{Quotas, limits};
use super::client::{Connection, MAX_ANSWER_BYTES, Way};
use super::key::NewKey;
use super::{Answer, Failure, app_text, arguments, pages, saved};

/// What can be done with apps.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create an app with one key and print its secret, this once
    Create(Box<Create>),
    /// List all apps, ordered by id
    List,
    /// Show an app
    Get {
        /// The app's id
        id: String,
    },
    /// Change an app's settings; what is not named stays
    Update(Box<Update>),
    /// Show an app's quotas, or change those that are named; what an app may use over the whole cluster
    Quota {
        /// The app's id
        id: String,
        /// A quota, as in messages_in_per_second=100 or connections=none for no limit
        #[arg(value_name = "NAME=NUMBER|none", value_parser = arguments::quota)]
        quotas: Vec<(&'static str, Option<u64>)>,
    },
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
    /// Where to write the secret, a new file that only its owner reads, instead of showing it
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// A text of your own that makes it safe to run the same command again: within 24 hours it creates nothing anew
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
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
    /// Most connections at one time, or "none" for no limit; the same as --quota connections=NUMBER
    #[arg(long, value_name = "NUMBER", value_parser = arguments::none_or_number)]
    connections: Option<arguments::NoneOr>,
    /// A quota, over the whole cluster, as in messages_in_per_second=100 or history_bytes=none for no limit; repeatable
    #[arg(long, value_name = "NAME=NUMBER", value_parser = arguments::quota)]
    quota: Vec<(&'static str, Option<u64>)>,
    /// A rule for channels by prefix, as in tick-=ephemeral or log-=persistent:24h, or as JSON in the form that
    /// --output json has; repeatable; all of them together replace what was there; `namespace set` changes one
    #[arg(long, value_name = "PREFIX=TIER|JSON", value_parser = arguments::namespace)]
    namespace: Vec<wire::Namespace>,
    /// A limit for single items, as in event_data_bytes=20000; repeatable; those that are not named stay, or are the
    /// defaults in a new app
    #[arg(long, value_name = "NAME=NUMBER", value_parser = arguments::limit)]
    limit: Vec<(&'static str, u32)>,
    /// A webhook, as in {"url": "https://example.com/hook", "events": ["member_added"], "prefix": "presence-",
    /// "batch_ms": 50, "headers": {"X-Name": "value"}}, of which only the url must be there, or @FILE with such a text,
    /// which is the place for headers that are secrets; repeatable; all of them together replace what was there
    #[arg(long, value_name = "JSON|@FILE", value_parser = arguments::webhook)]
    webhook: Vec<wire::Webhook>,
}

impl Bounds {
    fn quotas(&self) -> Result<Quotas, Failure> {
        let connections = self.connections.map(|arguments::NoneOr(most)| ("connections", most));
        Quotas::new(connections.into_iter().chain(self.quota.iter().copied()))
    }
}

impl Switches {
    /// What is not given is absent, which for the server is the default.
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

    /// Paths of the fields that are given.
    fn paths(&self) -> impl Iterator<Item = String> {
        let fields = [
            ("client_events", self.client_events.is_some()),
            ("user_authentication", self.user_authentication.is_some()),
            ("subscription_count", self.subscription_count.is_some()),
            ("watchlist", self.watchlist.is_some()),
            ("authorized_connections_ms", self.authorized_connections.is_some()),
            ("positions", self.positions.is_some()),
            ("tls_only", self.tls_only.is_some()),
            ("allowed_origins", !self.allowed_origin.is_empty()),
        ];
        fields.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| format!("pusher.{name}"))
    }
}

impl Create {
    fn message(self) -> Result<(wire::CreateAppRequest, Option<PathBuf>), Failure> {
        let Self { id, name, switches, bounds, key, save, idempotency_key } = self;
        saved::check(save.as_deref())?;
        let request = wire::CreateAppRequest {
            id: id.unwrap_or_default(),
            name: name.unwrap_or_default(),
            pusher: Some(switches.message()),
            quota: Some(bounds.quotas()?.message),
            namespaces: bounds.namespace,
            limits: Some(limits(&bounds.limit)?),
            key: Some(key.message()?),
            webhooks: bounds.webhook,
            idempotency_key: idempotency_key.unwrap_or_default(),
        };
        Ok((request, save))
    }
}

impl Update {
    fn message(self) -> Result<wire::UpdateAppRequest, Failure> {
        let Self { id, revision, name, switches, bounds, no_namespaces, no_webhooks, default_limits } = self;
        let quotas = bounds.quotas()?;
        let limits = limits(&bounds.limit)?;
        let Bounds { namespace: namespaces, webhook: webhooks, limit, .. } = bounds;
        let mut paths: Vec<_> = switches.paths().chain(quotas.paths).collect();
        paths.extend(limit.iter().map(|(name, _)| format!("limits.{name}")));
        for (path, is_named) in [
            ("name", name.is_some()),
            ("limits", default_limits),
            ("namespaces", no_namespaces || !namespaces.is_empty()),
            ("webhooks", no_webhooks || !webhooks.is_empty()),
        ] {
            paths.extend(is_named.then(|| path.to_owned()));
        }
        let app = wire::App {
            id,
            name: name.unwrap_or_default(),
            pusher: Some(switches.message()),
            quota: Some(quotas.message),
            limits: Some(limits),
            namespaces,
            webhooks,
            ..wire::App::default()
        };
        update(app, paths, revision)
    }
}

/// The request that changes the fields at `paths`.
fn update(app: wire::App, paths: Vec<String>, revision: Option<u64>) -> Result<wire::UpdateAppRequest, Failure> {
    // An empty mask would mean whatever is there.
    if paths.is_empty() {
        return Err(Failure::Usage("nothing to change: name at least one setting".to_owned()));
    }
    let update_mask = Some(FieldMask { paths });
    Ok(wire::UpdateAppRequest { app: Some(app), update_mask, revision: revision.unwrap_or_default() })
}

/// The client of the service, with room for a page of apps that have everything.
pub(super) fn client(connection: Connection) -> AppServiceClient<Connection> {
    AppServiceClient::new(connection).max_decoding_message_size(MAX_ANSWER_BYTES)
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let app = match self {
            Self::Create(create) => {
                let (request, save) = create.message()?;
                let mut created = client(way.open().await?).create_app(request).await?.into_inner();
                let place = match &mut created.key {
                    Some(key) => saved::keep(save.as_deref(), &mut key.secret)?,
                    None => String::new(),
                };
                return Ok(Answer::new(&created, app_text::created(&created, &place)));
            }
            Self::List => {
                let apps = list(way).await?;
                return Ok(Answer::new(&apps, app_text::list(&apps.apps)));
            }
            Self::Get { id } => client(way.open().await?).get_app(wire::GetAppRequest { id }).await?,
            Self::Update(update) => {
                let request = update.message()?;
                client(way.open().await?).update_app(request).await?
            }
            Self::Quota { id, quotas } => {
                let Quotas { message, paths } = Quotas::new(quotas.into_iter())?;
                let mut client = client(way.open().await?);
                let app = if paths.is_empty() {
                    client.get_app(wire::GetAppRequest { id }).await?
                } else {
                    let app = wire::App { id, quota: Some(message), ..wire::App::default() };
                    client.update_app(update(app, paths, None)?).await?
                };
                let quota = app.into_inner().quota.unwrap_or_default();
                return Ok(Answer::new(&quota, app_text::quotas(&quota)));
            }
            Self::Disable { id } => client(way.open().await?).disable_app(wire::DisableAppRequest { id }).await?,
            Self::Enable { id } => client(way.open().await?).enable_app(wire::EnableAppRequest { id }).await?,
            Self::Delete { id } => {
                let deleted = client(way.open().await?).delete_app(wire::DeleteAppRequest { id }).await?;
                return Ok(Answer::new(&deleted.into_inner(), "deleted\n"));
            }
        };
        let app = app.into_inner();
        Ok(Answer::new(&app, app_text::app(&app)))
    }
}

async fn list(way: &Way) -> Result<wire::ListAppsResponse, Failure> {
    let mut client = client(way.open().await?);
    let page = async |page_size, page_token| {
        let page = client.list_apps(wire::ListAppsRequest { page_size, page_token }).await?.into_inner();
        Ok((page.apps, page.next_page_token))
    };
    let (apps, next_page_token) = pages::all(None, page).await?;
    Ok(wire::ListAppsResponse { apps, next_page_token })
}
