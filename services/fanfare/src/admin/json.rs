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
    client_events: bool,
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
}

impl<'a> CreateKeyResponse<'a> {
    fn new(created: &'a wire::CreateKeyResponse) -> Self {
        Self { key: created.key.as_ref().map(Key::new), secret: &created.secret }
    }
}

impl<'a> App<'a> {
    fn new(app: &'a wire::App) -> Self {
        let limits = app.limits.unwrap_or_default();
        Self {
            id: &app.id,
            name: &app.name,
            enabled: app.enabled,
            keys: app.keys.iter().map(Key::new).collect(),
            pusher: PusherSettings { client_events: app.pusher.unwrap_or_default().client_events },
            quota: Quota { connections: app.quota.unwrap_or_default().connections },
            namespaces: app.namespaces.iter().map(Namespace::new).collect(),
            limits: Limits {
                channel_name_chars: limits.channel_name_chars,
                event_name_chars: limits.event_name_chars,
                event_data_bytes: limits.event_data_bytes,
                channels_per_publish: limits.channels_per_publish,
                events_per_batch: limits.events_per_batch,
                client_events_per_second: limits.client_events_per_second,
                channels_per_connection: limits.channels_per_connection,
            },
            created_ms: app.created_ms,
            revision: app.revision,
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
