//! The rules for what an operator may choose, whatever way it comes in: requests and seed files are held to the same.

use channels::{InvalidCapability, Limits, MAX_CHANNEL_NAME_BYTES, Namespace, Namespaces, Quota, Secret};
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

pub(crate) fn namespace_prefix(prefix: &str) -> Checked<String> {
    if prefix.len() > MAX_CHANNEL_NAME_BYTES || prefix.chars().any(char::is_control) {
        return Err(format!("must be at most {MAX_CHANNEL_NAME_BYTES} bytes without control characters"));
    }
    Ok(prefix.to_owned())
}

/// Zero is refused: some systems mean "no limit" by it, some "nobody", and a guess would hurt somebody.
pub(crate) fn quota(connections: Option<u64>) -> Checked<Quota> {
    if connections == Some(0) {
        return Err("must be at least 1; leave it out for no limit, or disable the app".to_owned());
    }
    Ok(Quota { connections })
}

/// Checks limits; `at` makes a field's place of its name.
pub(crate) fn limits(given: &wire::Limits, mistakes: &mut Mistakes, at: impl Fn(&str) -> String) -> Limits {
    let default = Limits::default();
    let mut limit = |field: &str, value: Option<u32>, default: usize, least: u32, most: u32| {
        let Some(value) = value else { return default };
        if !(least..=most).contains(&value) {
            mistakes.add(at(field), format!("must be {least} to {most}"));
        }
        usize::try_from(value).unwrap_or(default)
    };
    let longest_name = u32::try_from(MAX_CHANNEL_NAME_BYTES).unwrap_or(u32::MAX);
    let rate = usize::try_from(default.client_events_per_second).unwrap_or(usize::MAX);
    Limits {
        channel_name_chars: limit(
            "channel_name_chars",
            given.channel_name_chars,
            default.channel_name_chars,
            1,
            longest_name,
        ),
        event_name_chars: limit("event_name_chars", given.event_name_chars, default.event_name_chars, 1, 1_024),
        // Half of what a NATS server takes in one message unless told otherwise.
        event_data_bytes: limit("event_data_bytes", given.event_data_bytes, default.event_data_bytes, 1, 524_288),
        channels_per_publish: limit(
            "channels_per_publish",
            given.channels_per_publish,
            default.channels_per_publish,
            1,
            1_000,
        ),
        events_per_batch: limit("events_per_batch", given.events_per_batch, default.events_per_batch, 1, 1_000),
        // Zero means what it says: none.
        client_events_per_second: u32::try_from(limit(
            "client_events_per_second",
            given.client_events_per_second,
            rate,
            0,
            10_000,
        ))
        .unwrap_or(u32::MAX),
        channels_per_connection: limit(
            "channels_per_connection",
            given.channels_per_connection,
            default.channels_per_connection,
            1,
            100_000,
        ),
    }
}
