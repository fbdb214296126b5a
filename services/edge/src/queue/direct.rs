//! Writing to a connection's socket from where its frames come from.
//!
//! To wake a connection's task, and to poll it, costs a good part of what writing a small frame costs. Whoever tells many
//! connections the same thing therefore writes to their sockets itself, and a task is only woken if its socket is full.
//! One writes at a time, so that frames stay whole and in order: others only while the connection has taken nothing that
//! it has not written, and under the queue's lock; and what they leave of a frame stays the first thing to be written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::frames::{advance, gathered};
use super::{Frame, KEPT_CAPACITY, Queue, Written, wake};

impl Queue {
    /// Has others write to `socket`, too. To be called before anything is pushed.
    pub(crate) fn share(&self, socket: Arc<TcpStream>) {
        self.state.lock().socket = Some(socket);
    }

    /// Like [`Queue::push`]; but does not wake the connection if its caller can write in its place. Then gives true, and is
    /// to call [`Queue::flush`] or [`Queue::rouse`] soon.
    #[must_use]
    pub(crate) fn push_asleep(&self, frame: Frame) -> bool {
        let mut state = self.state.lock();
        if !state.push(frame, self.limit) {
            return false;
        }
        if state.is_shared() && state.notices.ending.is_none() {
            return !std::mem::replace(&mut state.promised, true);
        }
        wake(state);
        false
    }

    /// Writes what waits; what the socket does not take, the connection is woken for. `done` is told of each frame whose
    /// last byte was taken.
    pub(crate) fn flush(&self, now: Instant, mut done: impl FnMut(&Frame)) -> Written {
        let mut state = self.state.lock();
        state.promised = false;
        let mut written = Written::default();
        while state.is_shared()
            && state.notices.ending.is_none()
            && let Some(first) = state.frames.front()
            && let Some(socket) = &state.socket
        {
            let frames = &state.frames;
            let wrote = match frames.len() {
                1 => socket.try_write(&first.bytes),
                _ => gathered(frames, |slices| socket.try_write_vectored(slices)),
            };
            // If the socket has failed, the connection finds out by itself.
            let taken = wrote.unwrap_or_default();
            written += advance(&mut state.frames, taken, &mut done);
            state.waiting -= taken;
            state.gone(taken, self.limit, now);
            state.writing = taken == 0 || state.frames.front().is_some_and(|frame| frame.begun);
        }
        if !state.frames.is_empty() {
            wake(state);
        } else if state.frames.capacity() > KEPT_CAPACITY {
            state.frames = VecDeque::new();
        }
        written
    }

    /// Has the connection write what waits.
    pub(crate) fn rouse(&self) {
        let mut state = self.state.lock();
        state.promised = false;
        wake(state);
    }

    /// For the connection: nobody else writes from now on until [`Queue::take`] finds nothing to be written. What is left of
    /// a frame gets to the front of `out`.
    pub(crate) fn claim(&self, out: &mut VecDeque<Frame>) {
        let mut state = self.state.lock();
        state.writing = true;
        state.resume(out);
    }

    /// For the connection: when something was last written.
    pub(crate) fn written_at(&self) -> Instant {
        self.state.lock().written_at
    }
}
