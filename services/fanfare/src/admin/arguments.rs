//! Arguments that are more than a word: namespaces, limits, webhooks, capabilities, secrets.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use proto::control as wire;
use serde::Deserialize;

use super::Failure;

/// `PREFIX=ephemeral`, `PREFIX=recoverable`, `PREFIX=persistent` or `PREFIX=persistent:24h`.
pub(super) fn namespace(text: &str) -> Result<wire::Namespace, String> {
    let expected = || "write PREFIX=TIER, with tier ephemeral, recoverable, persistent or persistent:24h".to_owned();
    // Prefixes may hold any character, tiers no '='.
    let (prefix, tier) = text.rsplit_once('=').ok_or_else(expected)?;
    let (tier, retention) = match tier.split_once(':') {
        Some((tier, retention)) => (tier, Some(retention)),
        None => (tier, None),
    };
    let tier = match tier {
        "ephemeral" => wire::Tier::Ephemeral,
        "recoverable" => wire::Tier::Recoverable,
        "persistent" => wire::Tier::Persistent,
        _ => return Err(expected()),
    };
    let retention = retention.map(control::seed::duration).transpose().map_err(|error| format!("retention {error}"))?;
    let retention_seconds = retention.map_or(0, |retention| retention.as_secs());
    Ok(wire::Namespace { prefix: prefix.to_owned(), tier: tier.into(), retention_seconds })
}

/// `NAME=NUMBER`.
pub(super) fn limit(text: &str) -> Result<(String, u32), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=NUMBER, as in event_data_bytes=20000")?;
    limit_field(&mut wire::Limits::default(), name)?;
    let value = value.parse().map_err(|_| format!("{value:?} is not a whole number"))?;
    Ok((name.to_owned(), value))
}

pub(super) fn limits(given: &[(String, u32)]) -> Result<Option<wire::Limits>, Failure> {
    if given.is_empty() {
        return Ok(None);
    }
    let mut limits = wire::Limits::default();
    for (name, value) in given {
        let field = limit_field(&mut limits, name).map_err(Failure::Usage)?;
        if field.replace(*value).is_some() {
            return Err(Failure::Usage(format!("the limit {name} is given twice")));
        }
    }
    Ok(Some(limits))
}

/// A limit's name in `control.proto`, and where it stands.
type LimitField = (&'static str, fn(&mut wire::Limits) -> &mut Option<u32>);

/// Every limit.
const LIMITS: [LimitField; 14] = [
    ("channel_name_chars", |limits| &mut limits.channel_name_chars),
    ("event_name_chars", |limits| &mut limits.event_name_chars),
    ("event_data_bytes", |limits| &mut limits.event_data_bytes),
    ("channels_per_publish", |limits| &mut limits.channels_per_publish),
    ("events_per_batch", |limits| &mut limits.events_per_batch),
    ("client_events_per_second", |limits| &mut limits.client_events_per_second),
    ("channels_per_connection", |limits| &mut limits.channels_per_connection),
    ("presence_members", |limits| &mut limits.presence_members),
    ("presence_user_id_chars", |limits| &mut limits.presence_user_id_chars),
    ("presence_user_info_bytes", |limits| &mut limits.presence_user_info_bytes),
    ("user_id_chars", |limits| &mut limits.user_id_chars),
    ("watchlist_users", |limits| &mut limits.watchlist_users),
    ("cache_ttl_seconds", |limits| &mut limits.cache_ttl_seconds),
    ("auth_timestamp_window_seconds", |limits| &mut limits.auth_timestamp_window_seconds),
];

fn limit_field<'l>(limits: &'l mut wire::Limits, name: &str) -> Result<&'l mut Option<u32>, String> {
    match LIMITS.iter().find(|(known, _)| *known == name) {
        Some((_, field)) => Ok(field(limits)),
        None => {
            let known: Vec<_> = LIMITS.iter().map(|(name, _)| *name).collect();
            Err(format!("there is no limit {name:?}; there are {}", known.join(", ")))
        }
    }
}

/// A time in milliseconds, or `never`, which is 0.
pub(super) fn authorized_connections(text: &str) -> Result<u64, String> {
    match text {
        "never" => Ok(0),
        text => {
            let time = control::seed::short_duration(text).map_err(|error| format!("{error}, or \"never\""))?;
            // Zero is for the word, so that nobody says "at once" and gets "never".
            if time.is_zero() {
                return Err("must be longer than nothing, or \"never\"".to_owned());
            }
            u64::try_from(time.as_millis()).map_err(|_| "is too long".to_owned())
        }
    }
}

/// A webhook in the form that `--output json` has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    #[serde(default)]
    id: String,
    url: String,
    #[serde(default)]
    events: Vec<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    batch_ms: u64,
    #[serde(default)]
    headers: HashMap<String, String>,
}

/// `{"url": "https://example.com/hook", "events": ["member_added"]}`, or `@FILE` with such a text.
pub(super) fn webhook(text: &str) -> Result<wire::Webhook, String> {
    let json = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?,
        None => text.to_owned(),
    };
    let Webhook { id, url, events, prefix, batch_ms, headers } =
        serde_json::from_str(&json).map_err(|error| format!("is no webhook: {error}"))?;
    Ok(wire::Webhook { id, url, events, prefix, batch_ms, headers })
}

/// A number of connections, or `none` for no limit.
pub(super) fn connections(text: &str) -> Result<wire::Quota, String> {
    match text {
        "none" => Ok(wire::Quota { connections: None }),
        number => match number.parse() {
            Ok(connections) => Ok(wire::Quota { connections: Some(connections) }),
            Err(_) => Err("write a whole number, or \"none\" for no limit".to_owned()),
        },
    }
}

/// `{"chat:*": ["publish", "subscribe"]}`.
pub(super) fn capability(text: &str) -> Result<wire::Capability, String> {
    let expected = r#"write operations by channel as JSON, as in {"chat:*": ["publish", "subscribe"]}"#;
    let resources: BTreeMap<String, Vec<String>> = serde_json::from_str(text).map_err(|_| expected.to_owned())?;
    let resources = resources.into_iter().map(|(name, operations)| (name, wire::capability::Operations { operations }));
    Ok(wire::Capability { resources: resources.collect() })
}

/// The secret in a file, without the line's end that editors add. Empty if there is no file.
pub(super) fn secret(file: Option<&Path>) -> Result<String, Failure> {
    let Some(file) = file else { return Ok(String::new()) };
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim_end_matches(['\r', '\n']).is_empty() => {
            Err(Failure::Usage(format!("the secret file {} is empty", file.display())))
        }
        Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(Failure::Usage(format!("cannot read the secret file {}: {error}", file.display()))),
    }
}
