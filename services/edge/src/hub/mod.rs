//! The hub: from the backbone's records to the queues of this node's subscribers.
//!
//! Owns which channels this node is attached to, who is subscribed to each, the newest records of each, and the fan-out.
//! Knows nothing of sockets or sessions: a subscriber is a queue with an id.
//!
//! One task per channel attaches it, and hands out its records in their order. A record is encoded once, WebSocket
//! header included, every subscriber's queue gets the same bytes, and the task has the queues write them. Channels share
//! nothing but a sharded map that is only touched when a subscription begins or a channel ends.
//!
//! Subscribers are Pusher clients, or followers: connections of the Ably protocol and event streams. All get the same
//! records in the same order, each in its own form.

mod cached;
mod catching_up;
mod channel;
mod due;
mod encoded;
mod entry;
mod event;
mod feed;
mod follower;
mod following;
mod keeper;
mod own;
mod presence;
mod replay;
mod ring;
mod roster;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use backbone::registry::Apps;
use backbone::{Backbone, Bucket, Kv, facts};
use bytes::Bytes;
use channels::{AppId, ChannelName, ClientId, ConnectionId, Position, QuotaKind, Tier};
use metering::Refused;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connections::Peer;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::occupancy::{Changes, Occupied};
use crate::queue::Frame;
use crate::tail::Tails;
use crate::webhooks::Webhooks;
pub(crate) use channel::{Channel, Subscription};
use channel::{Joining, NotJoined, Waits};
pub(crate) use event::{Event, EventKind};
pub(crate) use follower::{Attach, From, Medium};
pub(crate) use presence::MemberRequest;
use presence::Newcomer;
pub(crate) use ring::Replay;

/// Parts of the channel map.
const SHARDS: usize = 64;

/// When to come back to an app that has as many channels as it may have: nobody knows when one of them is left.
const CHANNELS_FULL: Duration = Duration::from_secs(10);

/// What the hub needs of the edge's settings.
#[derive(Clone, Copy, Debug)]
struct Settings {
    ring_messages: usize,
    ring_bytes: usize,
    detach_linger: Duration,
    attach_timeout: Duration,
}

/// Some channels, by app and name. By app first, so that what concerns one app does not walk over those of all.
type Map = HashMap<AppId, HashMap<ChannelName, Arc<Channel>>>;

/// The channels of this node.
#[derive(Debug)]
pub(crate) struct Hub {
    backbone: Backbone,
    apps: Apps,
    settings: Settings,
    shards: [Mutex<Map>; SHARDS],
    /// Owns the channels' tasks.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Members of presence channels.
    roster: Kv,
    membership: Arc<Membership>,
    /// How many members this node has, those included that are about to leave.
    members: AtomicUsize,
    /// Counts the members that said nothing of their own, to call what they say.
    member_ids: AtomicU64,
    /// How many channels have subscribers, and how many subscriptions there are.
    occupied_channels: AtomicU64,
    subscriptions: AtomicU64,
    /// Where changed counts are noted: for the cluster, and for subscribers here.
    changes: Arc<Changes>,
    news: Arc<Changes>,
    occupied: Arc<Occupied>,
    webhooks: Arc<Webhooks>,
    tails: Arc<Tails>,
    metrics: Arc<Metrics>,
}

