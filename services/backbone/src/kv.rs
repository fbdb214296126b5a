//! Small shared state: named buckets of keys whose changes every process can watch.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};

use crate::{jetstream, memory};

/// Values that one reader asks for at the same time.
const READS_AT_ONCE: usize = 16;

/// The buckets Fanfare keeps. The backbone creates them all at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// What the cluster is made with.
    Meta,
    /// Apps with their keys, by app id.
    Apps,
    /// Leases; entries vanish by themselves. Written only through [`Lease`](crate::Lease).
    Leases,
    /// Subscription counts, by app, channel and edge.
    Occupancy,
    /// Presence members, by app, channel, edge, connection and user.
    Roster,
    /// Orders to all edges; entries vanish by themselves.
    Commands,
    /// What webhooks were told, by app, channel and user.
    Announced,
    /// Webhook events that could not be delivered, by app.
    DeadLetters,
    /// Tokens of those who administer the cluster.
    Access,
    /// Who changed what; entries vanish by themselves.
    Audit,
    /// What apps have used, by time.
    Usage,
    /// What the control plane knows of the cluster as a whole, and what it has to remember for a while.
    Cluster,
    /// Which tokens were revoked, until they would have expired.
    Revoked,
}

/// How long the marker of a removed key stays, for watchers that are away at that moment.
const MARKER_TTL: Duration = Duration::from_secs(60 * 60);

/// The same where keys come and go with connections: an hour of markers would outgrow what is there. Whoever was away
/// for longer lists the bucket anew anyway.
const SHORT_MARKER_TTL: Duration = Duration::from_secs(2 * 60);

impl Bucket {
    /// Every bucket.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Apps,
        Self::Leases,
        Self::Occupancy,
        Self::Roster,
        Self::Commands,
        Self::Announced,
        Self::DeadLetters,
        Self::Access,
        Self::Audit,
        Self::Usage,
        Self::Cluster,
        Self::Revoked,
    ];

    /// The bucket's name in the backbone.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "fanfare-meta",
            Self::Apps => "fanfare-apps",
            Self::Leases => "fanfare-leases",
            Self::Occupancy => "fanfare-occupancy",
            Self::Roster => "fanfare-roster",
            Self::Commands => "fanfare-commands",
            Self::Announced => "fanfare-announced",
            Self::DeadLetters => "fanfare-dead-letters",
            Self::Access => "fanfare-access",
            Self::Audit => "fanfare-audit",
            Self::Usage => "fanfare-usage",
            Self::Cluster => "fanfare-cluster",
            Self::Revoked => "fanfare-revoked",
        }
    }

    /// Whether a data directory keeps it: what somebody made or has to answer for, as opposed to what running processes
    /// tell each other.
    pub(crate) fn is_durable(self) -> bool {
        match self {
            Self::Meta
            | Self::Apps
            | Self::DeadLetters
            | Self::Access
            | Self::Audit
            | Self::Usage
            | Self::Cluster
            | Self::Revoked => true,
            Self::Leases | Self::Occupancy | Self::Roster | Self::Commands | Self::Announced => false,
        }
    }

    /// How long the marker of a removed key stays.
    pub(crate) fn marker_ttl(self) -> Duration {
        match self {
            Self::Meta | Self::Apps | Self::Leases | Self::Occupancy | Self::Access => MARKER_TTL,
            Self::Roster
            | Self::Commands
            | Self::Announced
            | Self::DeadLetters
            | Self::Audit
            | Self::Usage
            | Self::Cluster
            | Self::Revoked => SHORT_MARKER_TTL,
        }
    }
}

/// A key's value at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// Grows with every change in the bucket.
    pub revision: u64,
}

/// Entries whose keys have something in common, read where writes are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Whatever was written up to this revision is in it.
    pub as_of: u64,
    /// In no order.
    pub entries: Vec<Entry>,
}

/// One step of a [`Watch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// The key has this value. Several changes in a row may be told as their last.
    Put(Entry),
    /// The key was removed, or its lease lapsed.
    Removed(String),
    /// Everything that was there when the watch began has been told. Comes once.
    Current,
}

/// Why a bucket operation failed.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// `create` of a key that exists.
    #[error("the key exists")]
    Exists,
    /// `update` or `remove` of a revision that is not the current one.
    #[error("the key has changed")]
    Conflict,
    /// A key with characters other than `A-Z a-z 0-9 - / _ = .`.
    #[error("invalid key")]
    InvalidKey,
    /// The backbone did not answer; the operation may or may not have happened.
    #[error("the backbone did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Kv {
    /// Kept in JetStream.
    JetStream(Box<jetstream::Kv>),
    /// Kept in this process.
    Memory(memory::Kv),
}

