//! The rules for what an operator may choose, whatever way it comes in: requests and seed files are held to the same.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use channels::{
    InvalidCapability, InvalidWebhook, Limits, MAX_CHANNEL_NAME_BYTES, Namespace, Namespaces, Quota, Secret, Webhook,
    WebhookEvent, WebhookEvents,
};
use proto::control as wire;

use crate::mistakes::Mistakes;

/// Longest app name in characters; it is shown in lists.
const MAX_APP_NAME_CHARS: usize = 128;

/// Shortest secret in characters, so that nobody moves in with `secret`. Longest in bytes.
const MIN_SECRET_CHARS: usize = 8;
const MAX_SECRET_BYTES: usize = 256;

/// Most resources in one capability, and most namespaces of one app: each message is held against all of them.
const MAX_RESOURCES: usize = 200;
const MAX_NAMESPACES: usize = 200;

/// Most webhooks of one app, and most headers of one webhook: each event is held against all of them.
const MAX_WEBHOOKS: usize = 20;
const MAX_WEBHOOK_HEADERS: usize = 10;

/// Distinct users in one presence channel.
const PRESENCE_MEMBERS: RangeInclusive<u32> = 1..=100_000;

/// Longest idempotency key, in characters.
const MAX_IDEMPOTENCY_KEY_CHARS: usize = 64;

/// Longest name of a token, in characters.
const MAX_TOKEN_NAME_CHARS: usize = 64;

/// Longest lifetime of a token: ten years.
const MAX_LIFETIME_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

/// Longest overlap when something is rotated: 30 days, in which everybody who signs can be told.
const MAX_OVERLAP_SECONDS: u64 = 30 * 24 * 60 * 60;

/// Shorter, and a client on a bad network could not make it; longer, and the condition would be none.
const AUTHORIZATION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60 * 60);

/// A sentence's rest: what is wrong with a value.
pub(crate) type Checked<T> = Result<T, String>;

pub(crate) fn app_name(name: &str) -> Checked<String> {
    let chars = name.chars().count();
    if chars == 0 || chars > MAX_APP_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(format!("must be 1 to {MAX_APP_NAME_CHARS} characters without control characters"));
    }
    Ok(name.to_owned())
}

pub(crate) fn secret(secret: &str) -> Checked<Secret> {
    let short = secret.chars().count() < MIN_SECRET_CHARS;
    if short || secret.len() > MAX_SECRET_BYTES || secret.chars().any(char::is_control) {
        let range = format!("{MIN_SECRET_CHARS} characters to {MAX_SECRET_BYTES} bytes");
        return Err(format!("must be {range} long, without control characters"));
    }
    Secret::new(secret).ok_or_else(|| "must not be empty".to_owned())
}

pub(crate) fn capability<W>(resources: Vec<(String, W)>) -> Checked<channels::Capability>
where
    W: IntoIterator<Item: AsRef<str>>,
{
    if resources.is_empty() || resources.len() > MAX_RESOURCES {
        return Err(format!("must name 1 to {MAX_RESOURCES} resources"));
    }
    if resources.iter().any(|(resource, _)| resource.len() > MAX_CHANNEL_NAME_BYTES) {
        return Err(format!("names a resource of more than {MAX_CHANNEL_NAME_BYTES} bytes"));
    }
    channels::Capability::new(resources).map_err(|error: InvalidCapability| error.to_string())
}

pub(crate) fn namespaces(namespaces: Vec<Namespace>) -> Checked<Namespaces> {
    if namespaces.len() > MAX_NAMESPACES {
        return Err(format!("must not be more than {MAX_NAMESPACES}"));
    }
    Namespaces::new(namespaces).map_err(|error| error.to_string())
}

pub(crate) fn channel_prefix(prefix: &str) -> Checked<String> {
    if prefix.len() > MAX_CHANNEL_NAME_BYTES || prefix.chars().any(char::is_control) {
        return Err(format!("must be at most {MAX_CHANNEL_NAME_BYTES} bytes without control characters"));
    }
    Ok(prefix.to_owned())
}

