//! What other edges have written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use backbone::facts::{Count, CountKey, Parts};
use backbone::{Entry, KvError, WatchEvent};
use channels::{AppId, ChannelName, EdgeId};
use pusher::api::Counts;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Occupancy, add};
use crate::membership::Membership;

/// Pause before a failed watch is begun again.
const BACKOFF: Duration = Duration::from_secs(1);

/// The counts of other edges.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// By app, then channel token.
    counts: HashMap<AppId, HashMap<Box<str>, Elsewhere>>,
    /// Edges that have counts and no lease, and since when.
    silent: HashMap<EdgeId, Instant>,
}

/// One channel on other edges.
#[derive(Debug)]
struct Elsewhere {
    channel: ChannelName,
    edges: HashMap<EdgeId, Told>,
}

/// What an edge has written about one channel.
#[derive(Clone, Copy, Debug)]
struct Told {
    subscriptions: u64,
    users: Option<u64>,
    parts: Parts,
    /// Of the entry that says so.
    revision: u64,
}

impl Elsewhere {
    /// What the living edges have told: their subscriptions together, and the users as who knows them told last.
    fn believed(&self, membership: &Membership) -> Counts {
        let alive = || self.edges.iter().filter(|(edge, _)| membership.is_alive(edge)).map(|(_, told)| told);
        Counts {
            subscriptions: alive().map(|told| told.subscriptions).sum(),
            users: alive().filter_map(|told| Some((told.revision, told.users?))).max().map_or(0, |(_, users)| users),
        }
    }

    /// The subscriptions of the living edges, and how they take part.
    fn parts(&self, membership: &Membership) -> (u64, Parts) {
        let alive = self.edges.iter().filter(|(edge, _)| membership.is_alive(edge)).map(|(_, told)| told);
        alive.fold((0, Parts::default()), |(count, parts), told| (count + told.subscriptions, add(parts, told.parts)))
    }
}

impl Cluster {
    pub(super) fn counts(&self, app: &AppId, token: &str, membership: &Membership) -> Counts {
        let elsewhere = self.counts.get(app).and_then(|channels| channels.get(token));
        elsewhere.map(|elsewhere| elsewhere.believed(membership)).unwrap_or_default()
    }

    pub(super) fn parts(&self, app: &AppId, token: &str, membership: &Membership) -> (u64, Parts) {
        let elsewhere = self.counts.get(app).and_then(|channels| channels.get(token));
        elsewhere.map(|elsewhere| elsewhere.parts(membership)).unwrap_or_default()
    }

    pub(super) fn occupied(&self, app: &AppId, membership: &Membership) -> BTreeMap<ChannelName, Counts> {
        let channels = self.counts.get(app).into_iter().flat_map(HashMap::values);
        let counted = channels.map(|elsewhere| (elsewhere.channel.clone(), elsewhere.believed(membership)));
        counted.filter(|(_, counts)| counts.subscriptions > 0).collect()
    }

    fn set(&mut self, key: &CountKey, channel: ChannelName, told: Told) {
        let channels = self.counts.entry(key.app.clone()).or_default();
        let new = || Elsewhere { channel, edges: HashMap::new() };
        channels.entry(key.token.clone()).or_insert_with(new).edges.insert(key.edge.clone(), told);
    }

    /// Gives the channel that was counted.
    fn remove(&mut self, key: &CountKey) -> Option<ChannelName> {
        let channels = self.counts.get_mut(&key.app)?;
        let elsewhere = channels.get_mut(&key.token)?;
        elsewhere.edges.remove(&key.edge)?;
        let channel = elsewhere.channel.clone();
        if elsewhere.edges.is_empty() {
            channels.remove(&key.token);
            if channels.is_empty() {
                self.counts.remove(&key.app);
            }
        }
        Some(channel)
    }

    /// Everything `edge` has counted.
    fn counted_by(&self, edge: &EdgeId) -> Vec<(AppId, ChannelName, Told)> {
        let mut counted = Vec::new();
        for (app, channels) in &self.counts {
            let theirs = channels.values().filter_map(|elsewhere| Some((elsewhere, elsewhere.edges.get(edge)?)));
            counted.extend(theirs.map(|(elsewhere, told)| (app.clone(), elsewhere.channel.clone(), *told)));
        }
        counted
    }

    /// Edges that have had counts and no lease for as long as `grace`.
    fn dead(&mut self, now: Instant, grace: Duration, membership: &Membership) -> Vec<EdgeId> {
        let edges = self.counts.values().flat_map(HashMap::values).flat_map(|elsewhere| elsewhere.edges.keys());
        let without: HashSet<EdgeId> = edges.filter(|edge| !membership.is_alive(edge)).cloned().collect();
        self.silent.retain(|edge, _| without.contains(edge));
        for edge in without {
            self.silent.entry(edge).or_insert(now);
        }
        self.silent.iter().filter(|(_, since)| now - **since >= grace).map(|(edge, _)| edge.clone()).collect()
    }
}

