//! When each message is due: fixed before the first is sent, whatever the server does.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// An open-loop schedule: message `n` is due `n / rate` seconds after the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    rate: u64,
    total: u64,
}

impl Schedule {
    /// `rate` messages per second for `seconds`, from `start` on.
    pub(crate) fn new(start: Instant, rate: NonZeroU32, seconds: NonZeroU32) -> Self {
        Self::of(start, rate, u64::from(rate.get()) * u64::from(seconds.get()))
    }

    /// `total` messages at `rate` per second, from `start` on.
    pub(crate) fn of(start: Instant, rate: NonZeroU32, total: u64) -> Self {
        Self { start, rate: rate.get().into(), total }
    }

    /// How many messages there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// When message `number` is due.
    pub(crate) fn due(&self, number: u64) -> Instant {
        // Whole seconds apart: a product of all nanoseconds would overflow after some billions of messages.
        let rest = number % self.rate * 1_000_000_000 / self.rate;
        self.start + Duration::from_secs(number / self.rate) + Duration::from_nanos(rest)
    }

    /// What rate `count` messages until `last` are. A server that keeps up answers the last one just before the
    /// schedule ends, which makes it the rate offered.
    pub(crate) fn achieved(&self, count: u64, last: Instant) -> f64 {
        let took = last.saturating_duration_since(self.start).max(self.due(self.total) - self.start);
        count as f64 / took.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u32, seconds: u32) -> Schedule {
        Schedule::new(Instant::now(), NonZeroU32::new(rate).unwrap(), NonZeroU32::new(seconds).unwrap())
    }

    #[test]
    fn messages_are_due_at_an_even_pace() {
        let schedule = schedule(3, 2);
        let after = |number| schedule.due(number).duration_since(schedule.start);
        let due: Vec<_> = (0..schedule.total()).map(|number| after(number).as_millis()).collect();
        assert_eq!(due, [0, 333, 666, 1000, 1333, 1666]);
        assert_eq!(after(3_000_000_000), Duration::from_secs(1_000_000_000), "it never slips");
    }

    #[test]
    fn a_server_that_keeps_up_achieves_what_is_offered() {
        let schedule = schedule(50, 10);
        assert_eq!(schedule.achieved(500, schedule.due(499)), 50.0);
        assert_eq!(schedule.achieved(500, schedule.due(1000)), 25.0);
    }
}
