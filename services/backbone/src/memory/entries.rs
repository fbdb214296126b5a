//! What one bucket holds, and the rules by which it changes.
//!
//! Knows neither locks nor disks, and no clock: the time comes from whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::kv::KvError;

/// One change somebody asks for.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: String,
    /// `None` removes the key.
    pub(super) value: Option<Bytes>,
    pub(super) expected: Expected,
    /// How long the value stays, if not for good.
    pub(super) ttl: Option<Duration>,
}

/// What must be there for a write to happen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    Anything,
    Nothing,
    Revision(u64),
}

impl Expected {
    /// Whether this is so when the key's value has the revision `current`.
    pub(super) fn check(self, current: Option<u64>) -> Result<(), KvError> {
        match (self, current) {
            (Self::Anything, _) | (Self::Nothing, None) => Ok(()),
            (Self::Nothing, Some(_)) => Err(KvError::Exists),
            (Self::Revision(expected), Some(current)) if expected == current => Ok(()),
            (Self::Revision(_), _) => Err(KvError::Conflict),
        }
    }
}

/// A bucket's content.
#[derive(Debug)]
pub(super) struct Entries {
    /// How long the marker of a removed key or lapsed value stays, for watchers that have not looked yet.
    marker_ttl: Duration,
    revision: u64,
    keys: BTreeMap<String, Slot>,
    /// The keys by their revisions: what is new is at the end.
    revisions: BTreeMap<u64, String>,
    /// The keys that expire, by when.
    deadlines: BTreeSet<(Instant, String)>,
}

#[derive(Debug)]
pub(super) struct Slot {
    /// `None` once removed. Kept for a while so that a watcher that was behind learns of the removal.
    pub(super) value: Option<Bytes>,
    pub(super) revision: u64,
    /// When a value lapses, or the marker of a removal goes.
    expires: Option<Instant>,
}

impl Slot {
    /// The value, unless it has lapsed by `now`.
    pub(super) fn at(&self, now: Instant) -> Option<&Bytes> {
        self.value.as_ref().filter(|_| self.expires.is_none_or(|at| at > now))
    }
}

/// What has lapsed.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Keys whose values have.
    pub(super) values: Vec<String>,
    /// Removed keys that need not be remembered any more.
    pub(super) markers: Vec<String>,
}

impl Entries {
    pub(super) fn new(marker_ttl: Duration) -> Self {
        let (revision, keys, revisions, deadlines) = Default::default();
        Self { marker_ttl, revision, keys, revisions, deadlines }
    }

    /// Takes note that there have been revisions up to this one.
    pub(super) fn advance(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// The newest revision.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn slot(&self, key: &str) -> Option<&Slot> {
        self.keys.get(key)
    }

    /// The keys from `first` on, in their order.
    pub(super) fn starting_at<'a>(&'a self, first: &str) -> impl Iterator<Item = (&'a String, &'a Slot)> + use<'a> {
        self.keys.range(first.to_owned()..)
    }

    /// The keys that changed after `revision`, in the order in which they did.
    pub(super) fn since(&self, revision: u64) -> impl Iterator<Item = (&String, &Slot)> {
        self.revisions.range(revision + 1..).filter_map(|(_, key)| self.keys.get_key_value(key))
    }

    /// When the next value lapses, or the next marker goes.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// What has lapsed by `now` and is still here.
    pub(super) fn due(&self, now: Instant) -> Due {
        let mut due = Due::default();
        for (_, key) in self.deadlines.iter().take_while(|(at, _)| *at <= now) {
            let has_value = self.keys.get(key).is_some_and(|slot| slot.value.is_some());
            if has_value { due.values.push(key.clone()) } else { due.markers.push(key.clone()) }
        }
        due
    }

    /// Removes what has lapsed by `now`.
    pub(super) fn expire(&mut self, now: Instant) {
        let due = self.due(now);
        for key in &due.markers {
            self.forget(key);
        }
        for key in due.values {
            self.set(key, None, None, self.revision + 1, now);
        }
    }

    /// Does what is asked, if what is expected is so; gives the revision.
    pub(super) fn write(&mut self, write: Write, now: Instant) -> Result<u64, KvError> {
        self.expire(now);
        let Write { key, value, expected, ttl } = write;
        let current = self.keys.get(&key).filter(|slot| slot.value.is_some()).map(|slot| slot.revision);
        expected.check(current)?;
        if value.is_some() || current.is_some() {
            self.set(key, value, ttl, self.revision + 1, now);
        }
        Ok(self.revision)
    }

    /// Sets or removes a key at `revision`, which nothing has had before.
    pub(super) fn set(
        &mut self,
        key: String,
        value: Option<Bytes>,
        ttl: Option<Duration>,
        revision: u64,
        now: Instant,
    ) {
        self.forget(&key);
        let ttl = if value.is_some() { ttl } else { Some(self.marker_ttl) };
        // What would lapse beyond the clock's end does not lapse.
        let expires = ttl.and_then(|ttl| now.checked_add(ttl));
        self.advance(revision);
        self.revisions.insert(revision, key.clone());
        self.deadlines.extend(expires.map(|at| (at, key.clone())));
        self.keys.insert(key, Slot { value, revision, expires });
    }

    /// Drops all knowledge of a key.
    pub(super) fn forget(&mut self, key: &str) {
        let Some(slot) = self.keys.remove(key) else { return };
        self.revisions.remove(&slot.revision);
        if let Some(at) = slot.expires {
            self.deadlines.remove(&(at, key.to_owned()));
        }
    }
}
