//! The queue of webhook events as a work queue stream.
//!
//! The one consumer is a durable one of the stream, under a name of its own for each taker: who takes over deletes it,
//! which is what the other one learns of it by. The server would hand an event out again that is not acknowledged in
//! time; instead that time is longer than events live, and whatever may have been lost on its way here (a hole in the
//! consumer's own count, silence after an outage) is got by starting the consumer anew and leaving out what is in hand.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{PublishError as NatsError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, Subject};
use bytes::Bytes;
use channels::AppId;
use clock::{Backoff, since_epoch};
use futures_util::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::publish::ACK_TIMEOUT;
use super::streams::start_error;
use crate::IdempotencyId;
use crate::config::{Config, StartError};
use crate::queue::{KEPT_FOR, QueueError, REMEMBERED_FOR};

/// The stream.
pub(crate) const STREAM: &str = "fanfare-webhooks";

/// First token of its subjects; the app's id is the second.
pub(crate) const PREFIX: &str = "wh";

/// In front of the names of consumers.
const TAKER: &str = "taker";

/// How often the consumer says that it is there while nothing happens; twice that long without a word is an outage.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long one request for events is good for.
const PULL_EXPIRES: Duration = Duration::from_secs(20);

/// Most events asked for at a time. Several times that may be under way, which the connection's buffer has to hold.
const MAX_PULL: usize = 128;

/// How long nothing may come before the consumer is asked whether something should have.
const SILENCE: Duration = Duration::from_secs(5);

/// Pauses between attempts while a stream or consumer has no leader.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Pause before an acknowledgement that nobody took note of is sent again: each has waited for an answer already.
const ACK_PAUSE: Duration = Duration::from_millis(50);

/// The queue. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    client: Client,
    context: Context,
    stream: Stream<()>,
    deadline: Duration,
    pull: usize,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// Creates the stream, or upgrades it.
pub(super) async fn prepare(client: &Client, context: &Context, config: &Config) -> Result<Queue, StartError> {
    let stream_config = stream::Config {
        name: STREAM.to_owned(),
        description: Some("Fanfare webhook events that wait for their delivery".to_owned()),
        subjects: vec![format!("{PREFIX}.>")],
        retention: RetentionPolicy::WorkQueue,
        // What waits is not pushed out by what comes: it was acknowledged.
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: config.replicas,
        max_bytes: i64::try_from(config.webhook_queue_bytes).unwrap_or(i64::MAX),
        max_age: KEPT_FOR,
        duplicate_window: REMEMBERED_FOR,
        ..stream::Config::default()
    };
    context.create_or_update_stream(stream_config).await.map_err(|error| start_error(STREAM, &error))?;
    let stream = context.get_stream_no_info(STREAM).await.map_err(|error| StartError::Refused(error.to_string()))?;
    // While one batch is read the next is asked for, and what is left of the one before may still come.
    let pull = (config.attach_buffer / 4).clamp(1, MAX_PULL);
    let deadline = config.publish_deadline;
    Ok(Queue { client: client.clone(), context: context.clone(), stream, deadline, pull })
}

