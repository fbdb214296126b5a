//! Answers for people. Nothing may rely on their form; scripts take `--output json`.

use std::time::Duration;

use proto::control as wire;

use super::Answer;
use crate::config::show_duration;

/// Blanks between columns.
const GAP: usize = 2;

pub(super) fn text(answer: &Answer) -> String {
    match answer {
        Answer::Created(created) => {
            let app = created.app.as_ref().map(app).unwrap_or_default();
            let key = created.key.as_ref().map(new_key).unwrap_or_default();
            format!("{app}\n{key}")
        }
        Answer::App(one) => app(one),
        Answer::Apps(apps) => list(apps),
        Answer::Deleted => "deleted\n".to_owned(),
        Answer::KeyCreated(created) => new_key(created),
        Answer::KeyRevoked(key) => format!("revoked {}\n", key.name),
        Answer::Webhooks(webhooks) => webhook_list(webhooks),
        Answer::DeadLetters(letters) => dead_letters(letters),
        Answer::Replayed(answer) => format!("back in the queue: {}\n", answer.replayed),
        Answer::Forgotten(answer) => format!("deleted: {}\n", answer.deleted),
    }
}

fn list(apps: &[wire::App]) -> String {
    let mut rows = vec![["ID", "NAME", "STATE", "KEYS", "CONNECTIONS"].map(str::to_owned)];
    rows.extend(apps.iter().map(|app| {
        let active = app.keys.iter().filter(|key| key.revoked_ms == 0).count();
        [app.id.clone(), app.name.clone(), state(app).to_owned(), active.to_string(), connections(app)]
    }));
    columns(&rows)
}

fn app(app: &wire::App) -> String {
    let mut rows = vec![
        ["id".to_owned(), app.id.clone()],
        ["name".to_owned(), app.name.clone()],
        ["state".to_owned(), state(app).to_owned()],
        ["connections".to_owned(), connections(app)],
    ];
    rows.extend(switches(app.pusher.as_ref().unwrap_or(&wire::PusherSettings::default())));
    rows.extend(app.keys.iter().map(|key| {
        let state = if key.revoked_ms == 0 { "" } else { " (revoked)" };
        ["key".to_owned(), format!("{}{state}: {}", key.name, capability(key))]
    }));
    rows.extend(app.namespaces.iter().map(|rule| ["namespace".to_owned(), namespace(rule)]));
    rows.extend(app.webhooks.iter().map(|hook| ["webhook".to_owned(), webhook(hook)]));
    rows.push(["revision".to_owned(), app.revision.to_string()]);
    columns(&rows)
}

fn switches(pusher: &wire::PusherSettings) -> [[String; 2]; 8] {
    let authorized = match pusher.authorized_connections_ms() {
        0 => "not required".to_owned(),
        ms => format!("required within {}", time(ms)),
    };
    let yes_or_no = |switch: bool| if switch { "yes" } else { "no" }.to_owned();
    let origins = pusher.allowed_origins.iter().flat_map(|origins| &origins.patterns);
    let origins = origins.map(String::as_str).collect::<Vec<_>>().join(", ");
    [
        ["client events".to_owned(), yes_or_no(pusher.client_events())],
        ["user authentication".to_owned(), yes_or_no(pusher.user_authentication())],
        ["subscription count".to_owned(), yes_or_no(pusher.subscription_count())],
        ["watchlist".to_owned(), yes_or_no(pusher.watchlist())],
        ["authorization".to_owned(), authorized],
        ["positions".to_owned(), yes_or_no(pusher.positions())],
        ["TLS only".to_owned(), yes_or_no(pusher.tls_only())],
        ["allowed origins".to_owned(), if origins.is_empty() { "any".to_owned() } else { origins }],
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

fn webhook_list(webhooks: &[wire::Webhook]) -> String {
    let mut rows = vec![["ID", "URL", "EVENTS", "PREFIX", "BATCH", "HEADERS"].map(str::to_owned)];
    rows.extend(webhooks.iter().map(|hook| {
        let batch = if hook.batch_ms == 0 { "no".to_owned() } else { time(hook.batch_ms) };
        [hook.id.clone(), hook.url.clone(), hook.events.join(","), hook.prefix.clone(), batch, header_names(hook)]
    }));
    columns(&rows)
}

fn header_names(webhook: &wire::Webhook) -> String {
    let mut names: Vec<_> = webhook.headers.keys().map(String::as_str).collect();
    names.sort_unstable();
    names.join(",")
}

fn dead_letters(letters: &[wire::DeadLetter]) -> String {
    let mut rows = vec![["ID", "WEBHOOK", "EVENT", "CHANNEL", "USER", "ATTEMPTS", "REASON"].map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| {
        let wire::DeadLetter { id, webhook_id, event, channel, user_id, attempts, reason, .. } = letter.clone();
        [id, webhook_id, event, channel, user_id, attempts.to_string(), reason]
    }));
    columns(&rows)
}

fn time(ms: u64) -> String {
    show_duration(Duration::from_millis(ms))
}

fn new_key(created: &wire::CreateKeyResponse) -> String {
    let name = created.key.as_ref().map(|key| key.name.clone()).unwrap_or_default();
    let rows = [["key".to_owned(), name], ["secret".to_owned(), format!("{} (not shown again)", created.secret)]];
    columns(&rows)
}

fn state(app: &wire::App) -> &'static str {
    if app.enabled { "enabled" } else { "disabled" }
}

fn connections(app: &wire::App) -> String {
    app.quota.unwrap_or_default().connections.map_or_else(|| "no limit".to_owned(), |most| most.to_string())
}

fn capability(key: &wire::Key) -> String {
    let resources = key.capability.iter().flat_map(|capability| &capability.resources);
    let mut parts: Vec<String> =
        resources.map(|(resource, words)| format!("{} on {resource}", words.operations.join(","))).collect();
    parts.sort();
    parts.join("; ")
}

fn namespace(rule: &wire::Namespace) -> String {
    let tier = match rule.tier() {
        wire::Tier::Ephemeral => "ephemeral".to_owned(),
        wire::Tier::Recoverable | wire::Tier::Unspecified => "recoverable".to_owned(),
        wire::Tier::Persistent => format!("persistent for {} s", rule.retention_seconds),
    };
    format!("{:?} {tier}", rule.prefix)
}

/// Rows with their columns under each other.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default() + GAP;
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let line: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
