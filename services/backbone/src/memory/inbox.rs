//! What one listener of a channel has not taken yet.
//!
//! Instead of a channel of tokio's: those set two kilobytes aside for each listener that is never sent anything, and most
//! listeners are idle.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::log::Live;

/// Room that is kept while nothing waits.
const KEPT_CAPACITY: usize = 16;

/// Bounded; a full one loses the newest, and says so when the rest has been taken.
#[derive(Debug)]
pub(super) struct Inbox {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    live: VecDeque<Live>,
    overflowed: bool,
    waker: Option<Waker>,
}

/// What is found in an inbox.
#[derive(Debug)]
pub(super) enum Found {
    /// The oldest that waited.
    Live(Live),
    /// Whatever came after those that were found so far is lost.
    Overflow,
}

impl Inbox {
    /// An empty one with room for `capacity`.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    pub(super) fn push(&self, live: Live) {
        let mut state = self.state.lock();
        if state.live.len() < self.capacity {
            state.live.push_back(live);
        } else {
            state.overflowed = true;
        }
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn poll_next(&self, cx: &Context<'_>) -> Poll<Found> {
        let mut state = self.state.lock();
        if let Some(live) = state.live.pop_front() {
            if state.live.is_empty() {
                state.live.shrink_to(KEPT_CAPACITY);
            }
            return Poll::Ready(Found::Live(live));
        }
        if std::mem::take(&mut state.overflowed) {
            return Poll::Ready(Found::Overflow);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
