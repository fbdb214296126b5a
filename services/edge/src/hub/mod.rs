//! The hub: from the backbone's records to the queues of this node's subscribers.
//!
//! Owns which channels this node is attached to, who is subscribed to each, the newest records of each, and the fan-out.
//! Knows nothing of sockets or sessions: a subscriber is a queue with an id.
//!
//! One task per channel attaches it, and hands out its records in their order. A record is encoded once, WebSocket
//! header included, and every subscriber's queue gets the same bytes. Channels share nothing but a sharded map that is
//! only touched when a subscription begins or a channel ends.

mod channel;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use backbone::Backbone;
use backbone::registry::Apps;
use channels::{AppId, ChannelName, Position, Tier};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connections::Peer;
use crate::metrics::Metrics;
use crate::occupancy::Changes;
use crate::queue::Frame;
pub(crate) use channel::{Channel, Subscription};
pub(crate) use ring::Replay;

/// Parts of the channel map.
const SHARDS: usize = 64;

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
    /// Where changed subscription counts are noted.
    changes: Arc<Changes>,
    metrics: Arc<Metrics>,
}

impl Hub {
    /// A hub without channels, whose tasks end with `stop`.
    pub(crate) fn new(
        config: &Config,
        backbone: Backbone,
        apps: Apps,
        changes: Arc<Changes>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let settings = Settings {
            ring_messages: config.ring_messages,
            ring_bytes: config.ring_bytes,
            detach_linger: config.detach_linger,
            attach_timeout: config.attach_timeout,
        };
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { backbone, apps, settings, shards, tasks: TaskTracker::new(), stop, changes, metrics })
    }

    /// Subscribes `peer`. It gets `confirmation` when every record published afterwards is sure to come, and before any
    /// of them: at once if the channel is attached, else as soon as it is. If it cannot be attached in time, the
    /// connection is ended.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        name: &ChannelName,
        confirmation: Frame,
    ) -> Subscription {
        let mut confirmation = confirmation;
        loop {
            let channel = self.channel(&peer.app, name);
            match channel.join(self, peer, confirmation) {
                Ok(subscription) => return subscription,
                // It ended between the two; the next look makes a new one.
                Err(back) => confirmation = back,
            }
        }
    }

    fn shard(&self, app: &AppId, name: &ChannelName) -> &Mutex<Map> {
        let mut hasher = DefaultHasher::new();
        (app, name).hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % SHARDS as u64).unwrap_or_default();
        &self.shards[index]
    }

    /// The channel, which is created with its task if it is not there.
    fn channel(self: &Arc<Self>, app: &AppId, name: &ChannelName) -> Arc<Channel> {
        let mut map = self.shard(app, name).lock();
        match map.entry(app.clone()).or_default().entry(name.clone()) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => {
                let channel = Arc::new(Channel::new(app.clone(), name.clone(), &self.settings));
                self.tasks.spawn(channel::run(Arc::clone(self), Arc::clone(&channel)));
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
        self.apps.get(&channel.app).map(|app| app.namespaces.tier(channel.name.as_str())).unwrap_or_default()
    }

    /// Has the channels of `apps`, whose settings have changed, look at their tier again.
    pub(crate) fn recheck(&self, apps: &[AppId]) {
        for shard in &self.shards {
            let map = shard.lock();
            apps.iter().filter_map(|app| map.get(app)).flat_map(HashMap::values).for_each(|channel| channel.look());
        }
    }

    /// Subscribed connections of this node.
    pub(crate) fn subscriptions(&self, app: &AppId, name: &ChannelName) -> u64 {
        self.find(app, name).map_or(0, |channel| channel.subscriptions())
    }

    /// The app's channels with subscribers on this node.
    pub(crate) fn occupied(&self, app: &AppId) -> Vec<(ChannelName, u64)> {
        let mut occupied = Vec::new();
        for shard in &self.shards {
            for channel in shard.lock().get(app).into_iter().flat_map(HashMap::values) {
                let subscriptions = channel.subscriptions();
                if subscriptions > 0 {
                    occupied.push((channel.name.clone(), subscriptions));
                }
            }
        }
        occupied
    }

    /// Every channel with subscribers on this node.
    pub(crate) fn all_occupied(&self) -> Vec<Arc<Channel>> {
        let occupied = |shard: &Mutex<Map>| -> Vec<_> {
            let map = shard.lock();
            let channels = map.values().flat_map(HashMap::values);
            channels.filter(|channel| channel.subscriptions() > 0).cloned().collect()
        };
        self.shards.iter().flat_map(occupied).collect()
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
