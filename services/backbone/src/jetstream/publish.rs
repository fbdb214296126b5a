//! Publishing through JetStream: retried with one id until acknowledged, or given up with an honest answer.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError as NatsError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use channels::{Position, Tier};
use clock::Backoff;
use telemetry::trace::Span;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::live::{POKE_HEADER, STREAM_HEADER};
use super::streams::ShardStream;
use super::subject::{ChannelSubjects, Store};
use super::{JetStream, Shared};
use crate::publish::{IdempotencyId, Publish, PublishError, Published};
use crate::{envelope, trace};

/// How long one attempt waits for its acknowledgement. Below the 4 s that an election takes at least, so that a retry
/// is under way when the new leader comes.
pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an accepted publish is held up by telling subscribers of it.
const POKE_TIMEOUT: Duration = Duration::from_secs(1);

/// Pauses between attempts. While a shard has no leader every attempt fails at once.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

impl JetStream {
    /// Publishes; attempts that come to nothing are told to `span`.
    pub(crate) async fn publish(&self, publish: Publish, span: &mut Option<Span>) -> Result<Published, PublishError> {
        let shared = &*self.shared;
        let subjects = shared.subjects(&publish.app, &publish.channel);
        let payload = envelope::encode(&publish.channel, &publish.record);
        if payload.len() > shared.max_record_bytes() {
            return Err(PublishError::TooLarge);
        }
        let Some(store) = Store::of(publish.tier) else {
            return shared.publish_passing(&subjects, payload).await;
        };
        let id = publish.idempotency.unwrap_or_else(IdempotencyId::random);
        // The server remembers ids per stream, so an id alone would collide with another tenant's.
        let message_id = format!("{}/{}/{}", publish.app, publish.channel.token(), id.as_str());
        let message = || {
            let message = PublishMessage::build().payload(payload.clone()).message_id(&message_id);
            match publish.tier {
                Tier::Persistent { retention } => message.ttl(retention),
                Tier::Ephemeral | Tier::Recoverable => message,
            }
        };
        shared.publish_stored(&subjects, store, message, span).await
    }
}

impl Shared {
    /// The ephemeral path: at most once, so nothing is kept for a connection that is down.
    async fn publish_passing(
        &self,
        subjects: &ChannelSubjects,
        payload: bytes::Bytes,
    ) -> Result<Published, PublishError> {
        if !self.is_up() {
            return Err(PublishError::Unavailable);
        }
        self.live.publish(subjects.delivery(), payload).await.map_err(|_| PublishError::Unavailable)?;
        Ok(Published { position: None, duplicate: false })
    }

    async fn publish_stored(
        &self,
        subjects: &ChannelSubjects,
        store: Store,
        message: impl Fn() -> PublishMessage,
        span: &mut Option<Span>,
    ) -> Result<Published, PublishError> {
        let _under_way = self.pending.begin();
        let deadline = Instant::now() + self.config.publish_deadline;
        let stream = self.streams.get(store, subjects.shard);
        let subject = subjects.stored(store);
        let mut may_be_stored = false;
        let mut backoff = BACKOFF;
        loop {
            match timeout_at(deadline, self.attempt(stream, &subject, message())).await {
                Ok(Ok(ack)) => {
                    if ack.duplicate {
                        // The first attempt may have been stored by a leader that died before it told anybody.
                        Box::pin(self.poke(subjects, stream, ack.sequence)).await;
                    }
                    let position = Position { epoch: stream.epoch(), sequence: ack.sequence };
                    return Ok(Published { position: Some(position), duplicate: ack.duplicate });
                }
                Ok(Err(Failure::TooLarge)) => return Err(PublishError::TooLarge),
                Ok(Err(Failure::NotStored)) => trace::attempt_failed(span, "not stored"),
                Ok(Err(Failure::Unknown)) | Err(_) => {
                    may_be_stored = true;
                    trace::attempt_failed(span, "no answer");
                }
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= deadline {
                return Err(if may_be_stored { PublishError::UnknownOutcome } else { PublishError::Unavailable });
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(
        &self,
        stream: &ShardStream,
        subject: &str,
        message: PublishMessage,
    ) -> Result<PublishAck, Failure> {
        // What is sent while disconnected is kept by the library and delivered whenever the connection comes back: hours
        // later perhaps, out of order and past the dedupe window.
        if !self.is_up() {
            return Err(Failure::NotStored);
        }
        if !stream.is_created() {
            // Boxed, as it would be most of every publish.
            Box::pin(self.streams.ensure(stream)).await.map_err(|error| {
                warn!(stream = stream.name, %error, "cannot prepare stream");
                Failure::NotStored
            })?;
        }
        let ack = self.context.send_publish(subject.to_owned(), message).await;
        let ack = ack.map_err(|error| Failure::of(&error))?;
        ack.await.map_err(|error| Failure::of(&error))
    }

    /// Tells the channel's subscribers that a record may never have been delivered: they check for a gap.
    async fn poke(&self, subjects: &ChannelSubjects, stream: &ShardStream, sequence: u64) {
        let mut headers = HeaderMap::new();
        headers.insert(STREAM_HEADER, stream.name.as_str());
        headers.insert(POKE_HEADER, sequence.to_string().as_str());
        let poke = self.live.publish_with_headers(subjects.delivery(), headers, bytes::Bytes::new());
        // The sweep of heads finds it if this fails.
        match tokio::time::timeout(POKE_TIMEOUT, poke).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "cannot tell subscribers of a repeated publish"),
            Err(_) => warn!("cannot tell subscribers of a repeated publish in time"),
        }
    }
}

/// What a failed attempt says about the message.
#[derive(Debug)]
enum Failure {
    TooLarge,
    NotStored,
    Unknown,
}

impl Failure {
    fn of(error: &NatsError) -> Self {
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            // "No responders": what every publish gets while a shard has no leader.
            PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => Self::NotStored,
            PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence => Self::NotStored,
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Self::Unknown,
            // An error answered by the server.
            PublishErrorKind::Other => {
                warn!(%error, "the backbone refuses a message");
                Self::Unknown
            }
        }
    }
}