impl Queue {
    pub(crate) async fn push(&self, app: &AppId, id: &IdempotencyId, payload: Bytes) -> Result<(), QueueError> {
        let deadline = Instant::now() + self.deadline;
        // The server remembers ids per stream, so an id alone would collide with another tenant's.
        let message_id = format!("{app}/{}", id.as_str());
        let message = PublishMessage::build().payload(payload).message_id(message_id);
        let mut backoff = BACKOFF;
        loop {
            match timeout_at(deadline, self.attempt(app, message.clone())).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(refused @ (QueueError::Full | QueueError::TooLarge))) => return Err(refused),
                Ok(Err(QueueError::Unavailable)) | Err(_) => {}
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(QueueError::Unavailable);
            }
            sleep(pause).await;
        }
    }

    async fn attempt(&self, app: &AppId, message: PublishMessage) -> Result<(), QueueError> {
        // What is sent while disconnected is kept by the library and delivered whenever the connection comes back.
        if self.client.connection_state() != async_nats::connection::State::Connected {
            return Err(QueueError::Unavailable);
        }
        let ack = self.context.send_publish(format!("{PREFIX}.{app}"), message).await.map_err(|e| refusal(&e))?;
        ack.await.map(drop).map_err(|error| refusal(&error))
    }

    pub(crate) async fn oldest(&self) -> Result<Option<Duration>, QueueError> {
        let stream = self.context.get_stream(STREAM).await.map_err(|error| {
            debug!(%error, "the webhook queue does not say what is in it");
            QueueError::Unavailable
        })?;
        let state = &stream.cached_info().state;
        let pushed = Duration::try_from(state.first_timestamp - OffsetDateTime::UNIX_EPOCH).unwrap_or_default();
        // 0 if the server's clock is ahead of ours.
        Ok((state.messages > 0).then(|| since_epoch().saturating_sub(pushed)))
    }

    pub(crate) async fn consume(&self) -> Result<Consumer, QueueError> {
        let taker = format!("{TAKER}-{:016x}", rand::random::<u64>());
        let mut consumer = Consumer {
            queue: self.clone(),
            taker,
            starts: 0,
            held: Arc::default(),
            messages: None,
            last: 0,
            acknowledged: 0,
            checked: Instant::now(),
        };
        let deadline = Instant::now() + self.deadline;
        let mut backoff = BACKOFF;
        loop {
            match timeout_at(deadline, consumer.start(true)).await {
                Ok(Ok(_)) => return Ok(consumer),
                Ok(Err(error)) => debug!(%error, "cannot take over the webhook queue yet"),
                Err(_) => {}
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(QueueError::Unavailable);
            }
            sleep(pause).await;
        }
    }
}

/// What a failed push says about the event.
fn refusal(error: &NatsError) -> QueueError {
    use std::error::Error as _;
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => QueueError::TooLarge,
        PublishErrorKind::Other => {
            let answer = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
            match answer.map(jetstream::Error::error_code) {
                // What a stream that discards new messages answers at its bound.
                Some(ErrorCode::STREAM_STORE_FAILED) => QueueError::Full,
                Some(_) | None => {
                    warn!(%error, "the backbone refuses a webhook event");
                    QueueError::Unavailable
                }
            }
        }
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe => QueueError::Unavailable,
    }
}

/// Events in hand, by their sequence in the stream, with the subject on which each is acknowledged to the consumer that
/// told of it last.
type Held = Arc<Mutex<HashMap<u64, Subject>>>;

/// Takes events out, for as long as nobody else does.
pub struct Consumer {
    queue: Queue,
    /// What the names of this taker's consumers begin with.
    taker: String,
    /// How many consumers it has had.
    starts: u32,
    held: Held,
    messages: Option<pull::Stream>,
    /// What the consumer counted last.
    last: u64,
    /// Everything up to here was acknowledged to a consumer before this one. Servers remove it one after the other, so it
    /// may still come out here.
    acknowledged: u64,
    /// When it was last known that nothing is missing.
    checked: Instant,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("taker", &self.taker).field("last", &self.last).finish_non_exhaustive()
    }
}

/// What has come from the consumer.
enum Taken {
    New(Item),
    /// It is in hand, or will come again.
    Old,
    /// It should be gone.
    Acknowledged(jetstream::Message),
}

/// Whether there is still a consumer of ours.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Ours,
    TakenOver,
}

impl Consumer {
    pub(crate) async fn next(&mut self) -> Option<Item> {
        let mut backoff = BACKOFF;
        loop {
            let Some(messages) = &mut self.messages else {
                match self.start(false).await {
                    Ok(Standing::Ours) => backoff = BACKOFF,
                    Ok(Standing::TakenOver) => {
                        // Nobody is left who could take an acknowledgement for it.
                        self.held.lock().clear();
                        return None;
                    }
                    Err(error) => {
                        debug!(%error, "cannot go on with the webhook queue yet");
                        sleep(backoff.pause()).await;
                    }
                }
                continue;
            };
            match timeout_at(self.checked + SILENCE, messages.next()).await {
                Ok(Some(Ok(message))) => match self.take(message) {
                    Taken::New(item) => return Some(item),
                    Taken::Old => {}
                    Taken::Acknowledged(message) => {
                        if let Err(error) = message.ack().await {
                            debug!(%error, "an event will be removed later");
                        }
                    }
                },
                Ok(Some(Err(error))) => {
                    debug!(%error, "lost touch with the consumer of the webhook queue");
                    self.messages = None;
                }
                Ok(None) => self.messages = None,
                Err(_) => self.look().await,
            }
        }
    }

