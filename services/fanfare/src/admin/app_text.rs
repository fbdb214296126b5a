//! Apps, keys, rules and webhooks as people read them.

use std::time::Duration;

use proto::control as wire;

use super::arguments::QUOTAS;
use super::table::{details, list as table, yes_or_no};
use crate::config::show_duration;

pub(super) fn list(apps: &[wire::App]) -> String {
    let rows = apps.iter().map(|app| {
        let active = app.keys.iter().filter(|key| key.revoked_ms == 0).count();
        let connections = bound(app.quota.unwrap_or_default().connections);
        [app.id.clone(), app.name.clone(), state(app), active.to_string(), connections]
    });
    table(["ID", "NAME", "STATE", "KEYS", "CONNECTIONS"], rows)
}

pub(super) fn created(created: &wire::CreateAppResponse, place: &str) -> String {
    let app = created.app.as_ref().map(app).unwrap_or_default();
    let key = created.key.as_ref().map(|key| new_key(key.key.as_ref(), &key.secret, place)).unwrap_or_default();
    format!("{app}\n{key}")
}

/// A key with its secret, or with the place where the secret is.
pub(super) fn new_key(key: Option<&wire::Key>, secret: &str, place: &str) -> String {
    let name = key.map(|key| key.name.clone()).unwrap_or_default();
    let secret = if place.is_empty() { format!("{secret} (not shown again)") } else { format!("in {place}") };
    details([("key", name), ("secret", secret)])
}

pub(super) fn app(app: &wire::App) -> String {
    let mut rows = vec![("id", app.id.clone()), ("name", app.name.clone()), ("state", state(app))];
    let quota = app.quota.unwrap_or_default();
    rows.push(("connections", bound(quota.connections)));
    rows.extend(QUOTAS.iter().filter(|(name, _)| *name != "connections").filter_map(|(name, field)| {
        let most = *field(&mut quota.clone());
        most.map(|most| ("quota", format!("{name}: {most}")))
    }));
    rows.extend(switches(app.pusher.as_ref().unwrap_or(&wire::PusherSettings::default())));
    rows.extend(app.keys.iter().map(|key| ("key", key_line(key))));
    rows.extend(app.namespaces.iter().map(|rule| ("namespace", namespace(rule))));
    rows.extend(app.webhooks.iter().map(|hook| ("webhook", webhook(hook))));
    rows.push(("revision", app.revision.to_string()));
    details(rows)
}

pub(super) fn quotas(quota: &wire::Quota) -> String {
    details(QUOTAS.iter().map(|(name, field)| (*name, bound(*field(&mut quota.clone())))))
}

