//! One Pusher connection: its task, which reads frames into the session and does what the session's outputs say.
//!
//! Everything a client gets passes its queue, in order. The task never waits for anything but its socket, its queue and
//! the client event it is publishing; while that one is under way the client is not read, which keeps its events in
//! order and holds back a client that publishes faster than the backbone takes.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use backbone::{Publish, PublishError, Published};
use channels::{ChannelName, Record, Tier};
use pusher::{CloseCode, Input, Output, Session};
use tungstenite::Message;

use crate::clock;
use crate::connections::{Admission, Peer};
use crate::hub::Subscription;
use crate::metrics::{Metrics, PublishResult};
use crate::queue::{Ending, Frame, Notices};
use crate::server::Shared;
use crate::stream::Stream;
use crate::websocket::{ReadError, Violation, WebSocket, Written, frame};

/// WebSocket's number for a close frame without one.
const NO_CODE: u16 = 1005;

type Publishing = Pin<Box<dyn Future<Output = Result<Published, PublishError>> + Send>>;

/// What the task woke up for.
#[derive(Debug)]
enum Event {
    Message(Message),
    Notices(Notices),
    Published(Result<Published, PublishError>),
    Ended(ReadError),
}

/// A connection with a session.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    socket: WebSocket<Stream>,
    session: Session,
    /// What the session wants done next.
    outputs: Vec<Output>,
    peer: Arc<Peer>,
    subscriptions: BTreeMap<ChannelName, Subscription>,
    /// The client event being published.
    publishing: Option<(Instant, Publishing)>,
    /// Those behind it. At most as many as one frame makes: nothing is read while one is under way.
    waiting: VecDeque<(ChannelName, Record)>,
    /// Its place in the node, given back at the very end.
    _admission: Admission,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The session, or this node, closes it. With `flush`, after what is queued.
    Close { code: CloseCode, flush: bool },
    /// The client closed it, with this code if it gave one.
    ByClient(Option<u16>),
    /// The socket is gone.
    Lost,
}

impl Connection {
    /// A connection that is part of the node from now on. `outputs` are the session's first.
    pub(crate) fn open(
        shared: Arc<Shared>,
        socket: WebSocket<Stream>,
        session: Session,
        mut admission: Admission,
        outputs: Vec<Output>,
    ) -> Box<Self> {
        let id = session.socket_id().connection().clone();
        let peer = Arc::new(Peer::new(id, admission.app().clone(), shared.config.send_queue_bytes));
        admission.establish(&peer);
        // The app may have changed after it was looked at and before this connection could be told.
        peer.queue.recheck();
        if shared.draining.is_cancelled() {
            peer.queue.end(Ending::Draining);
        }
        shared.metrics.connections.increment(1);
        shared.metrics.opened.increment(1);
        Box::new(Self {
            shared,
            socket,
            session,
            outputs,
            peer,
            subscriptions: BTreeMap::new(),
            publishing: None,
            waiting: VecDeque::new(),
            _admission: admission,
        })
    }

