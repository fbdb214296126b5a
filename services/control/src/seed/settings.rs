//! The tables of an app that hold settings: `[app.pusher]`, `[app.quota]`, `[app.limits]`, `[[app.namespace]]`.

use std::time::Duration;

use channels::{
    DEFAULT_RETENTION, Limits, Namespace, Namespaces, OriginPattern, PusherSettings, Quota, SlowConsumers, Tier,
};
use proto::control as wire;

use super::duration::{duration, short_duration};
use super::fields::{Fields, Report, texts};
use super::webhook;
use crate::check;

pub(super) fn pusher(mut fields: Fields<'_>, report: &mut Report<'_>) -> PusherSettings {
    let default = PusherSettings::default();
    let mut flag = |name, default| fields.flag(name, report).unwrap_or(default);
    let pusher = PusherSettings {
        client_events: flag("client_events", default.client_events),
        user_authentication: flag("user_authentication", default.user_authentication),
        subscription_count: flag("subscription_count", default.subscription_count),
        watchlist: flag("watchlist", default.watchlist),
        positions: flag("positions", default.positions),
        tls_only: flag("tls_only", default.tls_only),
        authorized_connections: authorized_connections(&mut fields, report),
        allowed_origins: allowed_origins(&mut fields, report),
    };
    fields.finish(report);
    pusher
}

/// The switch and its time are two fields, so that the switch reads as the others do.
fn authorized_connections(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Duration> {
    let wanted = fields.flag("authorized_connections", report).unwrap_or_default();
    match fields.text("authorized_connections_timeout", report) {
        None => wanted.then_some(PusherSettings::AUTHORIZATION_TIMEOUT),
        Some((text, field)) if wanted => {
            let timeout = field.keep(report, short_duration(text))?;
            field.keep(report, check::authorized_connections(timeout))
        }
        Some((_, field)) => {
            field.refuse(report, "is only for authorized_connections = true");
            None
        }
    }
}

fn allowed_origins(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Vec<OriginPattern> {
    let Some(field) = fields.get("allowed_origins") else { return Vec::new() };
    let Some(patterns) = texts(field.value) else {
        field.refuse(report, "must be an array of origins");
        return Vec::new();
    };
    let patterns = patterns.iter().map(|pattern| OriginPattern::new(pattern));
    field.keep(report, patterns.collect::<Result<_, _>>()).unwrap_or_default()
}

pub(super) fn quota(mut fields: Fields<'_>, report: &mut Report<'_>) -> Quota {
    let given = wire::Quota {
        connections: fields.number("connections", report),
        channels: fields.number("channels", report),
        messages_in_per_second: fields.number("messages_in_per_second", report),
        messages_out_per_second: fields.number("messages_out_per_second", report),
        history_bytes: fields.number("history_bytes", report),
        presence_members: fields.number("presence_members", report),
        webhooks_per_second: fields.number("webhooks_per_second", report),
    };
    let quota = check::quota(&given, |name, problem| {
        if let Some(field) = fields.get(name) {
            field.refuse(report, problem);
        }
    });
    fields.finish(report);
    quota
}

pub(super) fn limits(mut fields: Fields<'_>, report: &mut Report<'_>) -> Limits {
    let given = wire::Limits {
        channel_name_chars: fields.number("channel_name_chars", report),
        event_name_chars: fields.number("event_name_chars", report),
        event_data_bytes: fields.number("event_data_bytes", report),
        message_bytes: fields.number("message_bytes", report),
        channels_per_publish: fields.number("channels_per_publish", report),
        events_per_batch: fields.number("events_per_batch", report),
        client_events_per_second: fields.number("client_events_per_second", report),
        channels_per_connection: fields.number("channels_per_connection", report),
        presence_members: fields.number("presence_members", report),
        presence_user_id_chars: fields.number("presence_user_id_chars", report),
        presence_user_info_bytes: fields.number("presence_user_info_bytes", report),
        user_id_chars: fields.number("user_id_chars", report),
        watchlist_users: fields.number("watchlist_users", report),
        cache_ttl_seconds: seconds("cache_ttl", &mut fields, report),
        auth_timestamp_window_seconds: seconds("auth_timestamp_window", &mut fields, report),
    };
    let place = fields.place().to_owned();
    fields.finish(report);
    // Here the unit stands in the value, not in the name.
    let at = |field: &str| format!("{place}, {}", field.strip_suffix("_seconds").unwrap_or(field));
    check::limits(&given, &mut report.mistakes, at)
}

/// A duration as a number of seconds, which the longest times that are refused anyway stand for.
fn seconds(name: &'static str, fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<u32> {
    let (text, field) = fields.text(name, report)?;
    let seconds = field.keep(report, duration(text))?.as_secs();
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

pub(super) fn namespaces(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Namespaces {
    let tables = fields.tables("namespace", report);
    let rules = tables.into_iter().filter_map(|(table, span)| namespace(table, span, report)).collect();
    match check::namespaces(rules) {
        Ok(namespaces) => namespaces,
        Err(problem) => {
            report.mistakes.add(fields.place(), problem);
            Namespaces::default()
        }
    }
}

fn namespace(mut fields: Fields<'_>, span: std::ops::Range<usize>, report: &mut Report<'_>) -> Option<Namespace> {
    let has_no = "has no prefix; \"\" is a rule for all other channels";
    let prefix = fields.required("prefix", &span, has_no, report);
    let prefix = prefix.and_then(|(prefix, field)| field.keep(report, check::channel_prefix(prefix)));
    let retention = fields.text("retention", report);
    let has_retention = fields.get("retention");
    let tier = match fields.text("tier", report) {
        None => Some(Tier::default()),
        Some(("ephemeral", _)) => Some(Tier::Ephemeral),
        Some(("recoverable", _)) => Some(Tier::Recoverable),
        Some(("persistent", _)) => match &retention {
            Some((text, field)) => field.keep(report, duration(text)).map(|retention| Tier::Persistent { retention }),
            None => Some(Tier::Persistent { retention: DEFAULT_RETENTION }),
        },
        Some((_, field)) => {
            field.refuse(report, "must be \"ephemeral\", \"recoverable\" or \"persistent\"");
            None
        }
    };
    if let (Some(field), Some(Tier::Ephemeral | Tier::Recoverable)) = (&has_retention, tier) {
        field.refuse(report, "is only for tier \"persistent\"");
    }
    let client_events = fields.flag("client_events", report);
    let members = fields.number("presence_members", report);
    let presence_members = members.zip(fields.get("presence_members"));
    let slow_consumers = match fields.text("slow_consumers", report) {
        None | Some(("disconnect", _)) => SlowConsumers::Disconnect,
        Some(("keep-latest", _)) => SlowConsumers::KeepLatest,
        Some((_, field)) => {
            field.refuse(report, "must be \"disconnect\" or \"keep-latest\"");
            SlowConsumers::default()
        }
    };
    let webhook_events = fields.get("webhook_events").and_then(|field| webhook::event_names(&field, report));
    fields.finish(report);
    Some(Namespace {
        client_events,
        presence_members: presence_members.and_then(|(most, field)| field.keep(report, check::namespace_members(most))),
        slow_consumers,
        webhook_events,
        ..Namespace::new(&prefix?, tier?)
    })
}
