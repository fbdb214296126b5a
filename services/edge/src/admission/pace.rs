//! So many a second, and so many at once.

use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// A token bucket, kept as the time at which the next token is there.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// From one token to the next; zero if there is no limit.
    interval: Duration,
    /// How long before now the next token may lie: what is saved up.
    saved: Duration,
    next: Instant,
}

impl Pace {
    /// `rate` a second, `burst` at once; no limit if `rate` is 0.
    pub(super) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let interval = SECOND.checked_div(rate).unwrap_or_default();
        let saved = interval.saturating_mul(burst.saturating_sub(1));
        Self { interval, saved, next: now.checked_sub(saved).unwrap_or(now) }
    }

    /// How long until there is a token.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Takes a token, whether it is there or not.
    pub(super) fn take(&mut self, now: Instant) {
        self.next = self.next.max(now.checked_sub(self.saved).unwrap_or(now)) + self.interval;
    }

    /// Takes a token if there is one.
    pub(super) fn try_take(&mut self, now: Instant) -> bool {
        let there = self.wait(now).is_zero();
        if there {
            self.take(now);
        }
        there
    }

    /// Whether all tokens are there.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        self.next + self.saved <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(10, 3, start);
        let taken = |pace: &mut Pace, now| (0..100).take_while(|_| pace.try_take(now)).count();
        assert_eq!(taken(&mut pace, start), 3);
        assert_eq!(pace.wait(start), Duration::from_millis(100));
        assert_eq!(taken(&mut pace, start + Duration::from_millis(250)), 2);
        assert!(!pace.is_rested(start + Duration::from_millis(300)));
        assert!(pace.is_rested(start + SECOND));
        assert_eq!(taken(&mut pace, start + SECOND * 60), 3, "no more is saved up");
    }

    #[test]
    fn who_waits_too_long_is_not_late_for_ever() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, 100, start);
        let mut now = start;
        // A timer that is a millisecond late each time.
        let mut taken = 0;
        while now < start + SECOND {
            let wait = pace.wait(now);
            if !wait.is_zero() {
                now += wait + Duration::from_millis(1);
            }
            pace.take(now);
            taken += 1;
        }
        assert!((1090..=1110).contains(&taken), "{taken}");
    }

    #[test]
    fn without_a_rate_there_is_always_one() {
        let start = Instant::now();
        let mut pace = Pace::new(0, 1, start);
        assert!((0..1000).all(|_| pace.try_take(start)));
    }
}
