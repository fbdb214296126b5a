//! Event streams: `/sse` and `/event-stream`, which receive and nothing else.
//!
//! What is asked for and how events look is `ably::sse`'s. Whatever is wrong before a stream begins is an HTTP error;
//! behind that it is an event. Behind the grace of a drain a stream is begun only to be ended: an `EventSource` comes back
//! after the end of a response, and gives up for good after an error.

mod body;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ably::credentials::Credentials;
use ably::query::Query;
use ably::rest::Exchange;
use ably::session::End;
use ably::sse::{Encoder, EventId, Path, Positions, StreamChannel, StreamRequest};
use ably::{Code, Modes};
use bytes::BytesMut;
use channels::App;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use proto::control::TailKind;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::body::body;
use self::stream::{Joined, Stream, permit, until};
use super::ably::{Failure, preflight, refusal, value};
use super::{Body, Reply, Socket, visitor};
use crate::authentication::{Authenticated, authenticate};
use crate::connection::{Core, NotPlaced, place};
use crate::connections::Client;
use crate::hub::{Attach, From, Medium};
use crate::metrics::{Asking, Protocol, Recovery, Transport};
use crate::resume::new_id;
use crate::server::Shared;
use crate::tail::Told;
pub(crate) use body::EventsBody;

/// Tells nginx, and proxies that follow it, to pass events on as they come.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// When to come back for one whose address has enough connections: when some of them may have ended.
const CROWDED: Duration = Duration::from_secs(5);

/// Answers a request, whatever its method. `cut` cuts the socket it came over.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    socket: &Socket,
    cut: CancellationToken,
    path: Path,
    request: &Request<Incoming>,
) -> Response<Body> {
    match *request.method() {
        Method::OPTIONS => return preflight().map(Body::Whole),
        Method::GET => {}
        _ => return refused(&Code::Method.into(), Some("GET")).map(Body::Whole),
    }
    match open(shared, socket, cut, path, request).await {
        Ok((encoder, body)) => started(encoder, Body::Events(body)),
        Err(Refusal::Elsewhere(encoder)) => started(encoder, Body::Whole(encoder.elsewhere().into())),
        Err(Refusal::Failure(failure)) => refused(&failure, None).map(Body::Whole),
    }
}

/// What is wrong before a stream begins. An `EventSource` cannot read it; whoever looks at requests by hand can.
fn refused(failure: &Failure, allow: Option<&'static str>) -> Reply {
    refusal(&Exchange::default(), failure, allow)
}

fn started(encoder: Encoder, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoder.content_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    answer
}

/// Why there is no stream.
enum Refusal {
    /// The node is closing; the client is to come back, which takes it to another one.
    Elsewhere(Encoder),
    /// Anything else.
    Failure(Failure),
}

impl<T: Into<Failure>> std::convert::From<T> for Refusal {
    fn from(failure: T) -> Self {
        Self::Failure(failure.into())
    }
}

