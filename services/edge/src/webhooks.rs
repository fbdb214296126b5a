//! Webhook events that this node alone knows of: client events and cache misses. The worker finds out the rest by
//! itself, and delivers all.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use backbone::{Backbone, IdempotencyId, Queue, WEBHOOK_EVENT_FORMAT};
use bytes::Bytes;
use channels::{App, AppId, ChannelName, Record, WebhookEvent};
use parking_lot::Mutex;
use prost::Message as _;
use proto::backbone as wire;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// Misses of one channel within this time are one: clients that come together ask for the same thing.
const MISS_WINDOW: Duration = Duration::from_secs(3);

/// This node's way to the webhooks.
#[derive(Debug)]
pub(crate) struct Webhooks {
    queue: Queue,
    /// The window of misses we are in, and the channels that were missed in it.
    missed: Mutex<(u128, HashSet<(AppId, ChannelName)>)>,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Webhooks {
    pub(crate) fn new(backbone: &Backbone, metrics: Arc<Metrics>) -> Self {
        Self { queue: backbone.webhook_queue(), missed: Mutex::default(), tasks: TaskTracker::new(), metrics }
    }

    /// Whether anybody wants to be told of `event` in `channel`.
    pub(crate) fn wanted(app: &App, event: WebhookEvent, channel: &ChannelName) -> bool {
        app.tells_webhooks(channel, event) && app.webhooks.iter().any(|webhook| webhook.wants(event, channel.as_str()))
    }

    /// Tells of an accepted client event. Returns when that is in the queue, or has failed and is counted: whoever waits
    /// keeps a client's events in order, and holds back one that sends faster than they can be told.
    pub(crate) async fn client_event(&self, app: &App, channel: &ChannelName, record: &Record) {
        let presence = channels::ChannelKind::of(channel.as_str()).is_presence();
        for message in &record.messages {
            let event = wire::WebhookEvent {
                event: message.name.clone().unwrap_or_default(),
                data: message.data.clone(),
                socket_id: record.connection.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
                user_id: record
                    .client
                    .as_ref()
                    .filter(|_| presence)
                    .map(|id| id.as_str().to_owned())
                    .unwrap_or_default(),
                ..new(app, WebhookEvent::ClientEvent, channel)
            };
            self.push(&app.id, &IdempotencyId::random(), event).await;
        }
    }

    /// Tells that somebody subscribed to a cache channel that holds nothing.
    pub(crate) fn cache_miss(self: &Arc<Self>, app: &App, channel: &ChannelName) {
        if !Self::wanted(app, WebhookEvent::CacheMiss, channel) {
            return;
        }
        let event = new(app, WebhookEvent::CacheMiss, channel);
        let window = u128::from(event.time_ms) / MISS_WINDOW.as_millis();
        let mut missed = self.missed.lock();
        if missed.0 != window {
            *missed = (window, HashSet::new());
        }
        if !missed.1.insert((app.id.clone(), channel.clone())) {
            return;
        }
        drop(missed);
        // Other nodes miss it too; the queue keeps the first.
        let Ok(id) = IdempotencyId::new(&format!("miss/{}/{window}", channel.token())) else { return };
        let (webhooks, app) = (Arc::clone(self), app.id.clone());
        self.tasks.spawn(async move { webhooks.push(&app, &id, event).await });
    }

    async fn push(&self, app: &AppId, id: &IdempotencyId, event: wire::WebhookEvent) {
        if let Err(error) = self.queue.push(app, id, Bytes::from(event.encode_to_vec())).await {
            self.metrics.webhooks_lost.increment(1);
            tracing::warn!(error = &error as &dyn std::error::Error, "a webhook event is lost");
        }
    }

    /// Waits until what is under way is in the queue.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn new(app: &App, event: WebhookEvent, channel: &ChannelName) -> wire::WebhookEvent {
    wire::WebhookEvent {
        version: WEBHOOK_EVENT_FORMAT,
        app_id: app.id.as_str().to_owned(),
        name: event.name().to_owned(),
        channel: channel.as_str().to_owned(),
        time_ms: clock::unix_ms(),
        ..wire::WebhookEvent::default()
    }
}
