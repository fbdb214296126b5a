//! The backbone: one order and one history per channel, on any number of nodes.
//!
//! Owns publishing, positions, live delivery with gap repair, history, key-value buckets with watch, and leases; over
//! NATS JetStream for a cluster, or in this process for one node. Knows nothing of client protocols, connections or
//! HTTP. The only crate that imports `async-nats`.
//!
//! What it promises, on both variants (the conformance suite in `tests/` holds them to it):
//!
//! - a publish to a stored tier that returned `Ok` is replicated and in the channel's history;
//! - an [`Attachment`] yields every record published after `attach` returned, once and in the channel's one order, or
//!   says with a [`Gap`] that it cannot;
//! - positions of one epoch are the same on every node.

pub mod access;
mod attach;
pub mod audit;
pub mod backup;
mod config;
pub mod dead_letters;
mod envelope;
pub mod facts;
mod follow;
#[cfg(test)]
mod formats;
mod hex;
mod history;
pub mod jetstream;
mod kv;
mod lease;
pub mod members;
pub mod memory;
mod publish;
mod queue;
pub mod registry;
pub mod revocations;
pub mod schema;
pub mod sealing;
pub mod survey;
mod trace;
pub mod usage;

use std::convert::Infallible;
use std::path::Path;

use channels::{AppId, ChannelName, Position, Tier};

pub use attach::{AttachError, Attachment, Delivery, Gap};
pub use config::{Config, NatsConfig, NatsTls, StartError};
pub use history::{Direction, History, HistoryError, HistoryQuery, StoredRecord};
pub use kv::{Bucket, Entry, Kv, KvError, Listing, Watch, WatchEvent};
pub use lease::{Lease, LeaseError, Standing, Tenure};
pub use publish::{IdempotencyId, InvalidIdempotencyId, Publish, PublishError, Published, Publisher};
pub use queue::{Consumer, Item, Queue, QueueError, WEBHOOK_EVENT_FORMAT};

/// Format of everything stored. A process refuses data of another format.
pub const FORMAT: u32 = 1;

/// The backbone. Cheap to clone; the last clone to go ends its background work.
#[derive(Clone, Debug)]
pub enum Backbone {
    /// A cluster's: NATS JetStream.
    JetStream(jetstream::JetStream),
    /// One process's own.
    Memory(memory::Memory),
}

impl Backbone {
    /// Connects to NATS, and creates or upgrades streams and buckets as `config` says. Idempotent; any number of
    /// processes may do so at once.
    pub async fn connect(config: &Config, nats: &NatsConfig) -> Result<Self, StartError> {
        jetstream::JetStream::connect(config, nats).await.map(Self::JetStream)
    }

    /// A backbone in this process. Its content, and its epoch, end with it.
    pub fn memory(config: &Config) -> Self {
        Self::Memory(memory::Memory::new(config))
    }

    /// A backbone in this process that keeps what its users created (apps, tokens, audit log, usage, dead letters) in
    /// `data_dir`, which is made if it is not there and serves one process at a time. Messages and the epoch end with the
    /// process. Blocks while it reads; waits for the last clone, and everything got from it, to let go of the directory.
    pub fn open(config: &Config, data_dir: &Path) -> Result<Self, StartError> {
        memory::Memory::open(config, data_dir).map(Self::Memory)
    }

    /// Publishes one record to one channel. Returns when it is accepted (stored tiers: replicated), or says why not.
    ///
    /// Calls run concurrently and are not ordered with each other; [`Publisher`] orders them.
    pub async fn publish(&self, mut publish: Publish) -> Result<Published, PublishError> {
        let mut span = trace::begin(&mut publish);
        let result = match self {
            Self::JetStream(jetstream) => jetstream.publish(publish, &mut span).await,
            Self::Memory(memory) => memory.publish(publish),
        };
        trace::end(span, &result);
        result
    }

    /// Begins live delivery of a channel. Once this returns, every record published to the channel afterwards, on any
    /// node, will come out of the attachment or be told as a gap.
    pub async fn attach(&self, app: &AppId, channel: &ChannelName, tier: Tier) -> Result<Attachment, AttachError> {
        match self {
            Self::JetStream(jetstream) => {
                let attachment = jetstream.attach(app, channel, tier).await?;
                Ok(Attachment::JetStream(Box::new(attachment)))
            }
            Self::Memory(memory) => Ok(Attachment::Memory(memory.attach(app, channel))),
        }
    }

    /// Reads a channel's history.
    pub async fn history(&self, query: HistoryQuery) -> Result<History, HistoryError> {
        match self {
            Self::JetStream(jetstream) => jetstream.history(query).await,
            Self::Memory(memory) => memory.history(&query),
        }
    }

    /// The newest position of a channel, read where writes are decided. For a channel without a stored record, a position
    /// at which it had none.
    pub async fn head(&self, app: &AppId, channel: &ChannelName, tier: Tier) -> Result<Position, HistoryError> {
        match self {
            Self::JetStream(jetstream) => jetstream.head(app, channel, tier).await,
            Self::Memory(memory) => memory.head(app, channel, tier),
        }
    }

    /// Measures for ever how long a message takes through the backbone and back, for the metric of that. In process there
    /// is nothing to measure.
    pub async fn measure_lag(&self) -> Infallible {
        match self {
            Self::JetStream(jetstream) => jetstream.measure_lag().await,
            Self::Memory(_) => std::future::pending().await,
        }
    }

    /// A key-value bucket.
    pub fn kv(&self, bucket: Bucket) -> Kv {
        match self {
            Self::JetStream(jetstream) => Kv::JetStream(Box::new(jetstream.kv(bucket))),
            Self::Memory(memory) => Kv::Memory(memory.kv(bucket)),
        }
    }

    /// Whether the backbone can be reached at this moment.
    pub fn is_up(&self) -> bool {
        match self {
            Self::JetStream(jetstream) => jetstream.is_up(),
            Self::Memory(memory) => memory.failure().is_none(),
        }
    }

    /// Why nothing can be stored until this process is started anew, if that is so: a sentence for whoever runs it.
    /// [`Self::is_up`] is false then.
    pub fn failure(&self) -> Option<&str> {
        match self {
            Self::JetStream(_) => None,
            Self::Memory(memory) => memory.failure(),
        }
    }
}
