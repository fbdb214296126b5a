//! Buckets in process: the same rules as JetStream's, without the network.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::kv::{Entry, KvError, Listing, WatchEvent};

/// One bucket in this process.
#[derive(Clone, Debug)]
pub struct Kv {
    bucket: Arc<Mutex<BucketState>>,
    /// The newest revision; wakes watchers.
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Debug)]
struct BucketState {
    /// How long the marker of a removed key or lapsed lease stays, for watchers that have not looked yet.
    marker_ttl: Duration,
    revision: u64,
    keys: BTreeMap<String, Slot>,
    /// The keys by their revisions: what is new is at the end.
    revisions: BTreeMap<u64, String>,
    /// The keys that expire, by when.
    deadlines: BTreeSet<(Instant, String)>,
}

#[derive(Debug)]
struct Slot {
    /// `None` once removed. Kept for a while so that a watcher that was behind learns of the removal.
    value: Option<Bytes>,
    revision: u64,
    /// When a value lapses, or the marker of a removal goes.
    expires: Option<Instant>,
}

impl BucketState {
    /// Removes what has lapsed by `now`.
    fn expire(&mut self, now: Instant) {
        while let Some((at, key)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            let (at, key) = (*at, key.clone());
            if self.current(&key).is_some() {
                self.remove(&key);
            } else {
                self.forget(&key);
                self.deadlines.remove(&(at, key));
            }
        }
    }

    fn remove(&mut self, key: &str) -> u64 {
        self.set(key, None, Some(Instant::now() + self.marker_ttl))
    }

    fn set(&mut self, key: &str, value: Option<Bytes>, expires: Option<Instant>) -> u64 {
        self.forget(key);
        self.revision += 1;
        self.revisions.insert(self.revision, key.to_owned());
        self.deadlines.extend(expires.map(|at| (at, key.to_owned())));
        self.keys.insert(key.to_owned(), Slot { value, revision: self.revision, expires });
        self.revision
    }

    fn forget(&mut self, key: &str) {
        let Some(slot) = self.keys.remove(key) else { return };
        self.revisions.remove(&slot.revision);
        if let Some(at) = slot.expires {
            self.deadlines.remove(&(at, key.to_owned()));
        }
    }

    fn current(&self, key: &str) -> Option<&Slot> {
        self.keys.get(key).filter(|slot| slot.value.is_some())
    }
}

impl Kv {
    /// An empty bucket, in which the marker of a removed key stays for `marker_ttl`.
    pub(super) fn new(marker_ttl: Duration) -> Self {
        let bucket = BucketState {
            marker_ttl,
            revision: 0,
            keys: BTreeMap::new(),
            revisions: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        };
        Self { bucket: Arc::new(Mutex::new(bucket)), changed: Arc::new(watch::channel(0).0) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut BucketState) -> T) -> T {
        let mut bucket = self.bucket.lock();
        bucket.expire(Instant::now());
        let result = change(&mut bucket);
        let revision = bucket.revision;
        drop(bucket);
        self.changed.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
        result
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.with(|bucket| {
            let slot = bucket.current(key)?;
            Some(Entry { key: key.to_owned(), value: slot.value.clone()?, revision: slot.revision })
        })
    }

    pub(crate) fn revision(&self, key: &str) -> Option<u64> {
        self.with(|bucket| bucket.keys.get(key).map(|slot| slot.revision))
    }

    pub(crate) fn create(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.create_expiring(key, value, None)
    }

    pub(crate) fn create_expiring(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<u64, KvError> {
        let expires = ttl.map(|ttl| Instant::now() + ttl);
        self.with(|bucket| match bucket.current(key) {
            Some(_) => Err(KvError::Exists),
            None => Ok(bucket.set(key, Some(value), expires)),
        })
    }

    pub(crate) fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, KvError> {
        self.update_expiring(key, value, revision, None)
    }

    pub(crate) fn update_expiring(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Option<Duration>,
    ) -> Result<u64, KvError> {
        let expires = ttl.map(|ttl| Instant::now() + ttl);
        self.with(|bucket| match bucket.current(key) {
            Some(slot) if slot.revision == revision => Ok(bucket.set(key, Some(value), expires)),
            Some(_) | None => Err(KvError::Conflict),
        })
    }

    pub(crate) fn put(&self, key: &str, value: Bytes) -> u64 {
        self.with(|bucket| bucket.set(key, Some(value), None))
    }

    pub(crate) fn put_expiring(&self, key: &str, value: Bytes, ttl: Duration) -> u64 {
        self.with(|bucket| bucket.set(key, Some(value), Some(Instant::now() + ttl)))
    }

    pub(crate) fn list(&self, prefix: &str) -> Listing {
        // Up to the first part that may be any, all keys begin alike.
        let alike = format!("{prefix}.");
        let alike = alike.split('*').next().unwrap_or_default();
        let matches = |key: &str| {
            let mut parts = key.split('.');
            let begins = prefix.split('.').all(|part| parts.next().is_some_and(|own| part == "*" || part == own));
            begins && parts.next().is_some()
        };
        self.with(|bucket| {
            let range = bucket.keys.range(alike.to_owned()..).take_while(|(key, _)| key.starts_with(alike));
            let within = range.filter(|(key, _)| matches(key));
            let entry = |(key, slot): (&String, &Slot)| {
                Some(Entry { key: key.clone(), value: slot.value.clone()?, revision: slot.revision })
            };
            Listing { as_of: bucket.revision, entries: within.filter_map(entry).collect() }
        })
    }

    pub(crate) fn remove(&self, key: &str, revision: Option<u64>) -> Result<u64, KvError> {
        self.with(|bucket| {
            let current = bucket.current(key).map(|slot| slot.revision);
            if revision.is_some() && revision != current {
                return Err(KvError::Conflict);
            }
            Ok(if current.is_some() { bucket.remove(key) } else { bucket.revision })
        })
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch { kv: self.clone(), changed: self.changed.subscribe(), seen: 0, pending: VecDeque::new(), current: false }
    }
}

/// A watcher holds no queue of its own: it asks for what is newer than the last revision it told.
#[derive(Debug)]
pub struct Watch {
    kv: Kv,
    changed: watch::Receiver<u64>,
    seen: u64,
    pending: VecDeque<WatchEvent>,
    current: bool,
}

impl Watch {
    pub(crate) async fn next(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return event;
            }
            self.changed.mark_unchanged();
            let next_expiry = self.collect();
            if !self.pending.is_empty() {
                continue;
            }
            let lapse = async {
                match next_expiry {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives in `self.kv`, so this cannot fail.
                _ = self.changed.changed() => {}
                () = lapse => {}
            }
        }
    }

    /// Queues what is new; gives the time at which the next lease lapses.
    fn collect(&mut self) -> Option<Instant> {
        let Self { kv, seen, pending, current, .. } = self;
        kv.with(|bucket| {
            let newer = bucket.revisions.range(*seen + 1..).filter_map(|(_, key)| bucket.keys.get_key_value(key));
            for (key, slot) in newer {
                match &slot.value {
                    Some(value) => pending.push_back(WatchEvent::Put(Entry {
                        key: key.clone(),
                        value: value.clone(),
                        revision: slot.revision,
                    })),
                    // A key removed before the watch began was never told, so its removal is no news.
                    None if *current => pending.push_back(WatchEvent::Removed(key.clone())),
                    None => {}
                }
            }
            *seen = bucket.revision;
            if !std::mem::replace(current, true) {
                pending.push_back(WatchEvent::Current);
            }
            bucket.deadlines.first().map(|(at, _)| *at)
        })
    }
}
