//! The queue of webhook events in process.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use channels::AppId;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::MAX_RECORD_BYTES;
use crate::IdempotencyId;
use crate::queue::{KEPT_FOR, QueueError, REMEMBERED_FOR};

/// What an event takes beside its payload, about as much as in a stream.
const OVERHEAD_BYTES: u64 = 128;

type Id = (AppId, IdempotencyId);

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    state: Arc<Mutex<State>>,
    /// Wakes the consumer.
    changed: Arc<watch::Sender<()>>,
    max_bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    events: BTreeMap<u64, Event>,
    bytes: u64,
    last: u64,
    ids: HashSet<Id>,
    /// The ids, oldest first.
    seen: VecDeque<(Instant, Id)>,
    /// How often somebody has become the consumer: which of them is the one.
    taken_over: u64,
}

#[derive(Debug)]
struct Event {
    payload: Bytes,
    pushed: Instant,
}

impl State {
    fn expire(&mut self, now: Instant) {
        while self.seen.front().is_some_and(|(at, _)| now - *at >= REMEMBERED_FOR)
            && let Some((_, id)) = self.seen.pop_front()
        {
            self.ids.remove(&id);
        }
        while let Some(first) = self.events.first_entry().filter(|event| now - event.get().pushed >= KEPT_FOR) {
            let sequence = *first.key();
            self.remove(sequence);
        }
    }

    fn remove(&mut self, sequence: u64) {
        if let Some(event) = self.events.remove(&sequence) {
            self.bytes -= size(&event.payload);
        }
    }
}

fn size(payload: &Bytes) -> u64 {
    payload.len() as u64 + OVERHEAD_BYTES
}

impl Queue {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { state: Arc::default(), changed: Arc::new(watch::channel(()).0), max_bytes }
    }

    pub(crate) fn push(&self, app: &AppId, id: &IdempotencyId, payload: Bytes) -> Result<(), QueueError> {
        if payload.len() > MAX_RECORD_BYTES {
            return Err(QueueError::TooLarge);
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        state.expire(now);
        let id = (app.clone(), id.clone());
        if state.ids.contains(&id) {
            return Ok(());
        }
        if state.bytes + size(&payload) > self.max_bytes {
            return Err(QueueError::Full);
        }
        state.bytes += size(&payload);
        state.last += 1;
        let sequence = state.last;
        state.events.insert(sequence, Event { payload, pushed: now });
        state.ids.insert(id.clone());
        state.seen.push_back((now, id));
        drop(state);
        self.changed.send_replace(());
        Ok(())
    }

    pub(crate) fn oldest(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.expire(now);
        state.events.first_key_value().map(|(_, event)| now - event.pushed)
    }

    pub(crate) fn consume(&self) -> Consumer {
        let mut state = self.state.lock();
        state.taken_over += 1;
        let turn = state.taken_over;
        drop(state);
        self.changed.send_replace(());
        Consumer { queue: self.clone(), changed: self.changed.subscribe(), turn, told: 0 }
    }
}

/// Takes events out, for as long as nobody else does.
#[derive(Debug)]
pub struct Consumer {
    queue: Queue,
    changed: watch::Receiver<()>,
    /// Of [`State::taken_over`].
    turn: u64,
    /// The newest event that was given out.
    told: u64,
}

impl Consumer {
    pub(crate) async fn next(&mut self) -> Option<Item> {
        loop {
            self.changed.mark_unchanged();
            {
                let mut state = self.queue.state.lock();
                state.expire(Instant::now());
                if state.taken_over != self.turn {
                    return None;
                }
                if let Some((sequence, event)) = state.events.range(self.told + 1..).next() {
                    self.told = *sequence;
                    let (sequence, payload) = (*sequence, event.payload.clone());
                    return Some(Item { queue: self.queue.clone(), sequence, payload });
                }
            }
            // The sender lives in `self.queue`, so this cannot fail.
            self.changed.changed().await.ok()?;
        }
    }
}

/// An event that was taken out.
#[derive(Debug)]
pub struct Item {
    queue: Queue,
    sequence: u64,
    payload: Bytes,
}

impl Item {
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    pub(crate) fn ack(self) {
        self.queue.state.lock().remove(self.sequence);
    }
}
