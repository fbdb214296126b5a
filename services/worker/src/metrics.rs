//! The handles on what this crate counts, taken from the catalogue once.

use channels::{QuotaKind, WebhookEvent};
use telemetry::metrics as catalogue;
use telemetry::{Counter, Gauge, Histogram};

use crate::deliver::RequestError;

/// Why an event is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its receiver may not be asked.
    Forbidden,
    /// Its time was up.
    GivenUp,
    /// Too many waited.
    Overflow,
}

/// Every handle of the worker.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) active: Gauge,
    events: Vec<(WebhookEvent, Counter)>,
    pub(crate) waiting: Gauge,
    pub(crate) oldest: Gauge,
    pub(crate) retries: Counter,
    /// Requests that wait for their app's quota.
    pub(crate) paced: Counter,
    pub(crate) request_seconds: Histogram,
    pub(crate) delivery_seconds: Histogram,
    delivered: Counter,
    broken: Counter,
    forbidden: Counter,
    status: Counter,
    timeout: Counter,
    dead_forbidden: Counter,
    dead_given_up: Counter,
    dead_overflow: Counter,
    pub(crate) discarded: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let event = |event: WebhookEvent| (event, catalogue::WEBHOOK_EVENTS.with([event.name()]));
        let request = |result| catalogue::WEBHOOK_REQUESTS.with([result]);
        let dead = |reason| catalogue::WEBHOOK_DEAD_LETTERS.with([reason]);
        Self {
            active: catalogue::WORKER_ACTIVE.handle(),
            events: WebhookEvent::ALL.into_iter().map(event).collect(),
            waiting: catalogue::WEBHOOK_WAITING.handle(),
            oldest: catalogue::WEBHOOK_OLDEST_SECONDS.handle(),
            retries: catalogue::WEBHOOK_RETRIES.handle(),
            paced: catalogue::QUOTA_REJECTED.with([QuotaKind::Webhooks.name()]),
            request_seconds: catalogue::WEBHOOK_REQUEST_SECONDS.handle(),
            delivery_seconds: catalogue::WEBHOOK_DELIVERY_SECONDS.handle(),
            delivered: request("delivered"),
            broken: request("broken"),
            forbidden: request("forbidden"),
            status: request("status"),
            timeout: request("timeout"),
            dead_forbidden: dead("forbidden"),
            dead_given_up: dead("given_up"),
            dead_overflow: dead("overflow"),
            discarded: catalogue::DISCARDED.with(["dead_letters_full", "true"]),
        }
    }

    /// The counter for events of this kind.
    pub(crate) fn event(&self, kind: WebhookEvent) -> &Counter {
        let found = self.events.iter().find(|(each, _)| *each == kind);
        found.map(|(_, counter)| counter).expect("every event is in the list")
    }

    /// The counter for requests that ended so.
    pub(crate) fn request(&self, error: Option<&RequestError>) -> &Counter {
        match error {
            None => &self.delivered,
            Some(RequestError::Status(_)) => &self.status,
            Some(RequestError::TimedOut(_)) => &self.timeout,
            Some(RequestError::Forbidden(_)) => &self.forbidden,
            Some(
                RequestError::Connect(_) | RequestError::Broken(_) | RequestError::NoKey | RequestError::Unsendable(_),
            ) => &self.broken,
        }
    }

    /// The counter for dead letters of this reason.
    pub(crate) fn dead_letter(&self, reason: Reason) -> &Counter {
        match reason {
            Reason::Forbidden => &self.dead_forbidden,
            Reason::GivenUp => &self.dead_given_up,
            Reason::Overflow => &self.dead_overflow,
        }
    }
}
