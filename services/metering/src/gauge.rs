//! Something that is used and given back, up to a share.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Portion;

/// Stands for no limit.
const UNLIMITED: u64 = u64::MAX;

/// How many there are, the most there were, and how many there may be.
///
/// The numbers guard nothing but themselves, so their order among other memory does not matter.
#[derive(Debug)]
pub(crate) struct Gauge {
    used: AtomicU64,
    peak: AtomicU64,
    share: AtomicU64,
    /// What is free in the cluster, as last heard.
    free: AtomicU64,
}

impl Default for Gauge {
    fn default() -> Self {
        Self {
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            share: AtomicU64::new(UNLIMITED),
            free: AtomicU64::new(UNLIMITED),
        }
    }
}

impl Gauge {
    /// One more, if the share allows it.
    pub(crate) fn enter(&self) -> bool {
        let share = self.share.load(Relaxed);
        match self.used.fetch_update(Relaxed, Relaxed, |used| (used < share).then_some(used + 1)) {
            Ok(before) => {
                self.peak.fetch_max(before + 1, Relaxed);
                true
            }
            Err(_) => false,
        }
    }

    /// One less.
    pub(crate) fn leave(&self) {
        let left = self.used.fetch_update(Relaxed, Relaxed, |used| used.checked_sub(1));
        debug_assert!(left.is_ok(), "more left than entered");
    }

    /// Sets how many there are, where somebody else counts and enforces.
    pub(crate) fn assign(&self, used: u64) {
        self.used.store(used, Relaxed);
        self.peak.fetch_max(used, Relaxed);
    }

    /// How many there are.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The most there were since the peak was last taken.
    pub(crate) fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// The most there were, and begins anew.
    pub(crate) fn take_peak(&self) -> u64 {
        let peak = self.peak.swap(self.used(), Relaxed);
        // Whoever entered between the two reads.
        self.peak.fetch_max(self.used(), Relaxed);
        peak
    }

    /// Sets how many there may be; `None` for no limit. Who is in stays in.
    pub(crate) fn set(&self, portion: Option<Portion>) {
        let portion = portion.unwrap_or(Portion { share: UNLIMITED, free: UNLIMITED });
        self.share.store(portion.share, Relaxed);
        self.free.store(portion.free, Relaxed);
    }

    /// Whether there is nothing free in the cluster, either, as last heard.
    pub(crate) fn none_free(&self) -> bool {
        self.free.load(Relaxed) == 0
    }
}
