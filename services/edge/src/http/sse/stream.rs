//! One event stream: a connection that only receives, and is over with its response.
//!
//! Its task takes events from the queue as fast as its client reads. Every event bears an id that holds where the client
//! is in each of its channels, with which it goes on anywhere. So a stream may be ended at any time behind a whole event,
//! and what still waits in the queue then is what the client gets when it comes back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ably::credentials::{Credentials, Granted};
use ably::session::End;
use ably::sse::{Encoder, EventId};
use ably::{Code, ErrorInfo, Name};
use bytes::{Bytes, BytesMut};
use channels::{EventPosition, Operation};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::body::Chunks;
use crate::authentication::authenticate;
use crate::connection::{Core, measure};
use crate::hub::{Event, EventKind, Subscription};
use crate::queue::{Ending, Frame, Notices, Written};

/// Bytes after which events are sent on rather than added to.
const CHUNK_BYTES: usize = 32 * 1024;

/// A stream and its place in the node.
pub(super) struct Stream {
    pub(super) core: Core,
    /// What it came with, to be looked at again whenever the app or what is revoked changes.
    pub(super) credentials: Credentials,
    pub(super) channels: Vec<Joined>,
    pub(super) encoder: Encoder,
    /// The id of the last event.
    pub(super) id: EventId,
    /// What the body begins with: what there is to be said until the stream begins.
    pub(super) first: BytesMut,
    /// Until it begins: who waits for that, or for why it does not.
    pub(super) begins: Option<oneshot::Sender<Result<(), ErrorInfo>>>,
    pub(super) chunks: Chunks,
    /// Cuts the client's socket.
    pub(super) cut: CancellationToken,
    /// When its token expires.
    pub(super) expires: Option<Pin<Box<Sleep>>>,
    /// When it is to get a sign of life.
    pub(super) silence: Pin<Box<Sleep>>,
    /// What the queue has handed over.
    pub(super) out: VecDeque<Frame>,
    /// The queue's bytes that were written since it was last told.
    pub(super) written: usize,
    /// Those of what is in `first`, and the messages there.
    pub(super) held: usize,
    pub(super) held_messages: u64,
}

/// A channel of the stream.
pub(super) struct Joined {
    pub(super) name: Name,
    pub(super) subscription: Subscription,
    /// The client goes on from an event: what comes first is what counts, not where the channel is by then.
    pub(super) goes_on: bool,
    /// Whatever is published from now on comes.
    pub(super) attached: bool,
}

/// What the task woke up for.
#[derive(Debug)]
enum Wake {
    Notices(Notices),
    /// Nothing was sent for a while.
    Silence,
    /// The token has expired.
    Expired,
    /// A channel cannot be delivered any more.
    Failed(ErrorInfo),
    /// The client is gone.
    Gone,
}

/// How a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// We end it, and say why.
    Because(ErrorInfo),
    /// The client is gone.
    Lost,
}

impl Stream {
    /// Serves it until its end.
    pub(super) async fn serve(mut self: Box<Self>) {
        let ended = self.run().await;
        self.finish(ended).await;
    }

