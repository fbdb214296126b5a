//! Answers for people. Nothing may rely on their form; scripts take `--output json`.

use proto::control as wire;

use super::Answer;

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
        [
            "client events".to_owned(),
            if app.pusher.unwrap_or_default().client_events { "yes" } else { "no" }.to_owned(),
        ],
        ["connections".to_owned(), connections(app)],
    ];
    rows.extend(app.keys.iter().map(|key| {
        let state = if key.revoked_ms == 0 { "" } else { " (revoked)" };
        ["key".to_owned(), format!("{}{state}: {}", key.name, capability(key))]
    }));
    rows.extend(app.namespaces.iter().map(|rule| ["namespace".to_owned(), namespace(rule)]));
    rows.push(["revision".to_owned(), app.revision.to_string()]);
    columns(&rows)
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