/// Within what time connections must be authorized.
pub(crate) fn authorized_connections(within: Duration) -> Checked<Duration> {
    if AUTHORIZATION.contains(&within) { Ok(within) } else { Err("must be 1 second to 1 hour".to_owned()) }
}

/// The events with these names.
pub(crate) fn webhook_events<W: AsRef<str>>(names: &[W]) -> Checked<WebhookEvents> {
    let event = |name: &W| {
        WebhookEvent::parse(name.as_ref()).ok_or_else(|| {
            let known: Vec<_> = WebhookEvent::ALL.iter().map(|event| event.name()).collect();
            format!("must not name {:?}; there are {}", name.as_ref(), known.join(", "))
        })
    };
    names.iter().map(event).collect()
}

/// Checks one webhook; what is refused comes with the field's name in [`Webhook`].
pub(crate) fn webhook(webhook: Webhook) -> Result<Webhook, (&'static str, String)> {
    channel_prefix(&webhook.prefix).map_err(|problem| ("prefix", problem))?;
    if webhook.headers.len() > MAX_WEBHOOK_HEADERS {
        return Err(("headers", format!("must not be more than {MAX_WEBHOOK_HEADERS}")));
    }
    if let Some((name, _)) = webhook.headers.iter().find(|(_, value)| value.is_empty()) {
        return Err(("headers", format!("must give {name:?} a value")));
    }
    webhook.check().map_err(|invalid| {
        let field = match invalid {
            InvalidWebhook::Id => "id",
            InvalidWebhook::Url => "url",
            InvalidWebhook::NoEvents => "events",
            InvalidWebhook::Batch => "batch",
            InvalidWebhook::Header(_) => "headers",
        };
        (field, invalid.to_string())
    })?;
    Ok(webhook)
}

/// Checks all webhooks of an app, each of which has been checked.
pub(crate) fn webhooks(webhooks: Vec<Webhook>) -> Checked<Vec<Webhook>> {
    if webhooks.len() > MAX_WEBHOOKS {
        return Err(format!("must not be more than {MAX_WEBHOOKS}"));
    }
    let mut ids = HashSet::new();
    match webhooks.iter().find(|webhook| !ids.insert(&webhook.id)) {
        Some(twice) => Err(format!("two webhooks have the id {:?}; give each an id of its own", twice.id)),
        None => Ok(webhooks),
    }
}

/// Most distinct users in one presence channel under a rule, which may be more or fewer than the app's limits say.
pub(crate) fn namespace_members(most: u32) -> Checked<usize> {
    let range = PRESENCE_MEMBERS;
    match usize::try_from(most) {
        Ok(members) if range.contains(&most) => Ok(members),
        Ok(_) | Err(_) => Err(format!("must be {} to {}", range.start(), range.end())),
    }
}

/// The name of a token: one line, since it is in the audit log beside the token's id.
pub(crate) fn token_name(name: &str) -> Checked<String> {
    let chars = name.chars().count();
    if chars == 0 || chars > MAX_TOKEN_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(format!("must be 1 to {MAX_TOKEN_NAME_CHARS} characters without control characters"));
    }
    Ok(name.to_owned())
}

/// How long a token is good; `None` is until it is revoked.
pub(crate) fn lifetime(seconds: u64) -> Checked<Option<Duration>> {
    if seconds > MAX_LIFETIME_SECONDS {
        return Err(format!("must be at most {MAX_LIFETIME_SECONDS}; 0 is until it is revoked"));
    }
    Ok((seconds > 0).then(|| Duration::from_secs(seconds)))
}

/// What a caller calls a create that it may repeat.
pub(crate) fn idempotency_key(key: &str) -> Checked<()> {
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY_CHARS || !key.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err(format!("must be 1 to {MAX_IDEMPOTENCY_KEY_CHARS} printable ASCII characters"));
    }
    Ok(())
}

