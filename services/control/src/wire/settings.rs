//! The settings of an app, both ways.

use std::time::Duration;

use channels::{
    App, DEFAULT_RETENTION, Limits, Namespace, Namespaces, OriginPattern, PusherSettings, Quota, SlowConsumers, Tier,
    Webhook, WebhookEvents,
};
use clock::millis;
use proto::control as wire;

use crate::check;
use crate::mistakes::Mistakes;

/// What of an app can be chosen; the rest is left empty.
pub(crate) fn settings(app: &App) -> wire::App {
    wire::App {
        name: app.name.clone(),
        pusher: Some(pusher(&app.pusher)),
        quota: Some(quota(&app.quota)),
        namespaces: app.namespaces.iter().map(namespace).collect(),
        limits: Some(limits(&app.limits)),
        webhooks: app.webhooks.iter().map(webhook).collect(),
        ..wire::App::default()
    }
}

pub(crate) fn tier(tier: Tier) -> wire::Tier {
    match tier {
        Tier::Ephemeral => wire::Tier::Ephemeral,
        Tier::Recoverable => wire::Tier::Recoverable,
        Tier::Persistent { .. } => wire::Tier::Persistent,
    }
}

pub(crate) fn namespace(rule: &Namespace) -> wire::Namespace {
    let retention = match rule.tier {
        Tier::Ephemeral | Tier::Recoverable => Duration::ZERO,
        Tier::Persistent { retention } => retention,
    };
    let slow_consumers = match rule.slow_consumers {
        SlowConsumers::Disconnect => wire::SlowConsumers::Disconnect,
        SlowConsumers::KeepLatest => wire::SlowConsumers::KeepLatest,
    };
    wire::Namespace {
        prefix: rule.prefix.clone(),
        tier: tier(rule.tier).into(),
        retention_seconds: retention.as_secs(),
        client_events: rule.client_events,
        presence_members: rule.presence_members.map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
        slow_consumers: slow_consumers.into(),
        webhook_events: rule.webhook_events.map(|events| wire::namespace::WebhookEvents { events: names(events) }),
    }
}

fn names(events: WebhookEvents) -> Vec<String> {
    events.iter().map(|event| event.name().to_owned()).collect()
}

