//! The established connections of this node: whether there is room for one more, whose deadline has passed, who has to
//! look at its app again, who goes first when the node drains. Knows nothing of what connections do.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use backbone::registry::Apps;
use channels::{App, AppId, ClientId, ConnectionId, KeyName};
use metering::{AppMeter, Refused};
use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use slab::Slab;

use crate::admission::Guest;
use crate::metrics::{Protocol, Transport};
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
    /// What its app uses.
    pub(crate) meter: Arc<AppMeter>,
    /// What it is to send and to know.
    pub(crate) queue: Queue,
    /// Who is at its other end.
    pub(crate) client: Client,
    /// Set once it has signed in.
    user: OnceLock<ClientId>,
    /// How many channels it is subscribed to.
    subscriptions: AtomicU32,
    /// When it has lasted long enough, in seconds of [`Connections::since_start`].
    ends_s: AtomicU32,
    /// When it wants a tick, in milliseconds of [`Connections::since_start`].
    deadline_ms: AtomicU64,
}

/// Who is at the other end of a connection, as operators want to see it. There is one for each connection, so it is
/// small.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// What it speaks.
    pub(crate) protocol: Protocol,
    /// The key it connected with.
    pub(crate) key: KeyName,
    /// What carries the connection.
    pub(crate) transport: Transport,
    ip: IpAddr,
    port: u16,
    /// Seconds since the Unix epoch.
    connected: u32,
}

impl Client {
    /// One that has connected just now from `address`, which is its own or a proxy's.
    pub(crate) fn new(protocol: Protocol, key: KeyName, transport: Transport, address: SocketAddr) -> Self {
        let connected = u32::try_from(clock::unix_seconds()).unwrap_or(u32::MAX);
        Self { protocol, key, transport, ip: address.ip().to_canonical(), port: address.port(), connected }
    }

    /// Where it comes from, as far as this node sees.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// When it connected, milliseconds since the Unix epoch, to the second.
    pub(crate) fn connected_ms(&self) -> u64 {
        u64::from(self.connected) * 1000
    }
}

impl Peer {
    /// A connection with an empty queue.
    pub(crate) fn new(id: ConnectionId, meter: Arc<AppMeter>, client: Client, queue_bytes: usize) -> Self {
        Self {
            id,
            app: meter.app().clone(),
            meter,
            queue: Queue::new(queue_bytes),
            client,
            user: OnceLock::new(),
            subscriptions: AtomicU32::new(0),
            ends_s: AtomicU32::new(u32::MAX),
            deadline_ms: AtomicU64::new(u64::MAX),
        }
    }

    /// Notes that it is signed in as `user`, and never as another one.
    pub(crate) fn set_user(&self, user: &ClientId) {
        self.user.get_or_init(|| user.clone());
    }

    /// The user it is signed in as.
    pub(crate) fn user(&self) -> Option<&ClientId> {
        self.user.get()
    }

    /// Notes how many channels it is subscribed to.
    pub(crate) fn set_subscriptions(&self, count: usize) {
        self.subscriptions.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many channels it is subscribed to.
    pub(crate) fn subscriptions(&self) -> u32 {
        self.subscriptions.load(Ordering::Relaxed)
    }
}

/// The table of connections.
#[derive(Debug)]
pub(crate) struct Connections {
    start: Instant,
    max: usize,
    /// How long a connection lasts, about. Zero: as long as it likes.
    max_age: Duration,
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
    OverQuota(Refused),
}

/// A place for one connection, given back by dropping it.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: Arc<Connections>,
    meter: Arc<AppMeter>,
    /// Where its peer stands, once it is established.
    place: Option<(usize, usize)>,
    /// Its place among those of its address. Behind a pointer: it is seldom counted, and may be its socket's, too.
    guest: Option<Arc<Guest>>,
}

/// What a look at all connections came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Bytes that wait in all queues.
    pub(crate) bytes: usize,
    /// Connections that have lasted long enough and were told to end.
    pub(crate) rotated: u64,
}

