//! The established connections of this node: how many each app has, whose deadline has passed, who has to look at its
//! app again, who goes first when the node drains. Knows nothing of what connections do.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use backbone::registry::Apps;
use channels::{App, AppId, ConnectionId};
use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use slab::Slab;

use crate::queue::{Ending, Queue};

/// Parts of the table, so that those who come and go seldom wait for each other or for the sweeper.
const SHARDS: usize = 32;

/// Shortest pause between two steps of a drain.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// What the rest of the node holds of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its public id.
    pub(crate) id: ConnectionId,
    /// Its app.
    pub(crate) app: AppId,
    /// What it is to send and to know.
    pub(crate) queue: Queue,
    /// When it wants a tick, in milliseconds of [`Connections::since_start`].
    deadline_ms: AtomicU64,
}

impl Peer {
    /// A connection with an empty queue.
    pub(crate) fn new(id: ConnectionId, app: AppId, queue_bytes: usize) -> Self {
        Self { id, app, queue: Queue::new(queue_bytes), deadline_ms: AtomicU64::new(u64::MAX) }
    }
}

/// The table of connections.
#[derive(Debug)]
pub(crate) struct Connections {
    start: Instant,
    max: usize,
    count: AtomicUsize,
    shards: [Mutex<Slab<Arc<Peer>>>; SHARDS],
    /// The apps that have connections: how many, and the settings they were last told of.
    apps: Mutex<HashMap<AppId, Tenant>>,
    next_shard: AtomicUsize,
}

#[derive(Debug)]
struct Tenant {
    connections: u64,
    told: Arc<App>,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// The node is full.
    NodeFull,
    /// The app has as many as it may have.
    OverQuota,
}

/// A place for one connection, given back by dropping it.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: Arc<Connections>,
    app: AppId,
    /// Where its peer stands, once it is established.
    place: Option<(usize, usize)>,
}

impl Connections {
    /// Room for `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            start: Instant::now(),
            max,
            count: AtomicUsize::new(0),
            shards: Default::default(),
            apps: Mutex::default(),
            next_shard: AtomicUsize::new(0),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes a place for a connection of `app`.
    pub(crate) fn admit(self: &Arc<Self>, app: &Arc<App>) -> Result<Admission, NotAdmitted> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(NotAdmitted::NodeFull);
        }
        let mut apps = self.apps.lock();
        let new = || Tenant { connections: 0, told: Arc::clone(app) };
        let tenant = apps.entry(app.id.clone()).or_insert_with(new);
        if app.quota.connections.is_some_and(|quota| tenant.connections >= quota) {
            if tenant.connections == 0 {
                apps.remove(&app.id);
            }
            drop(apps);
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(NotAdmitted::OverQuota);
        }
        tenant.connections += 1;
        drop(apps);
        Ok(Admission { connections: Arc::clone(self), app: app.id.clone(), place: None })
    }

    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes when `peer` next wants a tick.
    pub(crate) fn set_deadline(&self, peer: &Peer, at: Instant) {
        peer.deadline_ms.store(self.since_start(at), Ordering::Relaxed);
    }

    /// Ticks those whose deadline has passed, and gives the bytes that wait in all queues. Yields between the parts of
    /// the table: with many connections this takes milliseconds.
    pub(crate) async fn sweep(&self) -> usize {
        let mut bytes = 0;
        for shard in &self.shards {
            let now = self.since_start(Instant::now());
            for (_, peer) in shard.lock().iter() {
                bytes += peer.queue.bytes();
                if peer.deadline_ms.load(Ordering::Relaxed) <= now {
                    // Until it says when next.
                    peer.deadline_ms.store(u64::MAX, Ordering::Relaxed);
                    peer.queue.tick();
                }
            }
            tokio::task::yield_now().await;
        }
        bytes
    }

    /// Tells the connections of apps that have changed since they were last told; gives those apps.
    pub(crate) fn recheck(&self, apps: &Apps) -> Vec<AppId> {
        let snapshot = apps.snapshot();
        let mut changed = Vec::new();
        for (id, tenant) in self.apps.lock().iter_mut() {
            match snapshot.get(id) {
                Some(app) if Arc::ptr_eq(app, &tenant.told) => {}
                Some(app) => {
                    tenant.told = Arc::clone(app);
                    changed.push(id.clone());
                }
                None => changed.push(id.clone()),
            }
        }
        if !changed.is_empty() {
            for peer in self.all() {
                if changed.contains(&peer.app) {
                    peer.queue.recheck();
                }
            }
        }
        changed
    }

    fn all(&self) -> Vec<Arc<Peer>> {
        let peers = |shard: &Mutex<Slab<Arc<Peer>>>| -> Vec<_> {
            shard.lock().iter().map(|(_, peer)| Arc::clone(peer)).collect()
        };
        self.shards.iter().flat_map(peers).collect()
    }

    /// Ends all connections as [`Ending::Draining`], in random order, evenly over `duration`. Gives how many.
    pub(crate) async fn drain(&self, duration: Duration) -> usize {
        let mut peers = self.all();
        peers.shuffle(&mut rand::rng());
        let total = peers.len();
        let begun = tokio::time::Instant::now();
        let mut done = 0;
        while done < total {
            let elapsed = begun.elapsed();
            let due = if elapsed >= duration {
                total
            } else {
                // The share of the time that has passed, in thousandths.
                let passed = elapsed.as_micros() * 1000 / duration.as_micros().max(1);
                (total * usize::try_from(passed).unwrap_or(1000)).div_ceil(1000).clamp(1, total)
            };
            for peer in &peers[done..due.max(done)] {
                peer.queue.end(Ending::Draining);
            }
            done = done.max(due);
            if done < total {
                tokio::time::sleep(DRAIN_STEP.min(duration)).await;
            }
        }
        // Those that were on their way in when the drain began.
        for peer in self.all() {
            peer.queue.end(Ending::Draining);
        }
        total
    }
}