impl Occupancy {
    /// Follows the counts of others until `stop`; a failed watch is begun again, and what is known stays meanwhile.
    pub(super) async fn follow(&self, stop: CancellationToken) {
        let follow = async {
            loop {
                let Err(error) = self.watch().await;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "lost the watch of counts, beginning it again"
                );
                tokio::time::sleep(BACKOFF).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
            () = self.tell_who_went() => {}
        }
    }

    /// The counts of an edge that comes or goes begin or cease to be believed.
    async fn tell_who_went(&self) {
        let mut changed = self.membership.changed();
        let mut known = self.membership.alive();
        while changed.changed().await.is_ok() {
            let alive = self.membership.alive();
            for edge in alive.symmetric_difference(&known) {
                let cluster = self.cluster.lock();
                for (app, channel, _) in cluster.counted_by(edge) {
                    self.changed(&cluster, &app, &channel);
                }
            }
            known = alive;
        }
    }

    async fn watch(&self) -> Result<std::convert::Infallible, KvError> {
        let mut watch = self.counts.watch().await?;
        // Collected aside first: an entry that went while nobody watched must not stay.
        let mut fresh = Some(Cluster::default());
        loop {
            let event = watch.next().await?;
            if event != WatchEvent::Current {
                match &mut fresh {
                    Some(fresh) => drop(self.apply(fresh, event)),
                    None => {
                        let mut cluster = self.cluster.lock();
                        if let Some((app, channel)) = self.apply(&mut cluster, event) {
                            self.changed(&cluster, &app, &channel);
                        }
                    }
                }
            } else if let Some(fresh) = fresh.take() {
                let mut cluster = self.cluster.lock();
                let former = std::mem::replace(&mut cluster.counts, fresh.counts);
                for (app, channels) in former.iter().chain(&cluster.counts) {
                    channels.values().for_each(|elsewhere| self.changed(&cluster, app, &elsewhere.channel));
                }
            }
        }
    }

    /// What is to be believed of others' subscribers in `channel` may have changed.
    fn changed(&self, cluster: &Cluster, app: &AppId, channel: &ChannelName) {
        let others = cluster.counts(app, channel.token().as_str(), &self.membership);
        self.occupied.elsewhere(app, channel, self.meters.get(app).as_deref(), others.subscriptions > 0);
        self.news.note(app, channel);
    }

    /// Takes note of one entry; gives the channel it was about.
    pub(super) fn apply(&self, cluster: &mut Cluster, event: WatchEvent) -> Option<(AppId, ChannelName)> {
        let (key, value) = match event {
            WatchEvent::Put(Entry { key, value, revision }) => (key, Some((value, revision))),
            WatchEvent::Removed(key) => (key, None),
            WatchEvent::Current => return None,
        };
        // Our own counts are the hub's to tell.
        let me = self.membership.me();
        let key = CountKey::parse(&key).filter(|key| key.edge != me)?;
        let told = value.and_then(|(value, revision)| {
            let Count { channel, subscriptions, users, parts } = Count::decode(value)?;
            Some((channel, Told { subscriptions, users, parts, revision }))
        });
        let channel = match told {
            Some((channel, told)) => {
                cluster.set(&key, channel.clone(), told);
                channel
            }
            None => cluster.remove(&key)?,
        };
        Some((key.app, channel))
    }

    /// Removes what dead edges left, while this edge is the one to do it.
    pub(super) async fn reap(&self, stop: CancellationToken) {
        let grace = self.membership.ttl();
        let mut ticks = tokio::time::interval(grace / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let dead = self.cluster.lock().dead(Instant::now(), grace, &self.membership);
            if self.membership.cleans_up() {
                for edge in dead {
                    self.bury(&edge).await;
                }
            }
        }
    }

    /// Removes the counts of `edge`, as far as they are still what we know of.
    pub(super) async fn bury(&self, edge: &EdgeId) {
        // Not to know of a lease is not to know that there is none.
        if !matches!(self.membership.find_out(edge).await, Ok(false)) {
            return;
        }
        let counted = self.cluster.lock().counted_by(edge);
        tracing::info!(%edge, counts = counted.len(), "removing the subscription counts of an edge that is gone");
        for (app, channel, told) in counted {
            let key = CountKey::new(&app, &channel, edge).to_key();
            match self.counts.remove(&key, Some(told.revision)).await {
                Ok(_) | Err(KvError::Conflict | KvError::Exists) => {}
                Err(error @ (KvError::Unavailable(_) | KvError::InvalidKey)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "will be removed later");
                    return;
                }
            }
        }
    }
}
