//! Buckets in process: the same rules as JetStream's, without the network. Those that a data directory keeps change only
//! through its [`Store`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clock::sleep_until;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::disk::Store;
use super::entries::{Entries, Expected, Write};
use crate::kv::{Entry, KvError, Listing, WatchEvent};

/// One bucket in this process.
#[derive(Clone, Debug)]
pub struct Kv {
    shared: Arc<Shared>,
    /// What keeps the bucket, and its number there, if anything does. Then only that changes the bucket.
    store: Option<(Arc<Store>, usize)>,
}

/// A bucket's content and who waits for it to change.
#[derive(Debug)]
pub(super) struct Shared {
    entries: Mutex<Entries>,
    /// The newest revision; wakes watchers.
    changed: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn new(entries: Entries) -> Self {
        let changed = watch::Sender::new(entries.revision());
        Self { entries: Mutex::new(entries), changed }
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Entries) -> T) -> T {
        let mut entries = self.entries.lock();
        let result = change(&mut entries);
        let revision = entries.revision();
        drop(entries);
        self.changed.send_if_modified(|seen| std::mem::replace(seen, revision) != revision);
        result
    }
}

impl Kv {
    /// An empty bucket, in which the marker of a removed key stays for `marker_ttl`.
    pub(super) fn new(marker_ttl: Duration) -> Self {
        Self { shared: Arc::new(Shared::new(Entries::new(marker_ttl))), store: None }
    }

    /// The bucket that `store` keeps under the number `index`.
    pub(super) fn stored(shared: Arc<Shared>, store: Arc<Store>, index: usize) -> Self {
        Self { shared, store: Some((store, index)) }
    }

    /// Reads at a time by which what has lapsed is either gone or to be passed over ([`Slot::at`]).
    ///
    /// [`Slot::at`]: super::entries::Slot::at
    fn read<T>(&self, read: impl FnOnce(&Entries, Instant) -> T) -> T {
        let now = Instant::now();
        self.shared.with(|entries| {
            if self.store.is_none() {
                entries.expire(now);
            }
            read(entries, now)
        })
    }

    async fn write(&self, write: Write) -> Result<u64, KvError> {
        match &self.store {
            Some((store, index)) => store.write(*index, write).await,
            None => self.shared.with(|entries| entries.write(write, Instant::now())),
        }
    }

    async fn set(&self, key: &str, value: Bytes, expected: Expected, ttl: Option<Duration>) -> Result<u64, KvError> {
        self.write(Write { key: key.to_owned(), value: Some(value), expected, ttl }).await
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.read(|entries, now| {
            let slot = entries.slot(key)?;
            Some(Entry { key: key.to_owned(), value: slot.at(now)?.clone(), revision: slot.revision })
        })
    }

    pub(crate) fn revision(&self, key: &str) -> Option<u64> {
        self.read(|entries, _| entries.slot(key).map(|slot| slot.revision))
    }

    pub(crate) async fn create(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.set(key, value, Expected::Nothing, None).await
    }

    pub(crate) async fn create_expiring(&self, key: &str, value: Bytes, ttl: Duration) -> Result<u64, KvError> {
        self.set(key, value, Expected::Nothing, Some(ttl)).await
    }

    pub(crate) async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, KvError> {
        self.set(key, value, Expected::Revision(revision), None).await
    }

    pub(crate) async fn update_expiring(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Duration,
    ) -> Result<u64, KvError> {
        self.set(key, value, Expected::Revision(revision), Some(ttl)).await
    }

    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.set(key, value, Expected::Anything, None).await
    }

    pub(crate) async fn put_expiring(&self, key: &str, value: Bytes, ttl: Duration) -> Result<u64, KvError> {
        self.set(key, value, Expected::Anything, Some(ttl)).await
    }

    pub(crate) async fn remove(&self, key: &str, revision: Option<u64>) -> Result<u64, KvError> {
        let expected = revision.map_or(Expected::Anything, Expected::Revision);
        self.write(Write { key: key.to_owned(), value: None, expected, ttl: None }).await
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
        self.read(|entries, now| {
            let range = entries.starting_at(alike).take_while(|(key, _)| key.starts_with(alike));
            let within = range.filter(|(key, _)| matches(key));
            let entry = within.filter_map(|(key, slot)| {
                Some(Entry { key: key.clone(), value: slot.at(now)?.clone(), revision: slot.revision })
            });
            Listing { as_of: entries.revision(), entries: entry.collect() }
        })
    }

    pub(crate) fn watch(&self) -> Watch {
        let changed = self.shared.changed.subscribe();
        Watch { kv: self.clone(), changed, seen: 0, pending: VecDeque::new(), current: false }
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
            tokio::select! {
                // The sender lives in `self.kv`, so this cannot fail.
                _ = self.changed.changed() => {}
                () = sleep_until(next_expiry) => {}
            }
        }
    }

    /// Queues what is new; gives the time at which to look again even if nothing changes.
    fn collect(&mut self) -> Option<Instant> {
        let Self { kv, seen, pending, current, .. } = self;
        kv.read(|entries, now| {
            for (key, slot) in entries.since(*seen) {
                match (&slot.value, slot.at(now)) {
                    (Some(_), Some(value)) => pending.push_back(WatchEvent::Put(Entry {
                        key: key.clone(),
                        value: value.clone(),
                        revision: slot.revision,
                    })),
                    // Lapsed: its removal is about to be told.
                    (Some(_), None) => {}
                    // A key removed before the watch began was never told, so its removal is no news.
                    (None, _) if *current => pending.push_back(WatchEvent::Removed(key.clone())),
                    (None, _) => {}
                }
            }
            *seen = entries.revision();
            if !std::mem::replace(current, true) {
                pending.push_back(WatchEvent::Current);
            }
            // A store tells of what lapses when it has written that down.
            if kv.store.is_some() { None } else { entries.next_deadline() }
        })
    }
}
