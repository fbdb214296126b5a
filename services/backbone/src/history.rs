//! History reads: what is asked and answered.

use std::sync::Arc;

use channels::{AppId, ChannelName, Position, Record, Tier};

/// Which end a read starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forward,
    /// Newest first.
    Backward,
}

/// A read of one channel's history. All bounds apply together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HistoryQuery {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: ChannelName,
    /// The channel's tier.
    pub tier: Tier,
    /// Only records after this position.
    pub after: Option<Position>,
    /// Only records before this position.
    pub before: Option<Position>,
    /// Only records stored at or after this time, milliseconds since the Unix epoch.
    pub start_ms: Option<u64>,
    /// Only records stored at or before this time, milliseconds since the Unix epoch.
    pub end_ms: Option<u64>,
    /// Which end to start from.
    pub direction: Direction,
    /// Most records in the answer; at least 1, capped at [`HistoryQuery::MAX_LIMIT`].
    pub limit: usize,
}

impl HistoryQuery {
    /// Most records one read returns; a caller that wants more pages on.
    pub const MAX_LIMIT: usize = 1_000;

    /// The whole channel, oldest first.
    pub fn all(app: AppId, channel: ChannelName, tier: Tier) -> Self {
        Self {
            app,
            channel,
            tier,
            after: None,
            before: None,
            start_ms: None,
            end_ms: None,
            direction: Direction::Forward,
            limit: Self::MAX_LIMIT,
        }
    }
}

/// A record with its place in the channel's order.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// Its place.
    pub position: Position,
    /// When the backbone stored it, milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// The record.
    pub record: Arc<Record>,
}

/// The answer to a [`HistoryQuery`].
#[derive(Clone, Debug)]
pub struct History {
    /// In the order asked for.
    pub records: Vec<StoredRecord>,
    /// Whether records within the bounds remain beyond the last one returned.
    pub more: bool,
    /// With `after`: whether it is certain that nothing between `after` and the oldest record that is left has been
    /// evicted or has expired. Without `after`: true.
    pub complete: bool,
    /// The channel's newest position at the time of the read.
    pub head: Position,
}

/// Why history could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HistoryError {
    /// The channel's tier stores nothing.
    #[error("the channel has no history: its namespace is ephemeral")]
    NotStored,
    /// The position in the query is of another life of the log, so continuity with it is unknown.
    #[error("the channel's history was made anew; continuity with the given position is unknown")]
    OtherEpoch {
        /// The channel's newest position now.
        head: Position,
    },
    /// The backbone did not answer. Try again.
    #[error("the backbone did not answer")]
    Unavailable,
}
