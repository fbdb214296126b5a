//! Which edges are alive, this one included.
//!
//! An edge holds a lease for as long as it lives, and everybody watches the leases: what an edge has told counts while
//! its lease is there. An edge that has lost its lease was taken for dead, so it goes on as another: under a new id, and
//! with everything told anew. That makes "gone" final, and nothing that is still under way from a former life can bring
//! it back.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use backbone::facts::{edge_lease_key, edge_of_lease};
use backbone::{Backbone, Bucket, Kv, KvError, Lease, LeaseError, WatchEvent};
use bytes::Bytes;
use channels::EdgeId;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Renewals in the time of a lease. An election of NATS takes up to 9 s, during which nothing can be renewed: of a lease
/// of 15 s, 12 are left at the worst moment.
const RENEWALS: u32 = 5;

/// Pause before what failed is tried again. Short: when NATS is back, leases are about to lapse.
const RETRY: Duration = Duration::from_millis(300);

/// How long the release of the lease may hold up the end of the process.
const FAREWELL: Duration = Duration::from_secs(3);

/// The edges of the cluster.
#[derive(Debug)]
pub(crate) struct Membership {
    backbone: Backbone,
    ttl: Duration,
    me: ArcSwap<EdgeId>,
    /// Whether the lease under that id is held, as far as is known.
    held: AtomicBool,
    others: RwLock<Others>,
    /// Counts changes of who is alive.
    changed: watch::Sender<u64>,
    /// Counts the lives of this edge.
    lives: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Others {
    /// With when their lease was last seen to be renewed.
    alive: BTreeMap<EdgeId, Instant>,
    /// In the order it was learned. Ids are never used again, and edges die seldom.
    gone: Vec<Gone>,
    /// What this edge was called in lives that are over, until it has told everything anew.
    former: Vec<EdgeId>,
}

/// An edge that is gone for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) edge: EdgeId,
    /// When its lease was last seen to be renewed, if that was ever seen.
    pub(crate) last_sign: Option<Instant>,
}

impl Others {
    fn declare_gone(&mut self, edge: EdgeId) {
        let last_sign = self.alive.remove(&edge);
        self.former.retain(|former| *former != edge);
        if !self.is_gone(&edge) {
            telemetry::metrics::EDGES_GONE.handle().increment(1);
            self.gone.push(Gone { edge, last_sign });
        }
    }

    fn is_gone(&self, edge: &EdgeId) -> bool {
        self.gone.iter().any(|gone| gone.edge == *edge)
    }
}

impl Membership {
    /// Knows nobody until [`Self::run`] runs.
    pub(crate) fn new(backbone: Backbone, ttl: Duration) -> Arc<Self> {
        Arc::new(Self {
            backbone,
            ttl,
            me: ArcSwap::from_pointee(EdgeId::from_random(rand::random())),
            held: AtomicBool::new(false),
            others: RwLock::default(),
            changed: watch::channel(0).0,
            lives: watch::channel(0).0,
        })
    }

    /// This edge, as it is called in this life.
    pub(crate) fn me(&self) -> EdgeId {
        EdgeId::clone(&self.me.load())
    }

    /// The same while its lease is held. What stays written under an id must not be written before: nobody would
    /// believe it, and whoever reads it would take this edge for dead.
    pub(crate) fn life(&self) -> Option<EdgeId> {
        let me = self.me();
        self.held.load(Ordering::Acquire).then_some(me)
    }

    /// How long a lease lasts.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether `edge` is known to hold its lease, or is this one.
    pub(crate) fn is_alive(&self, edge: &EdgeId) -> bool {
        **self.me.load() == *edge || self.others.read().alive.contains_key(edge)
    }

    /// Whether `edge` is known to be gone for good.
    pub(crate) fn is_gone(&self, edge: &EdgeId) -> bool {
        self.others.read().is_gone(edge)
    }

    /// The edges that are alive.
    pub(crate) fn alive(&self) -> BTreeSet<EdgeId> {
        let others = self.others.read();
        others.alive.keys().cloned().chain([self.me()]).collect()
    }

    /// Whether it is this edge that cleans up after others: of those alive the one with the smallest id.
    pub(crate) fn cleans_up(&self) -> bool {
        self.alive().first() == Some(&self.me())
    }

    /// Those that are known to be gone, from the `from`th.
    pub(crate) fn gone_since(&self, from: usize) -> Vec<Gone> {
        self.others.read().gone[from..].to_vec()
    }

    /// Changes whenever an edge comes or goes.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes whenever this edge begins a life; the first one at its start.
    pub(crate) fn lives(&self) -> watch::Receiver<u64> {
        self.lives.subscribe()
    }

