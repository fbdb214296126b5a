//! Spans that have ended and wait to be exported.

use metrics::Counter;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::span::Recorded;
use crate::metrics::TRACE_SPANS;

/// Most spans that wait, some megabytes of them. While the queue is full, further ones are dropped and counted: whoever
/// made them has more important things to do than to wait.
const WAITING: usize = 4096;

/// Where spans go that have ended.
#[derive(Clone)]
pub(super) struct Queue {
    spans: Sender<Box<Recorded>>,
    dropped: Counter,
}

impl Queue {
    /// A queue, and its other end.
    pub(super) fn new() -> (Self, Receiver<Box<Recorded>>) {
        let (spans, waiting) = channel(WAITING);
        (Self { spans, dropped: TRACE_SPANS.with(["dropped"]) }, waiting)
    }

    pub(super) fn put(&self, span: Box<Recorded>) {
        if self.spans.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }
}
