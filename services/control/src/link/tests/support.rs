//! What the cases share: replicas, and nodes with made-up clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agent::{Agent, Host, Page, Tap};
use backbone::facts::edge_lease_key;
use backbone::registry::Registry;
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, Lease};
use channels::{App, AppId, EdgeId, Limits, Namespaces, PusherSettings, Quota};
use metering::{AppMeter, Meters};
use parking_lot::Mutex;
use proto::control::node_order::{ListChannels, ListConnections};
use proto::control::{Channel, Connection, NodeLoad};
use testkit::eventually;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::link::Link;
use crate::{AdminToken, Config, Parts, Server};

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// How long a replica's leases last. Longer than a busy machine stalls: otherwise another one leads all of a sudden.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(5);

pub(super) fn memory() -> Backbone {
    Backbone::memory(&backbone::Config::default())
}

/// The same for every replica and node.
pub(super) fn keys() -> Arc<ClusterKeys> {
    Arc::new("ab".repeat(32).parse().unwrap())
}

/// A running replica. Dropped, it is gone as if killed.
pub(super) struct Replica {
    pub(super) link: Link,
    pub(super) address: SocketAddr,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
    _apps: AbortOnDropHandle<()>,
}

impl Replica {
    pub(super) async fn start(backbone: &Backbone) -> Self {
        Self::start_with(backbone, LEASE_TTL).await
    }

    pub(super) async fn start_with(backbone: &Backbone, lease_ttl: Duration) -> Self {
        let parts = Parts::new(backbone, keys());
        let config = Config { lease_ttl, ..Config::new(AdminToken::new(TOKEN).unwrap()) };
        let apps = AbortOnDropHandle::new(tokio::spawn(parts.apps.run(CancellationToken::new())));
        let server = Server::new(&config, parts).unwrap();
        let link = server.link.clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let stopped = stop.clone();
        let serve = async move { server.serve(listener, stopped.cancelled_owned()).await.unwrap() };
        Self { link, address, stop, task: AbortOnDropHandle::new(tokio::spawn(serve)), _apps: apps }
    }

    /// Has it stop in order.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Waits until so many nodes are attached and have said something of themselves.
    pub(super) async fn sees(&self, nodes: usize) {
        eventually("the nodes to be attached", || async {
            let attached = self.link.nodes().attached();
            let known = attached.iter().filter(|node| node.edge_id().is_some()).count();
            (attached.len() == nodes && known == nodes && self.link.nodes().missing_edges().is_empty()).then_some(())
        })
        .await;
    }

    pub(super) async fn leads(&self) {
        eventually("the replica to lead", || async { self.link.is_leader().then_some(()) }).await;
    }
}

/// Clients that do nothing by themselves.
#[derive(Default)]
pub(super) struct Clients {
    pub(super) edge: Mutex<Option<EdgeId>>,
    pub(super) connections: Mutex<Vec<Connection>>,
    pub(super) channels: Mutex<Vec<Channel>>,
    pub(super) taps: Mutex<Vec<Tap>>,
}

impl Host for Clients {
    fn load(&self) -> NodeLoad {
        NodeLoad { connections: self.connections.lock().len() as u64, ..NodeLoad::default() }
    }

    fn is_draining(&self) -> bool {
        false
    }

    fn edge_id(&self) -> String {
        self.edge.lock().as_ref().map(EdgeId::to_string).unwrap_or_default()
    }

    fn connections(&self, order: &ListConnections) -> Page<Connection> {
        let all = self.connections.lock();
        let wanted = |each: &&Connection| {
            *each.id > *order.after && (order.connection.is_empty() || each.id == order.connection)
        };
        let mut items: Vec<_> = all.iter().filter(wanted).cloned().collect();
        let more = items.len() > order.most as usize;
        items.truncate(order.most as usize);
        Page { items, more }
    }

    fn close_connection(&self, _app: &str, connection: &str, _is_final: bool) -> bool {
        let mut all = self.connections.lock();
        let before = all.len();
        all.retain(|each| each.id != connection);
        all.len() < before
    }

    fn channels(&self, order: &ListChannels) -> Page<Channel> {
        let all = self.channels.lock();
        let mut items: Vec<_> = all.iter().filter(|each| *each.name > *order.after).cloned().collect();
        let more = items.len() > order.most as usize;
        items.truncate(order.most as usize);
        Page { items, more }
    }

    fn tail(&self, tap: Tap) {
        self.taps.lock().push(tap);
    }
}

/// A running edge, as far as the control plane sees it. Dropped, it is gone as if killed.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) edge: EdgeId,
    pub(super) clients: Arc<Clients>,
    pub(super) meters: Arc<Meters>,
    pub(super) drain: CancellationToken,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
    lease: Lease,
}

impl Node {
    pub(super) async fn start(backbone: &Backbone) -> Self {
        let edge = EdgeId::from_random(rand::random());
        let lease = backbone.lease(&edge_lease_key(&edge), edge.to_string().into(), Duration::from_secs(600)).await;
        let clients = Arc::new(Clients::default());
        *clients.edge.lock() = Some(edge.clone());
        let meters = Arc::new(Meters::new(Instant::now()));
        let config = agent::Config::new("a node", &["edge"], "1.2.3", keys());
        let host: Arc<dyn Host> = Arc::<Clients>::clone(&clients);
        let agent = Agent::new(config, backbone.clone(), Arc::clone(&meters), Some(host));
        let (id, drain, stop) = (agent.node_id().to_owned(), agent.drain_ordered(), CancellationToken::new());
        let stopped = stop.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move { agent.run(stopped).await }));
        Self { id, edge, clients, meters, drain, stop, task, lease: lease.unwrap() }
    }

    /// Has it stop in order.
    pub(super) async fn stop(self) {
        self.lease.release().await.unwrap();
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Has it hold connections with these ids.
    pub(super) fn connect(&self, ids: &[&str]) {
        let connection = |id: &&str| Connection { id: (*id).to_owned(), ..Connection::default() };
        *self.clients.connections.lock() = ids.iter().map(connection).collect();
    }

    /// Has clients publish to `app` far more than it may, until the pressure is dropped.
    pub(super) fn press(&self, app: &App) -> Pressure {
        let meter = self.meters.meter(app);
        let admitted = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(press(meter, Arc::clone(&admitted)));
        Pressure { admitted, _task: AbortOnDropHandle::new(task) }
    }
}

/// Publishes that are asked for all the time.
pub(super) struct Pressure {
    admitted: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

async fn press(meter: Arc<AppMeter>, admitted: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    loop {
        ticks.tick().await;
        if meter.publish(1, 1, None, Instant::now()).is_ok() {
            admitted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Pressure {
    /// Publishes a second that are let through, looked at for a second and a half.
    pub(super) async fn rate(&self) -> f64 {
        let (before, begun) = (self.admitted.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(Duration::from_millis(1500)).await;
        (self.admitted.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Waits until the rate is at least `rate`.
    pub(super) async fn reaches(&self, rate: f64) {
        eventually("publishes to be let through", || async { (self.rate().await >= rate).then_some(()) }).await;
    }
}

/// Registers an app with this quota.
pub(super) async fn register(backbone: &Backbone, id: &str, quota: Quota) -> App {
    let app = App {
        id: AppId::new(id).unwrap(),
        name: String::new(),
        enabled: true,
        keys: Vec::new(),
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota,
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    };
    Registry::new(backbone, keys()).create(app.clone(), 0).await.unwrap();
    app
}

/// A quota of messages that may be published in a second.
pub(super) fn messages_in(limit: u64) -> Quota {
    Quota { messages_in_per_second: Some(limit), ..Quota::default() }
}
