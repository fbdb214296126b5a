//! The span of a publish to the backbone, which what becomes of the record elsewhere hangs on.

use std::time::Instant;

use channels::{ChannelHash, Tier};
use telemetry::trace::{self, Kind, Span};

use crate::publish::{Publish, PublishError, Published};

/// Begins it, if `publish` is traced.
pub(crate) fn begin(publish: &mut Publish) -> Option<Span> {
    let parent = publish.record.traceparent.as_deref()?;
    let mut span = trace::follow("backbone publish", Kind::Producer, Some(parent), Instant::now())?;
    let tier = match publish.tier {
        Tier::Ephemeral => "ephemeral",
        Tier::Recoverable => "recoverable",
        Tier::Persistent { .. } => "persistent",
    };
    span.set("fanfare.app", publish.app.as_str());
    span.set("fanfare.channel_hash", ChannelHash::of(&publish.app, &publish.channel).to_string());
    span.set("fanfare.tier", tier);
    publish.record.traceparent = Some(span.traceparent());
    Some(span)
}

/// Says that an attempt came to nothing.
pub(crate) fn attempt_failed(span: &mut Option<Span>, reason: &'static str) {
    if let Some(span) = span {
        span.event("attempt failed", vec![("fanfare.reason", reason.into())]);
    }
}

/// Ends it, and tells the log if nobody knows what became of the publish.
pub(crate) fn end(span: Option<Span>, result: &Result<Published, PublishError>) {
    if let Err(error @ (PublishError::Unavailable | PublishError::UnknownOutcome)) = result {
        let trace_id = span.as_ref().map(Span::trace_id);
        tracing::warn!(%error, trace_id, "a publish was not acknowledged");
    }
    let Some(mut span) = span else { return };
    match result {
        Ok(published) => {
            span.set("fanfare.duplicate", published.duplicate);
            if let Some(position) = published.position {
                span.set("fanfare.sequence", position.sequence);
            }
        }
        Err(error) => span.fail(error.to_string()),
    }
}
