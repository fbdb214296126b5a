//! Between the messages of `control.proto` and the domain.

use std::time::Duration;

use backbone::registry::RegisteredApp;
use channels::{
    Capability, DEFAULT_RETENTION, Key, KeyName, Limits, Namespace, Namespaces, PusherSettings, Quota, Secret, Tier,
};
use proto::control as wire;

use crate::check;
use crate::mistakes::Mistakes;

pub(crate) fn app(registered: &RegisteredApp) -> wire::App {
    let RegisteredApp { app, revoked, created_ms, revision } = registered;
    let active = app.keys.iter().map(key);
    let revoked = revoked.iter().map(|key| wire::Key {
        name: key.name.as_str().to_owned(),
        capability: Some(capability(&key.capability)),
        created_ms: key.created_ms,
        revoked_ms: key.revoked_ms,
    });
    let mut keys: Vec<_> = active.chain(revoked).collect();
    keys.sort_by_key(|key| key.created_ms);
    wire::App {
        id: app.id.as_str().to_owned(),
        name: app.name.clone(),
        enabled: app.enabled,
        keys,
        pusher: Some(wire::PusherSettings { client_events: app.pusher.client_events }),
        quota: Some(wire::Quota { connections: app.quota.connections }),
        namespaces: app.namespaces.iter().map(namespace).collect(),
        limits: Some(limits(&app.limits)),
        created_ms: *created_ms,
        revision: *revision,
    }
}

/// The key called `name` as the app has it, active or revoked.
pub(crate) fn key_of(registered: &RegisteredApp, name: &KeyName) -> Option<wire::Key> {
    app(registered).keys.into_iter().find(|key| key.name == name.as_str())
}

pub(crate) fn key(key: &Key) -> wire::Key {
    wire::Key {
        name: key.name.as_str().to_owned(),
        capability: Some(capability(&key.capability)),
        created_ms: key.created_ms,
        revoked_ms: 0,
    }
}

fn capability(capability: &Capability) -> wire::Capability {
    let resources = capability.iter().map(|(resource, operations)| {
        let operations = operations.into_iter().map(str::to_owned).collect();
        (resource.to_owned(), wire::capability::Operations { operations })
    });
    wire::Capability { resources: resources.collect() }
}

fn namespace(rule: &Namespace) -> wire::Namespace {
    let (tier, retention) = match rule.tier {
        Tier::Ephemeral => (wire::Tier::Ephemeral, Duration::ZERO),
        Tier::Recoverable => (wire::Tier::Recoverable, Duration::ZERO),
        Tier::Persistent { retention } => (wire::Tier::Persistent, retention),
    };
    wire::Namespace { prefix: rule.prefix.clone(), tier: tier.into(), retention_seconds: retention.as_secs() }
}

/// Every limit that holds, default or chosen.
fn limits(limits: &Limits) -> wire::Limits {
    let size = |size: usize| Some(u32::try_from(size).unwrap_or(u32::MAX));
    wire::Limits {
        channel_name_chars: size(limits.channel_name_chars),
        event_name_chars: size(limits.event_name_chars),
        event_data_bytes: size(limits.event_data_bytes),
        channels_per_publish: size(limits.channels_per_publish),
        events_per_batch: size(limits.events_per_batch),
        client_events_per_second: Some(limits.client_events_per_second),
        channels_per_connection: size(limits.channels_per_connection),
    }
}

/// A key as a request wants it; what is `None` is to be made up.
#[derive(Debug)]
pub(crate) struct WantedKey {
    pub(crate) name: Option<KeyName>,
    pub(crate) secret: Option<Secret>,
    pub(crate) capability: Capability,
}

pub(crate) fn read_key(key: Option<wire::NewKey>, mistakes: &mut Mistakes) -> WantedKey {
    let wire::NewKey { name, secret, capability } = key.unwrap_or_default();
    let given = |text: String| (!text.is_empty()).then_some(text);
    let capability = capability.map(|capability| {
        let resources = capability.resources.into_iter().map(|(resource, words)| (resource, words.operations));
        check::capability(resources.collect())
    });
    WantedKey {
        name: given(name).and_then(|name| mistakes.keep("key.name", KeyName::new(&name))),
        secret: given(secret).and_then(|secret| mistakes.keep("key.secret", check::secret(&secret))),
        capability: capability
            .and_then(|capability| mistakes.keep("key.capability", capability))
            .unwrap_or_else(Capability::all),
    }
}

pub(crate) fn read_pusher(pusher: wire::PusherSettings) -> PusherSettings {
    PusherSettings { client_events: pusher.client_events }
}

pub(crate) fn read_quota(quota: wire::Quota, mistakes: &mut Mistakes) -> Quota {
    mistakes.keep("quota.connections", check::quota(quota.connections)).unwrap_or_default()
}

pub(crate) fn read_limits(limits: wire::Limits, mistakes: &mut Mistakes) -> Limits {
    check::limits(&limits, mistakes, |field| format!("limits.{field}"))
}

pub(crate) fn read_namespaces(namespaces: Vec<wire::Namespace>, mistakes: &mut Mistakes) -> Namespaces {
    let mut rules = Vec::with_capacity(namespaces.len());
    for (index, rule) in namespaces.into_iter().enumerate() {
        let at = |field: &str| format!("namespaces[{index}].{field}");
        let prefix = mistakes.keep(at("prefix"), check::namespace_prefix(&rule.prefix));
        let retention = Duration::from_secs(rule.retention_seconds);
        let tier = match wire::Tier::try_from(rule.tier) {
            Ok(wire::Tier::Persistent) if retention.is_zero() => {
                Some(Tier::Persistent { retention: DEFAULT_RETENTION })
            }
            Ok(wire::Tier::Persistent) => Some(Tier::Persistent { retention }),
            Ok(_) if !retention.is_zero() => {
                mistakes.add(at("retention_seconds"), "is only for TIER_PERSISTENT");
                None
            }
            Ok(wire::Tier::Ephemeral) => Some(Tier::Ephemeral),
            Ok(wire::Tier::Unspecified | wire::Tier::Recoverable) => Some(Tier::Recoverable),
            Err(_) => {
                mistakes.add(at("tier"), format!("has no value {}", rule.tier));
                None
            }
        };
        rules.extend(prefix.zip(tier).map(|(prefix, tier)| Namespace { prefix, tier }));
    }
    mistakes.keep("namespaces", check::namespaces(rules)).unwrap_or_default()
}
