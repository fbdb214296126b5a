//! What the gateway answers: messages, streams of them, and errors.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use proto::json::Json;
use proto::json::prost_reflect::DynamicMessage;
use serde_json::json;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::status::name;

/// How the items of a stream are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON object a line.
    Lines,
    /// Server-sent events, as WHATWG's HTML standard has them in 9.2.
    Events,
}

impl Form {
    /// What the client asks for; lines unless it says otherwise.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut kinds = accept.flat_map(|value| value.split(','));
        let is_events = |kind: &str| kind.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream");
        if kinds.any(is_events) { Self::Events } else { Self::Lines }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    fn item(self, json: &str) -> String {
        match self {
            Self::Lines => format!("{json}\n"),
            Self::Events => format!("data: {json}\n\n"),
        }
    }

    /// The last item of a stream that broke.
    fn error(self, json: &str) -> String {
        match self {
            Self::Lines => format!("{json}\n"),
            Self::Events => format!("event: error\ndata: {json}\n\n"),
        }
    }

    /// What says that the server is still there.
    fn beat(self) -> String {
        match self {
            Self::Lines => "\n".to_owned(),
            Self::Events => ":\n\n".to_owned(),
        }
    }
}

/// One message.
pub(super) fn one(message: &DynamicMessage) -> Response<Body> {
    document(StatusCode::OK, json(message).into())
}

/// Any JSON text.
pub(super) fn document(status: StatusCode, text: Bytes) -> Response<Body> {
    with_head(status, "application/json", Body::new(Full::new(text)))
}

/// Messages as they come, each sent at once, with a sign of life after each `beat` without one. It ends when they end,
/// and they when the client leaves.
pub(super) fn many(answers: Streaming<DynamicMessage>, form: Form, beat: Duration) -> Response<Body> {
    let items = stream::unfold(Some(answers), move |answers| async move {
        let mut answers = answers?;
        match tokio::time::timeout(beat, answers.message()).await {
            Err(_) => Some((form.beat(), Some(answers))),
            Ok(Ok(Some(message))) => Some((form.item(&json(&message)), Some(answers))),
            Ok(Ok(None)) => None,
            Ok(Err(status)) => Some((form.error(&error(&status, http_status(status.code()))), None)),
        }
    });
    let frames = items.map(|item| Ok::<_, Infallible>(Frame::data(Bytes::from(item))));
    with_head(StatusCode::OK, form.content_type(), Body::new(StreamBody::new(frames)))
}

/// A refusal with the status that its code has in HTTP.
pub(super) fn refusal(status: &Status) -> Response<Body> {
    refusal_as(http_status(status.code()), status)
}

/// A refusal with a status of its own.
pub(super) fn refusal_as(code: StatusCode, status: &Status) -> Response<Body> {
    let mut answer = document(code, error(status, code).into());
    if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        // In whole seconds, and not too early.
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
    }
    if code == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}

fn with_head(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // There are secrets among the answers.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn json(message: &DynamicMessage) -> String {
    serde_json::to_string(&Json(message)).unwrap_or_else(|error| {
        tracing::error!(%error, "a message has no JSON form");
        "null".to_owned()
    })
}

/// The body of a refusal: Google's, with names as everywhere in our JSON.
fn error(status: &Status, code: StatusCode) -> String {
    let mut details = Vec::new();
    if let Some(info) = status.get_details_error_info() {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": info.reason,
            "domain": info.domain,
            "metadata": info.metadata,
        }));
    }
    if let Some(request) = status.get_details_bad_request() {
        let violations = request.field_violations.into_iter();
        let violations = violations.map(|one| json!({ "field": one.field, "description": one.description }));
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "field_violations": violations.collect::<Vec<_>>(),
        }));
    }
    if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retry_delay": format!("{}s", delay.as_secs_f64()),
        }));
    }
    let error = json!({
        "code": code.as_u16(),
        "status": name(status.code()),
        "message": status.message(),
        "details": details,
    });
    json!({ "error": error }).to_string()
}

/// The mapping of google/rpc/code.proto.
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // 499, which is nobody's standard, is what the mapping says; the client that left does not see it.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn what_may_be_tried_again_says_when() {
        let answer = refusal(&crate::status::unavailable("not yet"));
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "2");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let retry = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "2s" });
        assert_eq!(body["error"]["details"][1], retry);
    }

    #[test]
    fn events_are_for_those_who_ask() {
        for (accept, expected) in [
            ("*/*", Form::Lines),
            ("application/json", Form::Lines),
            ("text/event-stream", Form::Events),
            ("application/json, text/event-stream;q=0.5", Form::Events),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(Form::wanted(&headers), expected, "{accept}");
        }
        assert_eq!(Form::wanted(&HeaderMap::new()), Form::Lines);
    }
}