    /// The event, unless it is in hand already. A hole in the consumer's count is an event lost on its way here, which
    /// must not be overtaken.
    fn take(&mut self, message: jetstream::Message) -> Taken {
        let (sequence, counted) = match message.info() {
            Ok(info) => (info.stream_sequence, info.consumer_sequence),
            Err(error) => {
                warn!(%error, "a webhook event without its place in the queue");
                return Taken::Old;
            }
        };
        if counted != self.last + 1 {
            info!(expected = self.last + 1, counted, "webhook events were lost on their way; getting them again");
            self.messages = None;
            return Taken::Old;
        }
        self.last = counted;
        self.checked = Instant::now();
        if sequence <= self.acknowledged {
            return Taken::Acknowledged(message);
        }
        let Some(reply) = message.message.reply else { return Taken::Old };
        if self.held.lock().insert(sequence, reply).is_some() {
            return Taken::Old;
        }
        let (client, held) = (self.queue.client.clone(), Arc::clone(&self.held));
        let payload = message.message.payload;
        Taken::New(Item { client, held, sequence, payload, deadline: self.queue.deadline })
    }

    /// After a silence: whether the consumer has sent more than what came.
    async fn look(&mut self) {
        self.checked = Instant::now();
        match self.queue.stream.consumer_info(self.name()).await {
            Ok(info) if info.delivered.consumer_sequence == self.last => {}
            Ok(_) => self.messages = None,
            Err(error) => {
                debug!(%error, "the consumer of the webhook queue does not answer");
                self.messages = None;
            }
        }
    }

    /// Begins anew with everything that is not acknowledged; the first time by taking over from whoever is there.
    async fn start(&mut self, take_over: bool) -> Result<Standing, Box<dyn std::error::Error + Send + Sync>> {
        let stream = self.queue.stream.clone();
        let names: Vec<String> = stream.consumer_names().try_collect().await?;
        for name in names {
            if !take_over && !name.starts_with(&self.taker) {
                return Ok(Standing::TakenOver);
            }
            // If it does not say, some of what was acknowledged last may come again.
            if let Ok(info) = stream.consumer_info(&name).await {
                self.acknowledged = self.acknowledged.max(info.ack_floor.stream_sequence);
            }
            stream.delete_consumer(&name).await?;
        }
        self.starts += 1;
        let config = pull::Config {
            durable_name: Some(self.name()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: 2 * KEPT_FOR,
            // A receiver that is away must not keep others' events from coming; the worker bounds what it holds.
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let consumer: PullConsumer = stream.create_consumer(config).await?;
        let messages = consumer.stream().max_messages_per_batch(self.queue.pull).expires(PULL_EXPIRES);
        self.messages = Some(messages.heartbeat(HEARTBEAT).messages().await?);
        self.last = 0;
        self.checked = Instant::now();
        Ok(Standing::Ours)
    }

    fn name(&self) -> String {
        format!("{}-{}", self.taker, self.starts)
    }
}

/// An event that was taken out.
pub struct Item {
    client: Client,
    held: Held,
    sequence: u64,
    payload: Bytes,
    deadline: Duration,
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Item {
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Waits for the server's word that it has taken note: an acknowledgement that is lost would bring the event again.
    pub(crate) async fn ack(self) -> Result<(), QueueError> {
        let deadline = Instant::now() + self.deadline;
        loop {
            // The consumer may have been started anew in the meantime, and then knows the event under another subject.
            let subject = self.held.lock().get(&self.sequence).cloned().ok_or(QueueError::Unavailable)?;
            let asked = self.client.request(subject, Bytes::from_static(b"+ACK"));
            if let Ok(Ok(_)) = timeout(ACK_TIMEOUT, asked).await {
                self.held.lock().remove(&self.sequence);
                return Ok(());
            }
            if Instant::now() + ACK_PAUSE >= deadline {
                return Err(QueueError::Unavailable);
            }
            sleep(ACK_PAUSE).await;
        }
    }
}
