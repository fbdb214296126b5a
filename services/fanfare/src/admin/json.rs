//! Answers as JSON.
//!
//! The shape is that of the messages in `control.proto`, fields under their names there, enum values too, and every
//! field always present; scripts rely on it. Unlike protobuf's own JSON form, 64-bit numbers are numbers: ours stay far
//! below where that loses digits.

use std::collections::BTreeMap;

use proto::control as wire;
use serde::Serialize;

use super::Answer;

pub(super) fn text(answer: &Answer) -> String {
    let text = match answer {
        Answer::Created(created) => pretty(&CreateAppResponse {
            app: created.app.as_ref().map(App::new),
            key: created.key.as_ref().map(CreateKeyResponse::new),
        }),
        Answer::App(app) => pretty(&App::new(app)),
        Answer::Apps(apps) => pretty(&ListAppsResponse { apps: apps.iter().map(App::new).collect() }),
        Answer::Deleted => pretty(&DeleteAppResponse {}),
        Answer::KeyCreated(created) => pretty(&CreateKeyResponse::new(created)),
        Answer::KeyRevoked(key) => pretty(&RevokeKeyResponse { key: Key::new(key) }),
        Answer::Webhooks(webhooks) => pretty(&Webhooks { webhooks: webhooks.iter().map(Webhook::new).collect() }),
        Answer::DeadLetters(letters) => {
            pretty(&ListDeadLettersResponse { dead_letters: letters.iter().map(DeadLetter::new).collect() })
        }
        Answer::Replayed(answer) => pretty(&ReplayDeadLettersResponse { replayed: answer.replayed }),
        Answer::Forgotten(answer) => pretty(&DeleteDeadLettersResponse { deleted: answer.deleted }),
    };
    text + "\n"
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("strings and numbers are always JSON")
}

#[derive(Serialize)]
struct CreateAppResponse<'a> {
    app: Option<App<'a>>,
    key: Option<CreateKeyResponse<'a>>,
}

#[derive(Serialize)]
struct ListAppsResponse<'a> {
    apps: Vec<App<'a>>,
}

#[derive(Serialize)]
struct DeleteAppResponse {}

#[derive(Serialize)]
struct CreateKeyResponse<'a> {
    key: Option<Key<'a>>,
    secret: &'a str,
}

#[derive(Serialize)]
struct RevokeKeyResponse<'a> {
    key: Key<'a>,
}

/// The part of an app that was asked for.
#[derive(Serialize)]
struct Webhooks<'a> {
    webhooks: Vec<Webhook<'a>>,
}

#[derive(Serialize)]
struct ListDeadLettersResponse<'a> {
    dead_letters: Vec<DeadLetter<'a>>,
}

#[derive(Serialize)]
struct ReplayDeadLettersResponse {
    replayed: u64,
}

#[derive(Serialize)]
struct DeleteDeadLettersResponse {
    deleted: u64,
}

#[derive(Serialize)]
struct App<'a> {
    id: &'a str,
    name: &'a str,
    enabled: bool,
    keys: Vec<Key<'a>>,
    pusher: PusherSettings,
    quota: Quota,
    namespaces: Vec<Namespace<'a>>,
    limits: Limits,
    created_ms: u64,
    revision: u64,
    webhooks: Vec<Webhook<'a>>,
}

#[derive(Serialize)]
struct Key<'a> {
    name: &'a str,
    capability: Capability<'a>,
    created_ms: u64,
    revoked_ms: u64,
}

#[derive(Serialize)]
struct Capability<'a> {
    /// Sorted, unlike the message's.
    resources: BTreeMap<&'a str, Operations<'a>>,
}

#[derive(Serialize)]
struct Operations<'a> {
    operations: &'a [String],
}

#[derive(Serialize)]
struct PusherSettings {
    client_events: Option<bool>,
    user_authentication: Option<bool>,
    subscription_count: Option<bool>,
    watchlist: Option<bool>,
    authorized_connections_ms: Option<u64>,
    positions: Option<bool>,
    tls_only: Option<bool>,
    allowed_origins: Vec<String>,
}

#[derive(Serialize)]
struct Quota {
    connections: Option<u64>,
}

#[derive(Serialize)]
struct Namespace<'a> {
    prefix: &'a str,
    tier: &'static str,
    retention_seconds: u64,
}

#[derive(Serialize)]
struct Limits {
    channel_name_chars: Option<u32>,
    event_name_chars: Option<u32>,
    event_data_bytes: Option<u32>,
    channels_per_publish: Option<u32>,
    events_per_batch: Option<u32>,
    client_events_per_second: Option<u32>,
    channels_per_connection: Option<u32>,
    presence_members: Option<u32>,
    presence_user_id_chars: Option<u32>,
    presence_user_info_bytes: Option<u32>,
    user_id_chars: Option<u32>,
    watchlist_users: Option<u32>,
    cache_ttl_seconds: Option<u32>,
    auth_timestamp_window_seconds: Option<u32>,
}

