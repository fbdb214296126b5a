//! Occupancy: how many connections of the whole cluster are subscribed to each channel.
//!
//! Every edge writes one count per channel with subscribers, under `{app}.{channel token}.{edge}`, and watches the
//! counts of all others; a question is answered from memory. An edge's counts are believed while it holds its lease
//! `edge/{edge}`. When the lease is gone for a whole lease time, the living edge with the smallest id removes what the
//! dead one left. Counts of this node come straight from the hub and are exact; others lag by the writing interval.

mod cluster;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backbone::{Backbone, Bucket, Kv};
use channels::{AppId, ChannelName};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::hub::{Channel, Hub};
use cluster::Cluster;

/// In front of an edge's id in its lease's key.
const LEASE_PREFIX: &str = "edge/";

/// An edge process, for as long as it runs: 16 hex digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EdgeId(Arc<str>);

impl EdgeId {
    pub(crate) fn random() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()).into())
    }
}

impl fmt::Debug for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Channels whose count has changed. Each stands here once, however often it changes, so the list is no longer than
/// the hub has channels.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    noted: Mutex<Vec<Arc<Channel>>>,
    some: Notify,
}

impl Changes {
    /// Notes that the count of `channel` has changed.
    pub(crate) fn note(&self, channel: &Arc<Channel>) {
        if !channel.noted.swap(true, std::sync::atomic::Ordering::AcqRel) {
            self.noted.lock().push(Arc::clone(channel));
            self.some.notify_one();
        }
    }

    /// Takes what is noted. What changes from now on is noted again.
    fn take(&self) -> Vec<Arc<Channel>> {
        let noted = std::mem::take(&mut *self.noted.lock());
        for channel in &noted {
            // Read as well as written, so that the count of whoever found it set is seen by who reads it next.
            channel.noted.swap(false, std::sync::atomic::Ordering::AcqRel);
        }
        noted
    }
}

/// The cluster's counts as this node knows them.
#[derive(Debug)]
pub(crate) struct Occupancy {
    me: EdgeId,
    backbone: Backbone,
    counts: Kv,
    hub: Arc<Hub>,
    changes: Arc<Changes>,
    cluster: Mutex<Cluster>,
    interval: Duration,
    lease_ttl: Duration,
}

impl Occupancy {
    /// Knows nothing of others until [`Self::run`] runs.
    pub(crate) fn new(
        backbone: Backbone,
        hub: Arc<Hub>,
        changes: Arc<Changes>,
        interval: Duration,
        lease_ttl: Duration,
    ) -> Self {
        let counts = backbone.kv(Bucket::Occupancy);
        let me = EdgeId::random();
        Self { me, backbone, counts, hub, changes, cluster: Mutex::default(), interval, lease_ttl }
    }

    /// Writes this node's counts and follows the others' until `stop`; then removes its own.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        tokio::join!(
            self.report(stop.clone()),
            self.follow(Bucket::Occupancy, stop.clone()),
            self.follow(Bucket::Leases, stop.clone()),
            self.reap(stop),
        );
    }

    /// Connections of the cluster subscribed to one channel.
    pub(crate) fn subscriptions(&self, app: &AppId, channel: &ChannelName) -> u64 {
        let others = self.cluster.lock().subscriptions(app, channel.token().as_str());
        others + self.hub.subscriptions(app, channel)
    }

    /// The app's channels with subscribers anywhere, by name.
    pub(crate) fn occupied(&self, app: &AppId) -> BTreeMap<ChannelName, u64> {
        let mut occupied: BTreeMap<ChannelName, u64> = self.cluster.lock().occupied(app);
        for (channel, subscriptions) in self.hub.occupied(app) {
            *occupied.entry(channel).or_default() += subscriptions;
        }
        occupied
    }
}
