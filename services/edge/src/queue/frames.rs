//! What a queue holds: whole WebSocket frames, shared by all who receive them, and how far they have been written.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use channels::ChannelName;

use crate::hub::Event;

/// Frames that leave in one write at most.
const MAX_SLICES: usize = 64;

/// Whole WebSocket frames, header included, shared by all who receive them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// The bytes to write.
    pub(crate) bytes: Bytes,
    /// How many messages they hold; 0 for control frames.
    pub(crate) messages: u32,
    /// Some of it is on its way and `bytes` is the rest, which has to follow before anything else is written.
    pub(crate) begun: bool,
    /// What is special about it.
    pub(crate) tag: Option<Arc<Tag>>,
}

impl Frame {
    /// When this delivery began, if it is measured.
    pub(crate) fn timing(&self) -> Option<&Timing> {
        self.tag.as_ref()?.timing.as_ref()
    }

    /// The channel whose newer events may replace it.
    pub(super) fn replaceable(&self) -> Option<&ChannelName> {
        self.tag.as_ref()?.replaceable.as_ref().filter(|_| !self.begun)
    }

    /// How many messages it says are missing.
    pub(super) fn missing(&self) -> u32 {
        self.tag.as_ref().map_or(0, |tag| tag.missing)
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
    /// How many messages it says are missing; 0 but for the note of a gap.
    pub(crate) missing: u32,
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

/// Data that has left for the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes, framing included.
    pub(crate) bytes: usize,
    /// Messages whose last byte has left.
    pub(crate) messages: u64,
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.messages += other.messages;
    }
}

/// Has `write` write the first of `frames`, as many as leave in one call.
pub(crate) fn gathered<T>(frames: &VecDeque<Frame>, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = frames.len().min(MAX_SLICES);
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(&frame.bytes);
    }
    write(&slices[..count])
}

/// Takes the first `taken` bytes off `frames`, which the socket has taken. `done` is told of each frame whose last byte
/// was among them. Gives what of it was data.
pub(crate) fn advance(frames: &mut VecDeque<Frame>, mut taken: usize, mut done: impl FnMut(&Frame)) -> Written {
    let mut written = Written::default();
    while taken > 0
        && let Some(first) = frames.front_mut()
    {
        let part = taken.min(first.bytes.len());
        first.bytes.advance(part);
        taken -= part;
        if first.messages > 0 {
            written.bytes += part;
        }
        if !first.bytes.is_empty() {
            first.begun = true;
            break;
        }
        written.messages += u64::from(first.messages);
        done(first);
        frames.pop_front();
    }
    written
}

/// Takes the first of `frames` out if it is the rest of a frame.
pub(crate) fn pop_begun(frames: &mut VecDeque<Frame>) -> Option<Frame> {
    if frames.front()?.begun { frames.pop_front() } else { None }
}