#[derive(Serialize)]
struct Webhook<'a> {
    id: &'a str,
    url: &'a str,
    events: &'a [String],
    prefix: &'a str,
    batch_ms: u64,
    /// Sorted, unlike the message's.
    headers: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct DeadLetter<'a> {
    id: &'a str,
    webhook_id: &'a str,
    url: &'a str,
    event: &'a str,
    channel: &'a str,
    user_id: &'a str,
    time_ms: u64,
    attempts: u32,
    reason: &'a str,
    failed_ms: u64,
}

impl<'a> CreateKeyResponse<'a> {
    fn new(created: &'a wire::CreateKeyResponse) -> Self {
        Self { key: created.key.as_ref().map(Key::new), secret: &created.secret }
    }
}

impl<'a> App<'a> {
    fn new(app: &'a wire::App) -> Self {
        Self {
            id: &app.id,
            name: &app.name,
            enabled: app.enabled,
            keys: app.keys.iter().map(Key::new).collect(),
            pusher: PusherSettings::new(app.pusher.clone().unwrap_or_default()),
            quota: Quota { connections: app.quota.unwrap_or_default().connections },
            namespaces: app.namespaces.iter().map(Namespace::new).collect(),
            limits: Limits::new(app.limits.unwrap_or_default()),
            created_ms: app.created_ms,
            revision: app.revision,
            webhooks: app.webhooks.iter().map(Webhook::new).collect(),
        }
    }
}

impl PusherSettings {
    fn new(pusher: wire::PusherSettings) -> Self {
        Self {
            client_events: pusher.client_events,
            user_authentication: pusher.user_authentication,
            subscription_count: pusher.subscription_count,
            watchlist: pusher.watchlist,
            authorized_connections_ms: pusher.authorized_connections_ms,
            positions: pusher.positions,
            tls_only: pusher.tls_only,
            allowed_origins: pusher.allowed_origins.map(|origins| origins.patterns).unwrap_or_default(),
        }
    }
}

impl Limits {
    fn new(limits: wire::Limits) -> Self {
        Self {
            channel_name_chars: limits.channel_name_chars,
            event_name_chars: limits.event_name_chars,
            event_data_bytes: limits.event_data_bytes,
            channels_per_publish: limits.channels_per_publish,
            events_per_batch: limits.events_per_batch,
            client_events_per_second: limits.client_events_per_second,
            channels_per_connection: limits.channels_per_connection,
            presence_members: limits.presence_members,
            presence_user_id_chars: limits.presence_user_id_chars,
            presence_user_info_bytes: limits.presence_user_info_bytes,
            user_id_chars: limits.user_id_chars,
            watchlist_users: limits.watchlist_users,
            cache_ttl_seconds: limits.cache_ttl_seconds,
            auth_timestamp_window_seconds: limits.auth_timestamp_window_seconds,
        }
    }
}

impl<'a> Webhook<'a> {
    fn new(webhook: &'a wire::Webhook) -> Self {
        Self {
            id: &webhook.id,
            url: &webhook.url,
            events: &webhook.events,
            prefix: &webhook.prefix,
            batch_ms: webhook.batch_ms,
            headers: webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        }
    }
}

impl<'a> DeadLetter<'a> {
    fn new(letter: &'a wire::DeadLetter) -> Self {
        Self {
            id: &letter.id,
            webhook_id: &letter.webhook_id,
            url: &letter.url,
            event: &letter.event,
            channel: &letter.channel,
            user_id: &letter.user_id,
            time_ms: letter.time_ms,
            attempts: letter.attempts,
            reason: &letter.reason,
            failed_ms: letter.failed_ms,
        }
    }
}

impl<'a> Key<'a> {
    fn new(key: &'a wire::Key) -> Self {
        let resources = key.capability.iter().flat_map(|capability| &capability.resources);
        let resources = resources.map(|(name, words)| (name.as_str(), Operations { operations: &words.operations }));
        Self {
            name: &key.name,
            capability: Capability { resources: resources.collect() },
            created_ms: key.created_ms,
            revoked_ms: key.revoked_ms,
        }
    }
}

impl<'a> Namespace<'a> {
    fn new(namespace: &'a wire::Namespace) -> Self {
        Self {
            prefix: &namespace.prefix,
            tier: namespace.tier().as_str_name(),
            retention_seconds: namespace.retention_seconds,
        }
    }
}
