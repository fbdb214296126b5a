//! The body of an event stream: the connection's end of it, and HTTP's.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

/// The connection's end. Between the two there is room for one chunk: the next one is made when HTTP has taken it, which
/// it does when the client reads.
#[derive(Debug)]
pub(super) struct Chunks {
    sender: PollSender<Bytes>,
    /// Resolves when HTTP is done with the body, whether it has taken all of it or given up.
    done: oneshot::Receiver<()>,
}

/// HTTP's end.
#[derive(Debug)]
pub(crate) struct EventsBody {
    chunks: mpsc::Receiver<Bytes>,
    /// Never sent: it goes with the body.
    _done: oneshot::Sender<()>,
}

/// The two ends of a body.
pub(super) fn body() -> (Chunks, EventsBody) {
    let (sender, chunks) = mpsc::channel(1);
    let (done, is_done) = oneshot::channel();
    (Chunks { sender: PollSender::new(sender), done: is_done }, EventsBody { chunks, _done: done })
}

impl Chunks {
    /// Ready when a chunk can be sent. Never if HTTP is done: [`Self::poll_done`] says so.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.sender.poll_reserve(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends a chunk, when ready.
    pub(super) fn send(&mut self, chunk: Bytes) {
        // If the body is gone, nobody is there to take it.
        self.sender.send_item(chunk).ok();
    }

    /// Says that nothing follows.
    pub(super) fn end(&mut self) {
        self.sender.close();
    }

    /// Ready when HTTP is done with it.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.done).poll(cx).map(drop)
    }
}

impl Body for EventsBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn everything_that_was_sent_comes_before_the_end() {
        let (mut chunks, body) = body();
        let writing = async {
            for text in ["a", "b", "c"] {
                poll_fn(|cx| chunks.poll_ready(cx)).await;
                chunks.send(Bytes::from(text));
            }
            chunks.end();
            poll_fn(|cx| chunks.poll_done(cx)).await;
        };
        let reading = async { body.collect().await.unwrap().to_bytes() };
        let (read, ()) = tokio::join!(reading, writing);
        assert_eq!(read, "abc");
    }

    #[tokio::test]
    async fn a_client_that_goes_is_noticed_without_a_word() {
        let (mut chunks, body) = body();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(chunks.poll_done(&mut cx).is_pending());
        drop(body);
        assert!(chunks.poll_done(&mut cx).is_ready());
        assert!(chunks.poll_ready(&mut cx).is_pending());
    }
}
