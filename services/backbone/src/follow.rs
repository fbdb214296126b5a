//! A live copy of a bucket, kept current for as long as the process runs.
//!
//! Owns when a watch is begun and begun again; what the copy looks like is up to who keeps it ([`LiveCopy`]).

use std::sync::Arc;
use std::time::Duration;

use clock::Backoff;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kv::{Kv, KvError, Watch, WatchEvent};

/// How often the backbone is asked whether it is still there. A quiet watch and a dead one look the same from here.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Longest pause before a failed watch is begun again: below the probe interval, so that what was revoked does not live
/// on for long after an outage. A watch that went on for longer was a good one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), LONGEST_PAUSE);

/// Most events taken in before they are published, so that an endless stream of changes cannot hold one back for ever.
const MAX_BATCH: usize = 1_000;

/// What a bucket is copied into.
pub(crate) trait LiveCopy {
    /// The copy while it is being made; an empty one is the default.
    type Draft: Default + Send;

    /// Takes in one event; tells whether it changed anything.
    fn take(&self, draft: &mut Self::Draft, event: WatchEvent) -> bool;

    /// Has everybody see the draft as it is now.
    fn publish(&self, draft: &mut Self::Draft);
}

/// Follows one bucket.
#[derive(Debug)]
pub(crate) struct Follower<C> {
    pub(crate) copy: C,
    kv: Kv,
    /// What is followed, for people.
    what: &'static str,
    /// Counts publications; 0 until the first one.
    generation: watch::Sender<u64>,
    /// When the copy was last known to be current. `None` until it was published.
    confirmed: Mutex<Option<Instant>>,
    /// [`PROBE_INTERVAL`], but for tests.
    probe_interval: Duration,
}

impl<C: LiveCopy + Send + Sync + 'static> Follower<C> {
    pub(crate) fn new(kv: Kv, what: &'static str, copy: C) -> Self {
        let (generation, confirmed) = (watch::channel(0).0, Mutex::new(None));
        Self { copy, kv, what, generation, confirmed, probe_interval: PROBE_INTERVAL }
    }

    #[cfg(test)]
    pub(crate) fn probing(self, probe_interval: Duration) -> Self {
        Self { probe_interval, ..self }
    }

    /// Tells of every publication: the value counts them.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// How long ago the copy was last known to be current; `None` before the first publication.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.confirmed.lock().map(|at| at.elapsed())
    }

    /// Whether the copy was published.
    pub(crate) fn is_ready(&self) -> bool {
        *self.generation.borrow() > 0
    }

    /// Waits until the copy is published.
    pub(crate) async fn ready(&self) {
        let mut generation = self.changed();
        // Cannot fail: `self` holds the sender.
        generation.wait_for(|generation| *generation > 0).await.ok();
    }

    /// Keeps the copy current until `cancellation`; a failed watch is begun again.
    pub(crate) fn run(self: &Arc<Self>, cancellation: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let follower = Arc::clone(self);
        async move {
            tokio::select! {
                () = cancellation.cancelled() => {}
                () = follower.follow() => {}
            }
        }
    }

    async fn follow(&self) {
        let mut backoff = BACKOFF;
        loop {
            let begun = Instant::now();
            let error = match self.begin().await {
                Ok((watch, draft)) => tokio::select! {
                    error = self.go_on(watch, draft) => error,
                    () = self.outage() => {
                        tracing::info!(what = self.what, "the backbone is back; reading everything anew");
                        continue;
                    }
                },
                Err(error) => error,
            };
            if begun.elapsed() > LONGEST_PAUSE {
                backoff = BACKOFF;
            }
            let pause = backoff.pause();
            tracing::warn!(
                what = self.what,
                error = &error as &dyn std::error::Error,
                retry_in = ?pause,
                "lost the watch"
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// Begins a watch and takes everything in, while what was published before is still served.
    async fn begin(&self) -> Result<(Watch, C::Draft), KvError> {
        let mut watch = self.kv.watch().await?;
        let mut draft = C::Draft::default();
        loop {
            let event = watch.next().await?;
            if event == WatchEvent::Current {
                break;
            }
            self.copy.take(&mut draft, event);
        }
        self.publish(&mut draft);
        Ok((watch, draft))
    }

    /// Applies changes until the watch fails.
    async fn go_on(&self, mut watch: Watch, mut draft: C::Draft) -> KvError {
        loop {
            let mut event = watch.next().await;
            let mut changed = false;
            for _ in 0..MAX_BATCH {
                match event {
                    Ok(event) => changed |= self.copy.take(&mut draft, event),
                    Err(error) => return error,
                }
                match watch.next().now_or_never() {
                    Some(next) => event = next,
                    None => break,
                }
            }
            if changed {
                self.publish(&mut draft);
            } else {
                self.confirm();
            }
        }
    }

    /// Notes, again and again, that the backbone is reachable. Returns when it is so again after it was not: the marker
    /// of a removed entry goes after a while, so a watch that goes on after an outage may never learn of the removal.
    async fn outage(&self) {
        let mut away = false;
        loop {
            tokio::time::sleep(self.probe_interval).await;
            match self.kv.get("probe").await {
                Ok(_) if away => return,
                Ok(_) => self.confirm(),
                Err(error) => {
                    away = true;
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(what = self.what, error, "the backbone cannot be reached");
                }
            }
        }
    }

    fn publish(&self, draft: &mut C::Draft) {
        self.copy.publish(draft);
        self.confirm();
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn confirm(&self) {
        *self.confirmed.lock() = Some(Instant::now());
    }
}
