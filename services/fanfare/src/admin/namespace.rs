//! `fanfare admin namespace …`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use proto::control as wire;
use proto::control::namespace::WebhookEvents;
use proto::control::namespace_service_client::NamespaceServiceClient;

use super::client::Way;
use super::{Answer, Failure, app_text};

/// What can be done with the rules of an app.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the rules of an app, longest prefix first
    List {
        /// The app's id
        app: String,
    },
    /// Add a rule, or replace the one with the same prefix
    Set(Set),
    /// Remove a rule
    Delete {
        /// The app's id
        app: String,
        /// The rule's prefix
        prefix: String,
        /// Change only if this is the app's current revision
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
        revision: Option<u64>,
    },
}

/// A rule. What is not given is as without the rule.
#[derive(Args, Debug)]
pub(super) struct Set {
    /// The app's id
    app: String,
    /// How the names of the channels begin
    prefix: String,
    /// What is promised for their messages
    #[arg(long, value_enum, default_value_t = Tier::Recoverable, value_name = "TIER")]
    tier: Tier,
    /// How long a persistent channel keeps messages [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration)]
    retention: Option<Duration>,
    /// Whether clients may send client events [default: as the app]
    #[arg(long, value_name = "BOOL")]
    client_events: Option<bool>,
    /// Most distinct users in a presence channel [default: as the app]
    #[arg(long, value_name = "NUMBER")]
    presence_members: Option<u32>,
    /// What becomes of a subscriber that does not read fast enough
    #[arg(long, value_enum, default_value_t = SlowConsumers::Disconnect, value_name = "WHAT")]
    slow_consumers: SlowConsumers,
    /// Of what webhooks are told, as in member_added,member_removed, or "none" [default: as they ask for]
    #[arg(long, value_name = "EVENTS", value_delimiter = ',')]
    webhook_events: Vec<String>,
    /// Change only if this is the app's current revision
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    revision: Option<u64>,
}

/// Promises for messages.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Tier {
    /// At most once, not stored
    Ephemeral,
    /// With a short history for reconnects
    Recoverable,
    /// With a long history
    Persistent,
}

/// What becomes of a connection whose queue is full.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SlowConsumers {
    /// It is closed, and catches up when it comes back
    Disconnect,
    /// It keeps what is newest of each channel, and is told of the gap
    KeepLatest,
}

impl Set {
    fn message(self) -> Result<wire::SetNamespaceRequest, Failure> {
        let is_persistent = matches!(self.tier, Tier::Persistent);
        if self.retention.is_some() && !is_persistent {
            return Err(Failure::Usage("--retention is for --tier persistent".to_owned()));
        }
        let tier = match self.tier {
            Tier::Ephemeral => wire::Tier::Ephemeral,
            Tier::Recoverable => wire::Tier::Recoverable,
            Tier::Persistent => wire::Tier::Persistent,
        };
        let slow_consumers = match self.slow_consumers {
            SlowConsumers::Disconnect => wire::SlowConsumers::Disconnect,
            SlowConsumers::KeepLatest => wire::SlowConsumers::KeepLatest,
        };
        let webhook_events = match self.webhook_events.as_slice() {
            [] => None,
            [none] if none == "none" => Some(WebhookEvents::default()),
            _ => Some(WebhookEvents { events: self.webhook_events }),
        };
        let rule = wire::Namespace {
            prefix: self.prefix,
            tier: tier.into(),
            retention_seconds: self.retention.map_or(0, |retention| retention.as_secs()),
            client_events: self.client_events,
            presence_members: self.presence_members,
            slow_consumers: slow_consumers.into(),
            webhook_events,
        };
        let revision = self.revision.unwrap_or_default();
        Ok(wire::SetNamespaceRequest { app_id: self.app, namespace: Some(rule), revision })
    }
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let app = match self {
            Self::List { app: app_id } => {
                let mut client = NamespaceServiceClient::new(way.open().await?);
                let rules = client.list_namespaces(wire::ListNamespacesRequest { app_id }).await?.into_inner();
                return Ok(Answer::new(&rules, app_text::namespaces(&rules.namespaces)));
            }
            Self::Set(set) => {
                let request = set.message()?;
                NamespaceServiceClient::new(way.open().await?).set_namespace(request).await?.into_inner()
            }
            Self::Delete { app: app_id, prefix, revision } => {
                let revision = revision.unwrap_or_default();
                let request = wire::DeleteNamespaceRequest { app_id, prefix, revision };
                NamespaceServiceClient::new(way.open().await?).delete_namespace(request).await?.into_inner()
            }
        };
        Ok(Answer::new(&app, app_text::namespaces(&app.namespaces)))
    }
}
