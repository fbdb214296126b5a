//! Which traces are begun.
//!
//! A publisher decides for its publishes, as W3C Trace Context has it. But publishers are tenants, and what one of them
//! sends must not flood the collector: traces that they ask for have a rate of their own, and those of the ratio another,
//! so that neither is in the other's way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::context::Context;

#[derive(Debug)]
pub(super) struct Sampler {
    ratio: f64,
    asked: PerSecond,
    chosen: PerSecond,
}

/// What becomes of something that could be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Traced,
    Untraced,
    /// It would be, if there were not so many already.
    Limited,
}

impl Sampler {
    /// One that takes `ratio` of what has no parent, and `per_second` at most; as many again that are asked for.
    pub(super) fn new(ratio: f64, per_second: u32) -> Self {
        Self { ratio, asked: PerSecond::new(per_second), chosen: PerSecond::new(per_second) }
    }

    /// Decides, `drawn` being a random number from 0 up to 1.
    pub(super) fn decide(&self, parent: Option<&Context>, drawn: f64, now: Instant) -> Decision {
        let (is_wanted, limit) = match parent {
            Some(parent) => (parent.is_sampled, &self.asked),
            None => (drawn < self.ratio, &self.chosen),
        };
        match is_wanted {
            false => Decision::Untraced,
            true if limit.take(now) => Decision::Traced,
            true => Decision::Limited,
        }
    }
}

/// So many in each second, the seconds counted from when it was made.
#[derive(Debug)]
struct PerSecond {
    limit: u32,
    begun: Instant,
    /// The second in the upper half, and how many were taken in it in the lower.
    taken: AtomicU64,
}

impl PerSecond {
    fn new(limit: u32) -> Self {
        Self { limit, begun: Instant::now(), taken: AtomicU64::new(0) }
    }

    fn take(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.begun).as_secs() << 32;
        let take = |taken: u64| {
            // A thread that comes late counts in the second that the others are in.
            let taken = taken.max(second);
            (taken & u64::from(u32::MAX) < u64::from(self.limit)).then_some(taken + 1)
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parent(is_sampled: bool) -> Context {
        Context { trace: 1, span: 1, is_sampled }
    }

    #[test]
    fn a_parent_decides_and_without_one_the_ratio() {
        let (sampler, now) = (Sampler::new(0.25, 10), Instant::now());
        assert_eq!(sampler.decide(Some(&parent(true)), 0.99, now), Decision::Traced);
        assert_eq!(sampler.decide(Some(&parent(false)), 0.0, now), Decision::Untraced);
        assert_eq!(sampler.decide(None, 0.24, now), Decision::Traced);
        assert_eq!(sampler.decide(None, 0.25, now), Decision::Untraced);
        let (none, all) = (Sampler::new(0.0, 10), Sampler::new(1.0, 10));
        assert_eq!(none.decide(None, 0.0, now), Decision::Untraced);
        assert_eq!(all.decide(None, 1.0 - f64::EPSILON, now), Decision::Traced);
    }

    #[test]
    fn who_asks_for_too_many_is_in_nobody_elses_way() {
        let (sampler, now) = (Sampler::new(1.0, 2), Instant::now());
        let ask = |now| sampler.decide(Some(&parent(true)), 0.0, now);
        assert_eq!([ask(now), ask(now), ask(now)], [Decision::Traced, Decision::Traced, Decision::Limited]);
        assert_eq!(sampler.decide(None, 0.0, now), Decision::Traced);
        let later = now + Duration::from_secs(1);
        assert_eq!([ask(later), ask(later), ask(later)], [Decision::Traced, Decision::Traced, Decision::Limited]);
    }
}
