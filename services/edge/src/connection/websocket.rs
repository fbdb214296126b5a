//! A connection over a WebSocket: its task.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use backbone::{PublishError, Published};
use pusher::{CloseCode, Input, Rejection};
use tungstenite::Message;

use super::{Connection, Ended, Opening, count, measure};
use crate::metrics::Transport;
use crate::queue::{Frame, Notices};
use crate::server::Shared;
use crate::stream::Stream;
use crate::websocket::{ReadError, Violation, WebSocket, frame};

/// What the task woke up for.
#[derive(Debug)]
enum Event {
    Message(Message),
    Notices(Notices),
    Published(Result<Published, PublishError>),
    Ended(ReadError),
}

/// A connection and its socket.
pub(crate) struct WebSocketTask {
    connection: Connection,
    socket: WebSocket<Stream>,
}

impl WebSocketTask {
    /// The connection over `socket` that `opening` was admitted for.
    pub(crate) fn open(shared: Arc<Shared>, socket: WebSocket<Stream>, opening: Opening) -> Box<Self> {
        Box::new(Self { connection: Connection::open(shared, Transport::WebSocket, opening), socket })
    }

    /// Serves it until its end.
    pub(crate) async fn serve(mut self: Box<Self>) {
        let ended = self.run().await;
        Box::pin(self.finish(ended)).await;
    }

    /// Runs until it is to end; then `outputs` holds what is still to be said.
    async fn run(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.connection.obey(|| self.socket.ping()) {
                return ended;
            }
            self.connection.set_deadline();
            match poll_fn(|cx| self.poll_event(cx)).await {
                Event::Message(message) => {
                    if let Some(ended) = self.hear(&message) {
                        return ended;
                    }
                }
                Event::Notices(notices) => {
                    if let Some(ended) = self.connection.heed(notices) {
                        return ended;
                    }
                }
                Event::Published(result) => self.connection.published(&result),
                Event::Ended(ReadError::Closed) => return Ended::ByClient(None),
                Event::Ended(ReadError::Lost) => return Ended::Lost,
                Event::Ended(ReadError::Violation(violation)) => {
                    return self.connection.close(match violation {
                        Violation::TooLarge => CloseCode::FrameTooLarge,
                        Violation::NotUtf8 => CloseCode::NotUtf8,
                        Violation::Rules => CloseCode::BrokenRules,
                    });
                }
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let Self { connection: Connection { shared, peer, publishing, .. }, socket } = self;
        let metrics = &shared.metrics;
        let mut done = |frame: &Frame| measure(metrics, frame);
        loop {
            let written = socket.take_written();
            count(metrics, written.bytes, written.messages);
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
            Message::Text(text) => self.connection.handle(Input::Text(text.as_str())),
            Message::Binary(_) => self.connection.handle(Input::Binary),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => self.connection.handle(Input::Alive),
            Message::Close(close) => {
                return Some(Ended::ByClient(close.as_ref().map(|close| u16::from(close.code))));
            }
        }
        None
    }

    /// Says what is still to be said, within the close timeout.
    async fn finish(&mut self, ended: Ended) {
        let last = self.connection.leave(ended);
        let Self { connection, socket } = self;
        let (shared, discarded) = (&connection.shared, connection.discarded(ended));
        if !ended.flushes() {
            discarded.increment(socket.discard());
        }
        socket.out().extend(last);
        let mut readable = true;
        if let Ended::Close { code, .. } = ended {
            socket.close(code.number(), code.reason());
            let broken = [CloseCode::BrokenRules, CloseCode::NotUtf8, CloseCode::FrameTooLarge];
            readable = !broken.contains(&code);
        }
        if ended != Ended::Lost {
            let done = |frame: &Frame| measure(&shared.metrics, frame);
            let parted = farewell(socket, readable, done);
            if tokio::time::timeout(shared.config.close_timeout, parted).await.is_err() {
                shared.forced.fetch_add(1, Ordering::Relaxed);
            }
            let written = socket.take_written();
            count(&shared.metrics, written.bytes, written.messages);
        }
        // What the client did not take in time.
        discarded.increment(socket.discard());
        connection.count_out(Transport::WebSocket, ended);
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

/// An upgraded socket that gets no session, and what it is told.
pub(crate) struct RefusedSocket {
    pub(crate) socket: WebSocket<Stream>,
    pub(crate) rejection: Rejection,
}

/// Says why, and parts.
pub(crate) async fn refuse(shared: &Shared, refused: Box<RefusedSocket>) {
    let RefusedSocket { mut socket, rejection } = *refused;
    if let Some(error) = rejection.error() {
        socket.out().push_back(frame::text(&error));
    }
    socket.close(rejection.code(), rejection.reason());
    tokio::time::timeout(shared.config.close_timeout, farewell(&mut socket, true, |_| {})).await.ok();
}
