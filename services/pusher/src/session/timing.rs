//! Time spans in little space: a node holds a few for every connection.

use std::num::NonZeroU32;
use std::time::Duration;

/// Whole milliseconds, rounded up; at least 1 and at most some 49 days. An `Option` of it takes no more than 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Millis(NonZeroU32);

impl Millis {
    pub(super) fn get(self) -> Duration {
        Duration::from_millis(self.0.get().into())
    }
}

impl From<Duration> for Millis {
    fn from(span: Duration) -> Self {
        let millis = span.as_nanos().div_ceil(1_000_000);
        Self(u32::try_from(millis).map_or(NonZeroU32::MAX, |millis| NonZeroU32::new(millis).unwrap_or(NonZeroU32::MIN)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (span, millis) in [
            (Duration::ZERO, 1),
            (Duration::from_nanos(1), 1),
            (Duration::from_micros(1500), 2),
            (Duration::from_secs(120), 120_000),
            (Duration::MAX, u64::from(u32::MAX)),
        ] {
            assert_eq!(Millis::from(span).get(), Duration::from_millis(millis));
        }
        assert_eq!(size_of::<Option<Millis>>(), 4);
    }
}
