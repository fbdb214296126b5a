//! The span of one request to a receiver: a trace of its own, since its events come from many publishes or from none.
//!
//! The receiver's address is not told: it may hold a token.

use std::time::Instant;

use channels::AppId;
use telemetry::trace::{self, Kind, Span};

use super::lanes::Batch;
use super::request::RequestError;

/// Begins it, if it is traced.
pub(super) fn attempt(app: &AppId, webhook: &str, batch: &Batch) -> Option<Span> {
    if !trace::is_on() {
        return None;
    }
    let mut span = trace::root("webhook attempt", Kind::Client, None, Instant::now())?;
    span.set("fanfare.app", app.as_str());
    span.set("fanfare.webhook", webhook);
    span.set("fanfare.events", batch.events().count() as u64);
    span.set("fanfare.retry", batch.is_retry());
    Some(span)
}

/// Ends it.
pub(super) fn answered(span: Option<Span>, result: &Result<(), RequestError>) {
    let Some(mut span) = span else { return };
    let Err(error) = result else { return };
    if let RequestError::Status(status) = error {
        span.set("http.response.status_code", u64::from(status.as_u16()));
    }
    span.fail(match error {
        RequestError::Status(_) => "not a good answer",
        RequestError::TimedOut(_) => "no answer in time",
        RequestError::Forbidden(_) => "webhooks may not go there",
        RequestError::Connect(_) => "no connection",
        RequestError::Broken(_) => "the connection broke",
        RequestError::NoKey => "no active key to sign with",
        RequestError::Unsendable(_) => "its settings make no request",
    });
}
