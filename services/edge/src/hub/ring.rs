//! The newest records of one channel, for those who missed a few.

use std::collections::VecDeque;
use std::sync::Arc;

use channels::{Position, Record};

/// What a record costs beyond its payload: itself, its place, its strings.
const RECORD_OVERHEAD: usize = 256;

/// The last stored records of a channel, without a hole. Bounded in number and in bytes; when full, the oldest goes.
#[derive(Debug)]
pub(crate) struct Ring {
    max_records: usize,
    max_bytes: usize,
    records: VecDeque<(Position, Arc<Record>)>,
    bytes: usize,
    /// Everything after this place is here. `None` before the channel is attached.
    floor: Option<Position>,
}

/// Records after some position.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Oldest first.
    pub(crate) records: Vec<(Position, Arc<Record>)>,
    /// Whether more follow.
    pub(crate) more: bool,
    /// The newest position the ring knows.
    pub(crate) head: Position,
}

impl Ring {
    /// An empty ring, which can answer nothing.
    pub(crate) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self { max_records, max_bytes, records: VecDeque::new(), bytes: 0, floor: None }
    }

    /// Forgets everything, and can answer nothing until the next restart.
    pub(crate) fn stop(&mut self) {
        *self = Self::new(self.max_records, self.max_bytes);
    }

    /// Forgets everything; what comes next follows `floor` without a hole.
    pub(crate) fn restart(&mut self, floor: Position) {
        self.records = VecDeque::new();
        self.bytes = 0;
        self.floor = Some(floor);
    }

    /// Appends a stored record.
    pub(crate) fn push(&mut self, position: Position, record: Arc<Record>) {
        self.bytes += size(&record);
        self.records.push_back((position, record));
        while self.records.len() > self.max_records || self.bytes > self.max_bytes {
            let Some((evicted, record)) = self.records.pop_front() else { break };
            self.bytes -= size(&record);
            self.floor = Some(evicted);
        }
    }

    /// The newest position that it knows; `None` before the channel is attached.
    pub(crate) fn head(&self) -> Option<Position> {
        self.records.back().map(|(position, _)| *position).or(self.floor)
    }

    /// The place behind which everything is here.
    pub(crate) fn floor(&self) -> Option<Position> {
        self.floor
    }

    /// What it holds, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &(Position, Arc<Record>)> {
        self.records.iter().rev()
    }

    /// Up to `limit` records after `position`; `None` if the ring does not reach back that far.
    pub(crate) fn after(&self, position: Position, limit: usize) -> Option<Replay> {
        let floor = self.floor?;
        if position.epoch != floor.epoch || position.sequence < floor.sequence {
            return None;
        }
        let head = self.records.back().map_or(floor, |(position, _)| *position);
        let first = self.records.partition_point(|(at, _)| at.sequence <= position.sequence);
        let records: Vec<_> = self.records.range(first..).take(limit).cloned().collect();
        Some(Replay { more: self.records.len() - first > records.len(), records, head })
    }
}

fn size(record: &Record) -> usize {
    let messages = record.messages.iter();
    RECORD_OVERHEAD + messages.map(|message| message.data.len() + message.extras.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use channels::{Epoch, Message, RecordKind};

    use super::*;

    fn position(sequence: u64) -> Position {
        Position { epoch: Epoch::new(1), sequence }
    }

    fn record(bytes: usize) -> Arc<Record> {
        let messages = vec![Message::text("e", vec![b'x'; bytes])];
        Arc::new(Record {
            id: None,
            kind: RecordKind::Messages,
            connection: None,
            client: None,
            timestamp_ms: 0,
            messages,
            traceparent: None,
        })
    }

    fn sequences(ring: &Ring, after: u64, limit: usize) -> Option<(Vec<u64>, bool)> {
        let replay = ring.after(position(after), limit)?;
        Some((replay.records.iter().map(|(position, _)| position.sequence).collect(), replay.more))
    }

    #[test]
    fn answers_only_what_it_holds_without_a_hole() {
        let mut ring = Ring::new(3, 10_000);
        assert_eq!(sequences(&ring, 0, 10), None);
        ring.restart(position(10));
        assert_eq!(sequences(&ring, 9, 10), None);
        assert_eq!(sequences(&ring, 10, 10), Some((vec![], false)));
        for sequence in [12, 15, 17] {
            ring.push(position(sequence), record(1));
        }
        assert_eq!(sequences(&ring, 10, 10), Some((vec![12, 15, 17], false)));
        assert_eq!(sequences(&ring, 13, 1), Some((vec![15], true)));
        ring.push(position(20), record(1));
        assert_eq!(sequences(&ring, 10, 10), None);
        assert_eq!(sequences(&ring, 12, 10), Some((vec![15, 17, 20], false)));
        assert_eq!(sequences(&ring, 99, 10), Some((vec![], false)));
        ring.restart(position(30));
        assert_eq!(sequences(&ring, 20, 10), None);
    }

    #[test]
    fn another_epoch_is_not_answered() {
        let mut ring = Ring::new(3, 10_000);
        ring.restart(position(1));
        assert!(ring.after(Position { epoch: Epoch::new(2), sequence: 5 }, 1).is_none());
    }

    #[test]
    fn bounded_in_bytes() {
        let mut ring = Ring::new(100, 2000);
        ring.restart(position(0));
        for sequence in 1..=10 {
            ring.push(position(sequence), record(500));
        }
        assert!(ring.bytes <= 2000 && ring.records.len() == 2);
        assert_eq!(sequences(&ring, 8, 10), Some((vec![9, 10], false)));
        ring.push(position(11), record(5000));
        assert_eq!(sequences(&ring, 11, 10), Some((vec![], false)));
        assert_eq!(ring.bytes, 0);
    }
}