fn quota(quota: &Quota) -> wire::Quota {
    wire::Quota {
        connections: quota.connections,
        channels: quota.channels,
        messages_in_per_second: quota.messages_in_per_second,
        messages_out_per_second: quota.messages_out_per_second,
        history_bytes: quota.history_bytes,
        presence_members: quota.presence_members,
        webhooks_per_second: quota.webhooks_per_second,
    }
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

/// A webhook with the names of its headers. Their values are secrets.
fn webhook(webhook: &Webhook) -> wire::Webhook {
    wire::Webhook {
        id: webhook.id.clone(),
        url: webhook.url.clone(),
        events: names(webhook.events),
        prefix: webhook.prefix.clone(),
        batch_ms: webhook.batch.map_or(0, millis),
        headers: webhook.headers.iter().map(|(name, _)| (name.clone(), String::new())).collect(),
    }
}

/// Every limit that holds, default or chosen.
fn limits(limits: &Limits) -> wire::Limits {
    let size = |size: usize| Some(u32::try_from(size).unwrap_or(u32::MAX));
    let seconds = |time: Duration| Some(u32::try_from(time.as_secs()).unwrap_or(u32::MAX));
    wire::Limits {
        channel_name_chars: size(limits.channel_name_chars),
        event_name_chars: size(limits.event_name_chars),
        event_data_bytes: size(limits.event_data_bytes),
        message_bytes: size(limits.message_bytes),
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

/// Switches of the Pusher surface; what is absent is as in a new app.
pub(crate) fn read_pusher(given: wire::PusherSettings, mistakes: &mut Mistakes) -> PusherSettings {
    let default = PusherSettings::default();
    let authorized = given.authorized_connections_ms.filter(|within| *within > 0).and_then(|within| {
        let checked = check::authorized_connections(Duration::from_millis(within));
        mistakes.keep("pusher.authorized_connections_ms", checked)
    });
    let origins = given.allowed_origins.unwrap_or_default();
    let patterns = origins.patterns.iter().map(|pattern| OriginPattern::new(pattern));
    PusherSettings {
        client_events: given.client_events.unwrap_or(default.client_events),
        user_authentication: given.user_authentication.unwrap_or(default.user_authentication),
        subscription_count: given.subscription_count.unwrap_or(default.subscription_count),
        watchlist: given.watchlist.unwrap_or(default.watchlist),
        authorized_connections: authorized,
        positions: given.positions.unwrap_or(default.positions),
        tls_only: given.tls_only.unwrap_or(default.tls_only),
        allowed_origins: mistakes
            .keep("pusher.allowed_origins", patterns.collect::<Result<_, _>>())
            .unwrap_or_default(),
    }
}

pub(crate) fn read_quota(quota: &wire::Quota, mistakes: &mut Mistakes) -> Quota {
    check::quota(quota, |field, problem| mistakes.add(format!("quota.{field}"), problem))
}

pub(crate) fn read_limits(limits: &wire::Limits, mistakes: &mut Mistakes) -> Limits {
    check::limits(limits, mistakes, |field| format!("limits.{field}"))
}

pub(crate) fn read_namespaces(namespaces: Vec<wire::Namespace>, mistakes: &mut Mistakes) -> Namespaces {
    let read = |(index, rule)| read_namespace(rule, |field| format!("namespaces[{index}].{field}"), mistakes);
    let rules = namespaces.into_iter().enumerate().filter_map(read).collect();
    mistakes.keep("namespaces", check::namespaces(rules)).unwrap_or_default()
}

/// One rule; `at` makes a field's place of its name.
pub(crate) fn read_namespace(
    rule: wire::Namespace,
    at: impl Fn(&str) -> String,
    mistakes: &mut Mistakes,
) -> Option<Namespace> {
    let prefix = mistakes.keep(at("prefix"), check::channel_prefix(&rule.prefix));
    let retention = Duration::from_secs(rule.retention_seconds);
    let tier = match wire::Tier::try_from(rule.tier) {
        Ok(wire::Tier::Persistent) if retention.is_zero() => Some(Tier::Persistent { retention: DEFAULT_RETENTION }),
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
    let slow_consumers = match wire::SlowConsumers::try_from(rule.slow_consumers) {
        Ok(wire::SlowConsumers::Unspecified | wire::SlowConsumers::Disconnect) => SlowConsumers::Disconnect,
        Ok(wire::SlowConsumers::KeepLatest) => SlowConsumers::KeepLatest,
        Err(_) => {
            mistakes.add(at("slow_consumers"), format!("has no value {}", rule.slow_consumers));
            SlowConsumers::default()
        }
    };
    let members = rule.presence_members.map(check::namespace_members);
    let events = rule.webhook_events.map(|given| check::webhook_events(&given.events));
    Some(Namespace {
        client_events: rule.client_events,
        presence_members: members.and_then(|most| mistakes.keep(at("presence_members"), most)),
        slow_consumers,
        webhook_events: events.and_then(|events| mistakes.keep(at("webhook_events"), events)),
        ..Namespace::new(&prefix?, tier?)
    })
}

/// Webhooks for an app that has those that are `stored`. A header without a value keeps the one that it has there.
pub(crate) fn read_webhooks(webhooks: Vec<wire::Webhook>, stored: &[Webhook], mistakes: &mut Mistakes) -> Vec<Webhook> {
    let mut checked = Vec::with_capacity(webhooks.len());
    for (index, given) in webhooks.into_iter().enumerate() {
        let at = |field: &str| match field {
            "batch" => format!("webhooks[{index}].batch_ms"),
            field => format!("webhooks[{index}].{field}"),
        };
        let Some(mut webhook) = mistakes.keep(at("events"), read_webhook(given)) else { continue };
        keep_headers(&mut webhook, stored);
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

/// Fills in the values that answers leave out. Only where the URL is the same: else whoever may change webhooks could
/// have the values sent to himself.
fn keep_headers(webhook: &mut Webhook, stored: &[Webhook]) {
    let Some(stored) = stored.iter().find(|stored| stored.id == webhook.id && stored.url == webhook.url) else {
        return;
    };
    for (name, value) in webhook.headers.iter_mut().filter(|(_, value)| value.is_empty()) {
        if let Some((_, kept)) = stored.headers.iter().find(|(stored, _)| stored == name) {
            value.clone_from(kept);
        }
    }
}
