//! Delivering webhook events: from the queue to the receivers that want them. Runs in the one active worker.
//!
//! The intake takes events out of the queue and hands each to the tasks of the webhooks that want it now; it never waits
//! for any of them. An event leaves the queue when all of them are done with it: it was delivered, or is stored as a dead
//! letter, or its webhook is gone. What was decided about an event before it came into the queue is not known here.

mod burial;
mod connect;
mod lanes;
mod load;
mod pace;
mod receiver;
mod request;
mod ticket;
mod trace;
pub(crate) mod trust;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use backbone::dead_letters::Keeper;
use backbone::registry::Apps;
use backbone::{Backbone, Consumer, Item, QueueError};
use channels::{App, AppId, Key, Webhook};
use clock::unix_ms;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::address::Policy;
use crate::config::Config;
use crate::event::Event;
use crate::metrics::Metrics;
use connect::Connector;
use lanes::{Pauses, Waiting};
use load::Load;
use metering::Meters;
use pace::Pace;
use receiver::{Handle, Receiver};
pub(crate) use request::RequestError;
use request::Sender;
use ticket::Ticket;

/// Acknowledgements under way at one time.
const CONCURRENT_ACKS: usize = 64;

/// How often dead letters are looked through for those that are too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Pause before the backbone is asked again for what it did not give.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is the same for all webhooks.
#[derive(Clone)]
pub(crate) struct Settings {
    policy: Arc<Policy>,
    tls: TlsConnector,
    request_timeout: Duration,
    pauses: Pauses,
    give_up_after: Duration,
    waiting_events: usize,
    waiting_bytes: usize,
    total_waiting_bytes: usize,
    drain: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Settings {
    pub(crate) fn new(config: &Config, tls: TlsConnector) -> Self {
        Self {
            policy: Arc::new(Policy::new(config.allow.clone(), config.allow_loopback)),
            tls,
            request_timeout: config.request_timeout,
            pauses: Pauses { first: config.first_retry, longest: config.longest_retry },
            give_up_after: config.give_up_after,
            waiting_events: config.waiting_events,
            waiting_bytes: config.waiting_bytes,
            total_waiting_bytes: config.total_waiting_bytes,
            drain: config.drain,
        }
    }

    /// What sends the requests of one webhook.
    fn sender(&self) -> Sender {
        let connector = Connector::new(Arc::clone(&self.policy), self.tls.clone(), self.request_timeout);
        Sender::new(connector, self.request_timeout)
    }

    /// When an event's delivery is given up.
    fn expiry(&self, event: &Event) -> Instant {
        let age = Duration::from_millis(unix_ms().saturating_sub(event.time_ms));
        Instant::now() + self.give_up_after.saturating_sub(age)
    }
}

/// A webhook as its app has it now.
#[derive(Clone, Debug)]
struct Target {
    app: Arc<App>,
    index: usize,
}

impl Target {
    /// The webhook `id` of `app`; `None` if there is none, or if the app is disabled.
    fn current(apps: &Apps, app: &AppId, id: &str) -> Option<Self> {
        let app = apps.get(app).filter(|app| app.enabled)?;
        let index = app.webhooks.iter().position(|webhook| webhook.id == id)?;
        Some(Self { app, index })
    }

    /// The webhooks that want `event`. A replayed one goes where it was to go, whatever is wanted now.
    fn all_that_want(apps: &Apps, event: &Event) -> Vec<Self> {
        let Some(app) = apps.get(&event.app).filter(|app| app.enabled) else { return Vec::new() };
        let wants = |webhook: &Webhook| {
            if event.webhook_id.is_empty() {
                app.namespaces.tells_webhooks(&event.channel, event.kind) && webhook.wants(event.kind, &event.channel)
            } else {
                webhook.id == event.webhook_id
            }
        };
        let wanting = app.webhooks.iter().enumerate().filter(|(_, webhook)| wants(webhook));
        wanting.map(|(index, _)| Self { app: Arc::clone(&app), index }).collect()
    }

    fn webhook(&self) -> &Webhook {
        &self.app.webhooks[self.index]
    }

    fn url(&self) -> &str {
        &self.webhook().url
    }

    /// What signs: the oldest active key.
    fn key(&self) -> Option<&Key> {
        self.app.keys.first()
    }
}

/// Takes events out of the queue and sees to their delivery.
#[derive(Debug)]
pub(crate) struct Intake {
    backbone: Backbone,
    apps: Apps,
    meters: Arc<Meters>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    keeper: Arc<AsyncMutex<Keeper>>,
    receivers: HashMap<(AppId, String), Handle>,
    /// Bytes of events that wait for all of them.
    total: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
    done: UnboundedSender<Item>,
    /// Until it is running.
    finished: Option<UnboundedReceiver<Item>>,
}

/// Why the intake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it was told.
    Stopped,
    /// Another worker takes events out.
    TakenOver,
}

