//! Ably's REST, on real requests: reads one, asks `ably::rest` what it means, does it, and answers.
//!
//! Who calls is settled before a body is read: who has no credentials does not get this node to hold one.

mod batch;
mod channels;
mod failure;
mod history;
mod publish;
mod reply;
mod stats;
mod tokens;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ::channels::{App, ChannelName};
use ably::credentials::{Credentials, Granted};
use ably::meta::{self, Event};
use ably::query::Query;
use ably::rest::{self, Answer, Exchange, Headers, Kind, Route};
use ably::sse::Path;
use ably::{Code, ErrorInfo, Identity, Name};
use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header;
use hyper::{HeaderMap, Method, Request, Response};
use tokio_util::sync::CancellationToken;

use super::api::{NoBody, last, read_body};
use super::{Body, Reply, Socket, sse};
use crate::authentication::{Authenticated, authenticate};
use crate::server::Shared;
use crate::trace;
pub(super) use failure::Failure;
pub(super) use reply::{error as refusal, preflight};

/// The first segments of this API's paths, whatever follows: a channel may be called like a path of another API.
const FIRST_SEGMENTS: [&str; 9] =
    ["time", "channels", "keys", "messages", "presence", "stats", "push", "sse", "event-stream"];

/// Largest body of a batch (spec §18).
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Largest body that is no publish.
const MAX_SMALL_BYTES: usize = 64 * 1024;

/// Whether `path` is this API's beyond doubt.
pub(super) fn claims(path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|rest| rest.split('/').next());
    first.is_some_and(|first| FIRST_SEGMENTS.contains(&first))
}

/// Answers a request, whatever it is. `cut` cuts the socket it came over.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    socket: &Socket,
    cut: CancellationToken,
    request: Request<Incoming>,
) -> Response<Body> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut answer = match request.uri().path() {
        "/sse" => sse::answer(shared, socket, cut, Path::Sse, &request).await,
        "/event-stream" => sse::answer(shared, socket, cut, Path::EventStream, &request).await,
        _ => rest(shared, request).await.map(Body::Whole),
    };
    reply::open_to(answer.headers_mut(), origin);
    answer
}

/// A request whose form is known.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    query: Query<'a>,
    headers: Headers<'a>,
    exchange: Exchange,
    begun: Instant,
    /// Milliseconds since the Unix epoch.
    now_ms: u64,
    /// Which trace it is a part of, if that matters.
    traceparent: Option<&'a str>,
    /// Who calls, once that is known: the app, and the client if it says which.
    known: OnceLock<(Arc<App>, Identity)>,
}

/// Who calls.
struct Caller {
    app: Arc<App>,
    granted: Granted,
    /// Who it is for this request.
    identity: Identity,
}

async fn rest(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return preflight();
    }
    let mut upload = Upload { body: Some(body), broken: false };
    let headers = Headers::read(|name| value(&head.headers, name));
    let path = head.uri.path();
    // What has no body in its answer is asked for like what has one.
    let method = if head.method == Method::HEAD { "GET" } else { head.method.as_str() };
    let answered = async {
        let plain = Exchange::default();
        let query = Query::parse(head.uri.query().unwrap_or_default()).map_err(|error| (plain, error.into()))?;
        let exchange = Exchange::read(&query, &headers).map_err(|(exchange, error)| (exchange, error.into()))?;
        let route = rest::route(method, path).map_err(|error| (exchange, error.into()))?;
        let (begun, now_ms, known) = (Instant::now(), clock::unix_ms(), OnceLock::new());
        let traceparent = trace::traceparent(&head.headers);
        let call = Call { shared, query, headers, exchange, begun, now_ms, traceparent, known };
        // Boxed: sockets do not all have the size of what the largest request takes.
        let answered = Box::pin(respond(&call, route, &mut upload)).await;
        call.tell(&head.method, path, &answered);
        answered.map_err(|failure| (exchange, failure))
    };
    let reply = match answered.await {
        Ok(answer) => reply::whole(answer),
        Err((exchange, failure)) => refusal(&exchange, &failure, not_allowed(&failure, path)),
    };
    if upload.is_left() { last(reply) } else { reply }
}

/// The methods of `path`, if it is the method that was refused.
fn not_allowed(failure: &Failure, path: &str) -> Option<&'static str> {
    (failure.error.code == Code::Method.number()).then(|| rest::allowed(path))
}

