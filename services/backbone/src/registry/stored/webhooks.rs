//! Webhooks in stored form.

use std::collections::HashSet;
use std::time::Duration;

use channels::{Webhook, WebhookEvent, WebhookEvents};
use clock::millis;
use proto::backbone::stored_app;

use super::{Seal, Unreadable};

/// What values of headers are sealed as.
const HEADER: &str = "header";

pub(super) fn webhook(webhook: &Webhook, seal: &Seal<'_>) -> stored_app::Webhook {
    let header = |(name, value): &(String, String)| stored_app::Header {
        name: name.clone(),
        value: String::new(),
        sealed_value: seal.seal(HEADER, &[&webhook.id, name], value),
    };
    // All of them is stored as none: who asked for all gets those that come later, too.
    let events = if webhook.events == WebhookEvents::ALL { Vec::new() } else { names(webhook.events) };
    stored_app::Webhook {
        id: webhook.id.clone(),
        url: webhook.url.clone(),
        events,
        prefix: webhook.prefix.clone(),
        batch_ms: webhook.batch.map(millis),
        headers: webhook.headers.iter().map(header).collect(),
    }
}

pub(super) fn read(stored: Vec<stored_app::Webhook>, seal: &Seal<'_>) -> Result<Vec<Webhook>, Unreadable> {
    let mut ids = HashSet::new();
    let webhooks = stored.into_iter().map(|stored| {
        let webhook = read_one(stored, seal)?;
        let is_new = ids.insert(webhook.id.clone());
        if is_new { Ok(webhook) } else { Err(Unreadable::DuplicateWebhook(webhook.id)) }
    });
    webhooks.collect()
}

fn read_one(stored: stored_app::Webhook, seal: &Seal<'_>) -> Result<Webhook, Unreadable> {
    let events = if stored.events.is_empty() { WebhookEvents::ALL } else { read_names(stored.events)? };
    let id = stored.id;
    let header =
        |stored_app::Header { name, value, sealed_value }| match seal.open(HEADER, &[&id, &name], value, &sealed_value)
        {
            Ok(value) => Ok((name, value)),
            Err(source) => Err(Unreadable::Header { webhook: id.clone(), header: name, source }),
        };
    let headers = stored.headers.into_iter().map(header).collect::<Result<_, _>>()?;
    let batch = stored.batch_ms.map(Duration::from_millis);
    let webhook = Webhook { id, url: stored.url, events, prefix: stored.prefix, batch, headers };
    webhook.check()?;
    Ok(webhook)
}

pub(super) fn names(events: WebhookEvents) -> Vec<String> {
    events.iter().map(|event| event.name().to_owned()).collect()
}

pub(super) fn read_names(names: Vec<String>) -> Result<WebhookEvents, Unreadable> {
    let event = |name: String| WebhookEvent::parse(&name).ok_or(Unreadable::WebhookEvent(name));
    names.into_iter().map(event).collect()
}
