//! The order in which one webhook's events are sent. Pure: time and chance are arguments.
//!
//! A lane for each channel. The events of a lane go out in order, one request after the other; lanes do not wait for each
//! other. A lane whose request failed rests for a while, longer each time, and begins again with the same events.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ticket::Ticket;
use crate::event::Event;

/// Most events in one request, and most bytes of them: what a receiver's framework takes without being told to.
const MAX_BATCH_EVENTS: usize = 100;
const MAX_BATCH_BYTES: usize = 256 << 10;

/// An event that waits for one webhook.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) event: Arc<Event>,
    pub(super) ticket: Ticket,
    /// When its delivery is given up.
    pub(super) expires: Instant,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// What went wrong the last time.
    pub(super) failure: Option<Arc<str>>,
}

impl Waiting {
    fn fail(&mut self, failure: &Arc<str>) {
        self.attempts += 1;
        self.failure = Some(Arc::clone(failure));
    }
}

/// How long lanes rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    pub(super) first: Duration,
    pub(super) longest: Duration,
}

impl Pauses {
    /// Between half and all of the pause after `failures` in a row; which, is up to `chance` from 0 to 1.
    fn after(self, failures: u32, chance: f64) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(31));
        let pause = self.first.saturating_mul(doubled).min(self.longest);
        pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

/// What one request carries: events of one or more lanes, which are busy until it is over.
#[derive(Debug)]
pub(super) struct Batch {
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    channel: Box<str>,
    events: Vec<Waiting>,
}

impl Batch {
    /// The events, each channel's in order.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> + Clone {
        self.parts.iter().flat_map(|part| part.events.iter().map(|waiting| &*waiting.event))
    }

    /// Whether any of them was sent before.
    pub(super) fn is_retry(&self) -> bool {
        self.parts.iter().any(|part| part.events.iter().any(|waiting| waiting.attempts > 0))
    }

    /// Its events.
    pub(super) fn into_events(self) -> impl Iterator<Item = Waiting> {
        self.parts.into_iter().flat_map(|part| part.events)
    }
}

#[derive(Debug)]
struct Lane {
    waiting: VecDeque<Waiting>,
    phase: Phase,
    /// Requests that failed since one succeeded.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Stands in the line of lanes that have something to send.
    Ready,
    /// Its request is under way.
    Busy,
    /// Rests until then.
    Resting(Instant),
}

/// The lanes of one webhook.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: HashMap<Box<str>, Lane>,
    ready: VecDeque<Box<str>>,
    resting: BTreeSet<(Instant, Box<str>)>,
    pauses: Pauses,
}

