//! Counting how followers that have come back are brought what they missed: each from the place that it names until it goes
//! on live, or until it is certain that it never gets all of it.

use ably::Code;
use channels::Position;

use super::follower::{Follower, From, Medium, Start};
use crate::metrics::{Asking, Metrics, Recovery};

/// What it took so far to bring a client that has come back what it missed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CatchUp {
    /// Messages that were brought.
    messages: u32,
    /// Whether the backbone was read for it.
    from_stream: bool,
    /// Whether some of it is not there any more.
    incomplete: bool,
}

impl Follower {
    /// Notes from where its client wants to go on, if it has come back.
    pub(super) fn comes_back(&mut self, from: From, metrics: &Metrics) {
        match from {
            From::After(_) => self.catching_up = Some(CatchUp::default()),
            From::Unreadable => {
                self.catching_up = None;
                metrics.recoveries(self.medium.asking()).ended(Recovery::Invalid);
            }
            From::Now | From::NowWithoutRewind => {}
        }
    }

    /// Notes that it was brought messages, if it is catching up.
    pub(super) fn was_brought(&mut self, messages: u64) {
        if let Some(catching_up) = &mut self.catching_up {
            catching_up.messages = catching_up.messages.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
        }
    }

    /// Notes that the backbone was read for it, and whether that had everything.
    pub(super) fn was_read(&mut self, complete: bool) {
        if let Some(catching_up) = &mut self.catching_up {
            catching_up.from_stream = true;
            catching_up.incomplete |= !complete;
        }
    }

    /// Counts that it has caught up, if it was to.
    pub(super) fn has_caught_up(&mut self, metrics: &Metrics) {
        let Some(CatchUp { messages, from_stream, incomplete }) = self.catching_up.take() else { return };
        let recoveries = metrics.recoveries(self.medium.asking());
        recoveries.messages.record(f64::from(messages));
        recoveries.ended(match (incomplete, from_stream) {
            (true, _) => Recovery::Expired,
            (false, true) => Recovery::FromStream,
            (false, false) => Recovery::FromMemory,
        });
    }

    /// Counts that it will not catch up, if it was to.
    pub(super) fn does_not_catch_up(&mut self, metrics: &Metrics, why: Recovery) {
        let Some(CatchUp { incomplete, .. }) = self.catching_up.take() else { return };
        // Which was certain before.
        let ended = if incomplete { Recovery::Expired } else { why };
        metrics.recoveries(self.medium.asking()).ended(ended);
    }
}

/// Why one that begins from `start` gets nothing of what it missed in a channel whose newest position is `head`, if it has
/// positions.
pub(super) fn refusal(start: Start, head: Option<Position>) -> Option<Recovery> {
    match (start, head) {
        (Start::Lost(Code::ForeignSerial), _) => Some(Recovery::OtherEpoch),
        (Start::Lost(_), _) | (Start::After(_), None) => Some(Recovery::NotStored),
        (Start::After(after), Some(head)) => (after.position.epoch != head.epoch).then_some(Recovery::OtherEpoch),
        (Start::Now | Start::Rewind | Start::Unbroken, _) => None,
    }
}

impl Medium {
    /// How a client asks over it for what it missed.
    fn asking(self) -> Asking {
        match self {
            Self::WebSocket(_) => Asking::Ably,
            Self::Events => Asking::EventStream,
        }
    }
}
