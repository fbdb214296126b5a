//! The queue of webhook events: what has happened waits here until the one active worker has dealt with it.
//!
//! An event stays until it is acknowledged, or for [`KEPT_FOR`]: a receiver would refuse what is older anyway. What is
//! pushed again under the same id within [`REMEMBERED_FOR`] is there once; but a NATS server that restarts forgets the ids of
//! events that were acknowledged. Events come out in the order in which they were accepted.

use std::time::Duration;

use bytes::Bytes;
use channels::AppId;

use crate::{Backbone, IdempotencyId, jetstream, memory};

/// Format of the events in it, [`proto::backbone::WebhookEvent`], for those who write them and who read them.
pub const WEBHOOK_EVENT_FORMAT: u32 = 1;

/// How long an event waits for a worker. Webhooks are given up minutes after their event; an hour leaves room to look at
/// what went wrong.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

/// How long an id is remembered: longer than a worker's death goes unnoticed, elections of leaders included.
pub(crate) const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);

/// Why the queue did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// As much waits as may wait. The event was not accepted.
    #[error("the queue is full")]
    Full,
    /// The event is larger than the backbone takes.
    #[error("the event is larger than the backbone takes")]
    TooLarge,
    /// The backbone did not answer in time; it may or may not have happened. Pushing again under the same id is safe.
    #[error("the backbone did not answer")]
    Unavailable,
}

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Queue {
    /// A work queue stream.
    JetStream(Box<jetstream::Queue>),
    /// In this process.
    Memory(memory::Queue),
}

impl Backbone {
    /// The queue of webhook events.
    pub fn webhook_queue(&self) -> Queue {
        match self {
            Self::JetStream(jetstream) => Queue::JetStream(Box::new(jetstream.webhook_queue())),
            Self::Memory(memory) => Queue::Memory(memory.webhook_queue()),
        }
    }
}

impl Queue {
    /// Adds an event of `app`; returns when it is replicated. `id` is unique within the app: what was accepted under it a
    /// short while ago is not added again.
    pub async fn push(&self, app: &AppId, id: &IdempotencyId, payload: Bytes) -> Result<(), QueueError> {
        match self {
            Self::JetStream(queue) => queue.push(app, id, payload).await,
            Self::Memory(queue) => queue.push(app, id, payload),
        }
    }

    /// How long ago the oldest event was pushed that is still in the queue, taken out or not; `None` without any.
    pub async fn oldest(&self) -> Result<Option<Duration>, QueueError> {
        match self {
            Self::JetStream(queue) => queue.oldest().await,
            Self::Memory(queue) => Ok(queue.oldest()),
        }
    }

    /// Becomes the one that takes events out. Whoever was it before gets no more; everything it has not acknowledged comes
    /// again, in order.
    pub async fn consume(&self) -> Result<Consumer, QueueError> {
        match self {
            Self::JetStream(queue) => Ok(Consumer::JetStream(Box::new(queue.consume().await?))),
            Self::Memory(queue) => Ok(Consumer::Memory(queue.consume())),
        }
    }
}

/// The end of the queue at which events come out.
#[derive(Debug)]
pub enum Consumer {
    /// Over JetStream.
    JetStream(Box<jetstream::Consumer>),
    /// In this process.
    Memory(memory::Consumer),
}

impl Consumer {
    /// The next event, of which there may be any number unacknowledged. Waits through outages of the backbone. `None`:
    /// another consumer has taken over, and this one is of no more use. Cancel-safe.
    pub async fn next(&mut self) -> Option<Item> {
        match self {
            Self::JetStream(consumer) => consumer.next().await.map(Item::JetStream),
            Self::Memory(consumer) => consumer.next().await.map(Item::Memory),
        }
    }
}

/// An event that was taken out. Dropping it leaves it in the queue for the next consumer.
#[derive(Debug)]
pub enum Item {
    /// From JetStream.
    JetStream(jetstream::Item),
    /// From this process.
    Memory(memory::Item),
}

impl Item {
    /// What was pushed.
    pub fn payload(&self) -> &Bytes {
        match self {
            Self::JetStream(item) => item.payload(),
            Self::Memory(item) => item.payload(),
        }
    }

    /// Removes it from the queue. An error means that the next consumer may get it again.
    pub async fn ack(self) -> Result<(), QueueError> {
        match self {
            Self::JetStream(item) => item.ack().await,
            Self::Memory(item) => {
                item.ack();
                Ok(())
            }
        }
    }
}
