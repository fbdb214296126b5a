//! The edge's spans: a publish, from its request to the backbone's answer, and a channel's delivery on this node.
//!
//! A publisher says by the header `traceparent` which trace it is a part of; those who subscribe are told nothing. Only
//! who may publish is traced, so nobody else has traces begun.

use std::time::Instant;

use backbone::{Publish, PublishError, Published};
use channels::{AppId, ChannelHash, ChannelName, Record};
use hyper::HeaderMap;
use telemetry::trace::{self, Kind, Span};

/// What a publisher says its trace is, if anybody here wants to know.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&str> {
    if !trace::is_on() {
        return None;
    }
    single(headers)
}

/// Of several none counts: a request is a part of one trace, and nobody can tell of which.
fn single(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all("traceparent").iter();
    let traceparent = given.next()?;
    given.next().is_none().then(|| traceparent.to_str().ok())?
}

/// Begins the span of a publish to `app`; `source` is that of the publish metrics.
pub(crate) fn publish(
    source: &'static str,
    app: &AppId,
    traceparent: Option<&str>,
    begun: Instant,
) -> Option<Box<Span>> {
    let mut span = trace::root("publish", Kind::Server, traceparent, begun)?;
    span.set("fanfare.app", app.as_str());
    span.set("fanfare.source", source);
    Some(Box::new(span))
}

/// Says that `span` publishes these, too, and has what becomes of them hang on it.
pub(crate) fn hand_on<'a>(span: &mut Span, publishes: impl Iterator<Item = &'a mut Publish>) {
    for publish in publishes {
        publish.record.traceparent = Some(span.traceparent());
        span.add("fanfare.messages", publish.record.messages.len() as u64);
        if span.add("fanfare.records", 1) == 1 {
            span.set("fanfare.channel_hash", ChannelHash::of(&publish.app, &publish.channel).to_string());
        } else {
            span.unset("fanfare.channel_hash");
        }
    }
}

/// Says how a publish of `span` ended, if badly.
pub(crate) fn published(span: &mut Span, result: &Result<Published, PublishError>) {
    if let Err(error) = result {
        span.fail(error.to_string());
    }
}

/// Says how the request of `span` was answered.
pub(crate) fn answered(span: Option<Box<Span>>, status: u16) {
    let Some(mut span) = span else { return };
    span.set("http.response.status_code", u64::from(status));
    if status >= 500 {
        span.fail("not published");
    }
}

/// The span of a delivery, which began at `received` and ends now: `record` is in the queues of `reached` subscribers.
pub(crate) fn fan_out(app: &AppId, channel: &ChannelName, record: &Record, received: Instant, reached: u64) {
    let Some(parent) = record.traceparent.as_deref() else { return };
    let Some(mut span) = trace::follow("fan-out", Kind::Consumer, Some(parent), received) else { return };
    span.set("fanfare.app", app.as_str());
    span.set("fanfare.channel_hash", ChannelHash::of(app, channel).to_string());
    span.set("fanfare.messages", record.messages.len() as u64);
    span.set("fanfare.subscribers", reached);
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_request_is_a_part_of_one_trace_or_of_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers), None);
        headers.append("traceparent", HeaderValue::from_static("a"));
        assert_eq!(single(&headers), Some("a"));
        headers.append("traceparent", HeaderValue::from_static("b"));
        assert_eq!(single(&headers), None);
    }
}
