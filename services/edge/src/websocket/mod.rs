//! One WebSocket over a byte stream, driven by polling.
//!
//! Owns framing, masks, fragments, control frames and limits (by tungstenite's stream-less context), and the bytes that
//! are being written. The context sees only a [`Pipe`]: its reads come from the stream without blocking, and what it
//! writes (pong, close) is appended to the frames being written, so that it never lands between two halves of one.
//! Data frames go out as the shared bytes they were encoded in. Knows nothing of the protocol inside, of queues or of
//! deadlines. Why this library: `docs/decisions/0001-websocket-library.md`.

pub(crate) mod frame;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::Message;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

use crate::queue::{Frame, Written, advance, gathered, pop_begun};

/// Bytes read at a time, and held by an idle connection.
const READ_BUFFER: usize = 1024;

/// Queued replies (pongs) beyond which the peer's frames are no longer read: the limit on what a client that only
/// pings and never reads can make us hold.
const MAX_QUEUED_REPLIES: usize = 16;

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The close handshake is done; what is queued is still to be flushed.
    Closed,
    /// The stream ended or failed.
    Lost,
    /// The peer broke the rules: say so in a close frame and read no more.
    Violation(Violation),
}

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A frame or message over the limit.
    TooLarge,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Any other.
    Rules,
}

/// A WebSocket connection, after its handshake.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    io: S,
    ctx: WebSocketContext,
    /// Being written, in order: data frames and replies.
    out: VecDeque<Frame>,
    /// Control frames in `out`.
    replies: usize,
    /// Data written since it was last asked for.
    written: Written,
    /// Something was written to `io` and not flushed; over TLS that is what sends it.
    unflushed: bool,
}

/// What the context reads from and writes to, for the length of one call.
struct Pipe<'a, 'cx, S> {
    io: &'a mut S,
    cx: &'a mut Context<'cx>,
    out: &'a mut VecDeque<Frame>,
    replies: &'a mut usize,
}

impl<S: AsyncRead + Unpin> io::Read for Pipe<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buf) {
            Poll::Ready(result) => result.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S> io::Write for Pipe<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.push_back(Frame { bytes: Bytes::copy_from_slice(buf), ..Frame::default() });
        *self.replies += 1;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// `leftover`: what the peer sent after its upgrade request.
    pub(crate) fn new(io: S, leftover: &[u8], max_frame_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_frame_size(Some(max_frame_bytes))
            .max_message_size(Some(max_frame_bytes));
        let ctx = WebSocketContext::from_partially_read(leftover.to_vec(), Role::Server, Some(config));
        Self { io, ctx, out: VecDeque::new(), replies: 0, written: Written::default(), unflushed: false }
    }

    /// The next message. Call until pending, then [`Self::poll_flush`]: replies are queued here. The message is a view
    /// into the read buffer: look at it and drop it.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, ReadError>> {
        if self.replies > MAX_QUEUED_REPLIES {
            ready!(self.poll_flush(cx, &mut |_| {})).map_err(|_| ReadError::Lost)?;
        }
        let Self { io, ctx, out, replies, .. } = self;
        match ctx.read(&mut Pipe { io, cx, out, replies }) {
            Ok(message) => Poll::Ready(Ok(message)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(read_error(&error))),
        }
    }

    /// The stream.
    pub(crate) fn io(&self) -> &S {
        &self.io
    }

    /// Frames that wait to be written. Others may be appended, and the rest of one that is begun be put before them; nothing
    /// may be taken out.
    pub(crate) fn out(&mut self) -> &mut VecDeque<Frame> {
        &mut self.out
    }

    /// Appends `frames`; if the first of them is begun, before all others.
    pub(crate) fn append(&mut self, mut frames: VecDeque<Frame>) {
        if let Some(begun) = pop_begun(&mut frames) {
            self.out.push_front(begun);
        }
        self.out.extend(frames);
    }

    /// Data written since the last call.
    pub(crate) fn take_written(&mut self) -> Written {
        std::mem::take(&mut self.written)
    }

    /// Writes until nothing waits, then flushes the stream. `done` is told of each frame whose last byte was taken.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, done: &mut impl FnMut(&Frame)) -> Poll<io::Result<()>> {
        while let Some(first) = self.out.front() {
            let io = Pin::new(&mut self.io);
            let taken = if self.out.len() == 1 || !io.is_write_vectored() {
                ready!(io.poll_write(cx, &first.bytes))?
            } else {
                ready!(gathered(&self.out, |slices| io.poll_write_vectored(cx, slices)))?
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            let replies = &mut self.replies;
            self.written += advance(&mut self.out, taken, |frame| {
                *replies -= usize::from(frame.messages == 0);
                done(frame);
            });
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Drops what waits, except the rest of a frame that is half written. Gives the number of messages dropped.
    pub(crate) fn discard(&mut self) -> u64 {
        let kept = usize::from(self.out.front().is_some_and(|frame| frame.begun));
        let dropped = self.out.iter().skip(kept).map(|frame| u64::from(frame.messages)).sum();
        self.out.truncate(kept);
        self.replies = self.out.iter().filter(|frame| frame.messages == 0).count();
        dropped
    }

    /// Queues a ping.
    pub(crate) fn ping(&mut self) {
        self.write(|ctx, pipe| ctx.write(pipe, Message::Ping(Bytes::new())));
    }

    /// Queues a close frame. No data may be queued after it; go on reading and flushing for a while.
    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let close = CloseFrame { code: code.into(), reason: reason.into() };
        self.write(|ctx, pipe| ctx.close(pipe, Some(close)));
    }

    fn write(&mut self, write: impl FnOnce(&mut WebSocketContext, &mut Pipe<'_, '_, S>) -> Result<(), Error>) {
        let mut cx = Context::from_waker(Waker::noop());
        let Self { io, ctx, out, replies, .. } = self;
        // Writing reads nothing, so nobody has to be woken. It fails only once the connection is closing, and then there
        // is nothing to add.
        write(ctx, &mut Pipe { io, cx: &mut cx, out, replies }).ok();
    }

    /// Ends our half of the stream.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Reads and forgets bytes until the stream ends: a socket closed with unread bytes resets the connection, and the
    /// peer may then never see our close frame.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

fn read_error(error: &Error) -> ReadError {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => ReadError::Closed,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => ReadError::Violation(Violation::TooLarge),
        Error::Utf8(_) => ReadError::Violation(Violation::NotUtf8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ReadError::Lost,
        Error::Protocol(_) | Error::Capacity(_) => ReadError::Violation(Violation::Rules),
        _ => ReadError::Lost,
    }
}
