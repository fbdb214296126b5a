//! HTTP on the client listener: one connection's requests, and which part answers each.
//!
//! Of Pusher's protocol, `/app/{key}` becomes a WebSocket, what is below it is the HTTP fallback, and below `/apps/` is
//! the signed API; everything else is Ably's, whose WebSockets are on `/`. Limits on head, body and time stand here; what
//! requests mean is the protocols'.

mod ably;
mod api;
mod body;
mod fallback;
mod history;
mod publish;
mod reply;
mod sse;
mod upgrade;
mod woken;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{self, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use self::body::Body;
use self::woken::Woken;
use crate::admission::{Entry, Guest, Origin};
use crate::connection::Visitor;
use crate::server::Shared;
use crate::stream::Stream;
pub(crate) use upgrade::Upgrade;

/// Bytes that are read and forgotten at most after the last answer.
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// An answer that is whole.
type Reply = Response<Full<bytes::Bytes>>;

/// What a request knows of the socket it came over.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    /// When it was accepted.
    accepted: Instant,
    /// Where it comes from: the client, or a proxy that passes requests on.
    address: SocketAddr,
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    /// Among the node's sockets, given back when request and connection are done with it.
    _permit: OwnedSemaphorePermit,
    /// Among those of its address, which a connection may keep for longer.
    guest: Option<Arc<Guest>>,
    /// Among the handshakes, until the first request.
    handshake: Mutex<Option<OwnedSemaphorePermit>>,
    /// What the socket becomes when its last request has been answered.
    upgrade: Mutex<Option<Box<Upgrade>>>,
}

impl Socket {
    /// One of a client at `address` that got in.
    pub(crate) fn new(accepted: Instant, address: SocketAddr, entry: Entry) -> Self {
        let Entry { handshake, place, guest } = entry;
        let handshake = Mutex::new(Some(handshake));
        let guest = guest.map(Arc::new);
        let place = Place { _permit: place, guest, handshake, upgrade: Mutex::default() };
        Self { accepted, address, place: Arc::new(place) }
    }

    /// Notes that its client has sent a request.
    fn has_asked(&self) {
        self.place.handshake.lock().take();
    }

    /// What it has become, if that is a WebSocket.
    pub(crate) fn upgrade(&self) -> Option<Box<Upgrade>> {
        self.place.upgrade.lock().take()
    }
}

/// Serves one socket until it is closed or has become a WebSocket.
pub(crate) async fn serve(shared: Arc<Shared>, stream: Stream, socket: Socket) {
    // Cancelled by the first request.
    let asked = CancellationToken::new();
    // For an answer whose client does not read.
    let cut = CancellationToken::new();
    // Cancelled by an answer that is a stream: what its client asks for behind it is for another node.
    let streams = CancellationToken::new();
    let accepted = socket.accepted;
    let service = {
        let (shared, socket, asked, cut) = (Arc::clone(&shared), socket.clone(), asked.clone(), cut.clone());
        let streams = streams.clone();
        service_fn(move |request| {
            if !asked.is_cancelled() {
                asked.cancel();
                socket.has_asked();
            }
            let (shared, socket, cut, streams) = (Arc::clone(&shared), socket.clone(), cut.clone(), streams.clone());
            async move {
                let reply = answer(shared, socket, cut, request).await;
                if !matches!(reply.body(), Body::Whole(_)) {
                    streams.cancel();
                }
                Ok::<_, Infallible>(reply)
            }
        })
    };
    let config = &shared.config;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.keep_alive_timeout)
        .max_header_size(config.max_header_bytes)
        .max_buf_size(config.max_header_bytes.max(16 * 1024))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = Woken::new(connection);
    // A socket that has just come gets an answer before it is closed. Answers in a drain tell clients to close; a socket
    // that waits for its next request is closed last of all, lest it be when that request is on its way.
    let last_answer = pin!(async {
        asked.cancelled().await;
        let streaming = async {
            streams.cancelled().await;
            shared.closing.cancelled().await;
        };
        tokio::select! {
            () = streaming => {}
            () = shared.closed.cancelled() => {}
        }
    });
    let no_request = async {
        let late = shared.gate.too_late(accepted).await;
        if asked.is_cancelled() {
            std::future::pending::<()>().await;
        }
        late
    };
    let end = pin!(async {
        tokio::select! {
            late = no_request => shared.metrics.refuse(late),
            () = cut.cancelled() => {}
            () = shared.kill.cancelled() => {}
        }
    });
    // Each wakes for itself, lest all of them be looked at for each request.
    let (mut last_answer, mut end) = (Woken::new(last_answer), Woken::new(end));
    let mut closing = false;
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(error = &error as &dyn std::error::Error, "an HTTP connection failed");
                }
                break;
            }
            () = &mut last_answer, if !closing => {
                closing = true;
                pin::Pin::new(connection.get_mut()).graceful_shutdown();
            }
            () = &mut end => return,
        }
    }
    // There is none left if it has become a WebSocket.
    if let Some(parts) = connection.into_inner().into_parts() {
        tokio::select! {
            () = part(parts.io.into_inner(), config.close_timeout) => {}
            () = shared.kill.cancelled() => {}
        }
    }
}

/// Takes leave of a client that may still be sending what was refused. A socket that is closed with unread bytes resets
/// the connection, and the client may then never see the answer. Bounded in time and bytes.
async fn part(mut stream: Stream, patience: Duration) {
    let parted = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut scratch = [0; 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    // Whoever is still there is not waited for.
    tokio::time::timeout(patience, parted).await.ok();
}

/// Where the client of a request with these `headers` comes from.
fn visitor(shared: &Shared, socket: &Socket, headers: &HeaderMap) -> Visitor {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // A client that claims TLS falsely deceives nobody but itself.
    // Of several proxies the first, which the client talks to.
    let first = text("x-forwarded-proto").and_then(|protos| protos.split(',').next());
    let forwarded = first.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
    let (origin, secure) = (text("origin").map(str::to_owned), forwarded || shared.is_tls());
    let Origin { address, counts } = shared.gate.origin(socket.address, headers);
    Visitor { origin, secure, address, counts, guest: socket.place.guest.clone() }
}

async fn answer(
    shared: Arc<Shared>,
    socket: Socket,
    cut: CancellationToken,
    mut request: Request<Incoming>,
) -> Response<Body> {
    if let Some(accept) = upgrade::wanted(&request) {
        return upgrade::start(&shared, &socket, &mut request, accept).map(Body::Whole);
    }
    let uri = request.uri();
    // What is rarer than a publish is boxed: hyper moves the whole answer for each request.
    let mut reply = if ably::claims(uri.path()) {
        Box::pin(ably::answer(&shared, &socket, cut, request)).await
    } else if let Some(route) = pusher::xhr::route(uri.path(), uri.query().unwrap_or_default()) {
        Box::pin(fallback::answer(&shared, &socket, cut, route, request)).await
    } else if auth::signed_path(uri.path()).is_some() {
        api::answer(&shared, request).await.map(Body::Whole)
    } else if uri.path().contains("/app/") {
        let mut reply = reply::error(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint");
        reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        reply.map(Body::Whole)
    } else {
        Box::pin(ably::answer(&shared, &socket, cut, request)).await
    };
    if shared.draining.is_cancelled() {
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}
