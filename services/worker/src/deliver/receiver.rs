//! One webhook: what waits for it, the requests to it, and what becomes of them. A task of its own for each, so that a
//! receiver that is slow or dead delays nobody else's events.

use std::collections::HashMap;
use std::sync::Arc;

use backbone::dead_letters::Keeper;
use backbone::registry::Apps;
use channels::AppId;
use clock::{sleep_until, unix_ms};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::burial::Burial;
use super::lanes::{Batch, Lanes, Waiting};
use super::load::Load;
use super::pace::Pace;
use super::request::{RequestError, Sender};
use super::{Settings, Target, trace};
use crate::event;
use crate::metrics::{Metrics, Reason};

/// Most requests to one receiver at a time, each with events of other channels.
const CONCURRENT_REQUESTS: usize = 16;

/// The intake's end of a webhook.
#[derive(Debug)]
pub(super) struct Handle {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    load: Arc<Load>,
    burial: Arc<Burial>,
    /// Bounded by what the load allows.
    inbox: UnboundedSender<Waiting>,
    withdrawn: CancellationToken,
}

impl Handle {
    /// Takes an event on. One that finds no room is a dead letter at once: it neither waits, which would hold up others'
    /// events, nor pushes out what waits longer.
    pub(super) fn offer(&self, waiting: Waiting, target: &Target, share: usize) {
        if !self.load.add(&waiting.event, &self.settings, share) {
            self.burial.add(waiting, target.url(), Reason::Overflow);
            return;
        }
        self.metrics.waiting.increment(1.0);
        // Cannot fail: the task lives until it is withdrawn, which takes this handle, or stopped with the intake.
        self.inbox.send(waiting).ok();
    }

    /// Ends the deliveries: the webhook or its app is gone.
    pub(super) fn withdraw(self) {
        self.withdrawn.cancel();
    }
}

/// The task of one webhook.
#[derive(Debug)]
pub(super) struct Receiver {
    app: AppId,
    webhook: String,
    apps: Apps,
    metrics: Arc<Metrics>,
    load: Arc<Load>,
    burial: Arc<Burial>,
    inbox: UnboundedReceiver<Waiting>,
    withdrawn: CancellationToken,
    sender: Sender,
    pace: Pace,
    lanes: Lanes,
    /// Requests under way, by their number.
    under_way: HashMap<u64, UnderWay>,
    requests: u64,
}

#[derive(Debug)]
struct UnderWay {
    batch: Batch,
    target: Target,
}

/// The number of a request, and how it went.
type Answer = (u64, Result<(), RequestError>);

impl Receiver {
    /// The task for the webhook with the id `webhook` of the app that `pace` is of, and the handle on it.
    pub(super) fn new(
        webhook: &str,
        apps: Apps,
        pace: Pace,
        settings: Arc<Settings>,
        load: Load,
        keeper: Arc<AsyncMutex<Keeper>>,
        metrics: Arc<Metrics>,
    ) -> (Self, Handle) {
        let app = pace.app().clone();
        let (sender, inbox) = unbounded_channel();
        let load = Arc::new(load);
        let burial = Arc::new(Burial::new(app.clone(), webhook.to_owned(), keeper, Arc::clone(&metrics)));
        let withdrawn = CancellationToken::new();
        let handle = Handle {
            settings: Arc::clone(&settings),
            metrics: Arc::clone(&metrics),
            load: Arc::clone(&load),
            burial: Arc::clone(&burial),
            inbox: sender,
            withdrawn: withdrawn.clone(),
        };
        let receiver = Self {
            app,
            webhook: webhook.to_owned(),
            apps,
            metrics,
            load,
            burial,
            inbox,
            withdrawn,
            sender: settings.sender(),
            pace,
            lanes: Lanes::new(settings.pauses),
            under_way: HashMap::new(),
            requests: 0,
        };
        (receiver, handle)
    }