impl Lanes {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { lanes: HashMap::new(), ready: VecDeque::new(), resting: BTreeSet::new(), pauses }
    }

    /// Adds an event behind the others of its channel.
    pub(super) fn push(&mut self, waiting: Waiting) {
        let channel = &waiting.event.channel;
        match self.lanes.get_mut(channel) {
            Some(lane) => lane.waiting.push_back(waiting),
            None => {
                let channel = channel.clone();
                self.ready.push_back(channel.clone());
                self.lanes.insert(channel, Lane { waiting: [waiting].into(), phase: Phase::Ready, failures: 0 });
            }
        }
    }

    /// Whether a lane has something to send now.
    pub(super) fn is_ready(&mut self, now: Instant) -> bool {
        self.end_rests(now);
        !self.ready.is_empty()
    }

    /// Whether more is ready than one request carries.
    pub(super) fn is_full(&self) -> bool {
        self.ready.len() >= MAX_BATCH_EVENTS
    }

    /// When a lane has rested.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// The next request: one event, or if `many` as much as there is and as fits. What has expired goes to `expired`.
    pub(super) fn take(&mut self, many: bool, now: Instant, expired: &mut Vec<Waiting>) -> Option<Batch> {
        self.end_rests(now);
        let (max_events, max_bytes) = if many { (MAX_BATCH_EVENTS, MAX_BATCH_BYTES) } else { (1, usize::MAX) };
        let (mut count, mut bytes) = (0, 0);
        let mut parts: Vec<Part> = Vec::new();
        while count < max_events
            && bytes < max_bytes
            && let Some(channel) = self.ready.pop_front()
        {
            let Some(lane) = self.lanes.get_mut(&channel) else { continue };
            let mut events = Vec::new();
            while count < max_events
                && let Some(first) = lane.waiting.front()
            {
                let size = first.event.json.len();
                let is_expired = first.expires <= now;
                if !is_expired && count > 0 && bytes + size > max_bytes {
                    bytes = max_bytes;
                    break;
                }
                let Some(waiting) = lane.waiting.pop_front() else { break };
                if is_expired {
                    expired.push(waiting);
                } else {
                    count += 1;
                    bytes += size;
                    events.push(waiting);
                }
            }
            if !events.is_empty() {
                lane.phase = Phase::Busy;
                parts.push(Part { channel, events });
            } else if lane.waiting.is_empty() {
                self.lanes.remove(&channel);
            } else {
                // No room was left for its first event.
                self.ready.push_front(channel);
            }
        }
        (!parts.is_empty()).then_some(Batch { parts })
    }

    /// The request was answered well; its events are delivered.
    pub(super) fn succeeded(&mut self, batch: Batch) -> Vec<Waiting> {
        for part in &batch.parts {
            self.go_on(&part.channel);
        }
        batch.into_events().collect()
    }

    /// The request was not answered well. Events whose time is up come back; the others are sent again, after a rest.
    pub(super) fn failed(&mut self, batch: Batch, failure: &Arc<str>, now: Instant, chance: f64) -> Vec<Waiting> {
        let mut given_up = Vec::new();
        for Part { channel, events } in batch.parts {
            let Some(lane) = self.lanes.get_mut(&channel) else { continue };
            for mut waiting in events.into_iter().rev() {
                waiting.fail(failure);
                // Another try would come too late.
                if now + self.pauses.first >= waiting.expires {
                    given_up.push(waiting);
                } else {
                    lane.waiting.push_front(waiting);
                }
            }
            lane.failures += 1;
            match lane.waiting.front() {
                Some(first) if first.attempts > 0 => {
                    // The last try of all comes when the time is nearly up, however long the pause would be.
                    let last = first.expires - self.pauses.first / 2;
                    let until = (now + self.pauses.after(lane.failures, chance)).min(last);
                    lane.phase = Phase::Resting(until);
                    self.resting.insert((until, channel));
                }
                Some(_) | None => self.go_on(&channel),
            }
        }
        given_up.reverse();
        given_up
    }

    /// The request can never be answered well; its events come back.
    pub(super) fn refused(&mut self, batch: Batch, failure: &Arc<str>) -> Vec<Waiting> {
        let mut events = self.succeeded(batch);
        events.iter_mut().for_each(|waiting| waiting.fail(failure));
        events
    }

    /// Takes everything out that is not under way.
    pub(super) fn clear(&mut self) -> Vec<Waiting> {
        self.ready.clear();
        self.resting.clear();
        let mut all = Vec::new();
        self.lanes.retain(|_, lane| {
            all.extend(lane.waiting.drain(..));
            lane.phase == Phase::Busy
        });
        all
    }

    /// A lane is free again.
    fn go_on(&mut self, channel: &str) {
        let Some(lane) = self.lanes.get_mut(channel) else { return };
        if lane.waiting.is_empty() {
            self.lanes.remove(channel);
            return;
        }
        lane.phase = Phase::Ready;
        // Also after events that were given up: the next one is another event, with its own attempts.
        lane.failures = 0;
        self.ready.push_back(channel.into());
    }

    fn end_rests(&mut self, now: Instant) {
        while let Some((at, _)) = self.resting.first()
            && *at <= now
            && let Some((at, channel)) = self.resting.pop_first()
        {
            if let Some(lane) = self.lanes.get_mut(&channel).filter(|lane| lane.phase == Phase::Resting(at)) {
                lane.phase = Phase::Ready;
                self.ready.push_back(channel);
            }
        }
    }
}

#[cfg(test)]
mod tests;
