//! Dead letters of one webhook, on their way into the backbone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backbone::dead_letters::{Keeper, MAX_PER_APP};
use channels::AppId;
use clock::unix_ms;
use parking_lot::Mutex;
use proto::backbone::DeadLetter;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, sleep};

use super::lanes::Waiting;
use crate::metrics::{Metrics, Reason};

/// Format of a dead letter.
const VERSION: u32 = 1;

/// Pause between two dead letters, so that a flood of them is no flood for the backbone.
const PAUSE: Duration = Duration::from_millis(5);

/// How often dead letters of one webhook are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Pause before one that the backbone did not take is stored again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Events that will not be delivered, until they are stored as dead letters.
///
/// No more wait than an app may have dead letters: beyond that the oldest go, as they would if they had been stored.
#[derive(Debug)]
pub(super) struct Burial {
    app: AppId,
    webhook: String,
    keeper: Arc<AsyncMutex<Keeper>>,
    metrics: Arc<Metrics>,
    dead: Mutex<VecDeque<Dead>>,
    /// Those that are not stored yet.
    left: AtomicUsize,
    added: Notify,
    stored: Notify,
    /// When it was logged last, and how many have come since.
    logged: Mutex<(Option<Instant>, u64)>,
}

#[derive(Debug)]
struct Dead {
    waiting: Waiting,
    letter: DeadLetter,
}

impl Burial {
    pub(super) fn new(app: AppId, webhook: String, keeper: Arc<AsyncMutex<Keeper>>, metrics: Arc<Metrics>) -> Self {
        Self {
            app,
            webhook,
            keeper,
            metrics,
            dead: Mutex::default(),
            left: AtomicUsize::new(0),
            added: Notify::new(),
            stored: Notify::new(),
            logged: Mutex::default(),
        }
    }

    /// The delivery of `waiting` to `url` is over.
    pub(super) fn add(&self, waiting: Waiting, url: &str, kind: Reason) {
        let reason = match (&waiting.failure, kind) {
            (_, Reason::Overflow) => "too many events waited for this webhook",
            (Some(failure), Reason::GivenUp | Reason::Forbidden) => failure,
            (None, Reason::GivenUp | Reason::Forbidden) => "its time was up before its turn came",
        };
        self.log(reason);
        self.metrics.dead_letter(kind).increment(1);
        let letter = DeadLetter {
            version: VERSION,
            event: waiting.event.wire(),
            webhook_id: self.webhook.clone(),
            url: url.to_owned(),
            attempts: waiting.attempts,
            reason: reason.to_owned(),
            failed_ms: unix_ms(),
        };
        self.left.fetch_add(1, Ordering::AcqRel);
        let mut dead = self.dead.lock();
        dead.push_back(Dead { waiting, letter });
        let pushed_out = if dead.len() > MAX_PER_APP { dead.pop_front() } else { None };
        drop(dead);
        if let Some(oldest) = pushed_out {
            self.metrics.discarded.increment(1);
            self.finish(oldest);
        }
        self.added.notify_one();
    }

    /// Not each of them, of which there may be thousands a second.
    fn log(&self, reason: &str) {
        let mut logged = self.logged.lock();
        logged.1 += 1;
        if logged.0.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            let events = std::mem::take(&mut logged.1);
            logged.0 = Some(Instant::now());
            tracing::warn!(app = %self.app, webhook = self.webhook, events, reason, "webhook events are dead letters");
        }
    }

    /// Stores what is added. To be run once, for as long as anything is added.
    pub(super) async fn run(&self) -> Infallible {
        loop {
            let Some(dead) = self.next() else {
                self.added.notified().await;
                continue;
            };
            loop {
                // In turn with other webhooks, one letter each.
                let stored = self.keeper.lock().await.add(&self.app, &dead.letter).await;
                let Err(error) = stored else { break };
                tracing::warn!(error = &error as &dyn std::error::Error, "a dead letter has to wait");
                sleep(RETRY_PAUSE).await;
            }
            self.finish(dead);
            sleep(PAUSE).await;
        }
    }

    /// Waits until everything is stored.
    pub(super) async fn done(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            self.stored.notified().await;
        }
    }

    /// Forgets what is not stored.
    pub(super) fn clear(&self) {
        while let Some(dead) = self.next() {
            self.finish(dead);
        }
    }

    fn next(&self) -> Option<Dead> {
        self.dead.lock().pop_front()
    }

    fn finish(&self, dead: Dead) {
        dead.waiting.ticket.done();
        self.left.fetch_sub(1, Ordering::AcqRel);
        self.stored.notify_one();
    }
}
