//! Who of the cluster is there: edges, control replicas and the one of them that leads, as their leases say.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use channels::EdgeId;
use prost::Message as _;
use proto::control::ControlReplica;
use tokio::sync::watch;

use crate::facts::edge_of_lease;
use crate::{Backbone, Bucket, KvError, WatchEvent};

/// Key of the lease of the control replica that leads. Its value is that replica's.
pub const LEADER_LEASE: &str = "leader";

/// In front of a control replica's id in its lease's key.
const REPLICA_LEASE: &str = "control.";

/// Pause before a failed watch is begun again.
const RETRY: Duration = Duration::from_millis(300);

/// Key of the lease of the control replica `id`.
pub fn replica_lease_key(id: &str) -> String {
    format!("{REPLICA_LEASE}{id}")
}

/// What the leases say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// Whether the leases have been read at all.
    pub known: bool,
    /// The edges.
    pub edges: BTreeSet<EdgeId>,
    /// The control replicas by id.
    pub replicas: BTreeMap<String, ControlReplica>,
    /// The one that leads.
    pub leader: Option<ControlReplica>,
}

impl Members {
    /// How many edges there are; never zero, as it is what limits are divided by.
    pub fn live_edges(&self) -> u32 {
        u32::try_from(self.edges.len()).unwrap_or(u32::MAX).max(1)
    }

    pub(crate) fn put(&mut self, key: &str, value: Bytes) {
        if let Some(edge) = edge_of_lease(key) {
            self.edges.insert(edge);
        } else if key == LEADER_LEASE {
            self.leader = ControlReplica::decode(value).ok();
        } else if let (Some(id), Ok(replica)) = (key.strip_prefix(REPLICA_LEASE), ControlReplica::decode(value)) {
            self.replicas.insert(id.to_owned(), replica);
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(edge) = edge_of_lease(key) {
            self.edges.remove(&edge);
        } else if key == LEADER_LEASE {
            self.leader = None;
        } else if let Some(id) = key.strip_prefix(REPLICA_LEASE) {
            self.replicas.remove(id);
        }
    }
}

/// Follows the leases for ever. While the backbone is away, what was known stays.
pub async fn follow(backbone: &Backbone, members: &watch::Sender<Members>) -> Infallible {
    loop {
        let Err(error) = watch(backbone, members).await;
        tracing::warn!(error = &error as &dyn std::error::Error, "lost the watch of leases, beginning it again");
        tokio::time::sleep(RETRY).await;
    }
}

async fn watch(backbone: &Backbone, members: &watch::Sender<Members>) -> Result<Infallible, KvError> {
    let mut watch = backbone.kv(Bucket::Leases).watch().await?;
    // Collected aside first: a lease that went while nobody watched must not stay.
    let mut there = Members { known: true, ..Members::default() };
    let mut is_current = false;
    loop {
        match watch.next().await? {
            WatchEvent::Put(entry) => there.put(&entry.key, entry.value),
            WatchEvent::Removed(key) => there.remove(&key),
            WatchEvent::Current => is_current = true,
        }
        if is_current {
            // Renewals change nothing.
            members.send_if_modified(|known| {
                let changed = *known != there;
                known.clone_from(&there);
                changed
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::facts::edge_lease_key;

    #[tokio::test(start_paused = true)]
    async fn members_come_and_go() {
        let backbone = Backbone::memory(&Config::default());
        let ttl = Duration::from_secs(5);
        let replica = |node: &str| ControlReplica { node: node.to_owned(), ..ControlReplica::default() };
        let value = |node: &str| Bytes::from(replica(node).encode_to_vec());
        let _a = backbone.lease(&replica_lease_key("a"), value("a"), ttl * 10).await.unwrap();
        let edge = EdgeId::from_random(1);
        let leased = backbone.lease(&edge_lease_key(&edge), "e".into(), ttl * 10).await.unwrap();
        let (sender, mut members) = watch::channel(Members::default());
        let following = backbone.clone();
        tokio::spawn(async move { follow(&following, &sender).await });
        let seen = members.wait_for(|members| members.known).await.unwrap().clone();
        assert_eq!((seen.edges.len(), seen.replicas.len(), seen.leader), (1, 1, None));
        leased.release().await.unwrap();
        let seen = members.wait_for(|members| members.edges.is_empty()).await.unwrap().clone();
        assert_eq!(seen.live_edges(), 1);
        let _b = backbone.lease(LEADER_LEASE, value("b"), ttl).await.unwrap();
        members.wait_for(|members| members.leader == Some(replica("b"))).await.unwrap();
        members.wait_for(|members| members.leader.is_none()).await.unwrap();
        assert_eq!(members.borrow().replicas.len(), 1);
    }
}
