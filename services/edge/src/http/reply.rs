//! Answers: a status and JSON, always; and what browsers ask before they ask.
//!
//! Every answer may be read by pages of any origin. Whoever may call the API shows it with a signature, never with what a
//! browser would add by itself, so that nothing is protected by keeping a page from reading.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::{Response, StatusCode};
use pusher::api::ApiError;

use super::Reply;

/// When to come back after a 503: about as long as a leader election takes.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// Beside the body's type, what the node library sends with every request.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static("content-type, x-pusher-library");

/// How long a browser may remember a preflight's answer: a day, of which browsers take what they like.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("86400");

/// `status` with `body`, which is JSON.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = plain(status, body);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    reply
}

/// 200 with `body`.
pub(super) fn ok(body: impl Into<Bytes>) -> Reply {
    json(StatusCode::OK, body)
}

/// `status` with `{"error":message}`.
pub(super) fn error(status: StatusCode, message: &str) -> Reply {
    json(status, serde_json::json!({ "error": message }).to_string())
}

/// What the API refuses.
pub(super) fn refusal(error: &ApiError) -> Reply {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = json(status, error.body());
    if let ApiError::MethodNotAllowed { allowed } = error {
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if let Some(after) = error.retry_after() {
        // In whole seconds, so rounded up.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    reply
}

/// The answer to `OPTIONS`, by which a browser asks whether a page may send its request.
pub(super) fn preflight() -> Reply {
    let mut reply = plain(StatusCode::NO_CONTENT, Bytes::new());
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    reply
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    reply
}
