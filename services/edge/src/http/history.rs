//! A channel's past: from this node's memory where that is enough, from the backbone where not.

use backbone::{HistoryError, HistoryQuery};
use channels::{AppId, Position, Tier};
use pusher::api::{ApiError, Authenticated, EventsQuery, Page};

use super::{Reply, reply};
use crate::server::Shared;

const _: () = assert!(EventsQuery::MAX_LIMIT <= HistoryQuery::MAX_LIMIT, "the backbone would answer less");

/// `GET /channels/{name}/events`.
pub(super) async fn answer(shared: &Shared, signed: &Authenticated<'_>, name: &str) -> Result<Reply, ApiError> {
    let app = signed.app;
    let query = EventsQuery::parse(name, signed)?;
    let tier = app.tier(&query.channel);
    if let Some(after) = query.after()
        // What is not stored has no history, whatever position a client may have.
        && tier != Tier::Ephemeral
        && let Some(reply) = from_ring(shared, &app.id, tier, &query, after).await
    {
        return Ok(reply);
    }
    let read = HistoryQuery {
        after: query.after(),
        limit: query.limit(),
        ..HistoryQuery::all(app.id.clone(), query.channel.clone(), tier)
    };
    let history = match shared.backbone.history(read).await {
        Ok(history) => history,
        Err(HistoryError::OtherEpoch { head }) => {
            return Ok(reply::ok(query.answer(&Page { records: &[], complete: false, more: false, head })));
        }
        Err(error @ (HistoryError::NotStored | HistoryError::Unavailable)) => return Err(refusal(error)),
    };
    let records: Vec<_> = history.records.into_iter().map(|stored| (stored.position, stored.record)).collect();
    let page = Page { records: &records, complete: history.complete, more: history.more, head: history.head };
    Ok(reply::ok(query.answer(&page)))
}

/// Why there is no answer. Only a position of the caller's can be of another epoch.
pub(super) fn refusal(error: HistoryError) -> ApiError {
    match error {
        HistoryError::NotStored => ApiError::NoHistory,
        HistoryError::Unavailable | HistoryError::OtherEpoch { .. } => ApiError::Unavailable,
    }
}

/// From this node's memory, if that holds everything up to the newest that was ever acknowledged: a record may have been
/// acknowledged to its publisher and still be on its way to us.
async fn from_ring(shared: &Shared, app: &AppId, tier: Tier, query: &EventsQuery, after: Position) -> Option<Reply> {
    let channel = &query.channel;
    shared.hub.replay(app, channel, after, 1)?;
    let head = shared.backbone.head(app, channel, tier).await.ok()?;
    let replay = shared.hub.replay(app, channel, after, query.limit())?;
    let whole = replay.head.epoch == head.epoch && replay.head.sequence >= head.sequence;
    let page = Page { records: &replay.records, complete: true, more: replay.more, head: replay.head };
    whole.then(|| reply::ok(query.answer(&page)))
}