fn switches(pusher: &wire::PusherSettings) -> [(&'static str, String); 8] {
    let authorized = match pusher.authorized_connections_ms() {
        0 => "not required".to_owned(),
        ms => format!("required within {}", time(ms)),
    };
    let origins = pusher.allowed_origins.iter().flat_map(|origins| &origins.patterns);
    let origins = origins.map(String::as_str).collect::<Vec<_>>().join(", ");
    [
        ("client events", yes_or_no(pusher.client_events())),
        ("user authentication", yes_or_no(pusher.user_authentication())),
        ("subscription count", yes_or_no(pusher.subscription_count())),
        ("watchlist", yes_or_no(pusher.watchlist())),
        ("authorization", authorized),
        ("positions", yes_or_no(pusher.positions())),
        ("TLS only", yes_or_no(pusher.tls_only())),
        ("allowed origins", if origins.is_empty() { "any".to_owned() } else { origins }),
    ]
}

/// One webhook in one line. Values of headers may be secrets, so only their names are shown.
fn webhook(webhook: &wire::Webhook) -> String {
    let wire::Webhook { id, url, events, prefix, batch_ms, headers: _ } = webhook;
    let prefix = if prefix.is_empty() { String::new() } else { format!(" in {prefix}…") };
    let batch = if *batch_ms == 0 { String::new() } else { format!(", gathered for {}", time(*batch_ms)) };
    let headers = header_names(webhook);
    let headers = if headers.is_empty() { String::new() } else { format!(", with {headers}") };
    format!("{id}: {url} {}{prefix}{batch}{headers}", events.join(","))
}

pub(super) fn webhooks(webhooks: &[wire::Webhook]) -> String {
    let rows = webhooks.iter().map(|hook| {
        let batch = if hook.batch_ms == 0 { "no".to_owned() } else { time(hook.batch_ms) };
        [hook.id.clone(), hook.url.clone(), hook.events.join(","), hook.prefix.clone(), batch, header_names(hook)]
    });
    table(["ID", "URL", "EVENTS", "PREFIX", "BATCH", "HEADERS"], rows)
}

fn header_names(webhook: &wire::Webhook) -> String {
    let mut names: Vec<_> = webhook.headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    names.join(",")
}

fn time(ms: u64) -> String {
    show_duration(Duration::from_millis(ms))
}

fn state(app: &wire::App) -> String {
    if app.enabled { "enabled" } else { "disabled" }.to_owned()
}

fn bound(most: Option<u64>) -> String {
    most.map_or_else(|| "no limit".to_owned(), |most| most.to_string())
}

fn key_line(key: &wire::Key) -> String {
    let state = if key.revoked_ms == 0 { "" } else { " (revoked)" };
    format!("{}{state}: {}", key.name, capability(key))
}

pub(super) fn capability(key: &wire::Key) -> String {
    let resources = key.capability.iter().flat_map(|capability| &capability.resources);
    let mut parts: Vec<String> =
        resources.map(|(resource, words)| format!("{} on {resource}", words.operations.join(","))).collect();
    parts.sort();
    parts.extend(key.revocable_tokens.then(|| "tokens can be revoked".to_owned()));
    parts.join("; ")
}

fn namespace(rule: &wire::Namespace) -> String {
    let [prefix, tier, client_events, members, slow, events] = namespace_cells(rule);
    let rest = [("client events", client_events), ("presence members", members), ("webhook events", events)];
    let rest = rest.into_iter().filter(|(_, value)| value != AS_THE_APP);
    let slow = (slow != DISCONNECT).then_some(("slow consumers", slow));
    let rest: String = rest.chain(slow).map(|(name, value)| format!(", {name}: {value}")).collect();
    format!("{prefix:?} {tier}{rest}")
}

/// What a rule leaves to its app.
const AS_THE_APP: &str = "as the app";
const DISCONNECT: &str = "disconnect";

fn namespace_cells(rule: &wire::Namespace) -> [String; 6] {
    let as_the_app = || AS_THE_APP.to_owned();
    let slow = match rule.slow_consumers() {
        wire::SlowConsumers::Unspecified | wire::SlowConsumers::Disconnect => DISCONNECT,
        wire::SlowConsumers::KeepLatest => "keep latest",
    };
    let events = rule.webhook_events.as_ref().map(|list| match list.events.as_slice() {
        [] => "none".to_owned(),
        events => events.join(","),
    });
    [
        rule.prefix.clone(),
        tier(rule.tier(), rule.retention_seconds),
        rule.client_events.map_or_else(as_the_app, yes_or_no),
        rule.presence_members.map_or_else(as_the_app, |most| most.to_string()),
        slow.to_owned(),
        events.unwrap_or_else(as_the_app),
    ]
}

pub(super) fn namespaces(rules: &[wire::Namespace]) -> String {
    let heads = ["PREFIX", "TIER", "CLIENT EVENTS", "PRESENCE MEMBERS", "SLOW CONSUMERS", "WEBHOOK EVENTS"];
    table(heads, rules.iter().map(namespace_cells))
}

/// A tier, and how long it keeps messages; 0 if that is not known here.
pub(super) fn tier(tier: wire::Tier, retention_seconds: u64) -> String {
    match (tier, retention_seconds) {
        (wire::Tier::Ephemeral, _) => "ephemeral".to_owned(),
        (wire::Tier::Recoverable | wire::Tier::Unspecified, _) => "recoverable".to_owned(),
        (wire::Tier::Persistent, 0) => "persistent".to_owned(),
        (wire::Tier::Persistent, seconds) => format!("persistent for {}", show_duration(Duration::from_secs(seconds))),
    }
}