    async fn run(&mut self) -> Ended {
        loop {
            match poll_fn(|cx| self.poll_wake(cx)).await {
                Wake::Notices(notices) => {
                    if let Some(error) = self.heed(notices) {
                        return Ended::Because(error);
                    }
                }
                Wake::Silence => self.set_silence(),
                Wake::Expired => return Ended::Because(Code::TokenExpired.info()),
                Wake::Failed(error) => return Ended::Because(error),
                Wake::Gone => return Ended::Lost,
            }
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if self.chunks.poll_done(cx).is_ready() {
            return Poll::Ready(Wake::Gone);
        }
        loop {
            let written = std::mem::take(&mut self.written);
            let notices = self.core.peer.queue.take(cx, written, &mut self.out);
            if notices != Notices::default() {
                return Poll::Ready(Wake::Notices(notices));
            }
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Wake::Failed(error)),
                Poll::Pending => break,
            }
        }
        if let Some(expires) = &mut self.expires
            && expires.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Wake::Expired);
        }
        ready!(self.silence.as_mut().poll(cx));
        // Whoever does not take what there is needs no sign of life.
        if self.begins.is_none() && self.chunks.poll_ready(cx).is_ready() {
            self.send(self.encoder.keep_alive(), 0);
        }
        Poll::Ready(Wake::Silence)
    }

    /// Writes some of what waits. Pending: there is nothing, or no room.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ErrorInfo>> {
        if self.begins.is_some() {
            return self.begin();
        }
        if self.out.is_empty() && self.first.is_empty() {
            return Poll::Pending;
        }
        ready!(self.chunks.poll_ready(cx));
        let (mut chunk, mut messages) = (std::mem::take(&mut self.first), std::mem::take(&mut self.held_messages));
        self.written += std::mem::take(&mut self.held);
        let (mut failed, mut moved) = (None, false);
        while chunk.len() < CHUNK_BYTES && failed.is_none() {
            if self.out.is_empty() {
                self.core.peer.queue.refill(&mut self.out);
            }
            let Some(frame) = self.out.pop_front() else { break };
            self.written += frame.bytes.len();
            messages += u64::from(frame.messages);
            measure(&self.core.shared.metrics, &frame);
            if let Some(event) = frame.event() {
                failed = self.tell(event, &mut chunk).err();
                moved |= matches!(event.kind, EventKind::Attached { .. });
            }
        }
        if moved {
            // Where it is in channels that have no event yet, so that it goes on there, too.
            chunk.extend_from_slice(&self.encoder.start(&self.id));
        }
        if !chunk.is_empty() {
            self.send(chunk.freeze(), messages);
        }
        Poll::Ready(failed.map_or(Ok(()), Err))
    }

    /// Takes what comes until every channel is attached: only then the response begins, for which its client waits
    /// before it has anything published. What is taken counts as waiting, so that no more of it comes than the queue holds.
    fn begin(&mut self) -> Poll<Result<(), ErrorInfo>> {
        let mut first = std::mem::take(&mut self.first);
        let mut told = Ok(());
        while told.is_ok() {
            if self.out.is_empty() {
                self.core.peer.queue.refill(&mut self.out);
            }
            let Some(frame) = self.out.pop_front() else { break };
            self.held += frame.bytes.len();
            self.held_messages += u64::from(frame.messages);
            if let Some(event) = frame.event() {
                told = self.tell(event, &mut first);
            }
        }
        self.first = first;
        told?;
        if self.channels.iter().all(|joined| joined.attached)
            && let Some(begins) = self.begins.take()
        {
            self.first.extend_from_slice(&self.encoder.start(&self.id));
            // If nobody waits any more, the body is gone, too.
            begins.send(Ok(())).ok();
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn send(&mut self, chunk: Bytes, messages: u64) {
        self.core.count(Written { bytes: chunk.len(), messages });
        self.chunks.send(chunk);
        self.set_silence();
    }

    fn set_silence(&mut self) {
        self.silence.as_mut().reset(Instant::now() + self.core.shared.config.sse_keep_alive);
    }

    /// Writes one event of a channel, and notes where the client is by it.
    fn tell(&mut self, event: &Event, chunk: &mut BytesMut) -> Result<(), ErrorInfo> {
        let Self { channels, encoder, id, .. } = self;
        let channel = &*event.channel;
        match &event.kind {
            EventKind::Attached { at, error } => {
                let joined = channels.iter_mut().find(|joined| **joined.name.written() == *channel);
                let goes_on = joined.is_some_and(|joined| {
                    joined.attached = true;
                    std::mem::take(&mut joined.goes_on)
                });
                if let Some(at) = at.filter(|_| !goes_on || error.is_some()) {
                    id.positions.set(channel, at.into());
                }
                if let Some(error) = error {
                    chunk.extend_from_slice(&encoder.error(error));
                }
            }
            EventKind::Messages { record, at, items } => {
                for (index, item) in items {
                    let Some(message) = record.messages.get(*index) else { continue };
                    if let Some(at) = *at {
                        id.positions.set(channel, EventPosition::of_message(at, *index, record.messages.len()));
                    }
                    let item = std::str::from_utf8(item).unwrap_or("{}");
                    chunk.extend_from_slice(&encoder.message(id, channel, item, message));
                }
                if let Some(at) = *at {
                    // Those behind the last one were not for this client.
                    id.positions.set(channel, at.into());
                }
            }
            EventKind::Presence { at, item } => {
                if let Some(at) = *at {
                    id.positions.set(channel, at.into());
                }
                chunk.extend_from_slice(&encoder.presence(id, channel, std::str::from_utf8(item).unwrap_or("{}")));
            }
            EventKind::Failed(error) => return Err(error.clone()),
        }
        Ok(())
    }

    /// Takes what the rest of the node wants. Gives why it has to end, if it has.
    fn heed(&mut self, notices: Notices) -> Option<ErrorInfo> {
        if let Some(ending) = notices.ending {
            if ending == Ending::TooSlow {
                self.core.shared.metrics.slow_consumers.increment(1);
            }
            return Some(words(ending));
        }
        if notices.aside {
            for (name, place) in self.core.peer.queue.take_aside().detached {
                // It learns why by an event.
                self.channels.retain(|joined| *joined.name.written() != name || !joined.subscription.is_at(place));
            }
            self.core.peer.set_subscriptions(self.channels.len());
        }
        if notices.recheck {
            return self.recheck().err();
        }
        None
    }

    /// Whether its credentials are still good, and good enough.
    fn recheck(&self) -> Result<(), ErrorInfo> {
        let now = authenticate(&self.core.shared, &self.credentials, clock::unix_ms())?;
        self.channels.iter().try_for_each(|joined| permit(&now.granted, &joined.name))
    }

    /// Says why it ends, behind the last whole event, within the close timeout.
    async fn finish(&mut self, ended: Ended) {
        let shared = Arc::clone(&self.core.shared);
        let (code, reason, discarded) = match &ended {
            Ended::Because(error) if *error == End::TooSlow.error() => {
                (Some(error.code), &*error.message, &shared.metrics.discarded_slow)
            }
            Ended::Because(error) if *error == End::Draining.error() => {
                (Some(error.code), &*error.message, &shared.metrics.discarded_draining)
            }
            Ended::Because(error) => (Some(error.code), &*error.message, &shared.metrics.discarded_closed),
            Ended::Lost => (None, "the client is gone", &shared.metrics.discarded_closed),
        };
        self.channels.clear();
        discarded.increment(self.out.drain(..).map(|frame| u64::from(frame.messages)).sum());
        discarded.increment(self.held_messages);
        self.core.close_queue(false, discarded);
        if let Some(begins) = self.begins.take() {
            // There is no stream yet, so that nothing has to be said in it.
            if let Ended::Because(error) = &ended {
                begins.send(Err(error.clone())).ok();
            }
        } else if let Ended::Because(error) = &ended {
            let is_moved = *error == End::Draining.error();
            let last = if is_moved { self.encoder.moved() } else { self.encoder.error(error) };
            let parted = poll_fn(|cx| self.poll_farewell(cx, &last));
            if tokio::time::timeout(shared.config.close_timeout, parted).await.is_err() {
                self.cut.cancel();
                self.core.count_forced();
            }
        }
        self.core.count_out(code, reason);
    }

    /// Ready when HTTP has taken everything up to the end, or has given up.
    fn poll_farewell(&mut self, cx: &mut Context<'_>, last: &Bytes) -> Poll<()> {
        if self.chunks.poll_done(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.chunks.poll_ready(cx).is_ready() {
            self.send(last.clone(), 0);
            self.chunks.end();
            return self.chunks.poll_done(cx);
        }
        Poll::Pending
    }
}

/// Whether a stream of `name` may be had.
pub(super) fn permit(granted: &Granted, name: &Name) -> Result<(), ErrorInfo> {
    granted.permit(name.base().as_str(), Operation::Subscribe)
}

/// How long from `now_ms` until `at_ms`.
pub(super) fn until(at_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(at_ms.saturating_sub(now_ms))
}

/// What the client is told when somebody else ends its stream. An `EventSource` comes back whatever it is told.
fn words(ending: Ending) -> ErrorInfo {
    let end = match ending {
        Ending::TooSlow => End::TooSlow,
        Ending::Unavailable => End::Unavailable,
        Ending::Draining => End::Draining,
        Ending::Terminated => End::Terminated,
        Ending::Superseded => End::Superseded,
        Ending::Missed | Ending::Closed { for_good: false } => End::ClosedForNow,
        Ending::Closed { for_good: true } => End::ClosedForGood,
    };
    end.error()
}
