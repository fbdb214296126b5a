//! Buckets in JetStream KV.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::context::{PublishError as NatsError, PublishErrorKind};
use async_nats::jetstream::kv::{self, Operation, Store, WatchErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::StorageType;
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::direct::{From, Newest, ReadError, Reader, Stored};
use crate::config::{Config, StartError};
use crate::kv::{Bucket, Entry, KvError, Listing, WatchEvent};

/// How long a watch waits for an entry before it looks whether there is any.
const EMPTY_CHECK: Duration = Duration::from_secs(1);

/// How often a listing asks replicas again that lag behind the leader, and the pause between: replication takes less.
const LIST_ATTEMPTS: u32 = 5;
const LIST_PAUSE: Duration = Duration::from_millis(10);

/// Messages that a watch can hold: as many as the server sends before it waits for us (32 MiB), however small. With fewer
/// a long snapshot overflows, and the library notices that by a silence of 5 seconds.
pub(super) const WATCH_BUFFER: usize = 1 << 18;

/// How often a write is tried again that came while another one to the same key was under way, and the pause before the
/// second attempt; it grows with each one.
const BUSY_ATTEMPTS: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Revisions of a key that a stream has room for, where each is rolled up by the next one ([`is_rolled_up`]).
const ROLLED_UP_HISTORY: i64 = 2;

/// The header with which a message removes whatever was there under its key.
const ROLLUP: (&str, &str) = ("Nats-Rollup", "sub");

/// Entries in one page of a long listing.
const LIST_PAGE: usize = 256;

/// One bucket in JetStream.
#[derive(Clone, Debug)]
pub struct Kv {
    /// For writes.
    live: Client,
    context: Context,
    /// For watches, which want larger buffers than live delivery.
    store: Store,
    reader: Reader,
    marker_ttl: Duration,
    is_rolled_up: bool,
}

/// Whether each write removes explicitly what was there before, so that the server notes on disk that it is removed. It
/// notes nothing when a message only has to make room in a stream that keeps one of each subject: after a crash such a value
/// would be there again, on that replica and for good, once the marker that took its place has expired (nats-server 2.15,
/// `removeMsgFromBlock`: no tombstone `viaLimits`).
///
/// Not where values have lifetimes: those that come back expire again, and with room for two the server would have all live
/// for as long as markers.
fn is_rolled_up(bucket: Bucket) -> bool {
    match bucket {
        Bucket::Meta
        | Bucket::Apps
        | Bucket::Occupancy
        | Bucket::Roster
        | Bucket::Announced
        | Bucket::DeadLetters
        | Bucket::Access => true,
        Bucket::Leases | Bucket::Commands | Bucket::Audit | Bucket::Usage | Bucket::Cluster | Bucket::Revoked => false,
    }
}

/// Whether `stream` is the stream of `bucket`.
pub(super) fn is_stream_of(stream: &str, bucket: Bucket) -> bool {
    stream.strip_prefix("KV_") == Some(bucket.name())
}

/// What is written under a key.
enum Content {
    Value(Bytes),
    /// A marker of its removal.
    Removal,
}

/// Creates the bucket, or upgrades it to the configured number of replicas.
pub(super) async fn prepare(
    live: &Client,
    context: &Context,
    watches: &Context,
    config: &Config,
    reader: &Reader,
    bucket: Bucket,
) -> Result<Kv, StartError> {
    let name = bucket.name();
    let history = if is_rolled_up(bucket) { ROLLED_UP_HISTORY } else { 1 };
    let kv_config = kv::Config {
        bucket: name.to_owned(),
        description: "Fanfare".to_owned(),
        history,
        storage: StorageType::File,
        num_replicas: config.replicas,
        limit_markers: Some(bucket.marker_ttl()),
        ..kv::Config::default()
    };
    let unreachable = |error: &dyn Error| StartError::Unreachable(format!("bucket {name}: {error}"));
    let store = match context.get_key_value(name).await {
        Ok(store) => store,
        Err(_) => context.create_key_value(kv_config).await.map_err(|error| unreachable(&error))?,
    };
    let current = store.status().await.map_err(|error| unreachable(&error))?.info.config.clone();
    if current.num_replicas > config.replicas {
        return Err(StartError::Refused(format!(
            "this cluster keeps {} copies of everything, but {} are configured; lowering it would break what was promised \
             of messages already acknowledged",
            current.num_replicas, config.replicas
        )));
    }
    if current.num_replicas < config.replicas || current.max_messages_per_subject != history {
        let (num_replicas, max_messages_per_subject) = (config.replicas, history);
        let upgraded = jetstream::stream::Config { num_replicas, max_messages_per_subject, ..current };
        let update = context.update_stream(upgraded).await;
        update.map_err(|error| super::streams::start_error(name, &error))?;
    }
    let store = watches.get_key_value(name).await.map_err(|error| unreachable(&error))?;
    let (live, context, reader) = (live.clone(), context.clone(), reader.clone());
    let (marker_ttl, is_rolled_up) = (bucket.marker_ttl(), is_rolled_up(bucket));
    Ok(Kv { live, context, store, reader, marker_ttl, is_rolled_up })
}

impl Kv {
    /// From the leader: a replica may lag behind the last write, and a compare-and-swap built on it would be refused.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Entry>, KvError> {
        let newest = self.newest(key).await?;
        let to_entry =
            |(revision, value): (u64, Option<Bytes>)| value.map(|value| Entry { key: key.to_owned(), value, revision });
        Ok(newest.and_then(to_entry))
    }

    pub(crate) async fn revision(&self, key: &str) -> Result<Option<u64>, KvError> {
        Ok(self.newest(key).await?.map(|(revision, _)| revision))
    }

    pub(crate) async fn create(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.create_new(key, value, None).await
    }

    pub(crate) async fn create_expiring(&self, key: &str, value: Bytes, ttl: Duration) -> Result<u64, KvError> {
        self.create_new(key, value, Some(ttl)).await
    }

    /// The library's own `create` looks at a replica, and forgets the lifetime when the key was removed before.
    async fn create_new(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<u64, KvError> {
        let expected = match self.newest(key).await? {
            None => 0,
            Some((removal, None)) => removal,
            Some((_, Some(_))) => return Err(KvError::Exists),
        };
        match self.write(key, Content::Value(value), Some(expected), ttl).await {
            Err(KvError::Conflict) => Err(KvError::Exists),
            result => result,
        }
    }

    pub(crate) async fn update(&self, key: &str, value: Bytes, revision: u64) -> Result<u64, KvError> {
        self.write(key, Content::Value(value), Some(revision), None).await
    }

    pub(crate) async fn update_expiring(
        &self,
        key: &str,
        value: Bytes,
        revision: u64,
        ttl: Duration,
    ) -> Result<u64, KvError> {
        self.write(key, Content::Value(value), Some(revision), Some(ttl)).await
    }

    pub(crate) async fn put(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        self.write(key, Content::Value(value), None, None).await
    }

    pub(crate) async fn put_expiring(&self, key: &str, value: Bytes, ttl: Duration) -> Result<u64, KvError> {
        self.write(key, Content::Value(value), None, Some(ttl)).await
    }

    /// Leaves a marker that watchers see, and that goes by itself: otherwise the bucket would grow by every key that ever
    /// was.
    pub(crate) async fn remove(&self, key: &str, revision: Option<u64>) -> Result<u64, KvError> {
        self.write(key, Content::Removal, revision, Some(self.marker_ttl)).await
    }

    /// From replicas that are known not to lag; in pages, and to the end from the leader, if there are more entries than a
    /// replica gives at once.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Listing, KvError> {
        let least = self.store.stream.get_info().await.map_err(unavailable)?.state.last_sequence;
        let filter = format!("{}{prefix}.>", self.store.prefix);
        for attempt in 0..LIST_ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(LIST_PAUSE * attempt).await;
            }
            match self.reader.newest_of(&self.store.stream_name, &filter).await {
                Ok(Newest::Found { as_of, entries }) if as_of >= least => {
                    let entries = entries.into_iter().filter_map(|stored| self.entry(stored)).collect();
                    return Ok(Listing { as_of, entries });
                }
                // A replica that lags does not know of any; the leader knows.
                Ok(Newest::None) => {
                    if self.is_empty(&filter).await? {
                        return Ok(Listing { as_of: least, entries: Vec::new() });
                    }
                }
                Ok(Newest::Found { .. }) | Err(ReadError::TimedOut) => {}
                Ok(Newest::TooMany) => break,
                Err(error) => return Err(unavailable(error)),
            }
        }
        self.list_by_pages(&filter, least).await
    }

    /// From the leader, which counts the messages of each subject. Markers of removals are among them.
    pub(crate) async fn keys(&self, prefix: &str) -> Result<Vec<String>, KvError> {
        let filter = format!("{}{prefix}.>", self.store.prefix);
        let subjects = self.store.stream.info_with_subjects(filter).await.map_err(unavailable)?;
        let key = |(subject, _): (String, usize)| subject.strip_prefix(&self.store.prefix).map(str::to_owned);
        let keys = subjects.map_ok(key).try_collect::<Vec<_>>().await.map_err(unavailable)?;
        Ok(keys.into_iter().flatten().collect())
    }

    /// Everything that some replica has, and from the leader what that one did not have yet.
    async fn list_by_pages(&self, filter: &str, as_of: u64) -> Result<Listing, KvError> {
        let stream = &self.store.stream_name;
        let mut newest = BTreeMap::new();
        let (mut next, mut failures) = (1, 0);
        loop {
            match self.reader.batch(stream, filter, From::Sequence(next), LIST_PAGE).await {
                Ok(batch) => {
                    next = batch.messages.last().map_or(next, |last| last.sequence + 1);
                    newest.extend(batch.messages.into_iter().map(|stored| (stored.subject.clone(), stored)));
                    if batch.pending == 0 {
                        break;
                    }
                }
                Err(ReadError::TimedOut) if failures < LIST_ATTEMPTS => failures += 1,
                Err(error) => return Err(unavailable(error)),
            }
        }
        while let Some(stored) =
            self.reader.leader_next(stream, filter, From::Sequence(next)).await.map_err(unavailable)?
        {
            next = stored.sequence + 1;
            newest.insert(stored.subject.clone(), stored);
        }
        Ok(Listing { as_of, entries: newest.into_values().filter_map(|stored| self.entry(stored)).collect() })
    }

    fn entry(&self, stored: Stored) -> Option<Entry> {
        let key = stored.subject.strip_prefix(&self.store.prefix)?.to_owned();
        (!stored.removed).then_some(Entry { key, value: stored.payload, revision: stored.sequence })
    }

    async fn newest(&self, key: &str) -> Result<Option<(u64, Option<Bytes>)>, KvError> {
        self.reader.leader_entry(&self.store.stream_name, &self.subject(key)).await.map_err(unavailable)
    }

    /// Sets a key if its newest revision is `expected`, for `ttl` if given.
    async fn write(
        &self,
        key: &str,
        content: Content,
        expected: Option<u64>,
        ttl: Option<Duration>,
    ) -> Result<u64, KvError> {
        // Otherwise it would be kept, and delivered whenever the connection comes back: hours later perhaps.
        if self.live.connection_state() != State::Connected {
            return Err(unavailable(ReadError::Closed));
        }
        let mut message = match content {
            Content::Value(value) if self.is_rolled_up => {
                PublishMessage::build().payload(value).header(ROLLUP.0, ROLLUP.1)
            }
            Content::Value(value) => PublishMessage::build().payload(value),
            Content::Removal => PublishMessage::build().header("KV-Operation", "PURGE").header(ROLLUP.0, ROLLUP.1),
        };
        if let Some(expected) = expected {
            message = message.expected_last_subject_sequence(expected);
        }
        if let Some(ttl) = ttl {
            message = message.ttl(ttl);
        }
        let failed = |error: NatsError| match error.kind() {
            PublishErrorKind::WrongLastSequence => KvError::Conflict,
            _ if is_busy(&error) => KvError::Conflict,
            _ => unavailable(error),
        };
        let mut attempt = 1;
        loop {
            let ack = self.context.send_publish(self.subject(key), message.clone()).await.map_err(failed)?;
            match ack.await {
                Ok(ack) => return Ok(ack.sequence),
                Err(error) if is_busy(&error) && attempt < BUSY_ATTEMPTS => {
                    tokio::time::sleep(BUSY_PAUSE * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    pub(crate) async fn watch(&self) -> Result<Watch, KvError> {
        let inner = self.store.watch_many_with_history([">"]).await.map_err(|error| match error.kind() {
            WatchErrorKind::InvalidKey => KvError::InvalidKey,
            _ => unavailable(error),
        })?;
        let mut watch = Watch { kv: self.clone(), inner, in_snapshot: true, tell_current: false };
        watch.end_snapshot_if_empty().await?;
        Ok(watch)
    }

    /// Whether nothing, not even a marker, is there that matches.
    async fn is_empty(&self, filter: &str) -> Result<bool, KvError> {
        let first = self.reader.leader_next(&self.store.stream_name, filter, From::Sequence(1)).await;
        Ok(first.map_err(unavailable)?.is_none())
    }

    fn subject(&self, key: &str) -> String {
        format!("{}{key}", self.store.prefix)
    }
}

/// Whether a write was refused, and not stored, because another one to the same key is under way. In a cluster the server
/// cannot tell yet what its outcome is, and says so for a moment even after it has acknowledged it (nats-server 2.15,
/// `checkMsgHeadersPreClusteredProposal`).
fn is_busy(error: &NatsError) -> bool {
    let reason = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    reason.is_some_and(|reason| reason.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}

fn unavailable(error: impl Error + Send + Sync + 'static) -> KvError {
    KvError::Unavailable(Box::new(error))
}

/// A watch over a bucket in JetStream. The library re-creates its ordered consumer after an outage.
pub struct Watch {
    kv: Kv,
    inner: kv::Watch,
    /// Whether the end of the snapshot is still to be found among the entries.
    in_snapshot: bool,
    /// Whether the end of the snapshot is the next thing to tell.
    tell_current: bool,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("in_snapshot", &self.in_snapshot).finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) async fn next(&mut self) -> Result<WatchEvent, KvError> {
        if std::mem::take(&mut self.tell_current) {
            return Ok(WatchEvent::Current);
        }
        let entry = loop {
            match tokio::time::timeout(EMPTY_CHECK, self.inner.next()).await {
                Ok(entry) => break entry.ok_or_else(|| unavailable(ReadError::Closed))?.map_err(unavailable)?,
                Err(_) => {
                    self.end_snapshot_if_empty().await?;
                    if std::mem::take(&mut self.tell_current) {
                        return Ok(WatchEvent::Current);
                    }
                }
            }
        };
        if self.in_snapshot && entry.delta == 0 {
            self.in_snapshot = false;
            self.tell_current = true;
        }
        Ok(match entry.operation {
            Operation::Put => WatchEvent::Put(Entry { key: entry.key, value: entry.value, revision: entry.revision }),
            Operation::Delete | Operation::Purge => WatchEvent::Removed(entry.key),
        })
    }

    /// The last entry of a snapshot says that it is the last. A bucket without entries says nothing, and one may have
    /// become empty, by leases that lapsed, just when the watch began.
    async fn end_snapshot_if_empty(&mut self) -> Result<(), KvError> {
        if self.in_snapshot && self.kv.is_empty(&self.kv.subject(">")).await? {
            self.in_snapshot = false;
            self.tell_current = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
