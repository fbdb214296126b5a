//! The WebSocket end of a connection, whatever it speaks: the queue's way out, the client's frames in, and the farewell.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use telemetry::Counter;
use tungstenite::Message;

use super::{Core, measure};
use crate::queue::{Frame, Notices};
use crate::server::Shared;
use crate::stream::Stream;
use crate::websocket::{ReadError, WebSocket};

/// A connection's socket.
pub(super) struct Socket {
    pub(super) web: WebSocket<Stream>,
}

/// The client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// How a socket is left.
pub(super) struct Parting<'a> {
    /// What is still to be written.
    pub(super) last: VecDeque<Frame>,
    /// Whether what the socket was given before is still to be written.
    pub(super) flush: bool,
    /// Number and reason of the close frame, if it is we who close.
    pub(super) close: Option<(u16, &'a str)>,
    /// Whether what the client sends can still be read.
    pub(super) readable: bool,
    /// The client is gone: nothing is written.
    pub(super) lost: bool,
    /// Counts what does not get to the client.
    pub(super) discarded: &'a Counter,
}

impl Socket {
    /// One that is upgraded, that of `core`; nothing was pushed into its queue.
    pub(super) fn new(web: WebSocket<Stream>, core: &Core) -> Self {
        if let Some(socket) = web.io().socket() {
            core.peer.queue.share(Arc::clone(socket));
        }
        Self { web }
    }

    /// Writes what the queue holds. Ready if there is something that the connection has to attend to, or nobody to write
    /// to.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, core: &Core) -> Poll<Result<Notices, Lost>> {
        let socket = &mut self.web;
        let mut done = |frame: &Frame| measure(&core.shared.metrics, frame);
        loop {
            let written = socket.take_written();
            core.count(written);
            let notices = core.peer.queue.take(cx, written.bytes, socket.out());
            if notices != Notices::default() {
                return Poll::Ready(Ok(notices));
            }
            let idle = socket.out().is_empty();
            match socket.poll_flush(cx, &mut done) {
                Poll::Ready(Ok(())) if idle => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Lost)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The client's next message. To be called after [`Self::poll_write`].
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, core: &Core) -> Poll<Result<Message, ReadError>> {
        let socket = &mut self.web;
        if let Poll::Ready(message) = socket.poll_read(cx) {
            return Poll::Ready(message);
        }
        // Reading may have queued a pong.
        if !socket.out().is_empty() {
            core.peer.queue.claim(socket.out());
        }
        match socket.poll_flush(cx, &mut |frame: &Frame| measure(&core.shared.metrics, frame)) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(ReadError::Lost)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Says what is still to be said, within the close timeout.
    pub(super) async fn part(&mut self, core: &Core, parting: Parting<'_>) {
        let socket = &mut self.web;
        let Parting { last, flush, close, readable, lost, discarded } = parting;
        let shared = &core.shared;
        if !flush {
            discarded.increment(socket.discard());
        }
        socket.append(last);
        if let Some((code, reason)) = close {
            socket.close(code, reason);
        }
        if !lost {
            let done = |frame: &Frame| measure(&shared.metrics, frame);
            let parted = farewell(socket, readable, done);
            if tokio::time::timeout(shared.config.close_timeout, parted).await.is_err() {
                core.count_forced();
            }
            core.count(socket.take_written());
        }
        // What the client did not take in time.
        discarded.increment(socket.discard());
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
            match ready!(socket.poll_read(cx)) {
                Ok(_) => {}
                Err(ReadError::Lost) => return Poll::Ready(()),
                Err(ReadError::Closed | ReadError::Violation(_)) => reading = false,
            }
        }
    })
    .await;
    // Whether the other side still cares does not matter any more.
    poll_fn(|cx| socket.poll_shutdown(cx)).await.ok();
    poll_fn(|cx| socket.poll_drain(cx)).await;
}

/// An upgraded socket that gets no connection, and what its client is told.
pub(crate) struct RefusedSocket {
    pub(crate) socket: WebSocket<Stream>,
    /// The last words before the close frame.
    pub(crate) words: Option<Frame>,
    /// The close frame's number and reason.
    pub(crate) close: (u16, String),
}

/// Says why, and parts.
pub(crate) async fn refuse(shared: &Shared, refused: Box<RefusedSocket>) {
    let RefusedSocket { mut socket, words, close: (code, reason) } = *refused;
    socket.out().extend(words);
    socket.close(code, &reason);
    tokio::time::timeout(shared.config.close_timeout, farewell(&mut socket, true, |_| {})).await.ok();
}
