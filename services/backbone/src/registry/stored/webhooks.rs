//! Webhooks in stored form.

use std::collections::HashSet;
use std::time::Duration;

use channels::{Webhook, WebhookEvent, WebhookEvents};
use proto::backbone::stored_app;

use super::Unreadable;
use super::settings::millis;

pub(super) fn webhook(webhook: &Webhook) -> stored_app::Webhook {
    let header = |(name, value): &(String, String)| stored_app::Header { name: name.clone(), value: value.clone() };
    // All of them is stored as none: who asked for all gets those that come later, too.
    let events: Vec<_> = match webhook.events {
        WebhookEvents::ALL => Vec::new(),
        some => some.iter().map(|event| event.name().to_owned()).collect(),
    };
    stored_app::Webhook {
        id: webhook.id.clone(),
        url: webhook.url.clone(),
        events,
        prefix: webhook.prefix.clone(),
        batch_ms: webhook.batch.map(millis),
        headers: webhook.headers.iter().map(header).collect(),
    }
}

pub(super) fn read(stored: Vec<stored_app::Webhook>) -> Result<Vec<Webhook>, Unreadable> {
    let mut ids = HashSet::new();
    let webhooks = stored.into_iter().map(|stored| {
        let webhook = read_one(stored)?;
        let is_new = ids.insert(webhook.id.clone());
        if is_new { Ok(webhook) } else { Err(Unreadable::DuplicateWebhook(webhook.id)) }
    });
    webhooks.collect()
}

fn read_one(stored: stored_app::Webhook) -> Result<Webhook, Unreadable> {
    let events = if stored.events.is_empty() {
        WebhookEvents::ALL
    } else {
        let event = |name: String| WebhookEvent::parse(&name).ok_or(Unreadable::WebhookEvent(name));
        stored.events.into_iter().map(event).collect::<Result<_, _>>()?
    };
    let webhook = Webhook {
        id: stored.id,
        url: stored.url,
        events,
        prefix: stored.prefix,
        batch: stored.batch_ms.map(Duration::from_millis),
        headers: stored.headers.into_iter().map(|header| (header.name, header.value)).collect(),
    };
    webhook.check()?;
    Ok(webhook)
}
