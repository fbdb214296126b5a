//! Arguments that are more than a word: namespaces, limits, capabilities, secrets.

use std::collections::BTreeMap;
use std::path::Path;

use proto::control as wire;

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

fn limit_field<'l>(limits: &'l mut wire::Limits, name: &str) -> Result<&'l mut Option<u32>, String> {
    match name {
        "channel_name_chars" => Ok(&mut limits.channel_name_chars),
        "event_name_chars" => Ok(&mut limits.event_name_chars),
        "event_data_bytes" => Ok(&mut limits.event_data_bytes),
        "channels_per_publish" => Ok(&mut limits.channels_per_publish),
        "events_per_batch" => Ok(&mut limits.events_per_batch),
        "client_events_per_second" => Ok(&mut limits.client_events_per_second),
        "channels_per_connection" => Ok(&mut limits.channels_per_connection),
        _ => Err(format!(
            "there is no limit {name:?}; there are channel_name_chars, event_name_chars, event_data_bytes, \
             channels_per_publish, events_per_batch, client_events_per_second and channels_per_connection"
        )),
    }
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
