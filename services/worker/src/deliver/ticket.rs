//! Which webhooks an event is still owed to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use backbone::Item;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

/// One webhook's share in an event. When the last share is done the event leaves the queue. A ticket that is dropped
/// without being done keeps it there, for the next worker.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    owed: AtomicUsize,
    item: Mutex<Option<Item>>,
    /// No longer than what is in the queue, which is bounded.
    done: UnboundedSender<Item>,
}

impl Ticket {
    /// Tickets for `count` webhooks, at least one. When all are done `item` goes to `done`.
    pub(super) fn for_webhooks(count: usize, item: Option<Item>, done: &UnboundedSender<Item>) -> Vec<Self> {
        let (owed, item) = (AtomicUsize::new(count), Mutex::new(item));
        let shared = Arc::new(Shared { owed, item, done: done.clone() });
        (0..count).map(|_| Self { shared: Arc::clone(&shared) }).collect()
    }

    /// The event is delivered to the webhook, or stored as a dead letter, or not wanted any more.
    pub(super) fn done(self) {
        if self.shared.owed.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(item) = self.shared.item.lock().take()
        {
            // Nobody listens once the worker has ended; the next one repeats the event.
            self.shared.done.send(item).ok();
        }
    }
}
