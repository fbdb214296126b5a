//! Channels whose client came back and asked for what it had missed: how that ended, and what it took.
//!
//! One is counted for each channel, when it has ended: when the client has everything and goes on live, or when it is
//! certain that it never will. Over Pusher, where a backend asks, that is the answer behind which there is no more.

use telemetry::metrics as catalogue;
use telemetry::{Counter, Histogram};

/// How the client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// For a channel's history after a position, by the app's backend.
    Pusher,
    /// By the serial of an ATTACH.
    Ably,
    /// By the id of the last event of a stream.
    EventStream,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// It got everything, which this node had in memory.
    FromMemory,
    /// It got everything, and some of it, or that there was nothing, was read in the backbone.
    FromStream,
    /// It got what is left: some of it is beyond the history window.
    Expired,
    /// Its position is of another log: of a stream that was lost, or of the tier that the channel had.
    OtherEpoch,
    /// The channel keeps nothing.
    NotStored,
    /// Its position cannot be read.
    Invalid,
    /// The backbone could not be read in time.
    Unavailable,
    /// The client was gone again before it had everything.
    Abandoned,
}

impl Recovery {
    const ALL: [Self; 8] = [
        Self::FromMemory,
        Self::FromStream,
        Self::Expired,
        Self::OtherEpoch,
        Self::NotStored,
        Self::Invalid,
        Self::Unavailable,
        Self::Abandoned,
    ];

    /// Its result and source in metrics.
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::FromMemory => ("recovered", "memory"),
            Self::FromStream => ("recovered", "stream"),
            Self::Expired => ("expired", "stream"),
            Self::OtherEpoch => ("other_epoch", "none"),
            Self::NotStored => ("not_stored", "none"),
            Self::Invalid => ("invalid", "none"),
            Self::Unavailable => ("unavailable", "none"),
            Self::Abandoned => ("abandoned", "none"),
        }
    }
}

/// What is counted of those who ask in one way.
#[derive(Debug)]
pub(crate) struct Recoveries {
    /// In the order of [`Recovery::ALL`].
    ended: [Counter; Recovery::ALL.len()],
    /// How many messages one was brought.
    pub(crate) messages: Histogram,
}

impl Recoveries {
    pub(super) fn new(protocol: &'static str) -> Self {
        let ended = |recovery: Recovery| {
            let (result, source) = recovery.labels();
            catalogue::RECOVERIES.with([protocol, result, source])
        };
        Self { ended: Recovery::ALL.map(ended), messages: catalogue::RECOVERED_MESSAGES.with([protocol]) }
    }

    /// Counts one that has ended like this.
    pub(crate) fn ended(&self, recovery: Recovery) {
        self.ended[recovery as usize].increment(1);
    }
}