/// How long what was replaced may be used beside what replaced it.
pub(crate) fn overlap(seconds: u64) -> Checked<Duration> {
    if seconds > MAX_OVERLAP_SECONDS {
        return Err(format!("must be at most {MAX_OVERLAP_SECONDS}"));
    }
    Ok(Duration::from_secs(seconds))
}

/// Checks quotas; `refuse` is told of fields. Zero is refused: some systems mean "no limit" by it, some "nobody", and
/// a guess would hurt somebody.
pub(crate) fn quota(given: &wire::Quota, mut refuse: impl FnMut(&'static str, &'static str)) -> Quota {
    let mut some = |field, value| {
        if value == Some(0) {
            refuse(field, "must be at least 1; leave it out for no limit, or disable the app");
        }
        value
    };
    Quota {
        connections: some("connections", given.connections),
        channels: some("channels", given.channels),
        messages_in_per_second: some("messages_in_per_second", given.messages_in_per_second),
        messages_out_per_second: some("messages_out_per_second", given.messages_out_per_second),
        history_bytes: some("history_bytes", given.history_bytes),
        presence_members: some("presence_members", given.presence_members),
        webhooks_per_second: some("webhooks_per_second", given.webhooks_per_second),
    }
}

/// Checks limits; `at` makes a field's place of its name in `control.proto`.
pub(crate) fn limits(given: &wire::Limits, mistakes: &mut Mistakes, at: impl Fn(&str) -> String) -> Limits {
    let default = Limits::default();
    let mut within = |field: &str, value: u32, range: RangeInclusive<u32>, unit: &str| {
        if !range.contains(&value) {
            mistakes.add(at(field), format!("must be {} to {}{unit}", range.start(), range.end()));
        }
        value
    };
    macro_rules! count {
        ($field:ident, $range:expr) => {
            match given.$field.map(|value| within(stringify!($field), value, $range, "")) {
                Some(value) => value.try_into().unwrap_or(default.$field),
                None => default.$field,
            }
        };
    }
    let mut seconds = |field: &str, value: Option<u32>, default: Duration, range| match value {
        Some(value) => Duration::from_secs(within(field, value, range, " seconds").into()),
        None => default,
    };
    // The longest that the backbone can be asked to keep anything, and the shortest.
    let cache_ttl = seconds("cache_ttl_seconds", given.cache_ttl_seconds, default.cache_ttl, 60..=2_592_000);
    let (window, window_default) = (given.auth_timestamp_window_seconds, default.auth_timestamp_window);
    let auth_timestamp_window = seconds("auth_timestamp_window_seconds", window, window_default, 10..=3_600);
    Limits {
        channel_name_chars: count!(channel_name_chars, 1..=1_024),
        event_name_chars: count!(event_name_chars, 1..=1_024),
        // Half of what a NATS server takes in one message unless told otherwise.
        event_data_bytes: count!(event_data_bytes, 1..=524_288),
        message_bytes: count!(message_bytes, 1..=524_288),
        channels_per_publish: count!(channels_per_publish, 1..=1_000),
        events_per_batch: count!(events_per_batch, 1..=1_000),
        // Here and below, zero means what it says: none.
        client_events_per_second: count!(client_events_per_second, 0..=10_000),
        channels_per_connection: count!(channels_per_connection, 1..=100_000),
        presence_members: count!(presence_members, PRESENCE_MEMBERS),
        presence_user_id_chars: count!(presence_user_id_chars, 1..=256),
        presence_user_info_bytes: count!(presence_user_info_bytes, 0..=65_536),
        // As the name of a channel, with what stands in front, a user id must stay within 1024 bytes.
        user_id_chars: count!(user_id_chars, 1..=252),
        watchlist_users: count!(watchlist_users, 0..=1_000),
        cache_ttl,
        auth_timestamp_window,
    }
}
