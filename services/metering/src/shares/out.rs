//! Deliveries of the whole cluster against what an app may have delivered.
//!
//! A delivery cannot be refused and happens on other nodes than its publish, so it is publishes that are held back: at
//! a pace that makes as many deliveries as are allowed, and not at all while a large debt is repaid.

use std::time::{Duration, Instant};

use super::fair::MICRO;
use crate::Bucket;

/// A debt up to here is repaid by the pace.
const SMALL_DEBT: Duration = Duration::from_secs(1);

/// The pace allows a little more than the limit, and half of the debt less each second: it settles where there is a
/// debt of a twentieth of a second, and then the deliveries are the limit exactly. Without the little there would be no
/// telling whether the pace is too low.
const EXCESS: u64 = 40;

/// Where publishes asked for would make less than this part of the limit, in tenths, there is no pace: it would stop
/// bursts that there is room for.
const PACED_FROM: u64 = 8;

/// What a cluster delivers.
#[derive(Debug)]
pub(super) struct Out {
    bucket: Bucket,
    /// Messages delivered and published lately, which tell how many deliveries a publish makes.
    delivered: u64,
    published: u64,
}

/// How publishes are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) blocked_for: Duration,
    /// Messages that may be published in a second in the cluster, in millionths; `None` for as many as come.
    pub(super) pace: Option<u64>,
}

/// What happened since the last round. `wanted` is in millionths a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) delivered: u64,
    pub(super) published: u64,
    pub(super) wanted: u64,
}

impl Out {
    pub(super) fn new(rate: f64, now: Instant) -> Self {
        // The first traffic to be heard of is that of the second before.
        let before = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        Self { bucket: Bucket::new(rate, before), delivered: 0, published: 0 }
    }

    /// Takes the `traffic` of a round, where `limit` millionths a second may be delivered.
    pub(super) fn round(&mut self, limit: u64, traffic: Traffic, now: Instant) -> Hold {
        self.bucket.take_meanwhile(traffic.delivered, now);
        self.bucket.set_rate(limit as f64 / MICRO as f64, now);
        let debt = self.bucket.blocked_for(now);
        if traffic.published > 0 {
            // Old traffic gives way to new, and without any it is still what is known.
            self.delivered /= 2;
            self.published /= 2;
        }
        self.delivered = self.delivered.saturating_add(traffic.delivered.saturating_mul(MICRO));
        self.published = self.published.saturating_add(traffic.published.saturating_mul(MICRO));

        let wanted = scale(traffic.wanted, self.delivered, self.published);
        let needless = debt.is_zero() && wanted < limit / 10 * PACED_FROM;
        if needless || self.delivered == 0 || self.published == 0 {
            return Hold { blocked_for: debt, pace: None };
        }
        let owed = scale(limit, u64::try_from(debt.as_micros()).unwrap_or(u64::MAX), MICRO);
        let allowed = (limit + limit / EXCESS).saturating_sub(owed / 2);
        // The pace sees to a small debt; of a large one, as much is waited for as is not small.
        let blocked_for = if debt > SMALL_DEBT { debt - SMALL_DEBT / 2 } else { Duration::ZERO };
        Hold { blocked_for, pace: Some(scale(allowed, self.published, self.delivered)) }
    }
}

/// `value * by / of`.
fn scale(value: u64, by: u64, of: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(by) / u128::from(of.max(1))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 100 * MICRO;

    /// A second with 100 deliveries allowed.
    fn round(out: &mut Out, second: u32, delivered: u64, published: u64) -> Hold {
        let wanted = 1_000 * MICRO;
        out.round(LIMIT, Traffic { delivered, published, wanted }, start() + Duration::from_secs(1) * second)
    }

    fn start() -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    #[test]
    fn a_large_debt_stops_publishes_and_a_small_one_slows_them() {
        let mut out = Out::new(100.0, start());
        // 100 kept, 100 flowed in.
        let hold = round(&mut out, 0, 590, 59);
        assert_eq!(hold.blocked_for.as_millis(), 3_400);
        let hold = round(&mut out, 3, 0, 0);
        assert_eq!((hold.blocked_for, hold.pace.map(|pace| pace / MICRO)), (Duration::ZERO, Some(5)));
    }

    #[test]
    fn without_publishes_only_the_debt_counts() {
        let mut out = Out::new(100.0, start());
        assert_eq!(round(&mut out, 0, 250, 0).blocked_for.as_millis(), 500);
    }

    #[test]
    fn what_fits_is_not_paced() {
        let mut out = Out::new(100.0, start());
        let traffic = Traffic { delivered: 50, published: 5, wanted: 5 * MICRO };
        assert_eq!(out.round(LIMIT, traffic, start()), Hold { blocked_for: Duration::ZERO, pace: None });
        let nearly = Traffic { delivered: 90, published: 9, wanted: 9 * MICRO };
        assert!(out.round(LIMIT, nearly, start() + Duration::from_secs(1)).pace.is_some_and(|pace| pace > 10 * MICRO));
    }
}
