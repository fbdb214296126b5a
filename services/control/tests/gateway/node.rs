//! A node with clients that do nothing by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Agent, Host, Page, Tap};
use backbone::facts::edge_lease_key;
use backbone::{Backbone, Lease};
use channels::EdgeId;
use metering::Meters;
use parking_lot::Mutex;
use proto::control::node_order::{ListChannels, ListConnections};
use proto::control::{Channel, Connection, NodeLoad};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::cluster_keys;

pub(crate) struct Clients {
    edge: EdgeId,
    connections: Mutex<Vec<Connection>>,
    pub(crate) taps: Mutex<Vec<Tap>>,
}

impl Host for Clients {
    fn load(&self) -> NodeLoad {
        NodeLoad::default()
    }

    fn is_draining(&self) -> bool {
        false
    }

    fn edge_id(&self) -> String {
        self.edge.to_string()
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
        let items =
            if order.after.is_empty() { vec![Channel { name: "a".to_owned(), ..Channel::default() }] } else { vec![] };
        Page { items, more: false }
    }

    fn tail(&self, tap: Tap) {
        self.taps.lock().push(tap);
    }
}

/// A running edge, as far as the control plane sees it.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) clients: Arc<Clients>,
    _task: AbortOnDropHandle<()>,
    _lease: Lease,
}

impl Node {
    /// One that has connections with these ids.
    pub(crate) async fn start(backbone: &Backbone, connections: &[&str]) -> Self {
        let edge = EdgeId::from_random(7);
        let lease = backbone.lease(&edge_lease_key(&edge), edge.to_string().into(), Duration::from_secs(600)).await;
        let connection = |id: &&str| Connection { id: (*id).to_owned(), ..Connection::default() };
        let connections = Mutex::new(connections.iter().map(connection).collect());
        let clients = Arc::new(Clients { edge, connections, taps: Mutex::default() });
        let host: Arc<dyn Host> = Arc::<Clients>::clone(&clients);
        let config = agent::Config::new("a node", &["edge"], "1.2.3", cluster_keys());
        let agent = Agent::new(config, backbone.clone(), Arc::new(Meters::new(Instant::now())), Some(host));
        let id = agent.node_id().to_owned();
        let task = tokio::spawn(async move { agent.run(CancellationToken::new()).await });
        Self { id, clients, _task: AbortOnDropHandle::new(task), _lease: lease.unwrap() }
    }
}
