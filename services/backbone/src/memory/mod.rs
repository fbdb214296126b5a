//! The backbone in one process: the same promises, kept by a log per channel. With a data directory, what its users
//! created outlives the process; messages, presence and all that is told between processes do not.

mod attachment;
mod disk;
mod entries;
mod inbox;
mod kv;
mod log;
mod queue;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use channels::{AppId, ChannelName, Epoch, Position, Tier};
use parking_lot::Mutex;

pub use attachment::Attachment;
pub use kv::{Kv, Watch};
pub use queue::{Consumer, Item, Queue};

use crate::config::{Config, StartError};
use crate::history::{History, HistoryError, HistoryQuery};
use crate::kv::Bucket;
use crate::publish::{Publish, PublishError, Published};
use disk::Store;
use log::{Channel, Limits};

/// Largest record in bytes of payload: what a NATS server with default settings takes, so that an app does not outgrow
/// a cluster while it is developed without one.
const MAX_RECORD_BYTES: usize = (1 << 20) - 1024;

/// A backbone in this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    /// One for all channels: their logs begin and end together.
    epoch: Epoch,
    sequences: Arc<AtomicU64>,
    channels: Mutex<HashMap<(AppId, ChannelName), Arc<Channel>>>,
    buckets: [Kv; Bucket::ALL.len()],
    webhook_queue: Queue,
    /// What keeps the durable buckets, if anything does.
    store: Option<Arc<Store>>,
}

impl Memory {
    pub(crate) fn new(config: &Config) -> Self {
        Self::with(config, Bucket::ALL.map(|bucket| Kv::new(bucket.marker_ttl())), None)
    }

    /// One that keeps its durable buckets in `data_dir`.
    pub(crate) fn open(config: &Config, data_dir: &Path) -> Result<Self, StartError> {
        let durable: Vec<Bucket> = Bucket::ALL.into_iter().filter(|bucket| bucket.is_durable()).collect();
        let (store, content) = Store::open(data_dir, &durable)?;
        let buckets = Bucket::ALL.map(|bucket| match durable.iter().position(|each| *each == bucket) {
            Some(index) => Kv::stored(Arc::clone(&content[index]), Arc::clone(&store), index),
            None => Kv::new(bucket.marker_ttl()),
        });
        Ok(Self::with(config, buckets, Some(store)))
    }

    fn with(config: &Config, buckets: [Kv; Bucket::ALL.len()], store: Option<Arc<Store>>) -> Self {
        let shared = Shared {
            config: config.clone(),
            epoch: Epoch::new(rand::random()),
            sequences: Arc::default(),
            channels: Mutex::default(),
            buckets,
            webhook_queue: Queue::new(config.webhook_queue_bytes),
            store,
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.shared.store.as_ref()?.failure()
    }

    pub(crate) fn kv(&self, bucket: Bucket) -> Kv {
        let index = Bucket::ALL.iter().position(|each| *each == bucket).expect("ALL has every bucket");
        self.shared.buckets[index].clone()
    }

    pub(crate) fn webhook_queue(&self) -> Queue {
        self.shared.webhook_queue.clone()
    }

    fn channel(&self, app: &AppId, name: &ChannelName) -> Arc<Channel> {
        let shared = &self.shared;
        let key = (app.clone(), name.clone());
        let mut channels = shared.channels.lock();
        if let Some(channel) = channels.get(&key) {
            return Arc::clone(channel);
        }
        if channels.len() >= channels.capacity() {
            // About to grow: first forget channels that nobody is attached to and that hold nothing.
            channels.retain(|_, channel| Arc::strong_count(channel) > 1 || !channel.is_spent());
        }
        let new = || Arc::new(Channel::new(shared.epoch, Arc::clone(&shared.sequences), shared.config.attach_buffer));
        Arc::clone(channels.entry(key).or_insert_with(new))
    }

    fn limits(&self, tier: Tier) -> Option<Limits> {
        let config = &self.shared.config;
        match tier {
            Tier::Ephemeral => None,
            Tier::Recoverable => {
                Some(Limits { messages: config.recoverable_messages as usize, age: config.recoverable_window })
            }
            Tier::Persistent { retention } => {
                Some(Limits { messages: config.persistent_messages as usize, age: retention })
            }
        }
    }

    pub(crate) fn publish(&self, publish: Publish) -> Result<Published, PublishError> {
        let payload: usize =
            publish.record.messages.iter().map(|message| message.data.len() + message.extras.len()).sum();
        if payload > MAX_RECORD_BYTES {
            return Err(PublishError::TooLarge);
        }
        let channel = self.channel(&publish.app, &publish.channel);
        match self.limits(publish.tier) {
            None => {
                channel.send(publish.record);
                Ok(Published { position: None, duplicate: false })
            }
            Some(limits) => {
                let id = publish.idempotency.as_ref();
                Ok(channel.store(publish.record, id, limits, self.shared.config.dedupe_window))
            }
        }
    }

    pub(crate) fn attach(&self, app: &AppId, name: &ChannelName) -> Attachment {
        Attachment::new(self.channel(app, name))
    }

    pub(crate) fn head(&self, app: &AppId, name: &ChannelName, tier: Tier) -> Result<Position, HistoryError> {
        self.limits(tier).ok_or(HistoryError::NotStored)?;
        Ok(self.channel(app, name).head())
    }

    pub(crate) fn history(&self, query: &HistoryQuery) -> Result<History, HistoryError> {
        self.limits(query.tier).ok_or(HistoryError::NotStored)?;
        self.channel(&query.app, &query.channel).read(query)
    }
}