/// What the hub works with.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) backbone: Backbone,
    pub(crate) apps: Apps,
    pub(crate) membership: Arc<Membership>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) news: Arc<Changes>,
    pub(crate) occupied: Arc<Occupied>,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Hub {
    /// A hub without channels, whose tasks end with `stop`.
    pub(crate) fn new(config: &Config, parts: Parts, stop: CancellationToken) -> Arc<Self> {
        let settings = Settings {
            ring_messages: config.ring_messages,
            ring_bytes: config.ring_bytes,
            detach_linger: config.detach_linger,
            attach_timeout: config.attach_timeout,
        };
        let Parts { backbone, apps, membership, changes, news, occupied, webhooks, tails, metrics } = parts;
        Arc::new(Self {
            roster: backbone.kv(Bucket::Roster),
            backbone,
            apps,
            settings,
            shards: std::array::from_fn(|_| Mutex::default()),
            tasks: TaskTracker::new(),
            stop,
            membership,
            members: AtomicUsize::new(0),
            member_ids: AtomicU64::new(0),
            occupied_channels: AtomicU64::new(0),
            subscriptions: AtomicU64::new(0),
            changes,
            news,
            occupied,
            webhooks,
            tails,
            metrics,
        })
    }

    /// Subscribes `peer`. It gets `confirmation` when every record published afterwards is sure to come, and before any
    /// of them: at once if the channel is attached, else as soon as it is. If it cannot be attached in time, the
    /// connection is ended.
    ///
    /// # Errors
    /// The app has as many channels as it may have.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        name: &ChannelName,
        confirmation: Frame,
    ) -> Result<Subscription, Refused> {
        self.join(peer, name, Joining::Pusher(Waits::ForChannel(Box::new(confirmation)), None))
    }

    /// Attaches `peer` by the Ably protocol, or as a stream of events. It gets, in this order: that it is attached, from
    /// where and whether anything is missing; what it has missed, or rewinds; who is there; and what happens from then on,
    /// nothing twice and nothing left out. Nothing of that is waited for here.
    ///
    /// # Errors
    /// The app has as many channels as it may have.
    pub(crate) fn attach(self: &Arc<Self>, peer: &Arc<Peer>, attach: Attach) -> Result<Subscription, Refused> {
        let name = attach.name.base().clone();
        self.join(peer, &name, Joining::Follower(Box::new(attach)))
    }

    /// Subscribes `peer` as a member of a presence channel: `user`, of whom `info` is known. Its confirmation says who is
    /// there, itself included; it comes when everybody else can see it. If the channel is full, its queue is told.
    ///
    /// # Errors
    /// The app has as many channels, or members, as it may have.
    pub(crate) fn enter(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        name: &ChannelName,
        user: ClientId,
        info: Bytes,
    ) -> Result<Subscription, Refused> {
        self.join(peer, name, Joining::Pusher(Waits::ForEntry, Some(Newcomer::new(user, pusher::member_data(info)))))
    }

    fn join(self: &Arc<Self>, peer: &Arc<Peer>, name: &ChannelName, joining: Joining) -> Result<Subscription, Refused> {
        let (app, meter) = (&peer.app, &peer.meter);
        let limit = self.apps.get(app).and_then(|app| app.quota.channels);
        let joined = if self.occupied.enter(meter, name, limit) {
            self.let_in(peer, name, joining).inspect_err(|_| self.occupied.leave(meter, name))
        } else {
            meter.refused(QuotaKind::Channels);
            Err(Refused { quota: QuotaKind::Channels, retry_after: CHANNELS_FULL, shared: true })
        };
        joined.inspect_err(|refused| self.metrics.over_quota(refused.quota))
    }

    fn let_in(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        name: &ChannelName,
        mut joining: Joining,
    ) -> Result<Subscription, Refused> {
        loop {
            let channel = match self.find(&peer.app, name) {
                Some(channel) => channel,
                None => {
                    // Before anything is done for a channel that nobody is in.
                    if let Joining::Pusher(_, Some(newcomer)) = &mut joining {
                        newcomer.take_place(&peer.meter)?;
                    }
                    self.channel(peer, name)
                }
            };
            match channel.join(self, peer, joining) {
                Ok(subscription) => return Ok(subscription),
                Err(NotJoined::Refused(refused)) => return Err(refused),
                // The next look makes a new one.
                Err(NotJoined::Ended(back)) => joining = *back,
            }
        }
    }

    fn shard(&self, app: &AppId, name: &ChannelName) -> &Mutex<Map> {
        let mut hasher = DefaultHasher::new();
        (app, name).hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or_default();
        &self.shards[index]
    }

    /// The channel that `peer` asks for, which is created with its task if it is not there.
    fn channel(self: &Arc<Self>, peer: &Peer, name: &ChannelName) -> Arc<Channel> {
        let app = &peer.app;
        let mut map = self.shard(app, name).lock();
        match map.entry(app.clone()).or_default().entry(name.clone()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => {
                let channel = Arc::new(Channel::new(Arc::clone(&peer.meter), name.clone(), &self.settings));
                self.tasks.spawn(feed::run(Arc::clone(self), Arc::clone(&channel)));
                Arc::clone(entry.insert(channel))
            }
        }
    }

    fn find(&self, app: &AppId, name: &ChannelName) -> Option<Arc<Channel>> {
        self.shard(app, name).lock().get(app)?.get(name).cloned()
    }

    /// Takes `channel` out of the map if `may` still says so under both locks.
    fn remove(&self, channel: &Arc<Channel>, may: impl FnOnce(&Channel) -> bool) -> bool {
        let mut map = self.shard(&channel.app, &channel.name).lock();
        let removed = may(channel);
        if removed && let Some(of_app) = map.get_mut(&channel.app) {
            of_app.remove(&channel.name);
            if of_app.is_empty() {
                map.remove(&channel.app);
            }
        }
        removed
    }

    /// The tier of a channel by its app's rules as they are now. An app that is gone has nobody to serve.
    fn tier(&self, channel: &Channel) -> Tier {
        self.apps.get(&channel.app).map(|app| app.tier(&channel.name)).unwrap_or_default()
    }

    /// Has the channels of `apps`, whose settings have changed, look at their tier again.
    pub(crate) fn recheck(&self, apps: &[AppId]) {
        for shard in &self.shards {
            let map = shard.lock();
            apps.iter().filter_map(|app| map.get(app)).flat_map(HashMap::values).for_each(|channel| channel.look());
        }
    }

    /// Whether the app wants to know the positions of its events.
    fn tells_positions(&self, app: &AppId) -> bool {
        self.apps.get(app).is_some_and(|app| app.pusher.positions)
    }

    /// Notes that a count of the channel's has changed.
    fn note(&self, channel: &Channel) {
        self.changes.note(&channel.app, &channel.name);
        let told = !channel.kind.is_presence() && !channel.name.as_str().starts_with('#');
        let told = told && self.apps.get(&channel.app).is_some_and(|app| app.pusher.subscription_count);
        if told || channel.is_counted() {
            self.news.note(&channel.app, &channel.name);
        }
    }

    /// Tells the channel's subscribers how many they are in the cluster. When to try again, if it is too early.
    pub(crate) fn tell_count(&self, app: &AppId, name: &ChannelName, count: u64) -> Option<tokio::time::Instant> {
        let channel = self.find(app, name).filter(|channel| !channel.kind.is_presence())?;
        (!name.as_str().starts_with('#')).then(|| channel.tell_count(count))?.map(Into::into)
    }

    fn next_member(&self) -> u64 {
        self.member_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether members of this node's are still in presence channels.
    pub(crate) fn has_members(&self) -> bool {
        self.members.load(Ordering::Relaxed) > 0
    }

    /// Subscribed connections of this node, users of the whole cluster if this node follows them, and how the connections
    /// take part.
    pub(crate) fn counts(&self, app: &AppId, name: &ChannelName) -> (u64, Option<u64>, facts::Parts) {
        match self.find(app, name) {
            Some(channel) => (channel.subscriptions(), channel.user_count(), channel.parts()),
            None => (0, None, facts::Parts::default()),
        }
    }

    /// Whether somebody here wants to know how many take part in a channel, and how.
    pub(crate) fn wants_metrics(&self, app: &AppId, name: &ChannelName) -> bool {
        self.find(app, name).is_some_and(|channel| channel.is_counted())
    }

    /// Tells them, if that is news. When to try again, if it is too early.
    pub(crate) fn tell_metrics(
        &self,
        app: &AppId,
        name: &ChannelName,
        metrics: &ably::occupancy::Metrics,
    ) -> Option<tokio::time::Instant> {
        self.find(app, name)?.tell_metrics(metrics)
    }

    /// Subscribed connections of this node.
    pub(crate) fn subscriptions(&self, app: &AppId, name: &ChannelName) -> u64 {
        self.find(app, name).map_or(0, |channel| channel.subscriptions())
    }

    /// The app's channels with subscribers on this node.
    pub(crate) fn occupied(&self, app: &AppId) -> Vec<ChannelName> {
        let mut occupied = Vec::new();
        for shard in &self.shards {
            let map = shard.lock();
            let channels = map.get(app).into_iter().flat_map(HashMap::values);
            occupied.extend(channels.filter(|channel| channel.subscriptions() > 0).map(|channel| channel.name.clone()));
        }
        occupied
    }

    /// How many channels have subscribers on this node, and how many subscriptions there are.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.occupied_channels.load(Ordering::Relaxed), self.subscriptions.load(Ordering::Relaxed))
    }

    /// The connections of this node that are subscribed to a channel.
    pub(crate) fn subscribed(&self, app: &AppId, name: &ChannelName) -> Vec<Arc<Peer>> {
        self.find(app, name).map(|channel| channel.peers()).unwrap_or_default()
    }

    /// The channels that `peer` is subscribed to, by name. Goes through all subscriptions of its app.
    pub(crate) fn channels_of(&self, peer: &Arc<Peer>) -> Vec<ChannelName> {
        let channels = self.of(&peer.app);
        let mut names: Vec<_> =
            channels.iter().filter(|channel| channel.has(peer)).map(|channel| channel.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// The connections of this node that are present as `user` in any channel.
    pub(crate) fn present_as(&self, app: &AppId, user: &ClientId) -> Vec<ConnectionId> {
        self.of(app).iter().flat_map(|channel| channel.present_as(user)).collect()
    }

    fn of(&self, app: &AppId) -> Vec<Arc<Channel>> {
        let of_app = |shard: &Mutex<Map>| -> Vec<_> {
            shard.lock().get(app).into_iter().flat_map(HashMap::values).cloned().collect()
        };
        self.shards.iter().flat_map(of_app).collect()
    }

    /// Every channel whose members this node follows.
    fn presence_channels(&self) -> Vec<Arc<Channel>> {
        let presence = |shard: &Mutex<Map>| -> Vec<_> {
            let map = shard.lock();
            let channels = map.values().flat_map(HashMap::values);
            channels.filter(|channel| channel.follows_members()).cloned().collect()
        };
        self.shards.iter().flat_map(presence).collect()
    }

    /// Records after `position`, if this node happens to hold all of them.
    pub(crate) fn replay(&self, app: &AppId, name: &ChannelName, after: Position, limit: usize) -> Option<Replay> {
        self.find(app, name)?.replay(after, limit)
    }

    /// Waits until the channels' tasks have ended, after the stop.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