impl Kv {
    /// The key's current value, read where writes are decided.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.get(key).await,
            Self::Memory(kv) => Ok(kv.get(key)),
        }
    }

    /// The key's newest revision, that of its removal included, as long as that is remembered.
    pub async fn revision(&self, key: &str) -> Result<Option<u64>, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.revision(key).await,
            Self::Memory(kv) => Ok(kv.revision(key)),
        }
    }

    /// Sets a key that must not exist; gives its revision.
    pub async fn create(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.create(key, value).await,
            Self::Memory(kv) => kv.create(key, value).await,
        }
    }

    /// Sets a key whose current revision must be `revision`; gives the new one.
    pub async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.update(key, value, revision).await,
            Self::Memory(kv) => kv.update(key, value, revision).await,
        }
    }

    /// Sets a key whatever it was; gives the new revision.
    pub async fn put(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.put(key, value).await,
            Self::Memory(kv) => kv.put(key, value).await,
        }
    }

    /// Sets a key whatever it was, for `ttl` (whole seconds, at least one); gives the new revision.
    pub async fn put_expiring(&self, key: &str, value: Bytes, ttl: Duration) -> Result<u64, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.put_expiring(key, value, ttl).await,
            Self::Memory(kv) => kv.put_expiring(key, value, ttl).await,
        }
    }

    /// Sets a key that must not exist, for `ttl` (whole seconds, at least one); gives its revision.
    pub async fn create_expiring(&self, key: &str, value: Bytes, ttl: Duration) -> Result<u64, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.create_expiring(key, value, ttl).await,
            Self::Memory(kv) => kv.create_expiring(key, value, ttl).await,
        }
    }

    /// Sets a key whose current revision must be `revision`, for `ttl` (whole seconds, at least one); gives the new
    /// revision.
    pub async fn update_expiring(&self, key: &str, value: Bytes, revision: u64, ttl: Duration) -> Result<u64, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.update_expiring(key, value, revision, ttl).await,
            Self::Memory(kv) => kv.update_expiring(key, value, revision, ttl).await,
        }
    }

    /// Removes a key; with a `revision`, only if that is the current one. Removing what is not there succeeds. Gives a
    /// revision at which it is gone.
    pub async fn remove(&self, key: &str, revision: Option<u64>) -> Result<u64, KvError> {
        check(key)?;
        match self {
            Self::JetStream(kv) => kv.remove(key, revision).await,
            Self::Memory(kv) => kv.remove(key, revision).await,
        }
    }

    /// The entries whose keys begin with the `.`-separated parts of `prefix`, each of which may be `*` for any. Cheap for
    /// up to a thousand.
    pub async fn list(&self, prefix: &str) -> Result<Listing, KvError> {
        check_prefix(prefix)?;
        match self {
            Self::JetStream(kv) => kv.list(prefix).await,
            Self::Memory(kv) => Ok(kv.list(prefix)),
        }
    }

    /// The keys that begin with the `.`-separated parts of `prefix`, each of which may be `*` for any, in order, as they
    /// are where writes are decided. Cheap for a hundred thousand. A few may be of entries that are gone.
    pub(crate) async fn keys(&self, prefix: &str) -> Result<Vec<String>, KvError> {
        check_prefix(prefix)?;
        let mut keys = match self {
            Self::JetStream(kv) => kv.keys(prefix).await?,
            Self::Memory(kv) => kv.list(prefix).entries.into_iter().map(|entry| entry.key).collect(),
        };
        keys.sort_unstable();
        Ok(keys)
    }

    /// The current values of `keys`, in their order, without those that are gone; each read where writes are decided,
    /// a few at a time.
    pub(crate) fn read<'a>(&'a self, keys: &'a [String]) -> impl Stream<Item = Result<Entry, KvError>> + 'a {
        stream::iter(keys)
            .map(|key| self.get(key))
            .buffered(READS_AT_ONCE)
            .filter_map(|entry| std::future::ready(entry.transpose()))
    }

    /// All current entries, ordered by key.
    pub async fn entries(&self) -> Result<Vec<Entry>, KvError> {
        let mut entries = std::collections::BTreeMap::new();
        let mut watch = self.watch().await?;
        loop {
            match watch.next().await? {
                WatchEvent::Put(entry) => {
                    entries.insert(entry.key.clone(), entry);
                }
                WatchEvent::Removed(key) => {
                    entries.remove(&key);
                }
                WatchEvent::Current => return Ok(entries.into_values().collect()),
            }
        }
    }

    /// Follows the bucket: first everything in it, then [`WatchEvent::Current`], then every change.
    pub async fn watch(&self) -> Result<Watch, KvError> {
        match self {
            Self::JetStream(kv) => Ok(Watch::JetStream(Box::new(kv.watch().await?))),
            Self::Memory(kv) => Ok(Watch::Memory(kv.watch())),
        }
    }
}

/// As [`check`], but for wildcards.
fn check_prefix(prefix: &str) -> Result<(), KvError> {
    check(&prefix.split('.').map(|part| if part == "*" { "any" } else { part }).collect::<Vec<_>>().join("."))
}

/// The keys async-nats and the server both take.
pub(crate) fn check(key: &str) -> Result<(), KvError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'/' | b'_' | b'=' | b'.');
    let dots = key.starts_with('.') || key.ends_with('.') || key.contains("..");
    if key.is_empty() || dots || !key.bytes().all(allowed) { Err(KvError::InvalidKey) } else { Ok(()) }
}

/// A running watch over a bucket.
#[derive(Debug)]
pub enum Watch {
    /// Over JetStream.
    JetStream(Box<jetstream::Watch>),
    /// In this process.
    Memory(memory::Watch),
}

impl Watch {
    /// The next event. Waits through outages of the backbone; an error means this watch is over and a new one must be
    /// begun. Cancel-safe.
    pub async fn next(&mut self) -> Result<WatchEvent, KvError> {
        match self {
            Self::JetStream(watch) => watch.next().await,
            Self::Memory(watch) => Ok(watch.next().await),
        }
    }
}
