//! A connection's outgoing queue: what the hub and the connection itself want sent, and what others want it to know.
//!
//! Knows bytes and counts, and which frames newer ones of their channel may replace; nothing of what the frames say. Of a
//! socket it knows how others than its connection write to it.

mod direct;
mod frames;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use channels::ChannelName;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::websocket::frame;
pub(crate) use frames::{Frame, Tag, Timing, Written, advance, gathered, pop_begun};

/// The part of the limit that is handed to the connection at a time: what it has taken newer frames cannot replace.
const HANDED_OVER: usize = 8;

/// A queue that has been emptied keeps room for no more frames than this: an idle connection holds no large buffer.
const KEPT_CAPACITY: usize = 16;

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
    /// A newer transport has taken the connection over. Only where connections outlive their transports.
    Superseded,
    /// An operator has closed it; with `for_good`, its client is not to come back.
    Closed { for_good: bool },
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
    /// There is something to be learned by [`Queue::take_aside`].
    pub(crate) aside: bool,
}

/// What a connection is told beside its frames.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// Channels that turned out to be full, and its places in them. At most as many as it has asked for.
    pub(crate) refused: Vec<(ChannelName, usize)>,
    /// How many messages of which channels newer ones have replaced.
    pub(crate) replaced: BTreeMap<ChannelName, u64>,
    /// Channels, as the connection called them, that this node had to detach, and its places in them. It has been sent
    /// word.
    pub(crate) detached: Vec<(Arc<str>, usize)>,
}

/// Frames that wait for one connection, in order. Pushing never waits. When the queue is full, of the replaceable frames of
/// each channel only the newest stays, behind a note of how many are missing. If that does not make room, what is in it
/// is dropped and the connection ends as [`Ending::TooSlow`], since a client that misses one message must know that it
/// did.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Most bytes that may wait, those included that the connection has taken and not yet written. A single larger
    /// push is let in when nothing else waits.
    limit: usize,
}

#[derive(Debug)]
struct State {
    /// Of these the first may be the rest of a frame.
    frames: VecDeque<Frame>,
    /// Bytes of `frames`.
    waiting: usize,
    /// Bytes of `frames` and of those taken and not yet written.
    bytes: usize,
    /// The most that `bytes` ever were, or 4 GiB.
    peak: u32,
    /// Messages dropped because the queue was full or has ended.
    dropped: u32,
    notices: Notices,
    /// The connection's socket, if others may write to it, too.
    socket: Option<Arc<TcpStream>>,
    /// The connection holds, or is to take, what has to be written before anything else.
    writing: bool,
    /// Somebody is about to write what waits.
    promised: bool,
    /// When something was last written; at first, when the queue was made.
    written_at: Instant,
    /// Behind a pointer: it is seldom there.
    aside: Option<Box<Aside>>,
    /// The connection takes nothing any more.
    closed: bool,
    /// Of the connection's task, while it waits. Taken by the first who wakes it, so that the rest of a burst costs
    /// no wake-up.
    waker: Option<Waker>,
    /// Of those who wait for [`Queue::room`]. Behind a pointer: there is seldom one.
    #[expect(clippy::box_collection, reason = "there is a queue for each connection, so it is small")]
    behind: Option<Box<Vec<Waker>>>,
}

/// The part of the limit, in quarters, that a backlog fills, so that what is live has room, too; and the part that is left
/// of it when more of the backlog is due.
const BACKLOG: (usize, usize) = (3, 1);

