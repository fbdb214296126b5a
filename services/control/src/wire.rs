//! Between the messages of `control.proto` and the domain.

use std::time::Duration;

use backbone::dead_letters::DeadLetterId;
use backbone::registry::{PusherChange, RegisteredApp};
use channels::{
    Capability, DEFAULT_RETENTION, Key, KeyName, Limits, Namespace, Namespaces, OriginPattern, PusherSettings, Quota,
    Secret, Tier, Webhook, WebhookEvents,
};
use proto::backbone::DeadLetter;
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
        pusher: Some(pusher(&app.pusher)),
        quota: Some(wire::Quota { connections: app.quota.connections }),
        namespaces: app.namespaces.iter().map(namespace).collect(),
        limits: Some(limits(&app.limits)),
        created_ms: *created_ms,
        revision: *revision,
        webhooks: app.webhooks.iter().map(webhook).collect(),
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

fn pusher(pusher: &PusherSettings) -> wire::PusherSettings {
    wire::PusherSettings {
        client_events: Some(pusher.client_events),
        user_authentication: Some(pusher.user_authentication),
        subscription_count: Some(pusher.subscription_count),
        watchlist: Some(pusher.watchlist),
        authorized_connections_ms: Some(pusher.authorized_connections.map_or(0, millis)),
        positions: Some(pusher.positions),
        tls_only: Some(pusher.tls_only),
        allowed_origins: Some(wire::pusher_settings::Origins {
            patterns: pusher.allowed_origins.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        }),
    }
}

fn webhook(webhook: &Webhook) -> wire::Webhook {
    wire::Webhook {
        id: webhook.id.clone(),
        url: webhook.url.clone(),
        events: webhook.events.iter().map(|event| event.name().to_owned()).collect(),
        prefix: webhook.prefix.clone(),
        batch_ms: webhook.batch.map_or(0, millis),
        headers: webhook.headers.iter().cloned().collect(),
    }
}

pub(crate) fn dead_letter(id: &DeadLetterId, letter: DeadLetter) -> wire::DeadLetter {
    let event = letter.event.unwrap_or_default();
    wire::DeadLetter {
        id: id.as_str().to_owned(),
        webhook_id: letter.webhook_id,
        url: letter.url,
        event: event.name,
        channel: event.channel,
        user_id: event.user_id,
        time_ms: event.time_ms,
        attempts: letter.attempts,
        reason: letter.reason,
        failed_ms: letter.failed_ms,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Every limit that holds, default or chosen.
fn limits(limits: &Limits) -> wire::Limits {
    let size = |size: usize| Some(u32::try_from(size).unwrap_or(u32::MAX));
    let seconds = |time: Duration| Some(u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    wire::Limits {
        channel_name_chars: size(limits.channel_name_chars),
        event_name_chars: size(limits.event_name_chars),
        event_data_bytes: size(limits.event_data_bytes),
        channels_per_publish: size(limits.channels_per_publish),
        events_per_batch: size(limits.events_per_batch),
        client_events_per_second: Some(limits.client_events_per_second),
        channels_per_connection: size(limits.channels_per_connection),
        presence_members: size(limits.presence_members),
        presence_user_id_chars: size(limits.presence_user_id_chars),
        presence_user_info_bytes: size(limits.presence_user_info_bytes),
        user_id_chars: size(limits.user_id_chars),
        watchlist_users: size(limits.watchlist_users),
        cache_ttl_seconds: seconds(limits.cache_ttl),
        auth_timestamp_window_seconds: seconds(limits.auth_timestamp_window),
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

pub(crate) fn read_pusher(pusher: Option<wire::PusherSettings>, mistakes: &mut Mistakes) -> PusherChange {
    let pusher = pusher.unwrap_or_default();
    let authorized = pusher.authorized_connections_ms.map(|within| match within {
        0 => None,
        within => {
            let checked = check::authorized_connections(Duration::from_millis(within));
            mistakes.keep("pusher.authorized_connections_ms", checked)
        }
    });
    let origins = pusher.allowed_origins.map(|origins| {
        let patterns = origins.patterns.iter().map(|pattern| OriginPattern::new(pattern));
        mistakes.keep("pusher.allowed_origins", patterns.collect::<Result<_, _>>()).unwrap_or_default()
    });
    PusherChange {
        client_events: pusher.client_events,
        user_authentication: pusher.user_authentication,
        subscription_count: pusher.subscription_count,
        watchlist: pusher.watchlist,
        authorized_connections: authorized,
        positions: pusher.positions,
        tls_only: pusher.tls_only,
        allowed_origins: origins,
    }
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
        let prefix = mistakes.keep(at("prefix"), check::channel_prefix(&rule.prefix));
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
        rules.extend(prefix.zip(tier).map(|(prefix, tier)| Namespace::new(&prefix, tier)));
    }
    mistakes.keep("namespaces", check::namespaces(rules)).unwrap_or_default()
}

pub(crate) fn read_webhooks(webhooks: Vec<wire::Webhook>, mistakes: &mut Mistakes) -> Vec<Webhook> {
    let mut checked = Vec::with_capacity(webhooks.len());
    for (index, given) in webhooks.into_iter().enumerate() {
        let at = |field: &str| match field {
            "batch" => format!("webhooks[{index}].batch_ms"),
            field => format!("webhooks[{index}].{field}"),
        };
        let Some(webhook) = mistakes.keep(at("events"), read_webhook(given)) else { continue };
        match check::webhook(webhook) {
            Ok(webhook) => checked.push(webhook),
            Err((field, problem)) => mistakes.add(at(field), problem),
        }
    }
    mistakes.keep("webhooks", check::webhooks(checked)).unwrap_or_default()
}

/// A webhook, or what is wrong with its events; the rest is still to be checked.
fn read_webhook(given: wire::Webhook) -> check::Checked<Webhook> {
    let wire::Webhook { id, url, events, prefix, batch_ms, headers } = given;
    let events = if events.is_empty() { WebhookEvents::ALL } else { check::webhook_events(&events)? };
    let mut headers: Vec<_> = headers.into_iter().collect();
    headers.sort();
    let id = if id.is_empty() { Webhook::made_up_id(&url, &prefix) } else { id };
    let batch = (batch_ms > 0).then(|| Duration::from_millis(batch_ms));
    Ok(Webhook { id, url, events, prefix, batch, headers })
}