    /// Whether `edge` lives, asking the backbone about those that are not known. One that does not is gone from now on.
    pub(crate) async fn find_out(&self, edge: &EdgeId) -> Result<bool, KvError> {
        if self.is_alive(edge) {
            return Ok(true);
        }
        if self.is_gone(edge) {
            return Ok(false);
        }
        let lives = self.backbone.kv(Bucket::Leases).get(&edge_lease_key(edge)).await?.is_some();
        if !lives {
            self.change(|others| others.declare_gone(edge.clone()));
        }
        Ok(lives)
    }

    fn change(&self, change: impl FnOnce(&mut Others)) {
        change(&mut self.others.write());
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Keeps the lease and follows those of others until `stop`.
    ///
    /// In the end the lease is released, unless `hand_over` says that something of this edge's is to stay for others to
    /// take over: then it is left to lapse.
    pub(crate) async fn run(&self, stop: CancellationToken, hand_over: impl FnOnce() -> bool) {
        let mut lease = None;
        tokio::select! {
            () = stop.cancelled() => {}
            never = self.keep(&mut lease) => match never {},
            never = self.follow() => match never {},
        }
        let Some(mut lease) = lease else { return };
        let farewell = async {
            let parted = if hand_over() { lease.renew().await } else { lease.release().await };
            if let Err(error) = parted {
                tracing::debug!(error = &error as &dyn std::error::Error, "the lease will lapse by itself");
            }
        };
        tokio::time::timeout(FAREWELL, farewell).await.ok();
    }

    /// Whether that is this edge, in this life or, as far as others may still see it, in a former one.
    fn is_me(&self, edge: &EdgeId) -> bool {
        **self.me.load() == *edge || self.others.read().former.contains(edge)
    }

    /// Renews the lease for ever, and begins a new life whenever it was lost.
    async fn keep(&self, lease: &mut Option<Lease>) -> Infallible {
        let mut renewal = tokio::time::interval(self.ttl / RENEWALS);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            renewal.tick().await;
            // By now it has told everything anew, so that its clients do not see its members gone and back.
            let former = self.others.read().former.clone();
            if !former.is_empty() && self.held.load(Ordering::Acquire) {
                self.change(|others| former.into_iter().for_each(|edge| others.declare_gone(edge)));
            }
            while let Err(error) = self.renew(lease).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "this edge's lease is not renewed yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    async fn renew(&self, lease: &mut Option<Lease>) -> Result<(), LeaseError> {
        if let Some(held) = lease {
            match held.renew().await {
                Ok(()) => return Ok(()),
                Err(error @ LeaseError::Unavailable(_)) => return Err(error),
                Err(LeaseError::Lost | LeaseError::Held) => {
                    *lease = None;
                    self.held.store(false, Ordering::Release);
                    let former = self.me.swap(Arc::new(EdgeId::from_random(rand::random())));
                    self.others.write().former.push(EdgeId::clone(&former));
                    tracing::warn!(%former, now = %self.me(), "this edge was taken for dead; it goes on as another");
                }
            }
        }
        let me = self.me();
        match self.backbone.lease(&edge_lease_key(&me), Bytes::from(me.to_string()), self.ttl).await {
            Ok(taken) => *lease = Some(taken),
            // A first attempt succeeded and its answer was lost. Nobody knows this id yet: take another.
            Err(LeaseError::Held | LeaseError::Lost) => {
                self.me.store(Arc::new(EdgeId::from_random(rand::random())));
                return Err(LeaseError::Held);
            }
            Err(error @ LeaseError::Unavailable(_)) => return Err(error),
        }
        self.held.store(true, Ordering::Release);
        telemetry::metrics::EDGE_LIVES.handle().increment(1);
        self.lives.send_modify(|lives| *lives += 1);
        Ok(())
    }

    /// Follows the leases for ever; a failed watch is begun again, and what is known stays meanwhile.
    async fn follow(&self) -> Infallible {
        let leases = self.backbone.kv(Bucket::Leases);
        loop {
            let Err(error) = self.watch(&leases).await;
            tracing::warn!(error = &error as &dyn std::error::Error, "lost the watch of leases, beginning it again");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn watch(&self, leases: &Kv) -> Result<Infallible, KvError> {
        let mut watch = leases.watch().await?;
        // Collected aside first: a lease that went while nobody watched must not stay.
        let mut fresh = Some(BTreeMap::new());
        loop {
            match watch.next().await? {
                WatchEvent::Put(entry) => {
                    let Some(edge) = edge_of_lease(&entry.key).filter(|edge| !self.is_me(edge)) else { continue };
                    let now = Instant::now();
                    match &mut fresh {
                        Some(fresh) => {
                            fresh.insert(edge, now);
                        }
                        None if self.is_alive(&edge) => {
                            self.others.write().alive.insert(edge, now);
                        }
                        None => self.change(|others| {
                            others.alive.insert(edge, now);
                        }),
                    }
                }
                WatchEvent::Removed(key) => {
                    let Some(edge) = edge_of_lease(&key).filter(|edge| !self.is_me(edge)) else { continue };
                    if let Some(fresh) = &mut fresh {
                        fresh.remove(&edge);
                    }
                    self.change(|others| others.declare_gone(edge));
                }
                WatchEvent::Current => {
                    let Some(fresh) = fresh.take() else { continue };
                    self.change(|others| {
                        let lapsed: Vec<_> =
                            others.alive.keys().filter(|edge| !fresh.contains_key(*edge)).cloned().collect();
                        lapsed.into_iter().for_each(|edge| others.declare_gone(edge));
                        others.alive = fresh;
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    async fn settled(membership: &Membership, what: impl Fn(&Membership) -> bool) {
        let mut changed = membership.changed();
        let settle = async {
            while !what(membership) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(TTL * 3, settle).await.expect("a change in time");
    }

    fn start(backbone: &Backbone, hand_over: bool) -> (Arc<Membership>, CancellationToken) {
        let (membership, stop) = (Membership::new(backbone.clone(), TTL), CancellationToken::new());
        let (running, stopping) = (Arc::clone(&membership), stop.clone());
        tokio::spawn(async move { running.run(stopping, move || hand_over).await });
        (membership, stop)
    }

    #[tokio::test(start_paused = true)]
    async fn edges_see_each_other_come_and_go() {
        let backbone = Backbone::memory(&backbone::Config::default());
        let (a, _stop) = start(&backbone, false);
        let (b, stop) = start(&backbone, false);
        let id = b.me();
        settled(&a, |a| a.is_alive(&id)).await;
        assert!(a.cleans_up() != b.cleans_up());
        let begun = Instant::now();
        stop.cancel();
        settled(&a, |a| a.is_gone(&id)).await;
        assert!(begun.elapsed() < TTL / 2, "a released lease is gone at once");
        assert_eq!(a.gone_since(0).into_iter().map(|gone| gone.edge).collect::<Vec<_>>(), [id]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_handed_over_lapses() {
        let backbone = Backbone::memory(&backbone::Config::default());
        let (a, _stop) = start(&backbone, false);
        let (b, stop) = start(&backbone, true);
        let id = b.me();
        settled(&a, |a| a.is_alive(&id)).await;
        let begun = Instant::now();
        stop.cancel();
        settled(&a, |a| a.is_gone(&id)).await;
        assert!(begun.elapsed() >= TTL);
        let gone = a.gone_since(0).remove(0);
        assert_eq!(gone.edge, id);
        let silent = gone.last_sign.unwrap().elapsed();
        assert!((TTL..=begun.elapsed()).contains(&silent), "its farewell renewed the lease: {silent:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_taken_for_dead_goes_on_as_another() {
        let backbone = Backbone::memory(&backbone::Config::default());
        let (a, _stop_a) = start(&backbone, false);
        let (b, _stop_b) = start(&backbone, false);
        let former = b.me();
        settled(&a, |a| a.is_alive(&former)).await;
        let mut lives = b.lives();
        lives.mark_unchanged();
        backbone.kv(Bucket::Leases).remove(&edge_lease_key(&former), None).await.unwrap();
        lives.changed().await.unwrap();
        let now = b.me();
        assert_ne!(now, former);
        settled(&a, |a| a.is_alive(&now) && a.is_gone(&former)).await;
        // And it is kept.
        tokio::time::sleep(TTL * 3).await;
        assert!(a.is_alive(&now) && b.me() == now);
    }

    #[tokio::test(start_paused = true)]
    async fn an_edge_nobody_knows_is_asked_for() {
        let backbone = Backbone::memory(&backbone::Config::default());
        let a = Membership::new(backbone.clone(), TTL);
        let (known, unknown) = (EdgeId::from_random(1), EdgeId::from_random(2));
        let _lease = backbone.lease(&edge_lease_key(&known), Bytes::from_static(b"1"), TTL).await.unwrap();
        assert!(a.find_out(&known).await.unwrap());
        assert!(!a.find_out(&unknown).await.unwrap());
        assert!(a.is_gone(&unknown) && !a.is_gone(&known));
    }
}
