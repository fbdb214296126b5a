//! A channel's log in process.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use channels::{Epoch, Position, Record};
use clock::unix_ms;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::inbox::Inbox;
use crate::history::{Direction, History, HistoryError, HistoryQuery, StoredRecord};
use crate::publish::{IdempotencyId, Published};

/// How much of a channel is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) messages: usize,
    pub(super) age: Duration,
}

/// One step of live delivery.
#[derive(Clone, Debug)]
pub(super) enum Live {
    /// Never stored.
    Passing(Arc<Record>),
    /// Stored, with the sequence of the record before it.
    Stored { sequence: u64, previous: u64, record: Arc<Record> },
}

/// A channel: its log and its live subscribers.
#[derive(Debug)]
pub(super) struct Channel {
    epoch: Epoch,
    /// Counts all channels' records together, as a shard's stream does: a channel that is forgotten while empty and
    /// made again never gives out a sequence twice.
    sequences: Arc<AtomicU64>,
    log: Mutex<Log>,
    /// Messages buffered for each listener.
    buffer: usize,
}

/// A listener's end of live delivery.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) inbox: Arc<Inbox>,
    /// The newest sequence when it began.
    pub(super) head: u64,
}

#[derive(Debug)]
struct Log {
    records: VecDeque<Stored>,
    newest: u64,
    /// The newest sequence that was stored and is no longer here.
    evicted: u64,
    accepted: HashMap<IdempotencyId, u64>,
    /// The ids of `accepted` in the order they lapse.
    lapses: VecDeque<(Instant, IdempotencyId)>,
    /// Those who are attached, which repair themselves from the log when their inbox was too small.
    listeners: Vec<Weak<Inbox>>,
}

#[derive(Clone, Debug)]
struct Stored {
    sequence: u64,
    stored_ms: u64,
    expires: Instant,
    record: Arc<Record>,
}

impl Log {
    fn expire(&mut self, now: Instant) {
        while self.records.front().is_some_and(|stored| stored.expires <= now) {
            self.evict_oldest();
        }
        while self.lapses.front().is_some_and(|(lapse, _)| *lapse <= now) {
            if let Some((_, id)) = self.lapses.pop_front() {
                self.accepted.remove(&id);
            }
        }
    }

    /// Tells all who listen, and forgets those who have gone.
    fn tell(&mut self, live: &Live) {
        self.listeners.retain(|listener| listener.upgrade().map(|inbox| inbox.push(live.clone())).is_some());
    }

    fn evict_oldest(&mut self) {
        if let Some(stored) = self.records.pop_front() {
            self.evicted = stored.sequence;
        }
    }
}

impl Channel {
    pub(super) fn new(epoch: Epoch, sequences: Arc<AtomicU64>, buffer: usize) -> Self {
        // Whatever this channel held in an earlier life is gone by now.
        let begin = sequences.load(Ordering::Relaxed);
        let log = Log {
            records: VecDeque::new(),
            newest: begin,
            evicted: begin,
            accepted: HashMap::new(),
            lapses: VecDeque::new(),
            listeners: Vec::new(),
        };
        Self { epoch, sequences, log: Mutex::new(log), buffer }
    }

    /// Whether it holds nothing any more: no record and no remembered id.
    pub(super) fn is_spent(&self) -> bool {
        let mut log = self.log.lock();
        log.expire(Instant::now());
        log.records.is_empty() && log.accepted.is_empty()
    }

    pub(super) fn position(&self, sequence: u64) -> Position {
        Position { epoch: self.epoch, sequence }
    }

    pub(super) fn head(&self) -> Position {
        self.position(self.log.lock().newest)
    }

    pub(super) fn listen(&self) -> Listening {
        let inbox = Arc::new(Inbox::new(self.buffer));
        let mut log = self.log.lock();
        // Those who have gone are otherwise forgotten by the next message only.
        log.listeners.retain(|listener| listener.strong_count() > 0);
        log.listeners.push(Arc::downgrade(&inbox));
        Listening { inbox, head: log.newest }
    }

    pub(super) fn send(&self, record: Record) {
        self.log.lock().tell(&Live::Passing(Arc::new(record)));
    }

    pub(super) fn store(
        &self,
        record: Record,
        id: Option<&IdempotencyId>,
        limits: Limits,
        dedupe_window: Duration,
    ) -> Published {
        let now = Instant::now();
        let mut log = self.log.lock();
        log.expire(now);
        if let Some(sequence) = id.and_then(|id| log.accepted.get(id)) {
            return Published { position: Some(self.position(*sequence)), duplicate: true };
        }
        let previous = log.newest;
        let sequence = self.sequences.fetch_add(1, Ordering::Relaxed) + 1;
        log.newest = sequence;
        if let Some(id) = id {
            log.accepted.insert(id.clone(), sequence);
            log.lapses.push_back((now + dedupe_window, id.clone()));
        }
        let record = Arc::new(record);
        log.records.push_back(Stored {
            sequence,
            stored_ms: unix_ms(),
            expires: now + limits.age,
            record: Arc::clone(&record),
        });
        while log.records.len() > limits.messages {
            log.evict_oldest();
        }
        // Under the lock: the live order is the stored order.
        log.tell(&Live::Stored { sequence, previous, record });
        drop(log);
        Published { position: Some(self.position(sequence)), duplicate: false }
    }

    /// Records in `(after, up_to]`, and the sequence up to which they may be incomplete (at most `after` if complete).
    pub(super) fn between(&self, after: u64, up_to: u64) -> (Vec<(u64, Arc<Record>)>, u64) {
        let mut log = self.log.lock();
        log.expire(Instant::now());
        let within = log.records.iter().filter(|stored| stored.sequence > after && stored.sequence <= up_to);
        let records = within.map(|stored| (stored.sequence, Arc::clone(&stored.record))).collect();
        (records, log.evicted.min(up_to))
    }

    pub(super) fn newest(&self) -> u64 {
        self.log.lock().newest
    }

    pub(super) fn read(&self, query: &HistoryQuery) -> Result<History, HistoryError> {
        let mut log = self.log.lock();
        log.expire(Instant::now());
        let head = self.position(log.newest);
        let bound = |position: Option<Position>| match position {
            Some(position) if position.epoch != self.epoch => Err(HistoryError::OtherEpoch { head }),
            Some(position) => Ok(Some(position.sequence)),
            None => Ok(None),
        };
        let (after, before) = (bound(query.after)?, bound(query.before)?);
        let within = |stored: &&Stored| {
            after.is_none_or(|after| stored.sequence > after)
                && before.is_none_or(|before| stored.sequence < before)
                && query.start_ms.is_none_or(|start| stored.stored_ms >= start)
                && query.end_ms.is_none_or(|end| stored.stored_ms <= end)
        };
        let to_record = |stored: &Stored| StoredRecord {
            position: self.position(stored.sequence),
            stored_ms: stored.stored_ms,
            record: Arc::clone(&stored.record),
        };
        let limit = query.limit.clamp(1, HistoryQuery::MAX_LIMIT);
        let mut records: Vec<StoredRecord> = match query.direction {
            Direction::Forward => log.records.iter().filter(within).take(limit + 1).map(to_record).collect(),
            Direction::Backward => log.records.iter().rev().filter(within).take(limit + 1).map(to_record).collect(),
        };
        let more = records.len() > limit;
        records.truncate(limit);
        let complete = after.is_none_or(|after| log.evicted <= after);
        Ok(History { records, more, complete, head })
    }
}
