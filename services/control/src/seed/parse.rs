//! The seed file's format: the file, its apps, their keys.

use std::collections::HashSet;

use channels::{App, AppId, Capability, Key, KeyName};
use toml::de::DeTable;

use super::fields::{Field, Fields, Report, entries, number, texts};
use super::{settings, webhook};
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
    let pusher = fields.table("pusher", report).map(|table| settings::pusher(table, report)).unwrap_or_default();
    let quota = fields.table("quota", report).map(|table| settings::quota(table, report)).unwrap_or_default();
    let limits = fields.table("limits", report).map(|table| settings::limits(table, report)).unwrap_or_default();
    let namespaces = settings::namespaces(&mut fields, report);
    let webhooks = webhook::webhooks(&mut fields, report);
    fields.finish(report);
    let id = id?;
    let name = name.unwrap_or_else(|| id.to_string());
    Some(App { name, enabled, keys, pusher, limits, quota, namespaces, webhooks, id })
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
    // Nobody could learn a secret that is made up here.
    let secret = fields.required("secret", &span, "has no secret", report);
    let secret = secret.and_then(|(secret, field)| field.keep(report, check::secret(secret)));
    let capability = match fields.get("capability") {
        Some(field) => capability(&field, report),
        None => Some(Capability::all()),
    };
    let revocable_tokens = fields.flag("revocable_tokens", report).unwrap_or_default();
    fields.finish(report);
    let (name, secret, capability) = (name?, secret?, capability?);
    Some(Key { name, secret, previous: None, capability, revocable_tokens, created_ms: 0 })
}

fn capability(field: &Field<'_>, report: &mut Report<'_>) -> Option<Capability> {
    let Some(table) = field.value.as_table() else {
        field.refuse(report, "must be a table of operations by channel, such as { \"*\" = [\"*\"] }");
        return None;
    };
    let mut resources = Vec::new();
    for (resource, words) in entries(table) {
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
