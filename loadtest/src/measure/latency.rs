//! Latencies, kept in little memory, and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// What is longer is recorded as this; no run waits so long for anything.
const LONGEST_MICROS: u64 = 600_000_000;

/// A histogram of durations, exact to 0.1%.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// With nothing recorded.
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("bounds and digits that the library allows"))
    }

    /// Records one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Takes in what `others` recorded.
    pub(crate) fn add(&mut self, others: &Self) {
        self.0.add(&others.0).expect("all have the same bounds");
    }

    /// How many were longer than `limit`.
    pub(crate) fn longer_than(&self, limit: Duration) -> u64 {
        let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        self.0.count_between(limit, LONGEST_MICROS)
    }

    /// What the share `quantile` of all is at most, in milliseconds; zero if nothing was recorded.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The usual percentiles in milliseconds.
    pub(crate) fn percentiles(&self) -> Value {
        let [p50, p90, p99, p999, max] = [0.5, 0.9, 0.99, 0.999, 1.0].map(|quantile| self.at(quantile));
        json!({"p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_set() {
        let mut latencies = Latencies::new();
        (1..=1000).rev().for_each(|n| latencies.record(Duration::from_micros(n)));
        let expected = json!({"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0});
        assert_eq!(latencies.percentiles(), expected);
        assert_eq!(latencies.longer_than(Duration::from_micros(900)), 100);
        let mut sum = Latencies::new();
        sum.record(Duration::from_micros(2000));
        sum.add(&latencies);
        assert_eq!((sum.at(0.99), sum.at(1.0)), (0.991, 2.0));
    }

    #[test]
    fn nothing_and_too_much_are_recorded_too() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.at(1.0), 0.0);
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(1 << 40));
        assert!(latencies.at(1.0) >= 600_000.0);
        assert_eq!(latencies.longer_than(Duration::from_millis(1)), 1);
    }
}
