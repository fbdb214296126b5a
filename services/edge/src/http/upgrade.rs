//! From an HTTP request to a WebSocket.
//!
//! `/` is the Ably protocol's, every other path the Pusher protocol's. Every proper upgrade request is granted, whatever it
//! is for: a client that is refused at HTTP level takes it for a passing trouble and tries for ever, or cannot see why,
//! while a close code or a last frame can tell it to stop.

use std::sync::Arc;
use std::time::Instant;

use ably::{Connect, ErrorInfo, Format};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pusher::{Handshake, Refused};
use tungstenite::handshake::derive_accept_key;

use super::{Reply, Socket, visitor};
use crate::connection::{self, RefusedSocket, Visitor, WebSocketTask};
use crate::server::Shared;
use crate::stream::Stream;
use crate::websocket::{WebSocket, frame};

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

/// What a client wants to open.
#[derive(Debug)]
enum Wanted {
    Pusher(Result<Handshake, Refused>),
    Ably(Format, Box<Result<Connect, ErrorInfo>>),
}

impl Wanted {
    fn by(request: &Request<Incoming>) -> Self {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        if uri.path() != "/" {
            return Self::Pusher(pusher::parse_handshake(uri.path(), query));
        }
        let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (format, connect) = Connect::parse(query, authorization);
        Self::Ably(format, Box::new(connect))
    }

    /// Largest frame that is taken of it.
    fn max_frame_bytes(&self, shared: &Shared) -> usize {
        match self {
            Self::Pusher(_) => shared.config.max_frame_bytes,
            Self::Ably(..) => shared.ably.frame_bytes,
        }
    }
}

/// A request that was granted: what is wanted, over what the socket will have become when the answer has been written.
#[derive(Debug)]
pub(crate) struct Upgrade {
    upgraded: OnUpgrade,
    wanted: Wanted,
    visitor: Visitor,
    begun: Instant,
}

/// Answers 101, and leaves the rest to the task that serves `socket`: a task of its own would have to be woken, on another
/// thread if one is idle.
pub(super) fn start(shared: &Shared, socket: &Socket, request: &mut Request<Incoming>, accept: HeaderValue) -> Reply {
    let wanted = Wanted::by(request);
    let offers = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let protocol = offers.filter_map(|offer| offer.to_str().ok()).find_map(pusher::select_subprotocol);
    let visitor = visitor(shared, socket, request.headers());
    let upgraded = hyper::upgrade::on(request);
    let upgrade = Upgrade { upgraded, wanted, visitor, begun: socket.accepted };
    *socket.place.upgrade.lock() = Some(Box::new(upgrade));
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

impl Upgrade {
    /// Serves the connection until its end.
    pub(crate) async fn serve(self: Box<Self>, shared: &Arc<Shared>) {
        // Boxed, as everything is that a connection does not need while it is idle.
        match Box::pin(self.open(shared)).await {
            Some(Opened::Pusher(task)) => task.serve().await,
            Some(Opened::Ably(task)) => task.serve().await,
            Some(Opened::Refused(refused)) => Box::pin(connection::refuse(shared, refused)).await,
            None => {}
        }
    }

    async fn open(self: Box<Self>, shared: &Arc<Shared>) -> Option<Opened> {
        let Self { upgraded, wanted, visitor, begun } = *self;
        let upgraded = upgraded.await.inspect_err(|error| {
            tracing::debug!(error = error as &dyn std::error::Error, "lost before the upgrade was done");
        });
        let Ok(parts) = upgraded.ok()?.downcast::<TokioIo<Stream>>() else {
            tracing::error!("an upgraded connection is not of the listener's kind");
            return None;
        };
        let socket = WebSocket::new(parts.io.into_inner(), &parts.read_buf, wanted.max_frame_bytes(shared));
        drop(parts.read_buf);
        Some(match wanted {
            Wanted::Ably(format, connect) => {
                let opened = connection::ably::open(shared, socket, (format, *connect), &visitor, begun).await;
                opened.map_or_else(Opened::Refused, Opened::Ably)
            }
            Wanted::Pusher(handshake) => match connection::admit(shared, handshake, &visitor, begun) {
                Ok(opening) => Opened::Pusher(WebSocketTask::open(Arc::clone(shared), socket, opening)),
                Err(rejection) => {
                    let words = rejection.error().map(|error| frame::text(&error));
                    let close = (rejection.code(), rejection.reason().to_owned());
                    Opened::Refused(Box::new(RefusedSocket { socket, words, close }))
                }
            },
        })
    }
}

/// What became of a socket.
enum Opened {
    Pusher(Box<WebSocketTask>),
    Ably(Box<connection::ably::Task>),
    Refused(Box<RefusedSocket>),
}
