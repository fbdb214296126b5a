//! Namespaces in stored form.

use std::time::Duration;

use channels::{DEFAULT_RETENTION, Namespace, SlowConsumers, Tier};
use proto::backbone::stored_app;

use super::{Unreadable, webhooks};

pub(super) fn namespace(rule: &Namespace) -> stored_app::Namespace {
    let (tier, retention) = match rule.tier {
        Tier::Ephemeral => (stored_app::Tier::Ephemeral, Duration::ZERO),
        Tier::Recoverable => (stored_app::Tier::Recoverable, Duration::ZERO),
        Tier::Persistent { retention } => (stored_app::Tier::Persistent, retention),
    };
    let slow_consumers = match rule.slow_consumers {
        SlowConsumers::Disconnect => stored_app::SlowConsumers::Unspecified,
        SlowConsumers::KeepLatest => stored_app::SlowConsumers::KeepLatest,
    };
    stored_app::Namespace {
        prefix: rule.prefix.clone(),
        tier: tier.into(),
        retention_seconds: retention.as_secs(),
        client_events: rule.client_events,
        presence_members: rule.presence_members.map(|members| u32::try_from(members).unwrap_or(u32::MAX)),
        slow_consumers: slow_consumers.into(),
        webhook_events: rule.webhook_events.map(|events| stored_app::EventNames { names: webhooks::names(events) }),
    }
}

pub(super) fn read(stored: stored_app::Namespace) -> Result<Namespace, Unreadable> {
    let tier = match stored_app::Tier::try_from(stored.tier) {
        Ok(stored_app::Tier::Ephemeral) => Tier::Ephemeral,
        Ok(stored_app::Tier::Unspecified | stored_app::Tier::Recoverable) => Tier::Recoverable,
        Ok(stored_app::Tier::Persistent) if stored.retention_seconds == 0 => {
            Tier::Persistent { retention: DEFAULT_RETENTION }
        }
        Ok(stored_app::Tier::Persistent) => {
            Tier::Persistent { retention: Duration::from_secs(stored.retention_seconds) }
        }
        Err(_) => return Err(Unreadable::Tier(stored.tier)),
    };
    let slow_consumers = match stored_app::SlowConsumers::try_from(stored.slow_consumers) {
        Ok(stored_app::SlowConsumers::Unspecified | stored_app::SlowConsumers::Disconnect) => SlowConsumers::Disconnect,
        Ok(stored_app::SlowConsumers::KeepLatest) => SlowConsumers::KeepLatest,
        Err(_) => return Err(Unreadable::SlowConsumers(stored.slow_consumers)),
    };
    Ok(Namespace {
        prefix: stored.prefix,
        tier,
        client_events: stored.client_events,
        presence_members: stored.presence_members.map(|members| usize::try_from(members).unwrap_or(usize::MAX)),
        slow_consumers,
        webhook_events: stored.webhook_events.map(|events| webhooks::read_names(events.names)).transpose()?,
    })
}
