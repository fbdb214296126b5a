//! A connection's outgoing queue: what the hub and the connection itself want sent, and what others want it to know.
//!
//! Knows bytes and counts; nothing of sockets or of what the frames say.

use std::collections::VecDeque;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use channels::ChannelName;
use parking_lot::Mutex;

/// A queue that has been emptied keeps room for no more frames than this: an idle connection holds no large buffer.
const KEPT_CAPACITY: usize = 16;

/// Whole WebSocket frames, header included, shared by all who receive them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// The bytes to write.
    pub(crate) bytes: Bytes,
    /// How many messages they hold; 0 for control frames.
    pub(crate) messages: u32,
    /// Set on the one delivery of a record that is measured.
    pub(crate) timing: Option<Box<Timing>>,
}

/// When a measured delivery began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The record's own time, milliseconds since the Unix epoch.
    pub(crate) accepted_ms: u64,
    /// When the hub put it into the queue.
    pub(crate) queued: Instant,
}

/// Why somebody other than its client ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The queue was full: the client does not read fast enough. What was queued is dropped.
    TooSlow,
    /// A channel could not be attached: this node can promise nothing.
    Unavailable,
    /// Messages of one of its channels may be missing.
    Missed,
    /// The node is on its way out.
    Draining,
    /// The app has ended all connections of the user that this one is signed in as.
    Terminated,
}

/// What a connection has to attend to besides writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    /// It has to end. Stays set.
    pub(crate) ending: Option<Ending>,
    /// Its deadline has passed.
    pub(crate) tick: bool,
    /// Its app has changed.
    pub(crate) recheck: bool,
    /// A channel it asked for turned out to be full: see [`Queue::take_refused`].
    pub(crate) refused: bool,
}

/// Frames that wait for one connection, in order. Pushing never waits: when the queue is full, what is in it is dropped
/// and the connection ends as [`Ending::TooSlow`], since a client that misses one message must know that it did.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Most bytes that may wait, those included that the connection has taken and not yet written. A single larger
    /// push is let in when nothing else waits.
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// Bytes of `frames` and of those taken and not yet written.
    bytes: usize,
    /// Messages dropped because the queue was full or has ended.
    dropped: u64,
    notices: Notices,
    /// Channels that turned out to be full. At most as many as the connection has asked for.
    refused: Vec<(ChannelName, usize)>,
    /// The connection takes nothing any more.
    closed: bool,
    /// Of the connection's task, while it waits. Taken by the first who wakes it, so that the rest of a burst costs
    /// no wake-up.
    waker: Option<Waker>,
}

