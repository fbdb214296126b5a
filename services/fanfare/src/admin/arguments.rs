//! Arguments that are more than a word: quotas, limits, namespaces, webhooks, capabilities, secrets.

use std::collections::BTreeMap;
use std::path::Path;

use proto::control as wire;

use super::Failure;

/// `PREFIX=ephemeral`, `PREFIX=recoverable`, `PREFIX=persistent`, `PREFIX=persistent:24h`, or a rule as JSON.
pub(super) fn namespace(text: &str) -> Result<wire::Namespace, String> {
    if text.starts_with('{') {
        return proto::json::from_str(text).map_err(|error| format!("is no namespace: {error}"));
    }
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
    Ok(wire::Namespace {
        prefix: prefix.to_owned(),
        tier: tier.into(),
        retention_seconds,
        ..wire::Namespace::default()
    })
}

/// The name of a number in a message, as in `control.proto`, and where it stands.
type Field<M, N> = (&'static str, fn(&mut M) -> &mut Option<N>);

/// Every quota.
pub(super) const QUOTAS: [Field<wire::Quota, u64>; 7] = [
    ("connections", |quota| &mut quota.connections),
    ("channels", |quota| &mut quota.channels),
    ("messages_in_per_second", |quota| &mut quota.messages_in_per_second),
    ("messages_out_per_second", |quota| &mut quota.messages_out_per_second),
    ("history_bytes", |quota| &mut quota.history_bytes),
    ("presence_members", |quota| &mut quota.presence_members),
    ("webhooks_per_second", |quota| &mut quota.webhooks_per_second),
];

/// Every limit.
const LIMITS: [Field<wire::Limits, u32>; 15] = [
    ("channel_name_chars", |limits| &mut limits.channel_name_chars),
    ("event_name_chars", |limits| &mut limits.event_name_chars),
    ("event_data_bytes", |limits| &mut limits.event_data_bytes),
    ("message_bytes", |limits| &mut limits.message_bytes),
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

fn field<M, N>(fields: &[Field<M, N>], kind: &str, name: &str) -> Result<Field<M, N>, String> {
    fields.iter().find(|(known, _)| *known == name).copied().ok_or_else(|| {
        let known: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
        format!("there is no {kind} {name:?}; there are {}", known.join(", "))
    })
}

/// `NAME=NUMBER`, or `NAME=none` for no limit.
pub(super) fn quota(text: &str) -> Result<(&'static str, Option<u64>), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=NUMBER or NAME=none, as in connections=500")?;
    let (name, _) = field(&QUOTAS, "quota", name)?;
    Ok((name, none_or_number(value)?.0))
}

/// A number, or `none` for no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoneOr(pub(super) Option<u64>);

pub(super) fn none_or_number(text: &str) -> Result<NoneOr, String> {
    match text {
        "none" => Ok(NoneOr(None)),
        number => match number.parse() {
            Ok(number) => Ok(NoneOr(Some(number))),
            Err(_) => Err("write a whole number, or \"none\" for no limit".to_owned()),
        },
    }
}

/// Quotas that are given, each once, and their paths in an app.
#[derive(Debug)]
pub(super) struct Quotas {
    pub(super) message: wire::Quota,
    pub(super) paths: Vec<String>,
}

impl Quotas {
    pub(super) fn new(given: impl Iterator<Item = (&'static str, Option<u64>)>) -> Result<Self, Failure> {
        let mut quotas = Self { message: wire::Quota::default(), paths: Vec::new() };
        for (name, value) in given {
            let path = format!("quota.{name}");
            if quotas.paths.contains(&path) {
                return Err(Failure::Usage(format!("the quota {name} is given twice")));
            }
            let (_, place) = field(&QUOTAS, "quota", name).map_err(Failure::Usage)?;
            *place(&mut quotas.message) = value;
            quotas.paths.push(path);
        }
        Ok(quotas)
    }
}

/// `NAME=NUMBER`.
pub(super) fn limit(text: &str) -> Result<(&'static str, u32), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=NUMBER, as in event_data_bytes=20000")?;
    let (name, _) = field(&LIMITS, "limit", name)?;
    let value = value.parse().map_err(|_| format!("{value:?} is not a whole number"))?;
    Ok((name, value))
}

/// Limits that are given, each once.
pub(super) fn limits(given: &[(&'static str, u32)]) -> Result<wire::Limits, Failure> {
    let mut limits = wire::Limits::default();
    for (name, value) in given {
        let (_, place) = field(&LIMITS, "limit", name).map_err(Failure::Usage)?;
        if place(&mut limits).replace(*value).is_some() {
            return Err(Failure::Usage(format!("the limit {name} is given twice")));
        }
    }
    Ok(limits)
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

/// A webhook in the form that `--output json` has, or `@FILE` with such a text.
pub(super) fn webhook(text: &str) -> Result<wire::Webhook, String> {
    let json = match text.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?,
        None => text.to_owned(),
    };
    let webhook: wire::Webhook = proto::json::from_str(&json).map_err(|error| format!("is no webhook: {error}"))?;
    if webhook.url.is_empty() { Err("is no webhook: it has no url".to_owned()) } else { Ok(webhook) }
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
