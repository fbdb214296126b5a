//! Bytes that are stored for a time, by when they expire.

use std::collections::BTreeMap;

/// A minute in seconds.
const MINUTE: u64 = 60;

/// Into how many slots of expiry a retention is divided, at least. More would be exacter, and a retention of 30 days by
/// the minute would be 43,200 numbers an app; this errs by less than half a per cent of the retention, towards keeping.
const SLOTS: u64 = 256;

/// Stored bytes by the minute of the Unix epoch in which they expire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expiries {
    bytes: BTreeMap<u64, u64>,
}

impl Expiries {
    /// The minute of the Unix epoch under which bytes stored at `unix_ms` for `seconds` are counted: that of their
    /// expiry, rounded up to a multiple that grows with the time they are stored.
    pub fn minute(unix_ms: u64, seconds: u64) -> u64 {
        let width = (seconds / SLOTS).div_ceil(MINUTE).max(1).next_power_of_two();
        (unix_ms / 1_000).saturating_add(seconds).div_ceil(MINUTE).next_multiple_of(width)
    }

    /// Counts `bytes` that expire in `minute`.
    pub fn add(&mut self, minute: u64, bytes: u64) {
        let slot = self.bytes.entry(minute).or_default();
        *slot = slot.saturating_add(bytes);
    }

    /// Forgets what has expired at `unix_ms` and returns the bytes still stored.
    pub fn live(&mut self, unix_ms: u64) -> u64 {
        let minute = unix_ms / 1_000 / MINUTE;
        while self.bytes.first_entry().is_some_and(|first| *first.key() <= minute) {
            self.bytes.pop_first();
        }
        self.bytes.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes from `other` whatever is more. Two who counted the same things, each with gaps, are nearer to the truth
    /// together; what both have does not count twice.
    pub fn merge(&mut self, other: &Self) {
        for (minute, bytes) in other.iter() {
            let slot = self.bytes.entry(minute).or_default();
            *slot = bytes.max(*slot);
        }
    }

    /// Each minute of expiry with its bytes, soonest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.bytes.iter().map(|(minute, bytes)| (*minute, *bytes))
    }
}

impl FromIterator<(u64, u64)> for Expiries {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(counts: I) -> Self {
        let mut expiries = Self::default();
        counts.into_iter().for_each(|(minute, bytes)| expiries.add(minute, bytes));
        expiries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;

    #[test]
    fn bytes_count_until_they_expire() {
        let start = 1_000 * DAY * 20_000;
        let mut expiries = Expiries::default();
        expiries.add(Expiries::minute(start, HOUR), 10);
        expiries.add(Expiries::minute(start, DAY), 5);
        assert_eq!(expiries.live(start + (HOUR - 1) * 1_000), 15);
        assert_eq!(expiries.live(start + (HOUR + MINUTE) * 1_000), 5);
        assert_eq!(expiries.live(start + DAY * 1_001), 0);
        assert!(expiries.is_empty());
    }

    #[test]
    fn a_long_retention_makes_few_slots_and_never_expires_early() {
        let start = 1_000 * DAY * 20_000;
        for days in [1, 7, 30, 365] {
            let expiries: Expiries = (0..days * DAY / MINUTE)
                .map(|m| (Expiries::minute(start + m * MINUTE * 1_000, days * DAY), 1))
                .collect();
            assert!(expiries.iter().count() <= 513, "{days}: {}", expiries.iter().count());
            let minute = Expiries::minute(start, days * DAY);
            let exact = (start / 1_000 + days * DAY) / MINUTE;
            assert!((exact..=exact + days * DAY / MINUTE / 100).contains(&minute), "{days}");
        }
    }

    #[test]
    fn merging_twice_is_merging_once() {
        let mut one: Expiries = [(1, 10), (2, 20)].into_iter().collect();
        let other = [(2, 15), (3, 30)].into_iter().collect();
        one.merge(&other);
        one.merge(&other);
        assert_eq!(one.iter().collect::<Vec<_>>(), [(1, 10), (2, 20), (3, 30)]);
    }
}
