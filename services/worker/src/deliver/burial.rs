//! Dead letters of one webhook, on their way into the backbone.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backbone::dead_letters::{Keeper, MAX_PER_APP};
use channels::AppId;
use parking_lot::Mutex;
use proto::backbone::DeadLetter;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::sleep;

use super::lanes::Waiting;
use crate::clock::unix_ms;
use crate::metrics::{Metrics, Reason};

/// Format of a dead letter.
const VERSION: u32 = 1;

/// Pause between two dead letters, so that a flood of them is no flood for the backbone.
const PAUSE: Duration = Duration::from_millis(5);

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
        }
    }

    /// The delivery of `waiting` to `url` is over, for `reason`.
    pub(super) fn add(&self, waiting: Waiting, url: &str, reason: String, kind: Reason) {
        tracing::info!(app = %self.app, webhook = self.webhook, reason, "a webhook event is a dead letter");
        self.metrics.dead_letter(kind).increment(1);
        let letter = DeadLetter {
            version: VERSION,
            event: waiting.event.wire(),
            webhook_id: self.webhook.clone(),
            url: url.to_owned(),
            attempts: waiting.attempts,
            reason,
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
