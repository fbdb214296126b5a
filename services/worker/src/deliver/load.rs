//! How much waits for one webhook, and for all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Settings;
use crate::event::Event;

/// What waits for a webhook. Only the intake adds, so what it reads is never too little.
#[derive(Debug)]
pub(super) struct Load {
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// Bytes that wait for all webhooks.
    total: Arc<AtomicUsize>,
}

impl Load {
    pub(super) fn new(total: Arc<AtomicUsize>) -> Self {
        Self { events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), total }
    }

    /// Takes `event` in; whether there is room. What waits is still in the backbone's queue, too: many dead receivers
    /// together must not fill it, so above the total a webhook has its `share` only.
    pub(super) fn add(&self, event: &Event, settings: &Settings, share: usize) -> bool {
        let size = event.size();
        let bytes = self.bytes.load(Ordering::Acquire) + size;
        let fits = self.events.load(Ordering::Acquire) < settings.waiting_events && bytes <= settings.waiting_bytes;
        let total = self.total.load(Ordering::Acquire) + size;
        if !fits || (total > settings.total_waiting_bytes && bytes > share) {
            return false;
        }
        self.events.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(size, Ordering::AcqRel);
        self.total.fetch_add(size, Ordering::AcqRel);
        true
    }

    /// `event` no longer waits.
    pub(super) fn remove(&self, event: &Event) {
        let size = event.size();
        self.events.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(size, Ordering::AcqRel);
        self.total.fetch_sub(size, Ordering::AcqRel);
    }
}
