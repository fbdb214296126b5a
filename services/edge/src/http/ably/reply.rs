//! Answers as HTTP has them. Every page of any origin may read them: whoever may call shows it with credentials, never
//! with what a browser would add by itself.

use ably::rest::{Answer, Exchange, cors};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
    CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::Failure;
use crate::http::Reply;

/// An answer.
pub(super) fn whole(answer: Answer) -> Reply {
    let Answer { status, content_type, headers, body } = answer;
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let map = reply.headers_mut();
    map.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    map.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            // Those of one name on lines of their own: some libraries read no lists.
            map.append(name, value);
        }
    }
    reply
}

/// An error; `allow` are the methods that are there, if it is the method that is not.
pub(crate) fn error(exchange: &Exchange, failure: &Failure, allow: Option<&'static str>) -> Reply {
    let mut reply = whole(exchange.error(&failure.error));
    let headers = reply.headers_mut();
    if let Some(after) = failure.retry_after {
        // In whole seconds, so rounded up.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if let Some(allow) = allow.filter(|allow| !allow.is_empty()) {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    reply
}

/// The answer to `OPTIONS`, by which a browser asks whether a page may send its request.
pub(crate) fn preflight() -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(cors::METHODS));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(cors::HEADERS));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(cors::MAX_AGE));
    reply
}

/// What every answer says to browsers: a page from `origin` may read it. Libraries ask as with cookies (`withCredentials`)
/// whenever they send `Authorization`, for which `*` is not enough.
pub(super) fn open_to(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(cors::EXPOSED));
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if origin.is_some() {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let everybody = || HeaderValue::from_static(cors::ORIGIN);
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.unwrap_or_else(everybody));
}
