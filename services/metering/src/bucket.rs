//! A token bucket whose rate changes while it is in use, and which may go into debt.
//!
//! Shares of a quota change every second, so the rate cannot be fixed when the bucket is made.

use std::time::{Duration, Instant};

/// Told to wait where the rate is zero and no time would be long enough.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Rounding of the level that is forgiven, so that a wait as long as was told is always enough.
const ROUNDING: f64 = 1e-6;

/// Tokens that flow in at a rate and are kept for at most a second, at least one.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Tokens a second.
    rate: f64,
    /// Tokens there are; below zero it is a debt.
    level: f64,
    /// When `level` was right.
    at: Instant,
}

impl Bucket {
    /// A full bucket with `rate` tokens a second.
    pub fn new(rate: f64, now: Instant) -> Self {
        let mut bucket = Self { rate: rate.max(0.0), level: 0.0, at: now };
        bucket.level = bucket.burst();
        bucket
    }

    /// Tokens a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Goes on with `rate` tokens a second. What is in the bucket stays, up to what the new rate lets it keep.
    pub fn set_rate(&mut self, rate: f64, now: Instant) {
        self.refill(now);
        self.rate = rate.max(0.0);
        self.level = self.level.min(self.burst());
    }

    /// Takes `tokens`, all or none. More than the bucket can hold are taken when it is full, and leave a debt, so that
    /// a large request passes at a small rate, only seldom.
    ///
    /// # Errors
    /// How long until the same would succeed, if nobody else takes any.
    pub fn try_take(&mut self, tokens: u64, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        let needed = (tokens as f64).min(self.burst());
        // At rate zero the bucket holds nothing, which must not read as enough.
        if self.rate <= 0.0 && tokens > 0 {
            return Err(LONGEST_WAIT);
        }
        if self.level + ROUNDING < needed {
            return Err(self.wait_for(needed));
        }
        self.level -= tokens as f64;
        Ok(())
    }

    /// Takes `tokens` whether they are there or not.
    pub fn take(&mut self, tokens: u64, now: Instant) {
        self.refill(now);
        self.level -= tokens as f64;
    }

    /// Takes `tokens` that were used at some time since the bucket was last asked: what flowed in meanwhile is not lost
    /// because the bucket looked full.
    pub fn take_meanwhile(&mut self, tokens: u64, now: Instant) {
        // Callers on several threads may have read the clock before one that was here first.
        let passed = now.saturating_duration_since(self.at);
        self.level = (self.level + self.rate * passed.as_secs_f64() - tokens as f64).min(self.burst());
        self.at = self.at.max(now);
    }

    /// Undoes a taking of `tokens`.
    pub fn give_back(&mut self, tokens: u64) {
        self.level = (self.level + tokens as f64).min(self.burst());
    }

    /// How long until there is no debt; zero if there is none.
    pub fn blocked_for(&mut self, now: Instant) -> Duration {
        self.refill(now);
        if self.level + ROUNDING >= 0.0 { Duration::ZERO } else { self.wait_for(0.0) }
    }

    /// Most tokens it keeps.
    fn burst(&self) -> f64 {
        if self.rate > 0.0 { self.rate.max(1.0) } else { 0.0 }
    }

    fn refill(&mut self, now: Instant) {
        self.take_meanwhile(0, now);
    }

    fn wait_for(&self, level: f64) -> Duration {
        if self.rate <= 0.0 {
            return LONGEST_WAIT;
        }
        let seconds = (level - self.level) / self.rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT).saturating_add(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_second_of_the_rate_is_there_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        for _ in 0..10 {
            bucket.try_take(1, start).unwrap();
        }
        let wait = bucket.try_take(1, start).unwrap_err();
        assert!(wait.abs_diff(Duration::from_millis(100)) < Duration::from_micros(1), "{wait:?}");
        bucket.try_take(1, start + wait).unwrap();
    }