    /// Serves it until its end.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let ended = self.run().await;
        let code = Box::pin(self.finish(ended)).await;
        self.shared.metrics.connections.decrement(1);
        self.shared.metrics.closed(code).increment(1);
    }

    /// Runs until it is to end; then `outputs` holds what is still to be said.
    async fn run(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.obey() {
                return ended;
            }
            self.shared.connections.set_deadline(&self.peer, self.session.deadline());
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Message(message) => {
                    if let Some(ended) = self.hear(&message) {
                        return ended;
                    }
                }
                Event::Notices(notices) => {
                    if let Some(ended) = self.heed(notices) {
                        return ended;
                    }
                }
                Event::Published(result) => self.published(&result),
                Event::Ended(ReadError::Closed) => return Ended::ByClient(None),
                Event::Ended(ReadError::Lost) => return Ended::Lost,
                Event::Ended(ReadError::Violation(violation)) => {
                    return self.close(match violation {
                        Violation::TooLarge => CloseCode::FrameTooLarge,
                        Violation::NotUtf8 => CloseCode::NotUtf8,
                        Violation::Rules => CloseCode::BrokenRules,
                    });
                }
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Self { shared, socket, peer, publishing, .. } = self;
        let metrics = &shared.metrics;
        let mut done = |frame: &Frame| measure(metrics, frame);
        loop {
            let written = socket.take_written();
            count(metrics, written);
            let notices = peer.queue.take(cx, written.bytes, socket.out());
            if notices != Notices::default() {
                return Poll::Ready(Event::Notices(notices));
            }
            let idle = socket.out().is_empty();
            match socket.poll_flush(cx, &mut done) {
                Poll::Ready(Ok(())) if idle => break,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Event::Ended(ReadError::Lost)),
                Poll::Pending => break,
            }
        }
        if let Some((_, publishing)) = publishing {
            return publishing.as_mut().poll(cx).map(Event::Published);
        }
        match socket.poll_read(cx) {
            Poll::Ready(Ok(message)) => return Poll::Ready(Event::Message(message)),
            Poll::Ready(Err(error)) => return Poll::Ready(Event::Ended(error)),
            Poll::Pending => {}
        }
        // Reading may have queued a pong.
        match socket.poll_flush(cx, &mut done) {
            Poll::Ready(Err(_)) => Poll::Ready(Event::Ended(ReadError::Lost)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes what the client sent.
    fn hear(&mut self, message: &Message) -> Option<Ended> {
        match message {
            Message::Text(text) => self.handle(Input::Text(text.as_str())),
            Message::Binary(_) => self.handle(Input::Binary),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => self.handle(Input::Alive),
            Message::Close(close) => {
                return Some(Ended::ByClient(close.as_ref().map(|close| u16::from(close.code))));
            }
        }
        None
    }

    fn handle(&mut self, input: Input<'_>) {
        match self.shared.apps.get(&self.peer.app) {
            Some(app) => self.session.handle(input, &app, Instant::now(), &mut self.outputs),
            None => self.session.recheck(None, &mut self.outputs),
        }
    }

    /// Takes what the rest of the node wants.
    fn heed(&mut self, notices: Notices) -> Option<Ended> {
        match notices.ending {
            None => {}
            Some(Ending::TooSlow) => {
                self.shared.metrics.slow_consumers.increment(1);
                return Some(self.close(CloseCode::TooSlow));
            }
            Some(Ending::Unavailable) => return Some(self.close(CloseCode::Unavailable)),
            Some(Ending::Draining) => return Some(self.close(CloseCode::Draining)),
            Some(Ending::Missed) => return Some(self.close(CloseCode::Missed)),
        }
        if notices.recheck {
            let app = self.shared.apps.get(&self.peer.app);
            self.session.recheck(app.as_deref(), &mut self.outputs);
        }
        if notices.tick {
            self.handle(Input::Tick);
        }
        None
    }

    /// Has the session close, for a reason of this node's.
    fn close(&mut self, code: CloseCode) -> Ended {
        self.session.close(code, &mut self.outputs);
        // Who does not read would not read the rest either.
        Ended::Close { code, flush: code != CloseCode::TooSlow }
    }

    /// Does what the session says.
    fn obey(&mut self) -> Option<Ended> {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Send(text) => self.peer.queue.push(frame::text(&text)),
                Output::Deny { text, denied } => {
                    self.shared.metrics.deny(denied);
                    self.peer.queue.push(frame::text(&text));
                }
                Output::Subscribe { channel, confirmation } => {
                    let subscription = self.shared.hub.subscribe(&self.peer, &channel, frame::text(&confirmation));
                    self.subscriptions.insert(channel, subscription);
                }
                Output::Unsubscribe { channel } => drop(self.subscriptions.remove(&channel)),
                Output::Publish { channel, record } => self.waiting.push_back((channel, record)),
                Output::Ping => self.socket.ping(),
                Output::Close(code) => return Some(Ended::Close { code, flush: true }),
            }
        }
        self.publish_next();
        None
    }

    fn publish_next(&mut self) {
        if self.publishing.is_some() {
            return;
        }
        let Some((channel, mut record)) = self.waiting.pop_front() else { return };
        record.timestamp_ms = clock::unix_ms();
        let publish = Publish {
            app: self.peer.app.clone(),
            channel,
            // Client events are never stored.
            tier: Tier::Ephemeral,
            record,
            idempotency: None,
        };
        let backbone = self.shared.backbone.clone();
        self.publishing = Some((Instant::now(), Box::pin(async move { backbone.publish(publish).await })));
    }

    /// A client event has no answer, so a lost one is only counted: its promise is "at most once".
    fn published(&mut self, result: &Result<Published, PublishError>) {
        let publishes = &self.shared.metrics.client_events;
        if let Some((begun, _)) = self.publishing.take() {
            publishes.seconds.record(begun.elapsed().as_secs_f64());
        }
        publishes.result(PublishResult::of(result)).increment(1);
        self.publish_next();
    }

    /// Says what is still to be said, within the close timeout. Gives the code the connection ended with.
    async fn finish(&mut self, ended: Ended) -> Option<u16> {
        self.subscriptions.clear();
        let metrics = Arc::clone(&self.shared.metrics);
        let (rest, mut dropped) = self.peer.queue.close();
        let lost: u64 = rest.iter().map(|frame| u64::from(frame.messages)).sum();
        let mut readable = true;
        let discarded = match ended {
            Ended::Close { code: CloseCode::TooSlow, .. } => &metrics.discarded_slow,
            Ended::Close { code: CloseCode::Draining, .. } => &metrics.discarded_draining,
            Ended::Close { .. } | Ended::ByClient(_) | Ended::Lost => &metrics.discarded_closed,
        };
        let code = match ended {
            Ended::Lost => {
                dropped += lost + self.socket.discard();
                None
            }
            Ended::ByClient(code) => {
                dropped += lost + self.socket.discard();
                Some(code.unwrap_or(NO_CODE))
            }
            Ended::Close { code, flush } => {
                if flush {
                    self.socket.out().extend(rest);
                } else {
                    dropped += lost + self.socket.discard();
                }
                for output in self.outputs.drain(..) {
                    if let Output::Send(text) = output {
                        self.socket.out().push_back(frame::text(&text));
                    }
                }
                self.socket.close(code.number(), code.reason());
                let broken = [CloseCode::BrokenRules, CloseCode::NotUtf8, CloseCode::FrameTooLarge];
                readable = !broken.contains(&code);
                Some(code.number())
            }
        };
        discarded.increment(dropped);
        if ended != Ended::Lost {
            let done = |frame: &Frame| measure(&metrics, frame);
            let parted = farewell(&mut self.socket, readable, done);
            if tokio::time::timeout(self.shared.config.close_timeout, parted).await.is_err() {
                self.shared.forced.fetch_add(1, Ordering::Relaxed);
            }
            count(&metrics, self.socket.take_written());
        }
        // What the client did not take in time.
        discarded.increment(self.socket.discard());
        code
    }
}