impl Admission {
    /// Whose connection it is for.
    pub(crate) fn app(&self) -> &AppId {
        &self.app
    }

    /// Puts `peer` into the table.
    pub(crate) fn establish(&mut self, peer: &Arc<Peer>) {
        let index = self.connections.next_shard.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let key = self.connections.shards[index].lock().insert(Arc::clone(peer));
        self.place = Some((index, key));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let connections = &self.connections;
        if let Some((index, key)) = self.place {
            connections.shards[index].lock().remove(key);
        }
        let mut apps = connections.apps.lock();
        if let Some(tenant) = apps.get_mut(&self.app) {
            tenant.connections -= 1;
            if tenant.connections == 0 {
                apps.remove(&self.app);
            }
        }
        drop(apps);
        connections.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn app(quota: Option<u64>) -> Arc<App> {
        let mut app = fixtures::app();
        app.quota.connections = quota;
        Arc::new(app)
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let connections = Arc::new(Connections::new(3));
        let app = app(Some(2));
        let first = connections.admit(&app).unwrap();
        let second = connections.admit(&app).unwrap();
        assert_eq!(connections.admit(&app).unwrap_err(), NotAdmitted::OverQuota);
        let mut other = fixtures::app();
        other.id = AppId::new("2").unwrap();
        let other = Arc::new(other);
        let third = connections.admit(&other).unwrap();
        assert_eq!(connections.admit(&other).unwrap_err(), NotAdmitted::NodeFull);
        drop((first, second, third));
        assert_eq!(connections.len(), 0);
        assert!(connections.apps.lock().is_empty());
        assert!(connections.admit(&app).is_ok());
    }

    #[test]
    fn a_quota_of_zero_admits_nobody_and_leaves_nothing() {
        let connections = Arc::new(Connections::new(3));
        assert_eq!(connections.admit(&app(Some(0))).unwrap_err(), NotAdmitted::OverQuota);
        assert!(connections.apps.lock().is_empty());
    }

    fn notices(peer: &Peer) -> crate::queue::Notices {
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        peer.queue.take(&cx, 0, &mut std::collections::VecDeque::new())
    }

    fn established(connections: &Arc<Connections>, number: u32) -> (Admission, Arc<Peer>) {
        let app = app(None);
        let mut admission = connections.admit(&app).unwrap();
        let id = ConnectionId::new(&format!("1.{number}")).unwrap();
        let peer = Arc::new(Peer::new(id, app.id.clone(), 1000));
        admission.establish(&peer);
        (admission, peer)
    }

    #[tokio::test]
    async fn the_sweep_ticks_who_is_due_once() {
        let connections = Arc::new(Connections::new(10));
        let (_a, due) = established(&connections, 1);
        let (_b, later) = established(&connections, 2);
        connections.set_deadline(&due, Instant::now());
        connections.set_deadline(&later, Instant::now() + Duration::from_secs(60));
        due.queue.push(crate::websocket::frame::text("abc"));
        assert_eq!(connections.sweep().await, 5);
        assert!(notices(&due).tick && !notices(&later).tick);
        connections.sweep().await;
        assert!(!notices(&due).tick);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_even() {
        let connections = Arc::new(Connections::new(100));
        let all: Vec<_> = (0..100).map(|number| established(&connections, number)).collect();
        let draining = Arc::clone(&connections);
        let drain = tokio::spawn(async move { draining.drain(Duration::from_secs(10)).await });
        let ended = || all.iter().filter(|(_, peer)| notices(peer).ending == Some(Ending::Draining)).count();
        for second in 1..10 {
            tokio::time::sleep(Duration::from_millis(999)).await;
            let ended = ended();
            assert!((second * 10 - 2..=second * 10 + 2).contains(&ended), "{ended} after {second} s");
        }
        assert_eq!(drain.await.unwrap(), 100);
        assert_eq!(ended(), 100);
    }

    #[tokio::test]
    async fn an_empty_node_drains_at_once() {
        assert_eq!(Connections::new(1).drain(Duration::from_secs(3600)).await, 0);
    }
}