    /// Delivers until `stop`, and then waits for what is under way; or until it is withdrawn.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let (burial, withdrawn) = (Arc::clone(&self.burial), self.withdrawn.clone());
        let bury = burial.run();
        tokio::pin!(bury);
        let deliver_and_bury = async {
            tokio::select! {
                () = self.deliver(&stop) => {}
                never = &mut bury => match never {},
            }
            // Told to stop: what is dead already is stored.
            tokio::select! {
                () = burial.done() => {}
                never = &mut bury => match never {},
            }
        };
        tokio::select! {
            () = deliver_and_bury => {}
            // Requests under way end here, unanswered.
            () = withdrawn.cancelled() => {
                let under_way = self.under_way.drain().flat_map(|(_, under_way)| under_way.batch.into_events());
                let mut owed: Vec<_> = under_way.chain(self.lanes.clear()).collect();
                owed.extend(std::iter::from_fn(|| self.inbox.try_recv().ok()));
                tracing::info!(app = %self.app, webhook = self.webhook, events = owed.len(), "a webhook is gone");
                for waiting in owed {
                    self.release(&waiting);
                    waiting.ticket.done();
                }
                burial.clear();
            }
        }
    }

    async fn deliver(&mut self, stop: &CancellationToken) {
        let mut answers: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
        // When what is gathered goes out.
        let mut gathered: Option<Instant> = None;
        loop {
            let stopping = stop.is_cancelled();
            if stopping && answers.is_empty() {
                return;
            }
            while !stopping
                && answers.len() < CONCURRENT_REQUESTS
                && let Some(request) = self.next_request(&mut gathered)
            {
                answers.push(request);
            }
            // With all requests under way nothing else can begin before one is answered.
            let is_free = !stopping && answers.len() < CONCURRENT_REQUESTS;
            let wake = match self.pace.wake(Instant::now()) {
                Some(at) => Some(at),
                None => [self.lanes.wake(), gathered].into_iter().flatten().min(),
            };
            let wake = wake.filter(|_| is_free);
            tokio::select! {
                () = stop.cancelled(), if !stopping => {}
                Some(waiting) = self.inbox.recv(), if !stopping => self.lanes.push(waiting),
                Some((number, result)) = answers.next(), if !answers.is_empty() => self.answered(number, result),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// The next request, if one is to be made now.
    fn next_request(&mut self, gathered: &mut Option<Instant>) -> Option<BoxFuture<'static, Answer>> {
        // None if it is about to be withdrawn.
        let target = Target::current(&self.apps, &self.app, &self.webhook)?;
        let now = Instant::now();
        if self.pace.follows(&target.app).wake(now).is_some() {
            return None;
        }
        if !self.lanes.is_ready(now) {
            *gathered = None;
            return None;
        }
        let window = target.webhook().batch;
        if let Some(window) = window
            && !self.lanes.is_full()
            && *gathered.get_or_insert(now + window) > now
        {
            return None;
        }
        if !self.pace.allows(now) {
            self.metrics.paced.increment(1);
            return None;
        }
        let mut expired = Vec::new();
        let batch = self.lanes.take(window.is_some(), now, &mut expired);
        for waiting in expired {
            self.bury(waiting, &target, Reason::GivenUp);
        }
        let batch = batch?;
        if batch.is_retry() {
            self.metrics.retries.increment(1);
        }
        self.requests += 1;
        let (number, sender, request, body) =
            (self.requests, self.sender.clone(), target.clone(), event::body(batch.events()));
        let span = trace::attempt(&self.app, &self.webhook, &batch);
        self.under_way.insert(number, UnderWay { batch, target });
        let seconds = self.metrics.request_seconds.clone();
        Some(Box::pin(async move {
            let begun = Instant::now();
            let result = sender.post(request.webhook(), request.key(), body).await;
            seconds.record(begun.elapsed().as_secs_f64());
            trace::answered(span, &result);
            (number, result)
        }))
    }

    fn answered(&mut self, number: u64, result: Result<(), RequestError>) {
        let Some(UnderWay { batch, target }) = self.under_way.remove(&number) else { return };
        self.metrics.request(result.as_ref().err()).increment(1);
        self.pace.count(result.is_ok());
        let Err(error) = result else {
            for waiting in self.lanes.succeeded(batch) {
                let took = unix_ms().saturating_sub(waiting.event.time_ms);
                self.metrics.delivery_seconds.record(std::time::Duration::from_millis(took).as_secs_f64());
                self.release(&waiting);
                waiting.ticket.done();
            }
            return;
        };
        let failure: Arc<str> = error.to_string().into();
        tracing::debug!(app = %self.app, webhook = self.webhook, %failure, "a webhook was not taken");
        let (over, kind) = if error.is_final() {
            (self.lanes.refused(batch, &failure), Reason::Forbidden)
        } else {
            (self.lanes.failed(batch, &failure, Instant::now(), rand::random()), Reason::GivenUp)
        };
        for waiting in over {
            self.bury(waiting, &target, kind);
        }
    }

    fn bury(&self, waiting: Waiting, target: &Target, kind: Reason) {
        self.release(&waiting);
        self.burial.add(waiting, target.url(), kind);
    }

    /// An event no longer waits.
    fn release(&self, waiting: &Waiting) {
        self.load.remove(&waiting.event);
        self.metrics.waiting.decrement(1.0);
    }
}