impl Queue {
    /// An empty queue for `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), limit }
    }

    /// Appends `frame`, unless the connection is ending.
    pub(crate) fn push(&self, frame: Frame) {
        let mut state = self.state.lock();
        if state.closed || state.notices.ending.is_some() {
            state.dropped += u64::from(frame.messages);
            return;
        }
        let bytes = state.bytes + frame.bytes.len();
        if bytes > self.limit && state.bytes > 0 {
            state.notices.ending = Some(Ending::TooSlow);
            let waiting: u64 = state.frames.iter().map(|frame| u64::from(frame.messages)).sum();
            state.dropped += waiting + u64::from(frame.messages);
            state.frames = VecDeque::new();
        } else {
            state.bytes = bytes;
            state.frames.push_back(frame);
        }
        wake(state);
    }

    /// Tells the connection to end, unless it has been told already.
    pub(crate) fn end(&self, ending: Ending) {
        let mut state = self.state.lock();
        state.notices.ending.get_or_insert(ending);
        wake(state);
    }

    /// Tells the connection that its deadline has passed.
    pub(crate) fn tick(&self) {
        let mut state = self.state.lock();
        state.notices.tick = true;
        wake(state);
    }

    /// Tells the connection that its app has changed.
    pub(crate) fn recheck(&self) {
        let mut state = self.state.lock();
        state.notices.recheck = true;
        wake(state);
    }

    /// Tells the connection that `channel`, which it asked for and where it stands at `place`, is full.
    pub(crate) fn refuse(&self, channel: &ChannelName, place: usize) {
        let mut state = self.state.lock();
        state.refused.push((channel.clone(), place));
        state.notices.refused = true;
        wake(state);
    }

    /// For the connection: the channels that turned out to be full, and its places in them.
    pub(crate) fn take_refused(&self) -> Vec<(ChannelName, usize)> {
        std::mem::take(&mut self.state.lock().refused)
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// For the connection: notes `written` bytes as gone, hands over notices, and swaps what waits for `empty` if that
    /// is empty. Wakes the task of `cx` when there is more.
    pub(crate) fn take(&self, cx: &Context<'_>, written: usize, empty: &mut VecDeque<Frame>) -> Notices {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(written);
        if empty.is_empty() {
            if empty.capacity() > KEPT_CAPACITY && state.frames.is_empty() {
                *empty = VecDeque::new();
            }
            std::mem::swap(&mut state.frames, empty);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let ending = state.notices.ending;
        std::mem::replace(&mut state.notices, Notices { ending, ..Notices::default() })
    }

    /// For the connection: takes nothing from now on. Gives what still waits, and how many messages were dropped.
    pub(crate) fn close(&self) -> (VecDeque<Frame>, u64) {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = 0;
        (std::mem::take(&mut state.frames), std::mem::take(&mut state.dropped))
    }
}

fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn frame(len: usize) -> Frame {
        Frame { bytes: vec![b'x'; len].into(), messages: 1, timing: None }
    }

    fn take(queue: &Queue, written: usize) -> (Notices, Vec<usize>) {
        let mut frames = VecDeque::new();
        let notices = queue.take(&Context::from_waker(Waker::noop()), written, &mut frames);
        (notices, frames.iter().map(|frame| frame.bytes.len()).collect())
    }

    #[test]
    fn keeps_order_and_counts_until_written() {
        let queue = Queue::new(10);
        queue.push(frame(4));
        queue.push(frame(5));
        assert_eq!(take(&queue, 0), (Notices::default(), vec![4, 5]));
        assert_eq!(queue.bytes(), 9);
        assert_eq!(take(&queue, 4).1, [0; 0]);
        queue.push(frame(5));
        assert_eq!(take(&queue, 5), (Notices::default(), vec![5]));
    }

    #[test]
    fn a_full_queue_ends_the_connection() {
        let queue = Queue::new(10);
        queue.push(frame(6));
        queue.push(frame(5));
        queue.push(frame(1));
        let ended = Notices { ending: Some(Ending::TooSlow), ..Notices::default() };
        assert_eq!(take(&queue, 0), (ended, vec![]));
        queue.end(Ending::Draining);
        assert_eq!(take(&queue, 0).0, ended, "the first reason stays");
        assert_eq!(queue.close().1, 3);
    }

    #[test]
    fn one_frame_over_the_limit_passes_alone() {
        let queue = Queue::new(10);
        queue.push(frame(20));
        assert_eq!(take(&queue, 0).1, [20]);
        queue.push(frame(1));
        assert_eq!(take(&queue, 0).0.ending, Some(Ending::TooSlow), "it is not written yet");
    }

    #[test]
    fn a_burst_wakes_once() {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let queue = Queue::new(100);
        let mut frames = VecDeque::new();
        queue.take(&Context::from_waker(&waker), 0, &mut frames);
        for _ in 0..5 {
            queue.push(frame(1));
        }
        queue.tick();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        let notices = queue.take(&Context::from_waker(&waker), 0, &mut frames);
        assert_eq!((notices.tick, frames.len()), (true, 5));
        queue.recheck();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_idle_queue_keeps_no_large_buffer() {
        let queue = Queue::new(10_000);
        for _ in 0..1000 {
            queue.push(frame(1));
        }
        let mut frames = VecDeque::new();
        let cx = Context::from_waker(Waker::noop());
        queue.take(&cx, 0, &mut frames);
        frames.clear();
        queue.take(&cx, 1000, &mut frames);
        assert!(frames.capacity() <= KEPT_CAPACITY);
        assert!(queue.state.lock().frames.capacity() <= KEPT_CAPACITY);
    }

    #[test]
    fn a_closed_queue_takes_nothing() {
        let queue = Queue::new(10);
        queue.push(frame(3));
        let (rest, dropped) = queue.close();
        assert_eq!((rest.len(), dropped), (1, 0));
        queue.push(frame(3));
        assert_eq!(take(&queue, 0).1, [0; 0]);
        assert_eq!(queue.bytes(), 0);
    }
}
