//! What other edges have written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use backbone::{Bucket, Entry, Kv, KvError, WatchEvent};
use channels::{AppId, ChannelName};
use prost::Message as _;
use proto::backbone::Occupancy as Count;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{EdgeId, LEASE_PREFIX, Occupancy};

/// Format of a count that this process writes, and the newest it reads.
pub(super) const VERSION: u32 = 1;

/// Pause before a failed watch is begun again.
const BACKOFF: Duration = Duration::from_secs(1);

/// The counts of other edges, and who is alive.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    /// By app, then channel token.
    counts: HashMap<AppId, HashMap<Box<str>, Elsewhere>>,
    alive: BTreeSet<EdgeId>,
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
    /// Of the entry that says so.
    revision: u64,
}

impl Cluster {
    fn believed(&self, elsewhere: &Elsewhere) -> u64 {
        elsewhere.edges.iter().filter(|(edge, _)| self.alive.contains(*edge)).map(|(_, told)| told.subscriptions).sum()
    }

    pub(super) fn subscriptions(&self, app: &AppId, token: &str) -> u64 {
        let elsewhere = self.counts.get(app).and_then(|channels| channels.get(token));
        elsewhere.map_or(0, |elsewhere| self.believed(elsewhere))
    }

    pub(super) fn occupied(&self, app: &AppId) -> BTreeMap<ChannelName, u64> {
        let channels = self.counts.get(app).into_iter().flat_map(HashMap::values);
        let counted = channels.map(|elsewhere| (elsewhere.channel.clone(), self.believed(elsewhere)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    fn set(&mut self, key: &CountKey, channel: ChannelName, told: Told) {
        let channels = self.counts.entry(key.app.clone()).or_default();
        let new = || Elsewhere { channel, edges: HashMap::new() };
        channels.entry(key.token.clone()).or_insert_with(new).edges.insert(key.edge.clone(), told);
    }

    fn remove(&mut self, key: &CountKey) {
        let Some(channels) = self.counts.get_mut(&key.app) else { return };
        let Some(elsewhere) = channels.get_mut(&key.token) else { return };
        elsewhere.edges.remove(&key.edge);
        if elsewhere.edges.is_empty() {
            channels.remove(&key.token);
            if channels.is_empty() {
                self.counts.remove(&key.app);
            }
        }
    }

    /// Edges that have had counts and no lease for as long as `grace`.
    fn dead(&mut self, now: Instant, grace: Duration) -> Vec<EdgeId> {
        let edges = self.counts.values().flat_map(HashMap::values).flat_map(|elsewhere| elsewhere.edges.keys());
        let without: BTreeSet<EdgeId> = edges.filter(|edge| !self.alive.contains(*edge)).cloned().collect();
        self.silent.retain(|edge, _| without.contains(edge));
        for edge in without {
            self.silent.entry(edge).or_insert(now);
        }
        self.silent.iter().filter(|(_, since)| now - **since >= grace).map(|(edge, _)| edge.clone()).collect()
    }

    /// The keys of what `edge` has written, with their revisions.
    fn keys_of(&self, edge: &EdgeId) -> Vec<(String, u64)> {
        let mut keys = Vec::new();
        for (app, channels) in &self.counts {
            let theirs = channels.iter().filter_map(|(token, elsewhere)| Some((token, elsewhere.edges.get(edge)?)));
            keys.extend(theirs.map(|(token, told)| (count_key(app, token, edge), told.revision)));
        }
        keys
    }
}

/// The key of a count: none of its parts holds a dot.
pub(super) fn count_key(app: &AppId, token: &str, edge: &EdgeId) -> String {
    format!("{app}.{token}.{edge}")
}

#[derive(Debug)]
struct CountKey {
    app: AppId,
    token: Box<str>,
    edge: EdgeId,
}

impl CountKey {
    fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('.');
        let app = AppId::new(parts.next()?).ok()?;
        let token = parts.next()?.into();
        let edge = EdgeId(parts.next()?.into());
        parts.next().is_none().then_some(Self { app, token, edge })
    }
}

impl Occupancy {
    /// Follows a bucket until `stop`; a failed watch is begun again, and what is known stays meanwhile.
    pub(super) async fn follow(&self, bucket: Bucket, stop: CancellationToken) {
        let kv = self.backbone.kv(bucket);
        let follow = async {
            loop {
                let Err(error) = self.watch(bucket, &kv).await;
                tracing::warn!(error = &error as &dyn std::error::Error, ?bucket, "lost a watch, beginning it again");
                tokio::time::sleep(BACKOFF).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
        }
    }

    async fn watch(&self, bucket: Bucket, kv: &Kv) -> Result<std::convert::Infallible, KvError> {
        let mut watch = kv.watch().await?;
        // Collected aside first: an entry that went while nobody watched must not stay.
        let mut fresh = Some(Cluster::default());
        loop {
            let event = watch.next().await?;
            if event != WatchEvent::Current {
                match &mut fresh {
                    Some(fresh) => self.apply(bucket, fresh, event),
                    None => self.apply(bucket, &mut self.cluster.lock(), event),
                }
            } else if let Some(fresh) = fresh.take() {
                let mut cluster = self.cluster.lock();
                if bucket == Bucket::Leases {
                    cluster.alive = fresh.alive;
                } else {
                    cluster.counts = fresh.counts;
                }
            }
        }
    }

    pub(super) fn apply(&self, bucket: Bucket, cluster: &mut Cluster, event: WatchEvent) {
        let (key, value) = match event {
            WatchEvent::Put(Entry { key, value, revision }) => (key, Some((value, revision))),
            WatchEvent::Removed(key) => (key, None),
            WatchEvent::Current => return,
        };
        if bucket == Bucket::Leases {
            let Some(edge) = key.strip_prefix(LEASE_PREFIX).map(|edge| EdgeId(edge.into())) else { return };
            match value {
                Some(_) => cluster.alive.insert(edge),
                None => cluster.alive.remove(&edge),
            };
            return;
        }
        // Our own counts are the hub's to tell.
        let Some(key) = CountKey::parse(&key).filter(|key| key.edge != self.me) else { return };
        let told = value.and_then(|(value, revision)| {
            let count = Count::decode(value).ok().filter(|count| count.version == VERSION)?;
            Some((ChannelName::new(&count.channel).ok()?, Told { subscriptions: count.subscriptions, revision }))
        });
        match told {
            Some((channel, told)) => cluster.set(&key, channel, told),
            None => cluster.remove(&key),
        }
    }

    /// Removes what dead edges left, while this edge is the one to do it.
    pub(super) async fn reap(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.lease_ttl / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let (dead, mine) = {
                let mut cluster = self.cluster.lock();
                let dead = cluster.dead(Instant::now(), self.lease_ttl);
                (dead, cluster.alive.first() == Some(&self.me))
            };
            for edge in dead.into_iter().filter(|_| mine) {
                self.bury(&edge).await;
            }
        }
    }

    /// Removes what `edge` has written, as far as it is still what we know of. It may have come back in the meantime,
    /// and what it writes then it writes only once.
    pub(super) async fn bury(&self, edge: &EdgeId) {
        let keys = self.cluster.lock().keys_of(edge);
        tracing::info!(%edge, counts = keys.len(), "removing the subscription counts of an edge that is gone");
        for (key, revision) in keys {
            match self.counts.remove(&key, Some(revision)).await {
                Ok(()) | Err(KvError::Conflict | KvError::Exists) => {}
                Err(error @ (KvError::Unavailable(_) | KvError::InvalidKey)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "will be removed later");
                    return;
                }
            }
        }
    }
}
