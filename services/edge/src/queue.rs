//! A connection's outgoing queue: what the hub and the connection itself want sent, and what others want it to know.
//!
//! Knows bytes and counts, and which frames newer ones of their channel may replace; nothing of sockets or of what the
//! frames say.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use channels::ChannelName;
use parking_lot::Mutex;

use crate::hub::Event;
use crate::websocket::frame;

/// The part of the limit that is handed to the connection at a time: what it has taken newer frames cannot replace.
const HANDED_OVER: usize = 8;

/// A queue that has been emptied keeps room for no more frames than this: an idle connection holds no large buffer.
const KEPT_CAPACITY: usize = 16;

/// Whole WebSocket frames, header included, shared by all who receive them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// The bytes to write.
    pub(crate) bytes: Bytes,
    /// How many messages they hold; 0 for control frames.
    pub(crate) messages: u32,
    /// How many messages it says are missing; 0 but for the note of a gap.
    pub(crate) missing: u32,
    /// What is special about it.
    pub(crate) tag: Option<Arc<Tag>>,
}

impl Frame {
    /// When this delivery began, if it is measured.
    pub(crate) fn timing(&self) -> Option<&Timing> {
        self.tag.as_ref()?.timing.as_ref()
    }

    /// The channel whose newer events may replace it.
    fn replaceable(&self) -> Option<&ChannelName> {
        self.tag.as_ref()?.replaceable.as_ref()
    }

    /// What it tells a stream of events, which has no other frames.
    pub(crate) fn event(&self) -> Option<&Arc<Event>> {
        self.tag.as_ref()?.event.as_ref()
    }
}

