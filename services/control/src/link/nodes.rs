//! The nodes that are attached, and those that should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backbone::members::Members;
use clock::{millis, unix_ms};
use metering::{LiveNode, NodeId, SILENT_AFTER};
use parking_lot::RwLock;
use proto::control as wire;
use proto::control::node_message::Hello;
use proto::control::node_order::{Drain, Order};
use proto::control::{LiveUsage, NodeOrder, NodeState};
use tokio::sync::{mpsc, watch};

use super::node::{Node, Unreached};
use super::tails::Tails;

const EDGE: &str = "edge";
const WORKER: &str = "worker";
const CONTROL: &str = "control";

/// The nodes of the cluster as one replica sees them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// This replica's own id.
    me: String,
    attached: RwLock<BTreeMap<String, Arc<Node>>>,
    members: watch::Sender<Members>,
    /// The last id that was given to an order.
    last_order: AtomicU64,
    tails: Tails,
}

/// Why a node is not told to drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DrainError {
    /// There is no such node.
    #[error("there is no such node")]
    Unknown,
    /// It is there and does not answer.
    #[error("the node does not answer")]
    Unreached,
}

/// A node's place among those attached; gone when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    nodes: Nodes,
    pub(super) node: Arc<Node>,
}

impl Nodes {
    pub(super) fn new(me: &str) -> Self {
        let inner = Inner {
            me: me.to_owned(),
            attached: RwLock::default(),
            members: watch::Sender::new(Members::default()),
            last_order: AtomicU64::new(0),
            tails: Tails::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Seats a node, and gives the orders that it is to be sent. A seat that it had before is taken from it.
    pub(super) fn seat(&self, hello: Hello) -> (Seat, mpsc::Receiver<NodeOrder>) {
        let (node, orders) = Node::new(hello);
        let mut attached = self.inner.attached.write();
        if let Some(before) = attached.insert(node.hello.id.clone(), Arc::clone(&node)) {
            before.detach();
        }
        self.count(attached.len());
        drop(attached);
        self.tails().begin_all(&node);
        (Seat { nodes: self.clone(), node }, orders)
    }

    pub(super) fn members(&self) -> &watch::Sender<Members> {
        &self.inner.members
    }

    pub(super) fn tails(&self) -> &Tails {
        &self.inner.tails
    }

    pub(super) fn next_order(&self) -> u64 {
        self.inner.last_order.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Those that are attached.
    pub(super) fn attached(&self) -> Vec<Arc<Node>> {
        self.inner.attached.read().values().cloned().collect()
    }

    /// Edges that are attached.
    pub(super) fn edges(&self) -> Vec<Arc<Node>> {
        self.attached().into_iter().filter(|node| node.edge_id().is_some() || node.has_role(EDGE)).collect()
    }

    /// Ids of edges that hold a lease and are not attached.
    pub(super) fn missing_edges(&self) -> Vec<String> {
        let there: Vec<String> = self.attached().iter().filter_map(|node| node.edge_id()).collect();
        let members = self.inner.members.borrow();
        members.edges.iter().map(|edge| edge.as_str().to_owned()).filter(|edge| !there.contains(edge)).collect()
    }

    /// Whatever quotas are to be divided among: edges by their leases, whether or not they are attached, and workers.
    pub(super) fn live(&self) -> Vec<LiveNode> {
        let attached = self.attached();
        let workers: Vec<NodeId> =
            attached.iter().filter(|node| node.has_role(WORKER)).map(|node| node.sharer()).collect();
        let members = self.inner.members.borrow();
        let edges: Vec<NodeId> = members.edges.iter().map(|edge| edge.as_str().into()).collect();
        drop(members);
        let only_workers = workers.iter().filter(|worker| !edges.contains(worker));
        let only_workers = only_workers.map(|id| LiveNode { id: Arc::clone(id), edge: false, worker: true });
        let edge = |id: &NodeId| LiveNode { id: Arc::clone(id), edge: true, worker: workers.contains(id) };
        edges.iter().map(edge).chain(only_workers).collect()
    }

    /// Every node that lives: those attached, and those that only hold a lease.
    pub(crate) fn list(&self) -> Vec<wire::Node> {
        let members = self.inner.members.borrow().clone();
        let leader = members.leader.as_ref().map(|leader| leader.node.as_str());
        let attached = self.attached();
        let mut nodes: Vec<wire::Node> = attached.iter().map(|node| describe(node, leader)).collect();
        let silent = |id: &str, role: &str| wire::Node {
            id: id.to_owned(),
            roles: vec![role.to_owned()],
            state: NodeState::Silent.into(),
            leader: Some(id) == leader,
            ..wire::Node::default()
        };
        nodes.extend(self.missing_edges().iter().map(|edge| silent(edge, EDGE)));
        let unheard = members.replicas.iter().filter(|(id, _)| !attached.iter().any(|node| node.hello.id == **id));
        nodes.extend(unheard.map(|(id, replica)| wire::Node {
            version: replica.version.clone(),
            // It hears itself on no stream if no agent runs beside it.
            state: if *id == self.inner.me { NodeState::Serving } else { NodeState::Silent }.into(),
            ..silent(id, CONTROL)
        }));
        nodes
    }

    /// Has the node with this id drain.
    pub(crate) async fn drain(&self, id: &str) -> Result<(), DrainError> {
        let Some(node) = self.inner.attached.read().get(id).cloned() else {
            let members = self.inner.members.borrow();
            let is_there = members.replicas.contains_key(id) || members.edges.iter().any(|edge| edge.as_str() == id);
            return Err(if is_there { DrainError::Unreached } else { DrainError::Unknown });
        };
        let order = self.next_order();
        let drain = node.ask_to_end(order, Order::Drain(Drain { id: order }));
        drain.await.map_err(|Unreached| DrainError::Unreached)
    }

    /// What an app uses at this moment, over all nodes that report. `history_bytes` is for the caller to fill in.
    pub(super) fn live_usage(&self, app: &str) -> LiveUsage {
        let mut usage = LiveUsage { time_ms: unix_ms(), ..LiveUsage::default() };
        for node in self.attached() {
            usage.nodes += u32::from(node.age() < SILENT_AFTER);
            let Some((said, _, interval)) = node.app(app).filter(|(_, age, _)| *age < SILENT_AFTER) else { continue };
            let per_second = |count: u64| count as f64 / interval.as_secs_f64().max(f64::MIN_POSITIVE);
            usage.connections += said.connections;
            usage.presence_members += said.presence_members;
            // Distinct in the cluster, so that all say the same, some a little later.
            usage.channels = usage.channels.max(said.channels);
            if interval > Duration::ZERO {
                usage.messages_in_per_second += per_second(said.messages_in);
                usage.messages_out_per_second += per_second(said.messages_out);
                usage.bytes_in_per_second += per_second(said.bytes_in);
                usage.bytes_out_per_second += per_second(said.bytes_out);
            }
            for (quota, count) in said.refused {
                *usage.refused.entry(quota).or_default() += count;
            }
        }
        usage
    }

    fn count(&self, attached: usize) {
        telemetry::metrics::CONTROL_NODES.handle().set(attached as f64);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.node.detach();
        let mut attached = self.nodes.inner.attached.write();
        // It may have been given to the same node on another stream.
        if attached.get(&self.node.hello.id).is_some_and(|seated| Arc::ptr_eq(seated, &self.node)) {
            attached.remove(&self.node.hello.id);
            self.nodes.count(attached.len());
        }
    }
}

fn describe(node: &Node, leader: Option<&str>) -> wire::Node {
    let (hello, glance) = (&node.hello, node.glance());
    let state = if glance.age >= SILENT_AFTER {
        NodeState::Silent
    } else if glance.is_draining {
        NodeState::Draining
    } else {
        NodeState::Serving
    };
    wire::Node {
        id: hello.id.clone(),
        name: hello.name.clone(),
        roles: hello.roles.clone(),
        version: hello.version.clone(),
        started_ms: hello.started_ms,
        state: state.into(),
        leader: leader == Some(hello.id.as_str()),
        load: Some(glance.load),
        age_ms: millis(glance.age),
    }
}
