//! From an HTTP request to a WebSocket.
//!
//! Every proper upgrade request is granted, whatever it is for: a client that is refused at HTTP level takes it for a
//! passing trouble and tries for ever, while a close code can tell it to stop.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pusher::{Handshake, Refused};
use tungstenite::handshake::derive_accept_key;

use super::{Reply, Socket, visitor};
use crate::connection::{self, RefusedSocket, Visitor, WebSocketTask};
use crate::server::Shared;
use crate::stream::Stream;
use crate::websocket::WebSocket;

/// The value of `Sec-WebSocket-Accept`, if `request` asks for a WebSocket as RFC 6455 demands.
pub(super) fn wanted(request: &Request<Incoming>) -> Option<HeaderValue> {
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    let asked = request.method() == Method::GET
        && names(headers, &header::CONNECTION, "upgrade")
        && names(headers, &header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION)?.as_bytes() == b"13";
    if !asked {
        return None;
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// Whether a comma-separated header holds `token`, in any case.
fn names(headers: &HeaderMap, header: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Answers 101 and starts the connection's task.
pub(super) fn start(
    shared: Arc<Shared>,
    socket: Socket,
    request: &mut Request<Incoming>,
    accept: HeaderValue,
) -> Reply {
    let uri = request.uri();
    let handshake = pusher::parse_handshake(uri.path(), uri.query().unwrap_or_default());
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let protocol = offers.filter_map(|offer| offer.to_str().ok()).find_map(pusher::select_subprotocol);
    let visitor = visitor(&shared, &socket, request.headers());
    let upgrade = hyper::upgrade::on(request);
    let task = {
        let shared = Arc::clone(&shared);
        async move {
            let upgraded = tokio::select! {
                upgraded = upgrade => upgraded,
                () = shared.kill.cancelled() => return,
            };
            match upgraded.map(|upgraded| upgraded.downcast::<TokioIo<Stream>>()) {
                Ok(Ok(parts)) => {
                    let max_frame = shared.config.max_frame_bytes;
                    let web_socket = WebSocket::new(parts.io.into_inner(), &parts.read_buf, max_frame);
                    drop(parts.read_buf);
                    match establish(&shared, web_socket, socket.accepted, handshake, &visitor) {
                        Ok(connection) => connection.serve().await,
                        // Boxed, as everything is that a connection does not need while it is idle.
                        Err(refused) => Box::pin(connection::refuse_web_socket(&shared, refused)).await,
                    }
                }
                Ok(Err(_)) => tracing::error!("an upgraded connection is not of the listener's kind"),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "lost before the upgrade was done");
                }
            }
        }
    };
    shared.tasks.spawn(task);
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    reply
}

fn establish(
    shared: &Arc<Shared>,
    socket: WebSocket<Stream>,
    accepted: Instant,
    handshake: Result<Handshake, Refused>,
    visitor: &Visitor,
) -> Result<Box<WebSocketTask>, Box<RefusedSocket>> {
    match connection::admit(shared, handshake, visitor, accepted) {
        Ok(opening) => Ok(WebSocketTask::open(Arc::clone(shared), socket, opening)),
        Err(rejection) => Err(Box::new(RefusedSocket { socket, rejection })),
    }
}
