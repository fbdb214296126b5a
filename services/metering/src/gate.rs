//! A rate that is limited, or not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Bucket;

/// How soon the leader will have heard of a demand and moved shares to where it is: two of its rounds.
pub(crate) const SHARES_MOVE: Duration = Duration::from_secs(2);

/// Of a limit, what counts as all of it. The leader leaves a little with every node.
const NEARLY_ALL: f64 = 0.95;

/// A [`Bucket`] that many threads use and that may be absent; then it costs one load.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    limited: AtomicBool,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    bucket: Bucket,
    /// Which part of the whole cluster's rate this is.
    part: f64,
    /// The bucket is not asked before.
    closed_until: Option<Instant>,
}

/// How long to wait, and whether that is because of the app's limit rather than of this node's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) time: Duration,
    pub(crate) shared: bool,
}

impl Gate {
    /// Sets the rate here and in the whole cluster, in tokens a second; `None` for no limit.
    pub(crate) fn set_rate(&self, rate: Option<(f64, f64)>, now: Instant) {
        let mut state = self.state.lock();
        match (&mut *state, rate) {
            (Some(state), Some((here, limit))) => {
                state.bucket.set_rate(here, now);
                state.part = part(here, limit);
            }
            (none, Some((here, limit))) => {
                *none = Some(State { bucket: Bucket::new(here, now), part: part(here, limit), closed_until: None });
            }
            (some, None) => *some = None,
        }
        self.limited.store(rate.is_some(), Ordering::Release);
    }

    /// Lets nothing through until `until`, whatever the bucket has; `None` opens it again.
    pub(crate) fn close_until(&self, until: Option<Instant>) {
        if let Some(state) = &mut *self.state.lock() {
            state.closed_until = until;
        }
    }

    /// Takes `tokens`, all or none.
    pub(crate) fn try_take(&self, tokens: u64, now: Instant) -> Result<(), Wait> {
        self.with(|state| state.bucket.try_take(tokens, now).map_err(|time| state.wait(time))).unwrap_or(Ok(()))
    }

    /// Whether a token could be taken.
    pub(crate) fn check(&self, now: Instant) -> Result<(), Wait> {
        let check = |state: &mut State| state.bucket.clone().try_take(1, now).map_err(|time| state.wait(time));
        self.with(check).unwrap_or(Ok(()))
    }

    /// Takes `tokens` whether they are there or not.
    pub(crate) fn take(&self, tokens: u64, now: Instant) {
        self.with(|state| state.bucket.take(tokens, now)).unwrap_or(());
    }

    /// Undoes a taking of `tokens`.
    pub(crate) fn give_back(&self, tokens: u64) {
        self.with(|state| state.bucket.give_back(tokens)).unwrap_or(());
    }

    /// How long until it is open and there is no debt.
    pub(crate) fn blocked_for(&self, now: Instant) -> Duration {
        let blocked = |state: &mut State| {
            let closed = state.closed_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            closed.max(state.bucket.blocked_for(now))
        };
        self.with(blocked).unwrap_or(Duration::ZERO)
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut State) -> T) -> Option<T> {
        if !self.limited.load(Ordering::Acquire) {
            return None;
        }
        self.state.lock().as_mut().map(use_it)
    }
}

impl State {
    /// A wait of `time` at the rate here is shorter once shares have moved here, at best as short as the part is small.
    fn wait(&self, time: Duration) -> Wait {
        let shared = self.part >= NEARLY_ALL;
        Wait { time: if shared { time } else { time.min(SHARES_MOVE.max(time.mul_f64(self.part))) }, shared }
    }
}

fn part(here: f64, limit: f64) -> f64 {
    if limit > 0.0 { (here / limit).clamp(0.0, 1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_exact_with_the_whole_rate_and_shorter_with_a_part() {
        let now = Instant::now();
        let wait = |here: f64, limit: f64, tokens: u64| {
            let gate = Gate::default();
            gate.set_rate(Some((here, limit)), now);
            gate.try_take(tokens, now).unwrap();
            let Wait { time, shared } = gate.try_take(1, now).unwrap_err();
            (time.as_secs_f64().round(), shared)
        };
        assert_eq!(wait(10.0, 10.0, 100), (9.0, true));
        assert_eq!(wait(0.1, 10.0, 1), (2.0, false));
        assert_eq!(wait(1.0, 10.0, 100), (10.0, false));
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let now = Instant::now();
        let gate = Gate::default();
        gate.set_rate(Some((1.0, 1.0)), now);
        gate.try_take(5, now).unwrap();
        assert!(gate.try_take(1, now).is_err());
        gate.set_rate(None, now);
        gate.try_take(u64::MAX, now).unwrap();
        assert_eq!(gate.blocked_for(now), Duration::ZERO);
    }
}
