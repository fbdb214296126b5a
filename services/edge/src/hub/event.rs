//! What a stream of events is told: the same as an attached connection, before it is made into text.

use std::sync::Arc;

use ably::ErrorInfo;
use bytes::Bytes;
use channels::{Position, Record};

/// One thing told on one channel.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The channel, as its subscriber called it.
    pub(crate) channel: Arc<str>,
    pub(crate) kind: EventKind,
}

/// What is told.
#[derive(Clone, Debug)]
pub(crate) enum EventKind {
    /// Delivery goes on from `at`, if the channel has positions; with an error, not from where it was to.
    Attached { at: Option<Position>, error: Option<ErrorInfo> },
    /// Messages of one record, each with its place there and as a JSON object.
    Messages { record: Arc<Record>, at: Option<Position>, items: Vec<(usize, Bytes)> },
    /// What one member did, or that it is there, as a JSON object.
    Presence { at: Option<Position>, item: Bytes },
    /// The channel could not be attached: nothing comes any more.
    Failed(ErrorInfo),
}
