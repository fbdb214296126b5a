//! The backbone over NATS JetStream.
//!
//! Stored subjects are republished by the server to delivery subjects, which every edge with a subscriber listens on
//! through core NATS: no consumer per client or channel. Republishing is at most once; [`continuity`] decides what was
//! missed, [`live`] reads it from the stream, [`repair`] finds losses that no later message shows.

mod connection;
mod continuity;
mod direct;
mod history;
mod kv;
mod lag;
mod live;
mod pending;
mod publish;
pub(crate) mod queue;
mod reads;
mod repair;
pub(crate) mod start;
pub(crate) mod streams;
pub(crate) mod subject;
mod survey;

use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream::Context;
use channels::{AppId, ChannelName, ShardCount, Tier};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use kv::{Kv, Watch};
pub use live::Attachment;
pub use queue::{Consumer, Item, Queue};
pub use survey::Survey;

use crate::attach::AttachError;
use crate::config::Config;
use crate::kv::Bucket;
use direct::{ReadError, Reader};
use history::Coalesced;
use pending::Pending;
use repair::Repairs;
use streams::Streams;
use subject::ChannelSubjects;

/// The backbone over NATS JetStream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JetStream {
    shared: Arc<Shared>,
    /// End with the last clone and the last attachment.
    tasks: Arc<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    shards: ShardCount,
    /// Carries publishes and live messages.
    live: Client,
    context: Context,
    /// History on a connection of its own: while a read runs, everything else on its connection waits.
    reader: Reader,
    streams: Streams,
    repairs: Arc<Repairs>,
    coalesced: Coalesced,
    /// A read holds its shard's lock in the server, so few may run at once.
    read_turns: Vec<Semaphore>,
    buckets: Vec<(Bucket, Kv)>,
    webhook_queue: Queue,
    pending: Pending,
}

impl JetStream {
    pub(crate) async fn attach(
        &self,
        app: &AppId,
        channel: &ChannelName,
        tier: Tier,
    ) -> Result<Attachment, AttachError> {
        Attachment::begin(self, self.shared.subjects(app, channel), tier).await
    }

    pub(crate) fn kv(&self, bucket: Bucket) -> Kv {
        let found = self.shared.buckets.iter().find(|(each, _)| *each == bucket);
        found.map(|(_, kv)| kv.clone()).expect("every bucket is made at start")
    }

    pub(crate) fn webhook_queue(&self) -> Queue {
        self.shared.webhook_queue.clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.shared.is_up()
    }
}

impl Shared {
    fn subjects(&self, app: &AppId, channel: &ChannelName) -> ChannelSubjects {
        ChannelSubjects::new(self.shards.shard_of(app, channel), app, channel)
    }

    fn is_up(&self) -> bool {
        self.live.connection_state() == async_nats::connection::State::Connected
    }

    /// Room for headers is left below the server's limit for a whole message.
    fn max_record_bytes(&self) -> usize {
        self.live.max_payload().saturating_sub(1024)
    }

    /// Waits until every NATS node has heard of a subscription just made on the live connection.
    async fn settle(&self) -> Result<(), ReadError> {
        let (_, heard) = tokio::join!(tokio::time::sleep(self.config.attach_settle), self.round_trip());
        heard
    }

    /// Returns when the server has handled everything sent before on the live connection.
    async fn round_trip(&self) -> Result<(), ReadError> {
        // Nobody needs to answer: that nobody does is the server's answer.
        let probe = self.live.request("fanfare.round-trip", bytes::Bytes::new());
        match probe.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == async_nats::RequestErrorKind::NoResponders => Ok(()),
            Err(_) => Err(ReadError::TimedOut),
        }
    }
}