async fn open(
    shared: &Arc<Shared>,
    socket: &Socket,
    cut: CancellationToken,
    path: Path,
    request: &Request<Incoming>,
) -> Result<(Encoder, EventsBody), Refusal> {
    let since = Instant::now();
    let headers = request.headers();
    let text = request.uri().query().unwrap_or_default();
    let asked = StreamRequest::parse(path, text, value(headers, "accept"), value(headers, "last-event-id"))?;
    let query = Query::parse(text)?;
    let credentials = Credentials::find(value(headers, "authorization"), &query)?;
    let now_ms = clock::unix_ms();
    let Authenticated { app, granted } = authenticate(shared, &credentials, now_ms)?;
    granted.identity.clone().connecting_as(asked.client_id.as_deref())?;
    asked.channels.iter().try_for_each(|channel| permit(&granted, &channel.name))?;
    let wanted = query.get("modes").map(Modes::parse).transpose()?;
    let visitor = visitor(shared, socket, headers);
    let admission = place(shared, &app, &visitor).map_err(|not| refuse(shared, &app, not, asked.encoder))?;

    let client = Client::new(Protocol::Ably, granted.key.clone(), Transport::Sse, visitor.address);
    let core = Core::open(Arc::clone(shared), admission, new_id(), client, since);
    let mut positions = Positions::default();
    let mut joined = Vec::with_capacity(asked.channels.len());
    for StreamChannel { name, params, from } in asked.channels {
        if asked.unreadable {
            shared.metrics.recoveries(Asking::EventStream).ended(Recovery::Invalid);
        }
        let wanted = params.modes().or(wanted).unwrap_or(Modes::SUBSCRIBE);
        if let Some(from) = from {
            positions.set(name.written(), from);
        }
        let attach = Attach {
            modes: wanted & (Modes::SUBSCRIBE | Modes::PRESENCE_SUBSCRIBE),
            from: match from {
                Some(from) => From::After(from),
                None if asked.unreadable => From::NowWithoutRewind,
                None => From::Now,
            },
            name: name.clone(),
            medium: Medium::Events,
            params,
            echo: true,
            resumed: false,
        };
        let subscription = shared.hub.attach(&core.peer, attach).map_err(Failure::from).inspect_err(|failure| {
            core.count_out(Some(failure.error.code), &failure.error.message);
        })?;
        joined.push(Joined { name, subscription, goes_on: from.is_some(), attached: false });
    }
    core.peer.set_subscriptions(joined.len());

    let id = EventId { connection: core.peer.id.as_str().to_owned(), positions };
    let mut first = BytesMut::new();
    if asked.unreadable {
        first.extend_from_slice(&asked.encoder.error(&Code::ConnectionKey.says("the last event's id is not readable")));
    }
    let (chunks, body) = body();
    let (begins, begun) = oneshot::channel();
    let expires = granted.expires_ms().map(|at| Box::pin(tokio::time::sleep(until(at, now_ms))));
    let stream = Stream {
        core,
        credentials,
        channels: joined,
        encoder: asked.encoder,
        id,
        first,
        begins: Some(begins),
        held: 0,
        held_messages: 0,
        chunks,
        cut,
        expires,
        silence: Box::pin(tokio::time::sleep(shared.config.sse_keep_alive)),
        out: std::collections::VecDeque::new(),
        written: 0,
    };
    shared.tasks.spawn(Box::new(stream).serve());
    // Until every channel is attached. If the task is gone, so is the node.
    match begun.await.unwrap_or_else(|_| Err(End::Unavailable.error())) {
        Ok(()) => Ok((asked.encoder, body)),
        Err(error) if error == End::Draining.error() => Err(Refusal::Elsewhere(asked.encoder)),
        Err(error) => Err(error.into()),
    }
}

fn refuse(shared: &Shared, app: &App, not: NotPlaced, encoder: Encoder) -> Refusal {
    shared.metrics.refuse(not.refusal());
    let error = match not {
        NotPlaced::Draining => return Refusal::Elsewhere(encoder),
        NotPlaced::Disabled => Code::AppDisabled.info(),
        NotPlaced::TlsOnly => Code::Forbidden.says("the app takes no connections without TLS"),
        NotPlaced::Origin => Code::Forbidden.says("the app takes no connections from this origin"),
        NotPlaced::NodeFull | NotPlaced::Memory => Code::Busy.info(),
        NotPlaced::Address => {
            let error = Code::Rate.says("too many connections from this address");
            return told(shared, app, Failure { error, retry_after: Some(CROWDED) });
        }
        NotPlaced::OverQuota(refused) => return told(shared, app, refused.into()),
    };
    told(shared, app, error.into())
}

/// Tells those who tail the app.
fn told(shared: &Shared, app: &App, failure: Failure) -> Refusal {
    let (code, reason) = (failure.error.code, failure.error.message.as_ref());
    shared.tails.tell(&app.id, Told { kind: TailKind::ConnectionRefused, code, reason, ..Told::default() });
    Refusal::Failure(failure)
}
