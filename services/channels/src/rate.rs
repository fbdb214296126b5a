//! How many of anything a connection may send.

use std::time::{Duration, Instant};

/// A token bucket, kept as the time at which it is full again: one `Instant` a connection, and its rate may change at any
/// moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    full_at: Option<Instant>,
}

impl Rate {
    /// Takes one token of `per_second`, of which up to `burst` may have gathered, if there is one.
    pub fn take(&mut self, per_second: u32, burst: u32, now: Instant) -> bool {
        if per_second == 0 || burst == 0 {
            return false;
        }
        let interval = Duration::from_secs(1) / per_second;
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        if full_at - now > interval * (burst - 1) {
            return false;
        }
        self.full_at = Some(full_at + interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_then_a_steady_flow() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let taken = |rate: &mut Rate, ms| rate.take(10, 30, start + Duration::from_millis(ms));
        assert!((0..30).all(|_| taken(&mut rate, 0)));
        assert!(!taken(&mut rate, 99));
        assert!(taken(&mut rate, 100));
        assert!(!taken(&mut rate, 100));
        assert!((0..30).all(|_| taken(&mut rate, 5000)));
        assert!(!taken(&mut rate, 5000));
        assert!(!Rate::default().take(0, 1, start));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_plus_a_burst(
            per_second in 1_u32..50,
            burst in 1_u32..50,
            steps in proptest::collection::vec(0_u64..200, 1..200),
        ) {
            let start = Instant::now();
            let (mut rate, mut ms, mut taken) = (Rate::default(), 0, 0_u64);
            for step in steps {
                ms += step;
                taken += u64::from(rate.take(per_second, burst, start + Duration::from_millis(ms)));
            }
            prop_assert!(taken <= u64::from(burst) + ms * u64::from(per_second) / 1000 + 1);
        }
    }
}
