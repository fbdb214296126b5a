//! What an app did in this process since its meter was made.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use channels::QuotaKind;

use crate::usage::Counts;

/// Counters that only grow. They guard nothing, so their order among other memory does not matter.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) messages_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) messages_out: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) connections_opened: AtomicU64,
    pub(crate) webhooks_delivered: AtomicU64,
    pub(crate) webhooks_failed: AtomicU64,
    /// Requests refused, in the order of [`QuotaKind::ALL`].
    pub(crate) refused: [AtomicU64; QuotaKind::ALL.len()],
    /// Of those let in, what was not published in the end.
    pub(crate) messages_in_undone: AtomicU64,
    pub(crate) bytes_in_undone: AtomicU64,
    /// Messages of refused publishes.
    pub(crate) messages_in_refused: AtomicU64,
    /// Bytes of refused publishes that would have been stored.
    pub(crate) history_bytes_refused: AtomicU64,
    /// Bytes stored.
    pub(crate) history_bytes: AtomicU64,
    /// Webhook requests let through.
    pub(crate) webhooks: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Without peaks, which are no totals.
    pub(crate) counts: Counts,
    pub(crate) messages_in_wanted: u64,
    pub(crate) webhooks_wanted: u64,
    pub(crate) history_bytes_wanted: u64,
}

impl Counters {
    /// One more request refused for `kind`.
    pub(crate) fn count_refusal(&self, kind: QuotaKind) {
        self.refused[kind as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let mut counts = Counts {
            messages_in: read(&self.messages_in).saturating_sub(read(&self.messages_in_undone)),
            bytes_in: read(&self.bytes_in).saturating_sub(read(&self.bytes_in_undone)),
            messages_out: read(&self.messages_out),
            bytes_out: read(&self.bytes_out),
            connections_opened: read(&self.connections_opened),
            webhooks_delivered: read(&self.webhooks_delivered),
            webhooks_failed: read(&self.webhooks_failed),
            ..Counts::default()
        };
        for kind in QuotaKind::ALL {
            counts.refused.add(kind, read(&self.refused[kind as usize]));
        }
        Totals {
            messages_in_wanted: read(&self.messages_in) + read(&self.messages_in_refused),
            webhooks_wanted: read(&self.webhooks) + counts.refused.get(QuotaKind::Webhooks),
            history_bytes_wanted: read(&self.history_bytes) + read(&self.history_bytes_refused),
            counts,
        }
    }
}

impl Totals {
    /// What came in between.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: self.counts.since(&earlier.counts),
            messages_in_wanted: self.messages_in_wanted - earlier.messages_in_wanted,
            webhooks_wanted: self.webhooks_wanted - earlier.webhooks_wanted,
            history_bytes_wanted: self.history_bytes_wanted - earlier.history_bytes_wanted,
        }
    }
}
