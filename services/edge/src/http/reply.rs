//! Answers: a status and JSON, always.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use pusher::api::ApiError;

use super::Reply;

/// When to come back after a 503: about as long as a leader election takes.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// `status` with `body`, which is JSON.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    reply
}

/// 200 with `body`.
pub(super) fn ok(body: String) -> Reply {
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
    reply
}
