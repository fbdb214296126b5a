//! The answer to one receiving request: the connection's end of it, and HTTP's.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame as BodyFrame};
use pusher::xhr::Lines;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, PollSender};

use crate::metrics::Transport;

/// Some lines on their way to HTTP.
#[derive(Debug)]
struct Chunk {
    lines: Bytes,
    /// They end the answer.
    last: bool,
}

/// The connection's end of an answer. Between the two ends there is room for one chunk: the next one is made when HTTP
/// has taken it, which it does when the client reads.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) transport: Transport,
    /// What is written so far.
    pub(super) lines: Lines,
    chunks: PollSender<Chunk>,
    /// Sent when HTTP has taken everything, dropped when it has given up.
    whole: oneshot::Receiver<()>,
    /// The last lines are on their way.
    ended: bool,
    /// Cuts the client's socket.
    cut: CancellationToken,
}

/// How an answer is getting on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// HTTP has not taken all of it, or more will follow.
    Open,
    /// HTTP has taken all of it.
    Whole,
    /// Its client went away in the middle.
    Broken,
}

impl Answer {
    /// An answer without lines, and its body. `cut` cuts the socket it goes over.
    pub(crate) fn new(transport: Transport, cut: CancellationToken) -> (Self, AnswerBody) {
        let (sender, chunks) = mpsc::channel(1);
        let (done, whole) = oneshot::channel();
        let lines = Lines::default();
        let answer = Self { transport, lines, chunks: PollSender::new(sender), whole, ended: false, cut };
        (answer, AnswerBody { chunks, whole: Some(done) })
    }

    /// Ready when lines can be sent; never again once the last ones were.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            return Poll::Pending;
        }
        match self.chunks.poll_reserve(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            // The body is gone; `poll_progress` says so.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends the new lines, when ready. Gives their number of bytes. The answer ends with them if they are the `last`, or
    /// if it is full.
    pub(super) fn send(&mut self, last: bool) -> usize {
        self.ended = last || self.lines.is_full();
        let lines = Bytes::from(self.lines.take());
        let bytes = lines.len();
        // If the body is gone, nobody is there to take it.
        self.chunks.send_item(Chunk { lines, last: self.ended }).ok();
        bytes
    }

    /// How it is getting on. Wakes the task of `cx` when that changes. Not to be asked again once it is over.
    pub(super) fn poll_progress(&mut self, cx: &mut Context<'_>) -> Progress {
        match Pin::new(&mut self.whole).poll(cx) {
            Poll::Pending => Progress::Open,
            Poll::Ready(Ok(())) => Progress::Whole,
            Poll::Ready(Err(_)) => Progress::Broken,
        }
    }

    /// The same, for somebody who does not wait for it.
    pub(super) fn progress(&mut self) -> Progress {
        match self.whole.try_recv() {
            Err(TryRecvError::Empty) => Progress::Open,
            Ok(()) => Progress::Whole,
            Err(TryRecvError::Closed) => Progress::Broken,
        }
    }

    /// Says that another answer of the session is open.
    pub(super) fn refuse(mut self) {
        self.lines.busy();
        let chunk = Chunk { lines: Bytes::from(self.lines.take()), last: true };
        if let Some(chunks) = self.chunks.get_ref() {
            // There is room for one. If the body is gone, so is who asked.
            chunks.try_send(chunk).ok();
        }
    }

    /// Leaves a client that does not read.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }
}

/// HTTP's end of an answer.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    chunks: mpsc::Receiver<Chunk>,
    /// Until the last chunk is taken.
    whole: Option<oneshot::Sender<()>>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let Some(chunk) = ready!(self.chunks.poll_recv(cx)) else { return Poll::Ready(None) };
        if chunk.last
            && let Some(whole) = self.whole.take()
        {
            // Before the client can have read it and ask anew. If the session is over, nobody wants to know.
            whole.send(()).ok();
        }
        Poll::Ready(Some(Ok(BodyFrame::data(chunk.lines))))
    }

    fn is_end_stream(&self) -> bool {
        self.whole.is_none()
    }
}
