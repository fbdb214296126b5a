//! Occupancy: how many connections of the whole cluster are subscribed to each channel, and how many users are in it.
//!
//! Every edge writes one count per channel with subscribers, under `{app}.{channel token}.{edge}`, and watches the
//! counts of all others; a question is answered from memory. An edge's counts are believed while it holds its lease.
//! When that is gone for a whole lease time, the living edge with the smallest id removes what the dead one left. Counts
//! of this node come straight from the hub and are exact; others lag by the writing interval.
//!
//! Signed-in users are counted like channels, under names no channel can have.

mod cluster;
mod occupied;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ably::occupancy::Metrics;
use backbone::facts::Parts;
use backbone::{Bucket, Kv};
use channels::{AppId, ChannelName};
use metering::Meters;
use parking_lot::Mutex;
use pusher::api::Counts;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::hub::{self, Hub};
use crate::membership::Membership;
use crate::users::Users;
use cluster::Cluster;
pub(crate) use occupied::Occupied;

/// What is counted: a channel of an app.
pub(crate) type Counted = (AppId, ChannelName);

/// Channels whose count has changed. Each stands here once, however often it changes, so there are no more than the hub
/// has had channels since they were last taken.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    noted: Mutex<HashSet<Counted>>,
    some: Notify,
}

impl Changes {
    /// Notes that the count of `channel` has changed.
    pub(crate) fn note(&self, app: &AppId, channel: &ChannelName) {
        if self.noted.lock().insert((app.clone(), channel.clone())) {
            self.some.notify_one();
        }
    }

    /// Waits until something is noted.
    pub(crate) async fn some(&self) {
        self.some.notified().await;
    }

    /// Takes what is noted. What changes from now on is noted again.
    pub(crate) fn take(&self) -> HashSet<Counted> {
        std::mem::take(&mut *self.noted.lock())
    }
}

/// The cluster's counts as this node knows them.
#[derive(Debug)]
pub(crate) struct Occupancy {
    counts: Kv,
    hub: Arc<Hub>,
    users: Arc<Users>,
    membership: Arc<Membership>,
    /// Counts of this node that are to be written.
    changes: Arc<Changes>,
    /// Counts of the cluster, of which somebody here may want to know.
    news: Arc<Changes>,
    /// Which channels are occupied anywhere. The hub says which are here.
    occupied: Arc<Occupied>,
    meters: Arc<Meters>,
    cluster: Mutex<Cluster>,
    interval: Duration,
}

impl Occupancy {
    /// Knows nothing of others until [`Self::run`] runs. Shares `parts` with the hub: has its changes from there, and tells
    /// of the cluster's by the news.
    pub(crate) fn new(
        parts: &hub::Parts,
        hub: Arc<Hub>,
        users: Arc<Users>,
        meters: Arc<Meters>,
        interval: Duration,
    ) -> Self {
        let hub::Parts { backbone, membership, changes, news, occupied, .. } = parts.clone();
        let counts = backbone.kv(Bucket::Occupancy);
        Self { counts, hub, users, membership, changes, news, occupied, meters, cluster: Mutex::default(), interval }
    }

    /// Writes this node's counts and follows the others' until `stop`; then removes its own.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.report(stop.clone()), self.follow(stop.clone()), self.reap(stop));
    }

    /// Subscribed connections of the cluster, and users, of one channel.
    pub(crate) fn counts(&self, app: &AppId, channel: &ChannelName) -> Counts {
        let others = self.cluster.lock().counts(app, channel.token().as_str(), &self.membership);
        let here = self.here(app, channel);
        Counts { subscriptions: others.subscriptions + here.subscriptions, users: here.users.unwrap_or(others.users) }
    }

    /// How connections of the cluster take part in one channel.
    pub(crate) fn metrics(&self, app: &AppId, channel: &ChannelName) -> Metrics {
        let (connections, parts) = self.cluster.lock().parts(app, channel.token().as_str(), &self.membership);
        let here = self.here(app, channel);
        metrics(connections + here.subscriptions, add(parts, here.parts))
    }

    /// The same of all of the app's channels with subscribers anywhere, by name.
    pub(crate) fn occupied_metrics(&self, app: &AppId) -> BTreeMap<ChannelName, Metrics> {
        self.occupied(app).into_keys().map(|channel| (channel.clone(), self.metrics(app, &channel))).collect()
    }

    /// The app's channels with subscribers anywhere, by name.
    pub(crate) fn occupied(&self, app: &AppId) -> BTreeMap<ChannelName, Counts> {
        let mut occupied = self.cluster.lock().occupied(app, &self.membership);
        occupied.retain(|channel, _| !channel.as_str().starts_with('#'));
        for channel in self.hub.occupied(app).into_iter().filter(|channel| !channel.as_str().starts_with('#')) {
            let here = self.here(app, &channel);
            let counts = occupied.entry(channel).or_default();
            counts.subscriptions += here.subscriptions;
            counts.users = here.users.unwrap_or(counts.users);
        }
        occupied
    }

    /// What this node knows by itself.
    fn here(&self, app: &AppId, channel: &ChannelName) -> Here {
        match self.users.signed_in(app, channel) {
            Some(connections) => Here { subscriptions: connections, ..Here::NONE },
            None => {
                let (subscriptions, users, parts) = self.hub.counts(app, channel);
                Here { subscriptions, users, parts }
            }
        }
    }
}

/// One channel on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Here {
    subscriptions: u64,
    /// Of the whole cluster, if this node follows the channel's roster.
    users: Option<u64>,
    /// How the connections take part.
    parts: Parts,
}

fn add(one: Parts, other: Parts) -> Parts {
    Parts {
        publishers: one.publishers + other.publishers,
        subscribers: one.subscribers + other.subscribers,
        presence_subscribers: one.presence_subscribers + other.presence_subscribers,
        presence_members: one.presence_members + other.presence_members,
        presence_connections: one.presence_connections + other.presence_connections,
    }
}

fn metrics(connections: u64, parts: Parts) -> Metrics {
    Metrics {
        connections,
        publishers: parts.publishers,
        subscribers: parts.subscribers,
        presence_connections: parts.presence_connections,
        presence_members: parts.presence_members,
        presence_subscribers: parts.presence_subscribers,
        ..Metrics::default()
    }
}
