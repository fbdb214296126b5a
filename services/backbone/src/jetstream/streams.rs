//! The streams: how they are configured, created, upgraded, and which life of theirs this is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use channels::{Epoch, Shard, ShardCount, Tier};
use tokio::sync::OnceCell;

use super::subject::{DELIVERY_PREFIX, Store};
use crate::config::{Config, StartError};

/// All streams of a cluster.
#[derive(Debug)]
pub(super) struct Streams {
    context: Context,
    config: Config,
    recoverable: Vec<ShardStream>,
    persistent: Vec<ShardStream>,
}

/// One shard's stream.
#[derive(Debug)]
pub(super) struct ShardStream {
    pub(super) store: Store,
    pub(super) shard: Shard,
    pub(super) name: String,
    /// Set once the stream is known to exist.
    created: OnceCell<()>,
    epoch: AtomicU64,
}

impl ShardStream {
    fn new(store: Store, shard: Shard) -> Self {
        let name = store.stream(shard);
        Self { store, shard, name, created: OnceCell::new(), epoch: AtomicU64::new(0) }
    }

    /// Whether this process has made sure that it exists.
    pub(super) fn is_created(&self) -> bool {
        self.created.initialized()
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch.load(Ordering::Acquire))
    }

    /// Notes the life that `info` tells of; whether it is another one than before.
    fn observe(&self, info: &stream::Info) -> bool {
        let epoch = epoch(&self.name, info.created.unix_timestamp_nanos());
        let before = self.epoch.swap(epoch.get(), Ordering::AcqRel);
        before != 0 && before != epoch.get()
    }
}

