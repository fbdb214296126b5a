//! What subscribers receive: latencies, losses, repetitions, order.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::connection::Connection;
use crate::error::Error;
use crate::latency::Latencies;
use crate::message;
use crate::readers;
use crate::schedule::Schedule;
use crate::sequence::{Arrival, Sequence};

/// What all subscribers received.
#[derive(Debug)]
pub(crate) struct Received {
    /// From due to received, of what came for the first time.
    pub(crate) latencies: Latencies,
    /// One per subscriber.
    sequences: Vec<Sequence>,
    /// Messages that came again.
    pub(crate) duplicate: u64,
    /// Messages that came after a later one.
    pub(crate) reordered: u64,
    /// Texts that are no message of this run, or not all of one.
    pub(crate) unexpected: u64,
    /// Connections that the server closed.
    pub(crate) closed: usize,
}

/// Reads `connections` until told to `stop`. Messages have `payload` bytes of data; `delivered` counts those that came
/// for the first time, for who waits for all of them.
pub(crate) fn receive(
    connections: &mut [Connection],
    schedule: Schedule,
    payload: usize,
    stop: &AtomicBool,
    delivered: &AtomicU64,
) -> Result<Received, Error> {
    let mut received = Received {
        latencies: Latencies::new(),
        sequences: connections.iter().map(|_| Sequence::default()).collect(),
        duplicate: 0,
        reordered: 0,
        unexpected: 0,
        closed: 0,
    };
    received.closed = readers::read(connections, stop, |subscriber, text| {
        let now = Instant::now();
        let Some(number) = message::number(text, payload).filter(|number| *number < schedule.total()) else {
            received.unexpected += 1;
            return;
        };
        match received.sequences[subscriber].arrived(number) {
            Arrival::InOrder => {}
            Arrival::Reordered => received.reordered += 1,
            Arrival::Duplicate => {
                received.duplicate += 1;
                return;
            }
        }
        delivered.fetch_add(1, Relaxed);
        received.latencies.record(now.saturating_duration_since(schedule.due(number)));
    })?;
    Ok(received)
}

impl Received {
    /// How many of `total` messages subscribers lack, all together, not counting those that were `refused`.
    pub(crate) fn lost(&self, total: u64, refused: &BTreeSet<u64>) -> usize {
        let missing = self.sequences.iter().flat_map(|sequence| sequence.missing(total));
        missing.filter(|number| !refused.contains(number)).count()
    }
}
