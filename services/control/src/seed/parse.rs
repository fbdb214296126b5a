//! The seed file's format.

use std::collections::HashSet;

use channels::{
    App, AppId, Capability, DEFAULT_RETENTION, Key, KeyName, Limits, Namespace, Namespaces, PusherSettings, Quota,
    Secret, Tier,
};
use proto::control as wire;
use toml::de::{DeTable, DeValue};

use super::duration::duration;
use super::fields::{Field, Fields, Report, entries, number};
use crate::Mistake;
use crate::check;
use crate::mistakes::Mistakes;

/// Names used so far, which must not be used again in one file.
#[derive(Default)]
struct Taken {
    apps: HashSet<AppId>,
    keys: HashSet<KeyName>,
}

/// The apps of a seed file, or everything wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<App>, Vec<Mistake>> {
    let mut report = Report { text, mistakes: Mistakes::default() };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            // Not the error's own display, which quotes the line, maybe with a secret.
            report.add("", error.span().unwrap_or_default(), error.message());
        }
        return report.mistakes.unless_any(None);
    }
    let mut file = Fields::new(document.get_ref(), String::new());
    let mut taken = Taken::default();
    let tables = file.tables("app", &mut report);
    file.finish(&mut report);
    let apps = tables.into_iter().filter_map(|(fields, _)| app(fields, &mut taken, &mut report)).collect();
    report.mistakes.unless_any(Some(apps))
}

fn app(mut fields: Fields<'_>, taken: &mut Taken, report: &mut Report<'_>) -> Option<App> {
    let id = app_id(&mut fields, taken, report);
    if let Some(id) = &id {
        fields.rename(format!("app {id}"));
    }
    let name = fields.text("name", report).and_then(|(name, field)| field.keep(report, check::app_name(name)));
    let enabled = fields.flag("enabled", report).unwrap_or(true);
    let mut keys = Vec::new();
    for (index, (table, span)) in fields.tables("key", report).into_iter().enumerate() {
        keys.extend(key(table, span, id.as_ref(), index + 1, taken, report));
    }
    let pusher = fields.table("pusher", report).map(|table| pusher(table, report)).unwrap_or_default();
    let quota = fields.table("quota", report).map(|table| quota(table, report)).unwrap_or_default();
    let limits = fields.table("limits", report).map(|table| limits(table, report)).unwrap_or_default();
    let namespaces = namespaces(&mut fields, report);
    fields.finish(report);
    let id = id?;
    Some(App { name: name.unwrap_or_else(|| id.to_string()), enabled, keys, pusher, limits, quota, namespaces, id })
}

/// Ids are digits so often that people write them without quotes.
fn app_id(fields: &mut Fields<'_>, taken: &mut Taken, report: &mut Report<'_>) -> Option<AppId> {
    let Some(field) = fields.get("id") else {
        report.mistakes.add(fields.place(), "has no id");
        return None;
    };
    let text = match (field.value.as_str(), number::<u64>(field.value)) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => {
            field.refuse(report, "must be a string or a whole number");
            return None;
        }
    };
    let id = field.keep(report, AppId::new(&text))?;
    if !taken.apps.insert(id.clone()) {
        field.refuse(report, format!("app {id} is in the file twice"));
    }
    Some(id)
}

/// A key. Its default name is made of its place in the file, not at random: a file that is applied again, or by
/// several processes, must mean the same key.
fn key(
    mut fields: Fields<'_>,
    span: std::ops::Range<usize>,
    app: Option<&AppId>,
    number: usize,
    taken: &mut Taken,
    report: &mut Report<'_>,
) -> Option<Key> {
    let name = match fields.text("name", report) {
        Some((name, field)) => field.keep(report, KeyName::new(name)),
        None => app.and_then(|app| KeyName::new(&format!("{app}.{number}")).ok()),
    };
    if let Some(name) = &name {
        fields.rename(match app {
            Some(app) => format!("app {app}, key {name}"),
            None => format!("key {name}"),
        });
        if !taken.keys.insert(name.clone()) {
            report.add(fields.place(), span.clone(), "is in the file twice");
        }
    }
    let secret = secret(&mut fields, span, report);
    let capability = match fields.get("capability") {
        Some(field) => capability(&field, report),
        None => Some(Capability::all()),
    };
    fields.finish(report);
    Some(Key { name: name?, secret: secret?, capability: capability?, created_ms: 0 })
}

fn secret(fields: &mut Fields<'_>, span: std::ops::Range<usize>, report: &mut Report<'_>) -> Option<Secret> {
    match fields.text("secret", report) {
        Some((secret, field)) => field.keep(report, check::secret(secret)),
        None => {
            // A text of the wrong type has been told already. Nobody could learn a secret that is made up here.
            if fields.get("secret").is_none() {
                report.add(fields.place(), span, "has no secret");
            }
            None
        }
    }
}

fn capability(field: &Field<'_>, report: &mut Report<'_>) -> Option<Capability> {
    let Some(table) = field.value.as_table() else {
        field.refuse(report, "must be a table of operations by channel, such as { \"*\" = [\"*\"] }");
        return None;
    };
    let mut resources = Vec::new();
    for (resource, words) in entries(table) {
        let texts = |value: &DeValue<'_>| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect()
        };
        match texts(words.get_ref()) {
            Some(words) => resources.push((resource.to_owned(), words)),
            None => {
                field.refuse(report, format!("must give an array of operations for {resource:?}"));
                return None;
            }
        }
    }
    field.keep(report, check::capability(resources))
}

fn pusher(mut fields: Fields<'_>, report: &mut Report<'_>) -> PusherSettings {
    let client_events = fields.flag("client_events", report).unwrap_or_default();
    fields.finish(report);
    PusherSettings { client_events }
}

fn quota(mut fields: Fields<'_>, report: &mut Report<'_>) -> Quota {
    let connections = fields.number("connections", report);
    let quota = match fields.get("connections") {
        Some(field) => field.keep(report, check::quota(connections)).unwrap_or_default(),
        None => Quota::default(),
    };
    fields.finish(report);
    quota
}

fn limits(mut fields: Fields<'_>, report: &mut Report<'_>) -> Limits {
    let given = wire::Limits {
        channel_name_chars: fields.number("channel_name_chars", report),
        event_name_chars: fields.number("event_name_chars", report),
        event_data_bytes: fields.number("event_data_bytes", report),
        channels_per_publish: fields.number("channels_per_publish", report),
        events_per_batch: fields.number("events_per_batch", report),
        client_events_per_second: fields.number("client_events_per_second", report),
        channels_per_connection: fields.number("channels_per_connection", report),
    };
    let place = fields.place().to_owned();
    fields.finish(report);
    check::limits(&given, &mut report.mistakes, |field| format!("{place}, {field}"))
}

fn namespaces(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Namespaces {
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
    let prefix = match fields.text("prefix", report) {
        Some((prefix, field)) => field.keep(report, check::namespace_prefix(prefix)),
        None => {
            if fields.get("prefix").is_none() {
                report.add(fields.place(), span, "has no prefix; \"\" is a rule for all other channels");
            }
            None
        }
    };
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
    fields.finish(report);
    Some(Namespace { prefix: prefix?, tier: tier? })
}