/// Writes what is queued, the close frame last, and waits for the client to part too. With `readable`, reads its close
/// frame; after a broken rule nothing it sends can be read.
async fn farewell(socket: &mut WebSocket<Stream>, readable: bool, mut done: impl FnMut(&Frame)) {
    let mut reading = readable;
    poll_fn(|cx| {
        loop {
            let flushed = match socket.poll_flush(cx, &mut done) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if !reading {
                return if flushed { Poll::Ready(()) } else { Poll::Pending };
            }
            match socket.poll_read(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(ReadError::Lost)) => return Poll::Ready(()),
                Poll::Ready(Err(ReadError::Closed | ReadError::Violation(_))) => reading = false,
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    // Whether the other side still cares does not matter any more.
    poll_fn(|cx| socket.poll_shutdown(cx)).await.ok();
    poll_fn(|cx| socket.poll_drain(cx)).await;
}

/// An upgraded socket that gets no session, and what it is told: an error for old clients, and the close.
pub(crate) struct RefusedSocket {
    pub(crate) socket: WebSocket<Stream>,
    pub(crate) outputs: Vec<Output>,
}

/// Says why, and parts.
pub(crate) async fn refuse(shared: &Shared, refused: Box<RefusedSocket>) {
    let RefusedSocket { mut socket, outputs } = *refused;
    for output in outputs {
        match output {
            Output::Send(text) => socket.out().push_back(frame::text(&text)),
            Output::Close(code) => socket.close(code.number(), code.reason()),
            Output::Deny { .. }
            | Output::Subscribe { .. }
            | Output::Unsubscribe { .. }
            | Output::Publish { .. }
            | Output::Ping => {}
        }
    }
    tokio::time::timeout(shared.config.close_timeout, farewell(&mut socket, true, |_| {})).await.ok();
}

/// Counts what was written.
fn count(metrics: &Metrics, written: Written) {
    if written.bytes > 0 {
        metrics.sent_bytes.increment(written.bytes as u64);
        metrics.messages_sent.increment(written.messages);
    }
}

/// Notes how long a measured delivery took, when the socket has taken its last byte.
fn measure(metrics: &Metrics, frame: &Frame) {
    if let Some(timing) = &frame.timing {
        metrics.delivery_queue.record(timing.queued.elapsed().as_secs_f64());
        metrics.delivery_total.record(clock::seconds_since(timing.accepted_ms));
    }
}
