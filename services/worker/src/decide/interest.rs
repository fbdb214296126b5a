//! Which events which apps want to be told of.

use std::collections::HashMap;

use backbone::registry::Snapshot;
use channels::{AppId, ChannelKind, ChannelName, Namespaces, WebhookEvent, WebhookEvents};

/// The events that follow from who is where; the others are told by edges as they happen.
const DECIDED: [WebhookEvent; 5] = [
    WebhookEvent::ChannelOccupied,
    WebhookEvent::ChannelVacated,
    WebhookEvent::MemberAdded,
    WebhookEvent::MemberRemoved,
    WebhookEvent::SubscriptionCount,
];

/// What the webhooks of all apps want, as far as it is decided here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    apps: HashMap<AppId, AppInterest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct AppInterest {
    /// Events, and the prefix of channels, of each webhook.
    webhooks: Vec<(WebhookEvents, String)>,
    counts: bool,
    /// What namespaces keep back.
    namespaces: Namespaces,
}

impl Interest {
    /// What is wanted now.
    pub(super) fn of(apps: &Snapshot) -> Self {
        let mut interest = Self::default();
        for app in apps.iter().filter(|app| app.enabled) {
            let webhooks: Vec<_> = app
                .webhooks
                .iter()
                .filter(|webhook| DECIDED.iter().any(|event| webhook.events.contains(*event)))
                .map(|webhook| (webhook.events, webhook.prefix.clone()))
                .collect();
            if !webhooks.is_empty() {
                let (counts, namespaces) = (app.pusher.subscription_count, app.namespaces.clone());
                interest.apps.insert(app.id.clone(), AppInterest { webhooks, counts, namespaces });
            }
        }
        interest
    }

    /// Whether nobody wants anything.
    pub(super) fn is_empty(&self) -> bool {
        self.apps.is_empty()
    }

    /// The events that are wanted of `channel`. None of a server-to-user channel, which its app never named; counts only
    /// with the app's switch, and not of presence channels, whose members are told.
    pub(super) fn wants(&self, app: &AppId, channel: &ChannelName) -> WebhookEvents {
        let name = channel.as_str();
        let wanted = |event: &WebhookEvent| {
            let Some(app) = self.apps.get(app) else { return false };
            let applies = match event {
                WebhookEvent::SubscriptionCount => app.counts && !ChannelKind::of(name).is_presence(),
                WebhookEvent::MemberAdded | WebhookEvent::MemberRemoved => ChannelKind::of(name).is_presence(),
                WebhookEvent::ChannelOccupied | WebhookEvent::ChannelVacated => true,
                WebhookEvent::ClientEvent | WebhookEvent::CacheMiss => false,
            };
            let webhook =
                |(events, prefix): &(WebhookEvents, String)| events.contains(*event) && name.starts_with(prefix);
            let told = applies && !name.starts_with('#') && app.namespaces.tells_webhooks(name, *event);
            told && app.webhooks.iter().any(webhook)
        };
        DECIDED.into_iter().filter(wanted).collect()
    }
}

#[cfg(test)]
impl Interest {
    /// One app with one webhook that wants everything.
    pub(super) fn in_all_of(app: &AppId) -> Self {
        Self::in_all_under(app, Namespaces::default())
    }

    /// The same, as far as `namespaces` let it be told.
    pub(super) fn in_all_under(app: &AppId, namespaces: Namespaces) -> Self {
        let webhooks = vec![(WebhookEvents::ALL, String::new())];
        Self { apps: [(app.clone(), AppInterest { webhooks, counts: true, namespaces })].into() }
    }

    /// One app with one webhook that wants `events` of channels that begin with `prefix`.
    pub(super) fn in_some_of(app: &AppId, events: &[WebhookEvent], prefix: &str) -> Self {
        let webhooks = vec![(events.iter().copied().collect(), prefix.to_owned())];
        Self { apps: [(app.clone(), AppInterest { webhooks, counts: true, namespaces: Namespaces::default() })].into() }
    }
}
