//! The signed API: reads a request, asks `pusher::api` what it means, does it.

use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use pusher::api::{self, ApiError, Authenticated, ChannelQuery, ChannelsQuery, Counts, Route};

use super::{Reply, history, publish, reply};
use crate::clock;
use crate::metrics::PublishResult;
use crate::server::Shared;

/// What a request is about: the protocol's routes, and our own.
#[derive(Clone, Debug)]
enum Target {
    Pusher(Route),
    /// `GET /apps/{app}/channels/{name}/events`.
    History(history::Target),
}

impl Target {
    fn app(&self) -> &channels::AppId {
        match self {
            Self::Pusher(route) => route.app(),
            Self::History(target) => &target.app,
        }
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer(shared: &Shared, request: Request<Incoming>) -> Reply {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let (method, path) = (head.method.as_str(), head.uri.path());
    let target = match history::route(method, path).map(Target::History) {
        Some(target) => Ok(target),
        None => api::route(method, path).map(Target::Pusher),
    };
    let target = match target {
        Ok(target) => target,
        Err(error) => return reply::refusal(&error),
    };
    let publishes = matches!(target, Target::Pusher(Route::Events { .. } | Route::BatchEvents { .. }));
    let refuse = |error: &ApiError| {
        if publishes {
            shared.metrics.http.result(class(error)).increment(1);
        }
        reply::refusal(error)
    };
    if !shared.apps.is_ready() {
        return refuse(&ApiError::Unavailable);
    }
    let too_large = ApiError::BodyTooLarge { limit: shared.config.max_body_bytes };
    let app = shared.apps.get(target.app());
    let query = head.uri.query().unwrap_or_default();
    let now = clock::unix_seconds();
    // An honest large body is refused before it is sent, and who cannot sign does not get us to hold one.
    let large = body.size_hint().lower() > shared.config.max_body_bytes as u64;
    let signed =
        if large { Err(too_large.clone()) } else { api::authenticate(app.as_deref(), method, path, query, now) };
    let signed = match signed {
        Ok(signed) => signed,
        Err(error) if body.is_end_stream() => return refuse(&error),
        Err(error) => return last(refuse(&error)),
    };
    let body = match read_body(shared, body).await {
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
    let answered = match &target {
        Target::Pusher(Route::Events { .. }) => publish::event(shared, &signed, &body, begun).await,
        Target::Pusher(Route::BatchEvents { .. }) => publish::batch(shared, &signed, &body, begun).await,
        Target::Pusher(Route::Channels { .. }) => channels(shared, &signed),
        Target::Pusher(Route::Channel { name, .. }) => channel(shared, &signed, name),
        Target::History(target) => history::answer(shared, &signed, target).await,
    };
    answered.unwrap_or_else(|error| refuse(&error))
}

/// The answer to a request whose body is not read to its end, and which is therefore the connection's last.
fn last(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

/// Why there is no body.
enum NoBody {
    TooLarge,
    TooLate,
    Broken,
}

async fn read_body(shared: &Shared, body: Incoming) -> Result<Bytes, NoBody> {
    let body = Limited::new(body, shared.config.max_body_bytes);
    match tokio::time::timeout(shared.config.body_timeout, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(NoBody::TooLarge),
        Ok(Err(_)) => Err(NoBody::Broken),
        Err(_) => Err(NoBody::TooLate),
    }
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

pub(super) fn counts(subscriptions: u64) -> Counts {
    Counts { subscriptions, users: 0 }
}

fn channels(shared: &Shared, signed: &Authenticated<'_>) -> Result<Reply, ApiError> {
    let query = ChannelsQuery::parse(&signed.query)?;
    let occupied = shared.occupancy.occupied(&signed.app.id);
    let known = occupied.iter().map(|(channel, subscriptions)| (channel, counts(*subscriptions)));
    Ok(reply::ok(query.answer(signed.key, known)))
}

fn channel(shared: &Shared, signed: &Authenticated<'_>, name: &str) -> Result<Reply, ApiError> {
    let query = ChannelQuery::parse(name, &signed.query, signed.app, signed.key)?;
    Ok(reply::ok(query.answer(counts(shared.occupancy.subscriptions(&signed.app.id, &query.channel)))))
}