impl Intake {
    pub(crate) fn new(
        backbone: Backbone,
        apps: Apps,
        meters: Arc<Meters>,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (done, finished) = unbounded_channel();
        let keeper = Arc::new(AsyncMutex::new(Keeper::new(&backbone)));
        Self {
            backbone,
            apps,
            meters,
            settings,
            metrics,
            keeper,
            receivers: HashMap::new(),
            total: Arc::default(),
            tasks: JoinSet::new(),
            done,
            finished: Some(finished),
        }
    }

    /// Delivers until `stop`, and then waits a little for what is under way. May be dropped at any moment, which ends
    /// everything at once.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Ended {
        let mut consumer = tokio::select! {
            () = stop.cancelled() => return Ended::Stopped,
            consumer = self.consume() => consumer,
        };
        let mut background = JoinSet::new();
        background.spawn(sweep(Arc::clone(&self.keeper), self.apps.clone()));
        let mut acknowledging = JoinSet::new();
        if let Some(finished) = self.finished.take() {
            acknowledging.spawn(acknowledge(finished));
        }
        let mut changed = self.apps.changed();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                item = consumer.next() => match item {
                    Some(item) => self.take(item, &stop),
                    None => return Ended::TakenOver,
                },
                // Cannot fail: `self.apps` holds the sender.
                Ok(()) = changed.changed() => self.withdraw(),
                Some(ended) = self.tasks.join_next() => note(ended),
            }
        }
        let Self { mut tasks, receivers, done, settings, .. } = self;
        let drain = async {
            while let Some(ended) = tasks.join_next().await {
                note(ended);
            }
            // With the last sender the acknowledging ends.
            drop((receivers, done));
            while acknowledging.join_next().await.is_some() {}
        };
        if timeout(settings.drain, drain).await.is_err() {
            tracing::info!("left webhook events to the next worker that were still under way");
        }
        Ended::Stopped
    }

    async fn consume(&self) -> Consumer {
        self.apps.ready().await;
        loop {
            match self.backbone.webhook_queue().consume().await {
                Ok(consumer) => return consumer,
                Err(error @ (QueueError::Full | QueueError::TooLarge | QueueError::Unavailable)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot take over the webhook queue yet");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Hands an event to the webhooks that want it.
    fn take(&mut self, item: Item, stop: &CancellationToken) {
        let event = match Event::decode(item.payload().clone()) {
            Ok(event) => Arc::new(event),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "dropped something in the webhook queue");
                self.done.send(item).ok();
                return;
            }
        };
        self.metrics.event(event.kind).increment(1);
        let targets = Target::all_that_want(&self.apps, &event);
        if targets.is_empty() {
            self.done.send(item).ok();
            return;
        }
        let expires = self.settings.expiry(&event);
        let tickets = Ticket::for_webhooks(targets.len(), Some(item), &self.done);
        for (target, ticket) in targets.into_iter().zip(tickets) {
            let waiting = Waiting { event: Arc::clone(&event), ticket, expires, attempts: 0, failure: None };
            // What each may hold however much waits for the others.
            let share = self.settings.total_waiting_bytes / (self.receivers.len() + 1);
            self.receiver(&target, stop).offer(waiting, &target, share);
        }
    }

    fn receiver(&mut self, target: &Target, stop: &CancellationToken) -> &Handle {
        let key = (target.app.id.clone(), target.webhook().id.clone());
        self.receivers.entry(key).or_insert_with_key(|(_, webhook)| {
            let (apps, settings) = (self.apps.clone(), Arc::clone(&self.settings));
            let (keeper, metrics) = (Arc::clone(&self.keeper), Arc::clone(&self.metrics));
            let load = Load::new(Arc::clone(&self.total));
            let pace = Pace::new(&target.app, Arc::clone(&self.meters));
            let (receiver, handle) = Receiver::new(webhook, apps, pace, settings, load, keeper, metrics);
            self.tasks.spawn(receiver.run(stop.clone()));
            handle
        })
    }

    /// Ends the deliveries to webhooks that are gone.
    fn withdraw(&mut self) {
        let gone = self.receivers.extract_if(|(app, webhook), _| Target::current(&self.apps, app, webhook).is_none());
        gone.for_each(|(_, handle)| handle.withdraw());
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the deliveries of a webhook failed; the next worker repeats them");
    }
}

/// Acknowledges what is done, until nobody can send more.
async fn acknowledge(mut finished: UnboundedReceiver<Item>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(item) = finished.recv(), if under_way.len() < CONCURRENT_ACKS => under_way.push(item.ack()),
            Some(acknowledged) = under_way.next(), if !under_way.is_empty() => {
                if let Err(error) = acknowledged {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "a delivered webhook event may be delivered again");
                }
            }
            else => return,
        }
    }
}

/// Removes dead letters that are too old or whose app is gone, now and again.
async fn sweep(keeper: Arc<AsyncMutex<Keeper>>, apps: Apps) {
    loop {
        let snapshot = apps.snapshot();
        // An app that this process cannot read is not gone.
        let all_known = snapshot.unreadable() == 0;
        let swept = keeper.lock().await.sweep(|app| !all_known || snapshot.get(app).is_some()).await;
        match swept {
            Ok(()) => sleep(SWEEP_INTERVAL).await,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "dead letters could not be looked through");
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}
