//! The signed API: reads a request, asks `pusher::api` what it means, does it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use auth::{InvalidRequest, Query};
use backbone::KvError;
use bytes::Bytes;
use channels::{App, ChannelName, QuotaKind};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use proto::control::TailKind;
use pusher::api::{self, Action, ApiError, Authenticated, Cached, ChannelQuery, ChannelsQuery, Route};

use super::{Reply, history, publish, reply};
use crate::metrics::PublishResult;
use crate::server::Shared;
use crate::tail::Told;
use crate::trace;

/// A larger body is not looked at while its app may publish nothing at all. A smaller one costs little more than its
/// signature, and from it can be told when its request will pass.
const LOOKED_AT_BYTES: u64 = 16 * 1024;

/// Answers a request, whatever it is.
pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Reply {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return reply::preflight();
    }
    let (method, path) = (head.method.as_str(), head.uri.path());
    let route = match api::route(method, path) {
        Ok(route) => route,
        Err(error) => return reply::refusal(&error),
    };
    let publishes = publishes(&route.action);
    let refuse = |error: &ApiError| {
        if publishes {
            shared.metrics.http.result(class(error)).increment(1);
            if let Some(app) = route.app.as_ref().filter(|_| shared.tails.any()) {
                let reason = error.to_string();
                let told = Told {
                    kind: TailKind::PublishRefused,
                    code: error.status().into(),
                    reason: &reason,
                    ..Told::default()
                };
                shared.tails.tell(app, told);
            }
        }
        reply::refusal(error)
    };
    if !shared.apps.is_ready() {
        return refuse(&ApiError::Unavailable);
    }
    let too_large = ApiError::BodyTooLarge { limit: shared.config.max_body_bytes };
    // An honest large body is refused before it is sent, and who cannot sign does not get us to hold one.
    let large = body.size_hint().lower() > shared.config.max_body_bytes as u64;
    let unread = |error: &ApiError| if body.is_end_stream() { refuse(error) } else { last(refuse(error)) };
    if large {
        return unread(&too_large);
    }
    let query = Query::parse(head.uri.query().unwrap_or_default()).map_err(ApiError::from);
    let (app, query) = match query.and_then(|query| Ok((app_of(shared, &route, &query)?, query))) {
        Ok(found) => found,
        Err(error) => return unread(&error),
    };
    let signed = match api::authenticate(&app, method, path, query, clock::unix_seconds()) {
        Ok(signed) => signed,
        Err(error) => return unread(&error),
    };
    if publishes
        && body.size_hint().upper().is_none_or(|bytes| bytes > LOOKED_AT_BYTES)
        && let Err(error) = may_publish(shared, &app)
    {
        return match forget_body(shared, body).await {
            Ok(()) => refuse(&error),
            Err(_) => last(refuse(&error)),
        };
    }
    let body = match read_body(shared, body, shared.config.max_body_bytes).await {
        Ok(body) => body,
        Err(NoBody::TooLarge) => return last(refuse(&too_large)),
        Err(NoBody::TooLate) => {
            return last(reply::error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"));
        }
        Err(NoBody::Broken) => return last(reply::error(StatusCode::BAD_REQUEST, "the body broke off")),
    };
    if let Err(error) = signed.check_body(&body) {
        return refuse(&error);
    }
    let mut span =
        if publishes { trace::publish("http", &app.id, trace::traceparent(&head.headers), begun) } else { None };
    let traced = span.as_deref_mut();
    let answered = match &route.action {
        Action::Events => publish::event(shared, &signed, &body, begun, traced).await,
        // The rarer ones are boxed: hyper moves the whole answer for each request.
        Action::BatchEvents => Box::pin(publish::batch(shared, &signed, &body, begun, traced)).await,
        Action::ChannelEvent { channel } => {
            Box::pin(publish::channel_event(shared, &signed, channel, &body, begun, traced)).await
        }
        Action::History { channel } => Box::pin(history::answer(shared, &signed, channel)).await,
        Action::Channels => channels(shared, &signed),
        Action::Channel { channel } => Box::pin(self::channel(shared, &signed, channel)).await,
        Action::Users { channel } => Box::pin(users(shared, &signed, channel)).await,
        Action::Terminate { user } => Box::pin(terminate(shared, &signed, user)).await,
    };
    let reply = answered.unwrap_or_else(|error| {
        if let Some(quota) = error.quota() {
            shared.metrics.over_quota(quota);
            if quota == QuotaKind::MessageSize {
                shared.meter(&app).refused(quota);
            }
        }
        refuse(&error)
    });
    trace::answered(span, reply.status().as_u16());
    reply
}

/// Whether the app may publish anything at all at this moment. An app that hammers at its limit is to cost as little as
/// can be, so that others do not notice.
fn may_publish(shared: &Shared, app: &App) -> Result<(), ApiError> {
    shared.meter(app).may_publish(Instant::now()).map_err(|refused| {
        shared.metrics.over_quota(refused.quota);
        publish::over_quota(refused)
    })
}