/// What is special about a frame. Behind a pointer: most are nothing special.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tag {
    /// Set on the one delivery of a record that is measured.
    pub(crate) timing: Option<Timing>,
    /// The channel whose newer events may replace it when the queue is full.
    pub(crate) replaceable: Option<ChannelName>,
    /// What it is to a stream of events; its bytes are only what it costs then.
    pub(crate) event: Option<Arc<Event>>,
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

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    /// Bytes of `frames`.
    waiting: usize,
    /// Bytes of `frames` and of those taken and not yet written.
    bytes: usize,
    /// Messages dropped because the queue was full or has ended.
    dropped: u64,
    notices: Notices,
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
        Self { state: Mutex::default(), limit }
    }

    /// Appends `frame`, unless the connection is ending.
    pub(crate) fn push(&self, frame: Frame) {
        let mut state = self.state.lock();
        if state.closed || state.notices.ending.is_some() {
            state.dropped += u64::from(frame.messages);
            return;
        }
        let alone = state.bytes == 0;
        state.append(frame);
        // With a quarter to spare, or a queue full of what must stay would be gone through for each frame.
        if state.bytes > self.limit && !alone && !(state.keep_newest() && state.bytes <= self.limit / 4 * 3) {
            state.notices.ending = Some(Ending::TooSlow);
            let waiting = std::mem::take(&mut state.frames);
            state.dropped += waiting.iter().map(|frame| u64::from(frame.messages)).sum::<u64>();
            state.bytes -= state.waiting;
            state.waiting = 0;
            state.wake_behind();
        }
        wake(state);
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

    /// For the connection: notes `written` bytes as gone, hands over notices, and some of what waits if `empty` is empty.
    /// Wakes the task of `cx` when more comes.
    pub(crate) fn take(&self, cx: &Context<'_>, written: usize, empty: &mut VecDeque<Frame>) -> Notices {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(written);
        if state.bytes <= self.limit / 4 * BACKLOG.1 {
            state.wake_behind();
        }
        if empty.is_empty() {
            state.hand_over(self.limit / HANDED_OVER, empty);
        }
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

    /// For the connection: takes nothing from now on. Gives what still waits, and how many messages were dropped.
    pub(crate) fn close(&self) -> (VecDeque<Frame>, u64) {
        let mut state = self.state.lock();
        state.closed = true;
        (state.bytes, state.waiting) = (0, 0);
        state.wake_behind();
        (std::mem::take(&mut state.frames), std::mem::take(&mut state.dropped))
    }
}

impl State {
    fn append(&mut self, frame: Frame) {
        self.waiting += frame.bytes.len();
        self.bytes += frame.bytes.len();
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
                    let lost = if frame.missing > 0 { frame.missing } else { frame.messages };
                    *missing = missing.saturating_add(lost);
                    if frame.missing == 0 {
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
                let tag = Some(Arc::new(Tag { replaceable: Some(channel.clone()), ..Tag::default() }));
                self.append(Frame { missing, tag, ..text });
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
        Frame { bytes: vec![b'x'; len].into(), messages: 1, ..Frame::default() }
    }

    /// An event of `len` bytes whose channel keeps the newest.
    fn event(channel: &str, len: usize) -> Frame {
        let replaceable = Some(ChannelName::new(channel).unwrap());
        Frame { tag: Some(Arc::new(Tag { replaceable, ..Tag::default() })), ..frame(len) }
    }

    /// What waits: lengths, or what is missing.
    fn drained(queue: &Queue) -> Vec<String> {
        let mut shown = Vec::new();
        let mut frames = VecDeque::new();
        loop {
            if frames.is_empty() {
                queue.refill(&mut frames);
            }
            let Some(frame) = frames.pop_front() else { return shown };
            queue.take(&Context::from_waker(Waker::noop()), frame.bytes.len(), &mut VecDeque::from([frame.clone()]));
            shown.push(if frame.missing > 0 {
                let [text] = frame::payloads(&frame.bytes).collect::<Vec<_>>()[..] else { panic!("one event") };
                text.to_owned()
            } else {
                frame.bytes.len().to_string()
            });
        }
    }

    fn gap(channel: &str, dropped: u32) -> String {
        format!(r#"{{"event":"fanfare:gap","channel":"{channel}","data":"{{\"dropped\":{dropped}}}"}}"#)
    }

    #[test]
    fn a_full_queue_keeps_the_newest_of_each_channel_that_wants_it() {
        let queue = Queue::new(1000);
        for len in [101, 102] {
            queue.push(event("a", len));
            queue.push(event("b", len + 10));
            queue.push(frame(len - 60));
        }
        queue.push(event("a", 103));
        queue.push(event("a", 250));
        assert_eq!(queue.bytes(), 862);
        queue.push(event("a", 400));
        let mut busy = VecDeque::from([Frame::default()]);
        let notices = queue.take(&Context::from_waker(Waker::noop()), 0, &mut busy);
        assert_eq!(notices, Notices { aside: true, ..Notices::default() });
        let replaced = |queue: &Queue| -> Vec<(String, u64)> {
            let aside = queue.take_aside();
            aside.replaced.iter().map(|(channel, count)| (channel.as_str().to_owned(), *count)).collect()
        };
        assert_eq!(replaced(&queue), [("a".to_owned(), 4), ("b".to_owned(), 1)]);
        // Full again: what the notes said is not forgotten, and not counted twice.
        queue.push(event("a", 301));
        assert_eq!(replaced(&queue), [("a".to_owned(), 1)]);
        let expected = ["41", &gap("b", 1), "112", "42", &gap("a", 5), "301"];
        assert_eq!(drained(&queue), expected);
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_note_grows_with_what_is_missing() {
        let queue = Queue::new(1000);
        for _ in 0..50 {
            queue.push(event("a", 300));
        }
        let shown = drained(&queue);
        let dropped: u64 = queue.take_aside().replaced.values().sum();
        let kept = shown.iter().filter(|shown| *shown == "300").count() as u64;
        assert_eq!(dropped + kept, 50);
        assert_eq!(shown[0], gap("a", u32::try_from(dropped).unwrap()));
    }

    #[test]
    fn what_must_stay_still_ends_the_connection() {
        let queue = Queue::new(1000);
        for _ in 0..10 {
            queue.push(frame(80));
            queue.push(event("a", 30));
        }
        assert_eq!(take(&queue, 0).0.ending, Some(Ending::TooSlow));
    }

    #[test]
    fn a_slow_reader_of_one_channel_is_never_ended() {
        let queue = Queue::new(1000);
        let (mut out, mut read, mut written) = (VecDeque::<Frame>::new(), 0, 0);
        let cx = Context::from_waker(Waker::noop());
        for _ in 0..10_000 {
            queue.push(event("a", 20));
            // A fifth of what comes can be written.
            read += 4;
            let notices = queue.take(&cx, std::mem::take(&mut written), &mut out);
            assert_eq!(notices.ending, None);
            if out.front().is_some_and(|frame| frame.bytes.len() <= read) {
                written = out.pop_front().unwrap().bytes.len();
                read -= written;
            }
            assert!(queue.bytes() <= 1000);
        }
    }

    fn take(queue: &Queue, written: usize) -> (Notices, Vec<usize>) {
        let mut frames = VecDeque::new();
        let notices = queue.take(&Context::from_waker(Waker::noop()), written, &mut frames);
        (notices, frames.iter().map(|frame| frame.bytes.len()).collect())
    }

    #[test]
    fn keeps_order_and_counts_until_written() {
        let queue = Queue::new(100);
        queue.push(frame(4));
        queue.push(frame(5));
        assert_eq!(take(&queue, 0), (Notices::default(), vec![4, 5]));
        assert_eq!(queue.bytes(), 9);
        assert_eq!(take(&queue, 4).1, [0; 0]);
        queue.push(frame(5));
        assert_eq!(take(&queue, 5), (Notices::default(), vec![5]));
    }

    #[test]
    fn a_part_is_handed_over_at_a_time() {
        let queue = Queue::new(80);
        for len in [3, 4, 5, 30, 1, 1] {
            queue.push(frame(len));
        }
        assert_eq!(take(&queue, 0).1, [3, 4]);
        assert_eq!(take(&queue, 7).1, [5]);
        assert_eq!(take(&queue, 5).1, [30], "larger than a part, so alone");
        assert_eq!(take(&queue, 30).1, [1, 1]);
        assert_eq!(take(&queue, 2).1, [0; 0]);
        assert_eq!(queue.bytes(), 0);
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

    /// A backlog leaves room for what is live, and is woken when there is room for more of it.
    #[tokio::test]
    async fn a_backlog_waits_for_room() {
        let queue = Arc::new(Queue::new(100));
        assert!(queue.fits(1000), "alone");
        queue.push(frame(50));
        assert!(queue.fits(25) && !queue.fits(26));
        let waiting = Arc::clone(&queue);
        let room = tokio::spawn(async move { waiting.room().await });
        tokio::task::yield_now().await;
        assert_eq!(take(&queue, 24).0, Notices::default());
        tokio::task::yield_now().await;
        assert!(!room.is_finished());
        take(&queue, 1);
        room.await.unwrap();
        queue.push(frame(60));
        let waiting = Arc::clone(&queue);
        let room = tokio::spawn(async move { waiting.room().await });
        tokio::task::yield_now().await;
        assert!(!room.is_finished() && !queue.is_over());
        queue.end(Ending::Draining);
        room.await.unwrap();
        assert!(queue.is_over());
    }
}