impl Connections {
    /// Room for `max`, each of which lasts for `max_age`, give or take a tenth; for as long as it likes if that is zero.
    pub(crate) fn new(max: usize, max_age: Duration) -> Self {
        Self {
            start: Instant::now(),
            max,
            max_age,
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

    /// Takes a place for a connection of `app`, whose meter is `meter`.
    pub(crate) fn admit(self: &Arc<Self>, app: &Arc<App>, meter: &Arc<AppMeter>) -> Result<Admission, NotAdmitted> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.max {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(NotAdmitted::NodeFull);
        }
        if let Err(refused) = meter.connect() {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return Err(NotAdmitted::OverQuota(refused));
        }
        let new = || Tenant { connections: 0, told: Arc::clone(app) };
        self.apps.lock().entry(app.id.clone()).or_insert_with(new).connections += 1;
        Ok(Admission { connections: Arc::clone(self), meter: Arc::clone(meter), place: None, guest: None })
    }

    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes when `peer` next wants a tick.
    pub(crate) fn set_deadline(&self, peer: &Peer, at: Instant) {
        peer.deadline_ms.store(self.since_start(at), Ordering::Relaxed);
    }

    /// Ticks those whose deadline has passed and, if they are `rotated`, ends those that have lasted long enough as
    /// [`Ending::Draining`]. Yields between the parts of the table: with many connections this takes milliseconds.
    pub(crate) async fn sweep(&self, rotated: bool) -> Swept {
        let mut swept = Swept::default();
        for shard in &self.shards {
            let now = self.since_start(Instant::now());
            for (_, peer) in shard.lock().iter() {
                swept.bytes += peer.queue.bytes();
                if rotated && u64::from(peer.ends_s.load(Ordering::Relaxed)) * 1000 <= now {
                    peer.ends_s.store(u32::MAX, Ordering::Relaxed);
                    swept.rotated += u64::from(!peer.queue.is_over());
                    peer.queue.end(Ending::Draining);
                }
                if peer.deadline_ms.load(Ordering::Relaxed) <= now {
                    // Until it says when next.
                    peer.deadline_ms.store(u64::MAX, Ordering::Relaxed);
                    peer.queue.tick();
                }
            }
            tokio::task::yield_now().await;
        }
        swept
    }

    /// When a connection that begins now has lasted long enough, in seconds of [`Self::since_start`]. Those that came at
    /// the same time do not go at the same time.
    fn end_s(&self) -> Option<u32> {
        if self.max_age.is_zero() {
            return None;
        }
        let lasts = self.max_age.mul_f64(rand::random_range(0.9..1.1));
        u32::try_from((self.start.elapsed() + lasts).as_secs()).ok()
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

    /// The connections of `app`.
    pub(crate) fn of(&self, app: &AppId) -> Vec<Arc<Peer>> {
        let peers = |shard: &Mutex<Slab<Arc<Peer>>>| -> Vec<_> {
            shard.lock().iter().filter(|(_, peer)| peer.app == *app).map(|(_, peer)| Arc::clone(peer)).collect()
        };
        self.shards.iter().flat_map(peers).collect()
    }

    /// The connection called `id`, if it is the app's.
    pub(crate) fn find(&self, app: &AppId, id: &ConnectionId) -> Option<Arc<Peer>> {
        let found = |shard: &Mutex<Slab<Arc<Peer>>>| {
            let shard = shard.lock();
            shard.iter().find(|(_, peer)| peer.id == *id && peer.app == *app).map(|(_, peer)| Arc::clone(peer))
        };
        self.shards.iter().find_map(found)
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
    /// The same with a place among the connections of its address, if these are counted.
    pub(crate) fn with(mut self, guest: Option<Arc<Guest>>) -> Self {
        self.guest = guest;
        self
    }

    /// What the app uses that it is for.
    pub(crate) fn meter(&self) -> &Arc<AppMeter> {
        &self.meter
    }

    /// Puts `peer` into the table.
    pub(crate) fn establish(&mut self, peer: &Arc<Peer>) {
        let index = self.connections.next_shard.fetch_add(1, Ordering::Relaxed) % SHARDS;
        if let Some(end) = self.connections.end_s() {
            peer.ends_s.store(end, Ordering::Relaxed);
        }
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
        if let Some(tenant) = apps.get_mut(self.meter.app()) {
            tenant.connections -= 1;
            if tenant.connections == 0 {
                apps.remove(self.meter.app());
            }
        }
        drop(apps);
        self.meter.disconnected();
        connections.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    /// An app, and its meter.
    fn app(id: &str, quota: Option<u64>) -> (Arc<App>, Arc<AppMeter>) {
        let mut app = App { id: AppId::new(id).unwrap(), ..fixtures::app() };
        app.quota.connections = quota;
        let meter = fixtures::meter(&app);
        (Arc::new(app), meter)
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let connections = Arc::new(Connections::new(3, Duration::ZERO));
        let (limited, meter) = app("1", Some(2));
        let first = connections.admit(&limited, &meter).unwrap();
        let second = connections.admit(&limited, &meter).unwrap();
        let refused = connections.admit(&limited, &meter).unwrap_err();
        assert!(matches!(refused, NotAdmitted::OverQuota(Refused { shared: true, .. })), "{refused:?}");
        let (other, its_meter) = app("2", None);
        let third = connections.admit(&other, &its_meter).unwrap();
        assert_eq!(connections.admit(&other, &its_meter).unwrap_err(), NotAdmitted::NodeFull);
        assert_eq!((meter.connections(), its_meter.connections()), (2, 1), "who is refused is not counted");
        drop((first, second, third));
        assert_eq!((connections.len(), meter.connections(), its_meter.connections()), (0, 0, 0));
        assert!(connections.apps.lock().is_empty());
        assert!(connections.admit(&limited, &meter).is_ok());
    }

    #[test]
    fn a_quota_of_zero_admits_nobody_and_leaves_nothing() {
        let connections = Arc::new(Connections::new(3, Duration::ZERO));
        let (app, meter) = app("1", Some(0));
        assert!(matches!(connections.admit(&app, &meter), Err(NotAdmitted::OverQuota(_))));
        assert!(connections.apps.lock().is_empty());
    }

    /// There is one for each connection, of which a node holds a hundred thousand and more.
    #[test]
    fn a_peer_is_small() {
        assert!(size_of::<Peer>() <= 264, "{} bytes", size_of::<Peer>());
        assert!(size_of::<crate::queue::Frame>() <= 48, "{} bytes", size_of::<crate::queue::Frame>());
    }

    #[test]
    fn a_client_shows_its_own_address() {
        let at = |address: &str| {
            let Client { protocol, key, transport, .. } = fixtures::client();
            Client::new(protocol, key, transport, address.parse().unwrap())
        };
        assert_eq!(at("[::ffff:192.0.2.7]:80").address().to_string(), "192.0.2.7:80");
        assert_eq!(at("[2001:db8::7]:80").address().to_string(), "[2001:db8::7]:80");
    }

    fn notices(peer: &Peer) -> crate::queue::Notices {
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        peer.queue.take(&cx, 0, &mut std::collections::VecDeque::new())
    }

    fn established(connections: &Arc<Connections>, number: u32) -> (Admission, Arc<Peer>) {
        let (app, meter) = app("1", None);
        let mut admission = connections.admit(&app, &meter).unwrap();
        let id = ConnectionId::new(&format!("1.{number}")).unwrap();
        let peer = Arc::new(Peer::new(id, meter, fixtures::client(), 1000));
        admission.establish(&peer);
        (admission, peer)
    }

    #[tokio::test]
    async fn the_sweep_ticks_who_is_due_once() {
        let connections = Arc::new(Connections::new(10, Duration::ZERO));
        let (_a, due) = established(&connections, 1);
        let (_b, later) = established(&connections, 2);
        connections.set_deadline(&due, Instant::now());
        connections.set_deadline(&later, Instant::now() + Duration::from_secs(60));
        due.queue.push(crate::websocket::frame::text("abc"));
        assert_eq!(connections.sweep(true).await, Swept { bytes: 5, rotated: 0 });
        assert!(notices(&due).tick && !notices(&later).tick);
        connections.sweep(true).await;
        assert!(!notices(&due).tick);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_even() {
        let connections = Arc::new(Connections::new(100, Duration::ZERO));
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
        assert_eq!(Connections::new(1, Duration::ZERO).drain(Duration::from_secs(3600)).await, 0);
    }
}
