//! `[[app.webhook]]`.

use std::ops::Range;

use channels::{Webhook, WebhookEvents};

use super::duration::short_duration;
use super::fields::{Field, Fields, Report, entries, texts};
use crate::check;

pub(super) fn webhooks(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Vec<Webhook> {
    let tables = fields.tables("webhook", report);
    let webhooks = tables.into_iter().filter_map(|(table, span)| webhook(table, span, report)).collect();
    match check::webhooks(webhooks) {
        Ok(webhooks) => webhooks,
        Err(problem) => {
            report.mistakes.add(format!("{}, webhook", fields.place()), problem);
            Vec::new()
        }
    }
}

fn webhook(mut fields: Fields<'_>, span: Range<usize>, report: &mut Report<'_>) -> Option<Webhook> {
    let url = fields.required("url", &span, "has no url", report).map(|(url, _)| url.to_owned());
    let events = events(&mut fields, report);
    let prefix = fields.text("prefix", report).map(|(prefix, _)| prefix.to_owned()).unwrap_or_default();
    let batch = fields.text("batch", report).and_then(|(text, field)| field.keep(report, short_duration(text)));
    let headers = headers(&mut fields, report);
    let id = fields.text("id", report).map(|(id, _)| id.to_owned());
    let webhook = url.zip(events).zip(headers).and_then(|((url, events), headers)| {
        let id = id.unwrap_or_else(|| Webhook::made_up_id(&url, &prefix));
        let batch = batch.filter(|batch| !batch.is_zero());
        match check::webhook(Webhook { id, url, events, prefix, batch, headers }) {
            Ok(webhook) => Some(webhook),
            Err((name, problem)) => {
                match fields.get(name) {
                    Some(field) => field.refuse(report, problem),
                    None => report.add(fields.place(), span, problem),
                }
                None
            }
        }
    });
    fields.finish(report);
    webhook
}

/// Absent: all. An empty list is left to the check, which refuses it.
fn events(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<WebhookEvents> {
    let Some(field) = fields.get("events") else { return Some(WebhookEvents::ALL) };
    event_names(&field, report)
}

/// The events that a field names.
pub(super) fn event_names(field: &Field<'_>, report: &mut Report<'_>) -> Option<WebhookEvents> {
    match texts(field.value) {
        Some(names) => field.keep(report, check::webhook_events(&names)),
        None => {
            field.refuse(report, "must be an array of names of events");
            None
        }
    }
}

fn headers(fields: &mut Fields<'_>, report: &mut Report<'_>) -> Option<Vec<(String, String)>> {
    let Some(field) = fields.get("headers") else { return Some(Vec::new()) };
    let text = |(name, value): (&str, &toml::Spanned<toml::de::DeValue<'_>>)| {
        Some((name.to_owned(), value.get_ref().as_str()?.to_owned()))
    };
    let headers = field.value.as_table().and_then(|table| entries(table).map(text).collect::<Option<Vec<_>>>());
    match headers {
        Some(mut headers) => {
            headers.sort();
            Some(headers)
        }
        None => {
            field.refuse(report, "must be a table of strings by header");
            None
        }
    }
}