/// Takes a body off its connection that nobody wants: that costs less than a new connection.
async fn forget_body(shared: &Shared, body: Incoming) -> Result<(), NoBody> {
    let mut body = Limited::new(body, shared.config.max_body_bytes);
    let forget = async {
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| NoBody::Broken)?;
        }
        Ok(())
    };
    tokio::time::timeout(shared.config.body_timeout, forget).await.unwrap_or(Err(NoBody::TooLate))
}

/// Whether its refusals are counted as those of publishes.
fn publishes(action: &Action) -> bool {
    match action {
        Action::Events | Action::BatchEvents | Action::ChannelEvent { .. } => true,
        Action::History { .. }
        | Action::Channels
        | Action::Channel { .. }
        | Action::Users { .. }
        | Action::Terminate { .. } => false,
    }
}

/// The app in the path, or else the one whose key signs.
fn app_of(shared: &Shared, route: &Route, query: &Query<'_>) -> Result<Arc<App>, ApiError> {
    if let Some(id) = &route.app {
        return shared.apps.get(id).ok_or(ApiError::UnknownApp);
    }
    let key = query.get("auth_key").ok_or(InvalidRequest::MissingParameter("auth_key"))?;
    let key = shared.apps.by_key(key).ok_or(InvalidRequest::UnknownKey)?;
    Ok(Arc::clone(key.app()))
}

/// The answer to a request whose body is not read to its end, and which is therefore the connection's last.
pub(super) fn last(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Why there is no body.
pub(super) enum NoBody {
    TooLarge,
    TooLate,
    Broken,
}

/// The whole body, if it has no more bytes than `limit`.
pub(super) async fn read_body(shared: &Shared, body: Incoming, limit: usize) -> Result<Bytes, NoBody> {
    let mut body = Limited::new(body, limit).collect();
    let collected = match soon(&mut body).await {
        Some(collected) => Ok(collected),
        None => tokio::time::timeout(shared.config.body_timeout, body).await,
    };
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(NoBody::TooLarge),
        Ok(Err(_)) => Err(NoBody::Broken),
        Err(_) => Err(NoBody::TooLate),
    }
}

/// What `future` is ready with when it is polled for the second time at the latest. hyper reads a body when it is asked
/// for one: what came with the head is there then, and needs no timer.
async fn soon<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut asked = false;
    poll_fn(|cx| match Pin::new(&mut *future).poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if asked => Poll::Ready(None),
        Poll::Pending => {
            asked = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// How a refused publish is counted.
fn class(error: &ApiError) -> PublishResult {
    match (error, error.status()) {
        (ApiError::Unavailable, _) => PublishResult::Unavailable,
        (_, 401 | 403 | 404) => PublishResult::Unauthorized,
        (_, 413) => PublishResult::TooLarge,
        (_, 429) => PublishResult::OverLimit,
        (_, 503) => PublishResult::UnknownOutcome,
        (_, _) => PublishResult::Invalid,
    }
}

fn channels(shared: &Shared, signed: &Authenticated<'_>) -> Result<Reply, ApiError> {
    let query = ChannelsQuery::parse(&signed.query)?;
    let occupied = shared.occupancy.occupied(&signed.app.id);
    Ok(reply::ok(query.answer(signed.key, occupied.iter().map(|(channel, counts)| (channel, *counts)))))
}

async fn channel(shared: &Shared, signed: &Authenticated<'_>, name: &str) -> Result<Reply, ApiError> {
    let query = ChannelQuery::parse(name, signed)?;
    let cached = if query.wants_cached() { cached(shared, signed.app, &query.channel).await? } else { None };
    let counts = shared.occupancy.counts(&signed.app.id, &query.channel);
    Ok(reply::ok(query.answer(counts, cached.as_ref())))
}

/// What a cache channel holds.
async fn cached(shared: &Shared, app: &App, channel: &ChannelName) -> Result<Option<Cached>, ApiError> {
    let held = shared.hub.cached(app, channel).await.map_err(history::refusal)?;
    Ok(held.and_then(|held| Some(Cached { data: held.message()?.data.clone(), ttl: held.ttl(app)? })))
}

async fn users(shared: &Shared, signed: &Authenticated<'_>, name: &str) -> Result<Reply, ApiError> {
    let channel = api::parse_users(name, signed)?;
    let users =
        shared.hub.users(signed.app, &channel).await.map_err(|error| unanswered(&error, ApiError::Unavailable))?;
    Ok(reply::ok(api::users_answer(&users)))
}

async fn terminate(shared: &Shared, signed: &Authenticated<'_>, id: &str) -> Result<Reply, ApiError> {
    let user = api::parse_terminate(id, signed)?;
    shared
        .users
        .terminate(&signed.app.id, &user)
        .await
        .map_err(|error| unanswered(&error, ApiError::OutcomeUnknown))?;
    Ok(reply::ok(api::EMPTY_ANSWER))
}

/// What the backbone's silence means to the caller.
fn unanswered(error: &KvError, meaning: ApiError) -> ApiError {
    tracing::warn!(error = error as &dyn std::error::Error, "shared facts cannot be read or written");
    meaning
}