impl Queue {
    /// An empty queue for `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        let state = State {
            frames: VecDeque::new(),
            waiting: 0,
            bytes: 0,
            peak: 0,
            dropped: 0,
            notices: Notices::default(),
            socket: None,
            writing: false,
            promised: false,
            written_at: Instant::now(),
            aside: None,
            closed: false,
            waker: None,
            behind: None,
        };
        Self { state: Mutex::new(state), limit }
    }

    /// Appends `frame`, unless the connection is ending.
    pub(crate) fn push(&self, frame: Frame) {
        let mut state = self.state.lock();
        if state.push(frame, self.limit) {
            wake(state);
        }
    }

    /// Whether so many bytes of a backlog may be pushed now.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        let state = self.state.lock();
        state.bytes == 0 || state.bytes + bytes <= self.limit / 4 * BACKLOG.0
    }

    /// Waits until there is room for a backlog, or nothing is taken any more.
    pub(crate) async fn room(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.closed || state.notices.ending.is_some() || state.bytes <= self.limit / 4 * BACKLOG.1 {
                return Poll::Ready(());
            }
            let behind = state.behind.get_or_insert_default();
            if !behind.iter().any(|waker| waker.will_wake(cx.waker())) {
                behind.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether the connection is on its way out, so that there is no use in pushing anything.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock();
        state.closed || state.notices.ending.is_some()
    }

    /// Tells the connection that this node had to detach `channel`, as the connection calls it, where it stands at `place`.
    pub(crate) fn detached(&self, channel: &Arc<str>, place: usize) {
        let mut state = self.state.lock();
        state.aside().detached.push((Arc::clone(channel), place));
        wake(state);
    }

    /// Tells the connection to end, unless it has been told already.
    pub(crate) fn end(&self, ending: Ending) {
        let mut state = self.state.lock();
        state.notices.ending.get_or_insert(ending);
        state.wake_behind();
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
        state.aside().refused.push((channel.clone(), place));
        wake(state);
    }

    /// For the connection: what there is beside its frames.
    pub(crate) fn take_aside(&self) -> Aside {
        self.state.lock().aside.take().map(|aside| *aside).unwrap_or_default()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// The most bytes that ever waited.
    pub(crate) fn peak(&self) -> u32 {
        self.state.lock().peak
    }

    /// For the connection: notes `written` bytes as gone, hands over notices, and some of what waits if `out`, which is
    /// being written, is empty. Wakes the task of `cx` when more comes.
    pub(crate) fn take(&self, cx: &Context<'_>, written: usize, out: &mut VecDeque<Frame>) -> Notices {
        let mut state = self.state.lock();
        if written > 0 {
            state.gone(written, self.limit, Instant::now());
        }
        state.resume(out);
        if out.is_empty() {
            state.hand_over(self.limit / HANDED_OVER, out);
        }
        state.writing = !out.is_empty();
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        let ending = state.notices.ending;
        std::mem::replace(&mut state.notices, Notices { ending, ..Notices::default() })
    }

    /// For the connection, when it can write more than it has: hands over some of what waits.
    pub(crate) fn refill(&self, empty: &mut VecDeque<Frame>) {
        self.state.lock().hand_over(self.limit / HANDED_OVER, empty);
    }

    /// For the connection: takes nothing from now on, and nobody else writes. Gives what still waits, and how many messages
    /// were dropped.
    pub(crate) fn close(&self) -> (VecDeque<Frame>, u64) {
        let mut state = self.state.lock();
        state.closed = true;
        state.socket = None;
        (state.bytes, state.waiting) = (0, 0);
        state.wake_behind();
        (std::mem::take(&mut state.frames), std::mem::take(&mut state.dropped).into())
    }
}

impl State {
    /// Appends `frame`, for a queue of `limit` bytes, unless the connection is ending. Whether it has to be woken.
    fn push(&mut self, frame: Frame, limit: usize) -> bool {
        if self.closed || self.notices.ending.is_some() {
            self.dropped = self.dropped.saturating_add(frame.messages);
            return false;
        }
        let alone = self.bytes == 0;
        self.append(frame);
        // With a quarter to spare, or a queue full of what must stay would be gone through for each frame.
        if self.bytes > limit && !alone && !(self.keep_newest() && self.bytes <= limit / 4 * 3) {
            self.notices.ending = Some(Ending::TooSlow);
            // Without the rest of a frame nothing that comes behind it could be read.
            let kept = usize::from(self.frames.front().is_some_and(|frame| frame.begun));
            let (mut dropped, mut bytes) = (0_u32, 0);
            for frame in self.frames.drain(kept..) {
                dropped = dropped.saturating_add(frame.messages);
                bytes += frame.bytes.len();
            }
            self.dropped = self.dropped.saturating_add(dropped);
            self.bytes -= bytes;
            self.waiting -= bytes;
            self.wake_behind();
        }
        true
    }

    /// Notes that `written` bytes have left a queue of `limit` bytes.
    fn gone(&mut self, written: usize, limit: usize, now: Instant) {
        self.bytes = self.bytes.saturating_sub(written);
        self.written_at = now;
        if self.bytes <= limit / 4 * BACKLOG.1 {
            self.wake_behind();
        }
    }

    /// Whether others than the connection may write now.
    fn is_shared(&self) -> bool {
        self.socket.is_some() && !self.writing
    }

    /// Moves what is left of a frame to the front of `out`.
    fn resume(&mut self, out: &mut VecDeque<Frame>) {
        if let Some(rest) = pop_begun(&mut self.frames) {
            self.waiting -= rest.bytes.len();
            out.push_front(rest);
        }
    }

    fn append(&mut self, frame: Frame) {
        self.waiting += frame.bytes.len();
        self.bytes += frame.bytes.len();
        self.peak = self.peak.max(u32::try_from(self.bytes).unwrap_or(u32::MAX));
        self.frames.push_back(frame);
    }

    /// Moves at least one of the frames that wait, and no more than `most` bytes otherwise, to `empty`.
    fn hand_over(&mut self, most: usize, empty: &mut VecDeque<Frame>) {
        if empty.capacity() > KEPT_CAPACITY && self.frames.is_empty() {
            *empty = VecDeque::new();
        }
        if self.waiting <= most {
            std::mem::swap(&mut self.frames, empty);
            self.waiting = 0;
            return;
        }
        let mut taken = 0;
        let fits = |taken: usize, frame: &Frame| taken == 0 || taken + frame.bytes.len() <= most;
        while self.frames.front().is_some_and(|frame| fits(taken, frame))
            && let Some(frame) = self.frames.pop_front()
        {
            taken += frame.bytes.len();
            empty.push_back(frame);
        }
        self.waiting -= taken;
    }

    /// Of the replaceable frames of each channel, drops all but the newest, in front of which it says how many messages
    /// are missing. Whether there were any to drop.
    fn keep_newest(&mut self) -> bool {
        // From the newest back. A note of a gap stands right in front of its channel's newest frame, and says what it
        // said in the one that takes its place.
        let mut missing: BTreeMap<ChannelName, u32> = BTreeMap::new();
        let mut replaced: BTreeMap<ChannelName, u64> = BTreeMap::new();
        let mut kept = Vec::with_capacity(self.frames.len());
        for frame in std::mem::take(&mut self.frames).into_iter().rev() {
            match frame.replaceable().and_then(|channel| missing.get_mut(channel).map(|missing| (channel, missing))) {
                Some((channel, missing)) => {
                    let lost = if frame.missing() > 0 { frame.missing() } else { frame.messages };
                    *missing = missing.saturating_add(lost);
                    if frame.missing() == 0 {
                        *replaced.entry(channel.clone()).or_default() += u64::from(frame.messages);
                    }
                }
                None => {
                    if let Some(channel) = frame.replaceable() {
                        missing.insert(channel.clone(), 0);
                    }
                    kept.push(frame);
                }
            }
        }
        (self.bytes, self.waiting) = (self.bytes - self.waiting, 0);
        for frame in kept.into_iter().rev() {
            let channel = frame.replaceable();
            if let Some((channel, missing)) = channel.and_then(|channel| Some((channel, *missing.get(channel)?)))
                && missing > 0
            {
                let text = frame::text(&pusher::gap(channel, missing));
                let tag = Tag { replaceable: Some(channel.clone()), missing, ..Tag::default() };
                self.append(Frame { tag: Some(Arc::new(tag)), ..text });
            }
            self.append(frame);
        }
        let any = !replaced.is_empty();
        if any {
            let aside = self.aside();
            for (channel, messages) in replaced {
                *aside.replaced.entry(channel).or_default() += messages;
            }
        }
        any
    }

    fn wake_behind(&mut self) {
        self.behind.take().into_iter().flat_map(|behind| *behind).for_each(Waker::wake);
    }

    fn aside(&mut self) -> &mut Aside {
        self.notices.aside = true;
        self.aside.get_or_insert_default()
    }
}

fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
