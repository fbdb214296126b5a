//! How many publishes are under way.

use telemetry::Gauge;
use telemetry::metrics::BACKBONE_PENDING_MESSAGES;

/// Counts publishes that are not acknowledged yet.
pub(super) struct Pending(Gauge);

impl Pending {
    pub(super) fn new() -> Self {
        let gauge = BACKBONE_PENDING_MESSAGES.handle();
        gauge.set(0.0);
        Self(gauge)
    }

    /// One more, for as long as what this gives is kept.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.0.increment(1.0);
        UnderWay(&self.0)
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pending")
    }
}

/// A publish that is not acknowledged yet.
pub(super) struct UnderWay<'a>(&'a Gauge);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