    #[test]
    fn a_request_larger_than_the_bucket_passes_when_it_is_full() {
        let start = Instant::now();
        let mut bucket = Bucket::new(50.0, start);
        bucket.try_take(100, start).unwrap();
        // 50 of debt, then 50 to be full.
        let wait = bucket.try_take(100, start).unwrap_err();
        assert!(wait.abs_diff(2 * SECOND) < Duration::from_micros(1), "{wait:?}");
        bucket.try_take(100, start + wait).unwrap();
    }

    #[test]
    fn a_rate_below_one_still_lets_one_through() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0.5, start);
        bucket.try_take(1, start).unwrap();
        assert!(bucket.try_take(1, start + SECOND).is_err());
        bucket.try_take(1, start + 2 * SECOND).unwrap();
    }

    #[test]
    fn nothing_passes_at_rate_zero() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0.0, start);
        assert_eq!(bucket.try_take(1, start + SECOND), Err(LONGEST_WAIT));
        bucket.set_rate(5.0, start);
        bucket.set_rate(0.0, start + SECOND);
        assert_eq!(bucket.try_take(1, start + SECOND), Err(LONGEST_WAIT));
    }

    #[test]
    fn a_debt_is_repaid_at_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, start);
        bucket.take(100, start);
        assert_eq!(bucket.blocked_for(start), Duration::ZERO);
        bucket.take(300, start);
        let wait = bucket.blocked_for(start);
        assert!(wait.abs_diff(3 * SECOND) < Duration::from_micros(1), "{wait:?}");
        assert!(bucket.blocked_for(start + SECOND) > SECOND);
        assert_eq!(bucket.blocked_for(start + wait), Duration::ZERO);
    }

    #[test]
    fn what_was_used_meanwhile_is_paid_from_what_flowed_in_meanwhile() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100.0, start);
        bucket.take_meanwhile(300, start + SECOND);
        assert_eq!(bucket.blocked_for(start + SECOND).as_secs(), 1);
        bucket.take_meanwhile(0, start + 9 * SECOND);
        assert!(bucket.try_take(100, start + 9 * SECOND).is_ok() && bucket.try_take(1, start + 9 * SECOND).is_err());
    }

    #[test]
    fn a_change_of_rate_keeps_the_level_and_makes_no_tokens() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        bucket.set_rate(100.0, start);
        bucket.try_take(10, start).unwrap();
        assert!(bucket.try_take(1, start).is_err());
        bucket.set_rate(5.0, start + SECOND);
        bucket.set_rate(100.0, start + SECOND);
        bucket.try_take(5, start + SECOND).unwrap();
        assert!(bucket.try_take(1, start + SECOND).is_err());
    }

    #[test]
    fn a_clock_read_earlier_takes_nothing_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1.0, start);
        bucket.try_take(1, start + SECOND).unwrap();
        assert!(bucket.try_take(1, start).is_err());
        bucket.try_take(1, start + 2 * SECOND).unwrap();
    }

    proptest! {
        /// Over any time the bucket lets through at most what flowed in, what it kept, and one request beyond.
        #[test]
        fn never_more_than_the_rate_and_one_burst(
            rate in 0.1f64..500.0,
            requests in prop::collection::vec((0u64..400, 1u64..50), 1..300),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::new(rate, start);
            let (mut passed, mut largest) = (0, 0);
            for (gap_ms, tokens) in requests {
                now += Duration::from_millis(gap_ms);
                largest = largest.max(tokens);
                match bucket.try_take(tokens, now) {
                    Ok(()) => passed += tokens,
                    Err(wait) => prop_assert!(bucket.clone().try_take(tokens, now + wait).is_ok()),
                }
            }
            let most = rate * (now - start).as_secs_f64() + rate.max(1.0) + largest as f64;
            prop_assert!(passed as f64 <= most + 1e-3, "{passed} > {most}");
        }
    }
}