/// The epoch of a stream: FNV-1a (64 bit) over its name, a zero byte, and the nanosecond it was `created`, which all
/// nodes see alike and no other life of the stream shares.
pub(crate) fn epoch(name: &str, created: i128) -> Epoch {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let bytes = name.bytes().chain([0]).chain(created.to_be_bytes());
    Epoch::new(bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
}

impl Streams {
    pub(super) fn new(context: Context, config: &Config, shards: ShardCount) -> Self {
        let all = |store| shards.shards().map(|shard| ShardStream::new(store, shard)).collect();
        Self {
            context,
            config: config.clone(),
            recoverable: all(Store::Recoverable),
            persistent: all(Store::Persistent),
        }
    }

    pub(super) fn get(&self, store: Store, shard: Shard) -> &ShardStream {
        let streams = match store {
            Store::Recoverable => &self.recoverable,
            Store::Persistent => &self.persistent,
        };
        &streams[usize::from(shard.get())]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ShardStream> {
        self.recoverable.iter().chain(&self.persistent)
    }

    /// The stream called `name`.
    pub(super) fn by_name(&self, name: &str) -> Option<&ShardStream> {
        self.iter().find(|stream| stream.name == name)
    }

    /// How long a store keeps messages at most.
    pub(super) fn window(&self, store: Store) -> Duration {
        match store {
            Store::Recoverable => self.config.recoverable_window,
            Store::Persistent => self.config.persistent_window,
        }
    }

    /// How long a stored tier's messages live.
    pub(super) fn lifetime(&self, tier: Tier) -> Duration {
        match tier {
            Tier::Ephemeral => Duration::ZERO,
            Tier::Recoverable => self.config.recoverable_window,
            Tier::Persistent { retention } => retention.min(self.config.persistent_window),
        }
    }

    /// How many messages a store keeps of one channel.
    pub(super) fn messages_per_channel(&self, store: Store) -> u64 {
        u64::from(match store {
            Store::Recoverable => self.config.recoverable_messages,
            Store::Persistent => self.config.persistent_messages,
        })
    }

    /// Creates or upgrades the recoverable streams. Persistent ones are made when first used, since most clusters need
    /// few or none and each idle stream costs.
    pub(super) async fn prepare(&self) -> Result<(), StartError> {
        use futures_util::{StreamExt as _, TryStreamExt as _, stream};
        // A few at a time: creation goes through the metadata leader one by one anyway.
        stream::iter(&self.recoverable).map(|stream| self.ensure(stream)).buffer_unordered(8).try_collect().await
    }

    /// Makes sure that `stream` exists as configured. A round trip the first time, free afterwards.
    pub(super) async fn ensure(&self, stream: &ShardStream) -> Result<(), StartError> {
        let create = || async {
            let created = self.context.create_or_update_stream(self.stream_config(stream)).await;
            let info = created.map_err(|error| start_error(&stream.name, &error))?;
            stream.observe(&info);
            Ok(())
        };
        stream.created.get_or_try_init(create).await.copied()
    }

    /// Asks which life of `stream` this is; whether it has changed. A stream that has vanished is made anew.
    pub(super) async fn recheck_epoch(&self, stream: &ShardStream) -> Result<bool, StartError> {
        let info = match self.context.get_stream(&stream.name).await {
            Ok(found) => found.cached_info().clone(),
            Err(error) if is_missing(&error) => {
                let created = self.context.create_or_update_stream(self.stream_config(stream)).await;
                created.map_err(|error| start_error(&stream.name, &error))?
            }
            Err(error) => return Err(StartError::Unreachable(error.to_string())),
        };
        Ok(stream.observe(&info))
    }

    fn stream_config(&self, stream: &ShardStream) -> stream::Config {
        let shard = stream.shard;
        let subjects = format!("{}.{shard}.>", stream.store.prefix());
        stream::Config {
            name: stream.name.clone(),
            description: Some(format!("Fanfare channel messages, shard {shard}")),
            subjects: vec![subjects.clone()],
            retention: RetentionPolicy::Limits,
            discard: DiscardPolicy::Old,
            // Never memory: a history read there holds the stream's lock four times as long.
            storage: StorageType::File,
            num_replicas: self.config.replicas,
            max_messages_per_subject: i64::try_from(self.messages_per_channel(stream.store)).unwrap_or(i64::MAX),
            max_age: self.window(stream.store),
            duplicate_window: self.config.dedupe_window,
            allow_direct: true,
            // Retention differs between persistent namespaces; each message carries its own.
            allow_message_ttl: stream.store == Store::Persistent,
            republish: Some(stream::Republish {
                source: subjects,
                destination: format!("{DELIVERY_PREFIX}.{shard}.>"),
                headers_only: false,
            }),
            ..stream::Config::default()
        }
    }
}

fn is_missing(error: &jetstream::context::GetStreamError) -> bool {
    use jetstream::context::GetStreamErrorKind;
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND,
        GetStreamErrorKind::EmptyName | GetStreamErrorKind::InvalidStreamName | GetStreamErrorKind::Request => false,
    }
}

/// Tells a cluster that is not ready yet from one that will never take the stream.
pub(super) fn start_error(stream: &str, error: &jetstream::context::CreateStreamError) -> StartError {
    match error.kind() {
        CreateStreamErrorKind::JetStream(refusal) => {
            use jetstream::ErrorCode;
            // While a cluster forms, or after a server has left, peers are missing for a while.
            let passing =
                [ErrorCode::CLUSTER_NOT_AVAILABLE, ErrorCode::CLUSTER_NO_PEERS, ErrorCode::INSUFFICIENT_RESOURCES];
            if passing.contains(&refusal.error_code()) || refusal.code() == 503 {
                StartError::Unreachable(format!("stream {stream}: {refusal}"))
            } else {
                StartError::Refused(format!("NATS refuses stream {stream}: {refusal}"))
            }
        }
        CreateStreamErrorKind::JetStreamUnavailable => {
            StartError::Unreachable("JetStream is not available on this NATS server".to_owned())
        }
        _ => StartError::Unreachable(format!("stream {stream}: {error}")),
    }
}
