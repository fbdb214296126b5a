//! `GET /apps/{app}/channels/{name}/events?after=POSITION&limit=N`: what a channel has held, for backends that want to
//! catch up. Not a Pusher route: ours, signed like the rest.
//!
//! Answers `{"events":[{"name","data","position"}…],"complete":bool,"more":bool,"head":"POSITION"}`, oldest first.
//! `complete` false: something between `after` and the first event is no longer there. `more` true: ask again with
//! `after` set to the last position. Without `after`: from the oldest that is left. Events published together have one
//! position, so the limit counts publishes.

use std::sync::Arc;

use backbone::{HistoryError, HistoryQuery};
use channels::{AppId, ChannelName, Operation, Position, Record, Tier};
use hyper::StatusCode;
use percent_encoding::percent_decode_str;
use pusher::api::{ApiError, Authenticated};
use serde::Serialize;

use super::{Reply, reply};
use crate::server::Shared;

/// Publishes in an answer if nothing is said.
const DEFAULT_LIMIT: usize = 100;

/// Whose events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) app: AppId,
    name: String,
}

/// The target, if the request line is of this route.
pub(super) fn route(method: &str, path: &str) -> Option<Target> {
    let path = auth::signed_path(path)?;
    let mut segments = path.split('/').skip(2);
    let app = AppId::new(segments.next()?).ok()?;
    let [Some("channels"), Some(name), Some("events"), None] = std::array::from_fn(|_| segments.next()) else {
        return None;
    };
    let name = percent_decode_str(name).decode_utf8().ok()?.into_owned();
    (method == "GET").then_some(Target { app, name })
}

#[derive(Serialize)]
struct Answer<'a> {
    events: Vec<Event<'a>>,
    complete: bool,
    more: bool,
    head: String,
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    data: &'a str,
    position: String,
}

/// Reads and answers.
pub(super) async fn answer(shared: &Shared, signed: &Authenticated<'_>, target: &Target) -> Result<Reply, ApiError> {
    let app = signed.app;
    let parsed = pusher::parse_channel_name(&target.name, &app.limits);
    let (channel, _) =
        parsed.map_err(|reason| ApiError::ChannelName { channel: target.name.chars().take(100).collect(), reason })?;
    if !signed.key.capability.permits(channel.as_str(), Operation::History) {
        return Err(ApiError::Forbidden { operation: Operation::History, channel: target.name.clone() });
    }
    let after = signed.query.get("after").map(str::parse::<Position>).transpose();
    let after = after.map_err(|_| ApiError::Shape("after must be a position, as in 00f1e2d3c4b5a697-42"))?;
    let limit = signed.query.get("limit").map_or(Ok(DEFAULT_LIMIT), str::parse);
    let limit = limit.ok().filter(|limit| (1..=HistoryQuery::MAX_LIMIT).contains(limit));
    let limit = limit.ok_or(ApiError::Shape("limit must be a number from 1 to 1000"))?;
    let tier = app.namespaces.tier(channel.as_str());
    if let Some(after) = after
        // What is not stored has no history, whatever position a client may have.
        && tier != Tier::Ephemeral
        && let Some(reply) = from_ring(shared, &app.id, &channel, tier, after, limit).await
    {
        return Ok(reply);
    }
    let query = HistoryQuery { after, limit, ..HistoryQuery::all(app.id.clone(), channel, tier) };
    let history = match shared.backbone.history(query).await {
        Ok(history) => history,
        Err(HistoryError::OtherEpoch { head }) => {
            return Ok(render(&[], false, false, head));
        }
        Err(error @ HistoryError::NotStored) => {
            return Ok(reply::error(StatusCode::BAD_REQUEST, &error.to_string()));
        }
        Err(HistoryError::Unavailable) => return Err(ApiError::Unavailable),
    };
    let records: Vec<_> = history.records.into_iter().map(|stored| (stored.position, stored.record)).collect();
    Ok(render(&records, history.complete, history.more, history.head))
}

/// From this node's memory, if that holds everything up to the newest that was ever acknowledged: a record may have been
/// acknowledged to its publisher and still be on its way to us.
async fn from_ring(
    shared: &Shared,
    app: &AppId,
    channel: &ChannelName,
    tier: Tier,
    after: Position,
    limit: usize,
) -> Option<Reply> {
    shared.hub.replay(app, channel, after, 1)?;
    let head = shared.backbone.head(app, channel, tier).await.ok()?;
    let replay = shared.hub.replay(app, channel, after, limit)?;
    let whole = replay.head.epoch == head.epoch && replay.head.sequence >= head.sequence;
    whole.then(|| render(&replay.records, true, replay.more, replay.head))
}

fn render(records: &[(Position, Arc<Record>)], complete: bool, more: bool, head: Position) -> Reply {
    let mut events = Vec::new();
    for (position, record) in records {
        events.extend(record.messages.iter().map(|message| Event {
            name: message.name.as_deref().unwrap_or_default(),
            // What the Pusher surface publishes is text; bytes of other protocols have no form here yet.
            data: std::str::from_utf8(&message.data).unwrap_or_default(),
            position: position.to_string(),
        }));
    }
    let answer = Answer { events, complete, more, head: head.to_string() };
    match serde_json::to_vec(&answer) {
        Ok(body) => reply::json(StatusCode::OK, body),
        Err(error) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_route() {
        let name = |path| route("GET", path).map(|target| target.name);
        assert_eq!(name("/apps/1/channels/a/events").as_deref(), Some("a"));
        assert_eq!(name("/prefix/apps/1/channels/a%40b/events").as_deref(), Some("a@b"));
        for path in [
            "/apps/1/channels/a",
            "/apps/1/channels/a/events/",
            "/apps/1/channels/a/users",
            "/apps/./channels/a/events",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
        assert_eq!(route("POST", "/apps/1/channels/a/events"), None);
    }
}
