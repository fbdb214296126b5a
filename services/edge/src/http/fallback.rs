//! Requests of the HTTP fallback of pusher-js. What they mean is `pusher::xhr`'s, what they do `connection::xhr`'s.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use pusher::xhr::{Route, Verb, max_send_bytes, parse_send};
use tokio_util::sync::CancellationToken;

use super::api::{NoBody, last, read_body};
use super::{Body, Reply, Socket, reply, visitor};
use crate::connection::Visitor;
use crate::connection::xhr::{self, Asked, Sent};
use crate::metrics::Transport;
use crate::server::Shared;

const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// Tells nginx, and proxies that follow it, to pass lines on as they come.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Answers a request, whatever its method. `cut` cuts the socket it came over.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    socket: &Socket,
    cut: CancellationToken,
    route: Route,
    request: Request<Incoming>,
) -> Response<Body> {
    let visitor = visitor(shared, socket, request.headers());
    let mut answer = match (request.method(), route.verb) {
        (&Method::OPTIONS, _) => preflight().map(Body::Whole),
        (&Method::POST, Verb::Stream) => receive(shared, cut, route, visitor, Transport::XhrStreaming).await,
        (&Method::POST, Verb::Poll) => receive(shared, cut, route, visitor, Transport::XhrPolling).await,
        (&Method::POST, Verb::Send) => send(shared, &route, request.into_body()).await.map(Body::Whole),
        _ => {
            let mut reply = reply::error(StatusCode::METHOD_NOT_ALLOWED, "use POST");
            reply.headers_mut().insert(header::ALLOW, METHODS);
            reply.map(Body::Whole)
        }
    };
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    answer
}

/// Browsers ask before they send JSON to another origin.
fn preflight() -> Reply {
    let mut reply = empty();
    let headers = reply.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    reply
}

fn empty() -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply
}

/// Answers with lines, now and later.
async fn receive(
    shared: &Arc<Shared>,
    cut: CancellationToken,
    route: Route,
    visitor: Visitor,
    transport: Transport,
) -> Response<Body> {
    let Route { session, handshake, .. } = route;
    let asked = Asked { session, handshake, transport, visitor, begun: Instant::now(), cut };
    let body = match xhr::receive(shared, asked).await {
        Ok(body) => Body::Lines(body),
        // 200: any other status is a passing trouble to the client, which a code in the lines is not.
        Err(rejection) => Body::Whole(Full::new(xhr::refusal(&rejection).into())),
    };
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    // As SockJS does; browsers hold back the beginning of types that they guess about.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/javascript; charset=UTF-8"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    answer
}

/// Hands frames in. pusher-js does not look at the answer.
async fn send(shared: &Shared, route: &Route, body: Incoming) -> Reply {
    let known = route.handshake.as_ref().ok();
    let session = known.and_then(|known| shared.sessions.find(&(known.key.clone(), route.session)));
    let Some(session) = session else {
        let whole = body.is_end_stream();
        let reply = unknown_session();
        return if whole { reply } else { last(reply) };
    };
    let max_frame = shared.config.max_frame_bytes;
    let limit = max_send_bytes(max_frame);
    let body = if body.size_hint().lower() > limit as u64 {
        Err(NoBody::TooLarge)
    } else {
        read_body(shared, body, limit).await
    };
    let (sent, reply) = match body.map(|body| parse_send(&body)) {
        Ok(Ok(frames)) if frames.iter().all(|frame| frame.len() <= max_frame) => (Sent::Frames(frames), empty()),
        // Like a WebSocket's, such a frame ends the connection: the client would never learn that it was refused.
        Ok(Ok(_)) => (Sent::TooLarge, too_large()),
        Err(NoBody::TooLarge) => (Sent::TooLarge, last(too_large())),
        Ok(Err(malformed)) => return reply::error(StatusCode::BAD_REQUEST, &malformed.to_string()),
        Err(NoBody::TooLate) => {
            return last(reply::error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"));
        }
        Err(NoBody::Broken) => return last(reply::error(StatusCode::BAD_REQUEST, "the body broke off")),
    };
    match session.sending.send(sent).await {
        Ok(()) => reply,
        Err(_) => unknown_session(),
    }
}

fn unknown_session() -> Reply {
    reply::error(StatusCode::NOT_FOUND, "there is no such session on this node")
}

fn too_large() -> Reply {
    reply::error(StatusCode::PAYLOAD_TOO_LARGE, "the frame is too large")
}
