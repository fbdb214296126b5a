//! The replica's side of nodes: who is attached, what they say, what they are told, and which replica divides the quotas.
//!
//! Owns the leases of a replica (that it is there, and that it leads), the live view of all nodes, orders and their
//! answers, tails, and the sending of shares. How quotas are divided is [`metering::Sharing`]'s matter; who may ask for
//! any of this is `access`'s.
//!
//! Every node keeps a stream to every replica and says the same on each, so that any replica can answer, and one that
//! begins to lead knows all there is to know. Only the leader tells shares, and only while its own clock says that nobody
//! else can have its lease; nodes heed the greatest term that they have heard.

mod attach;
mod history;
mod lists;
mod node;
mod nodes;
mod shares;
mod tails;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use attach::Attach;
pub(crate) use lists::{CloseError, Listed};
pub(crate) use nodes::{DrainError, Nodes};
pub(crate) use tails::TooManyTails;

use std::sync::Arc;
use std::time::Duration;

use backbone::members::{self, LEADER_LEASE, Members, replica_lease_key};
use backbone::registry::Apps;
use backbone::{Backbone, Standing, Tenure};
use bytes::Bytes;
use metering::Sharing;
use parking_lot::Mutex;
use prost::Message as _;
use proto::control::ControlReplica;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// A replica among the others. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    backbone: Backbone,
    apps: Apps,
    /// Id of this replica, which is that of its node.
    id: String,
    lease_ttl: Duration,
    nodes: Nodes,
    /// Whether this replica leads.
    standing: watch::Sender<Option<Standing>>,
    sharing: Mutex<Sharing>,
    /// A node has too little of something that is given back, and should have more at once.
    urgent: Notify,
    /// Ends every stream.
    stop: CancellationToken,
}

impl Link {
    /// A replica whose node is called `id`. Holds leases of `lease_ttl`. Does nothing until it [runs](Self::run).
    pub(crate) fn new(backbone: Backbone, apps: Apps, id: &str, lease_ttl: Duration) -> Self {
        let shared = Shared {
            backbone,
            apps,
            id: id.to_owned(),
            lease_ttl,
            nodes: Nodes::new(id),
            standing: watch::Sender::new(None),
            sharing: Mutex::default(),
            urgent: Notify::new(),
            stop: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The nodes, for whoever asks about them.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.shared.nodes
    }

    /// This replica's id.
    pub(crate) fn id(&self) -> &str {
        &self.shared.id
    }

    /// Whether this replica divides the quotas.
    pub(crate) fn is_leader(&self) -> bool {
        self.term().is_some()
    }

    /// Cancelled when this replica stops: whatever would go on for ever ends then.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// Who of the cluster is there.
    pub(crate) fn members(&self) -> Members {
        self.shared.nodes.members().borrow().clone()
    }

    /// The term in which this replica leads, while it is certain that no other one does.
    fn term(&self) -> Option<u64> {
        self.shared.standing.borrow().as_ref().and_then(Standing::term)
    }

    /// Takes part in the cluster as the replica that nodes reach at `address`, until `stop`; then ends every stream, and
    /// gives the leases back.
    pub(crate) async fn run(&self, address: String, tls: bool, stop: CancellationToken) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let me = ControlReplica { address, tls, version, node: self.shared.id.clone() };
        let value = Bytes::from(me.encode_to_vec());
        let until_stopped = async {
            tokio::select! {
                () = stop.cancelled() => {}
                never = members::follow(&self.shared.backbone, self.shared.nodes.members()) => match never {},
                never = self.divide() => match never {},
            }
            self.shared.stop.cancel();
        };
        tokio::join!(until_stopped, self.be_there(value.clone(), &stop), self.lead(value, &stop));
    }

    /// Holds this replica's own lease.
    async fn be_there(&self, value: Bytes, stop: &CancellationToken) {
        let key = replica_lease_key(&self.shared.id);
        while let Some(mut tenure) = self.win(&key, &value, stop).await {
            tokio::select! {
                () = stop.cancelled() => return tenure.release().await,
                () = tenure.keep() => tracing::warn!("this replica's lease may have lapsed; taking it again"),
            }
        }
    }

    /// Leads whenever no other replica does.
    async fn lead(&self, value: Bytes, stop: &CancellationToken) {
        let leads = telemetry::metrics::CONTROL_LEADER.handle();
        leads.set(0.0);
        while let Some(mut tenure) = self.win(LEADER_LEASE, &value, stop).await {
            tracing::info!(term = tenure.term(), "this replica divides the quotas");
            leads.set(1.0);
            let standing = tenure.standing();
            let act = async {
                let is_read = self.restore_history().await;
                self.shared.standing.send_replace(Some(standing));
                self.keep_history(is_read).await
            };
            let is_stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = tenure.keep() => false,
                never = act => match never {},
            };
            self.shared.standing.send_replace(None);
            leads.set(0.0);
            if is_stopped {
                return tenure.release().await;
            }
            tracing::warn!("another replica may divide the quotas by now; this one does not any more");
        }
    }

    /// The lease, or `None` once stopped.
    async fn win(&self, key: &str, value: &Bytes, stop: &CancellationToken) -> Option<Tenure> {
        let Shared { backbone, lease_ttl, .. } = &*self.shared;
        tokio::select! {
            () = stop.cancelled() => None,
            tenure = backbone.win_lease(key, value.clone(), *lease_ttl) => Some(tenure),
        }
    }
}