async fn respond(call: &Call<'_>, route: Route, upload: &mut Upload) -> Result<Answer, Failure> {
    match route {
        Route::Time => Ok(call.exchange.answer(200, &[call.now_ms])),
        Route::RequestToken { key } => {
            let body = upload.read(call.shared, MAX_SMALL_BYTES).await?;
            tokens::request(call, &key, &body).await
        }
        Route::RevokeTokens { key } => {
            let caller = call.caller()?;
            let body = upload.read(call.shared, MAX_SMALL_BYTES).await?;
            tokens::revoke(call, &caller, &key, &body).await
        }
        Route::Publish { channel } => {
            let caller = call.caller().map_err(|error| publish::refused(call, None, error.into()))?;
            let body = upload.read(call.shared, call.shared.config.max_body_bytes).await?;
            let mut span = trace::publish("ably_rest", &caller.app.id, call.traceparent, call.begun);
            let answered = publish::answer(call, &caller, &channel, &body, span.as_deref_mut()).await;
            trace::answered(span, status_code(&answered));
            answered.map_err(|failure| publish::refused(call, Some((&caller.app, &channel)), failure))
        }
        Route::BatchPublish => {
            let caller = call.caller().map_err(|error| publish::refused(call, None, error.into()))?;
            let body = upload.read(call.shared, MAX_BATCH_BYTES).await?;
            let mut span = trace::publish("ably_rest", &caller.app.id, call.traceparent, call.begun);
            let answered = batch::publish(call, &caller, &body, span.as_deref_mut()).await;
            trace::answered(span, status_code(&answered));
            answered
        }
        Route::History { channel } => history::answer(call, &call.caller()?, &channel, Kind::Messages).await,
        Route::PresenceHistory { channel } => history::answer(call, &call.caller()?, &channel, Kind::Presence).await,
        Route::Presence { channel } => channels::members(call, &call.caller()?, &channel).await,
        Route::BatchPresence => batch::presence(call, &call.caller()?).await,
        Route::Channel { channel } => channels::status(call, &call.caller()?, &channel),
        Route::Channels => channels::list(call, &call.caller()?),
        Route::Stats => stats::answer(call, &call.caller()?).await,
    }
}

impl Call<'_> {
    /// Who calls, as header and query say.
    fn caller(&self) -> Result<Caller, ErrorInfo> {
        let credentials = Credentials::find(self.headers.authorization, &self.query)?;
        let Authenticated { app, granted } = authenticate(self.shared, &credentials, self.now_ms)?;
        let claimed = self.headers.client_id()?;
        let claimed = claimed.as_deref().or_else(|| self.query.get("clientId"));
        let identity = granted.identity.clone().connecting_as(claimed)?;
        self.known.get_or_init(|| (Arc::clone(&app), identity.clone()));
        Ok(Caller { app, granted, identity })
    }

    /// Tells the app's metachannel how the request was answered.
    fn tell(&self, method: &Method, path: &str, answered: &Result<Answer, Failure>) {
        let Some((app, identity)) = self.known.get() else { return };
        let status_code = status_code(answered);
        let client_id = if let Identity::Is(client) = identity { Some(client) } else { None };
        let request = meta::Request { method: method.as_str(), path, status_code, client_id };
        self.shared.meta.tell(self.shared, app, &Event::Request(request));
    }
}

fn status_code(answered: &Result<Answer, Failure>) -> u16 {
    match answered {
        Ok(answer) => answer.status,
        Err(failure) => failure.error.status,
    }
}

/// A request's body.
struct Upload {
    /// Until it is read.
    body: Option<Incoming>,
    /// It did not come to its end.
    broken: bool,
}

impl Upload {
    /// All of it, if it has no more bytes than `limit`.
    async fn read(&mut self, shared: &Shared, limit: usize) -> Result<Bytes, Failure> {
        let too_large = || Code::TooLarge.says(format!("the body is larger than {limit} bytes"));
        // An honest large body is refused before it is sent.
        let Some(body) = self.body.take_if(|body| body.size_hint().lower() <= limit as u64) else {
            return Err(too_large().into());
        };
        read_body(shared, body, limit).await.map_err(|no_body| {
            self.broken = true;
            let error = match no_body {
                NoBody::TooLarge => too_large(),
                NoBody::TooLate => Code::Unparsable.says("the body did not come in time"),
                NoBody::Broken => Code::Unparsable.says("the body broke off"),
            };
            error.into()
        })
    }

    /// Whether some of it is still on its way.
    fn is_left(&self) -> bool {
        self.broken || self.body.as_ref().is_some_and(|body| !body.is_end_stream())
    }
}

/// The channel called `name`, qualified or not, in a request about what is there.
fn existing(name: &str) -> Result<ChannelName, ErrorInfo> {
    Ok(Name::parse(name)?.base().clone())
}

/// A header's value, if it is text.
pub(super) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
