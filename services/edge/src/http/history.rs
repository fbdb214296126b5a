//! A channel's past: from this node's memory where that is enough, from the backbone where not.

use backbone::{HistoryError, HistoryQuery};
use channels::{AppId, EventPosition, Position, Tier};
use pusher::api::{ApiError, Authenticated, EventsAnswer, EventsQuery, Page};

use super::{Reply, reply};
use crate::metrics::{Asking, Recoveries, Recovery};
use crate::server::Shared;

const _: () = assert!(EventsQuery::MAX_LIMIT <= HistoryQuery::MAX_LIMIT, "the backbone would answer less");

/// `GET /channels/{name}/events`. Who asks for what comes after a position is counted as one who has come back.
pub(super) async fn answer(shared: &Shared, signed: &Authenticated<'_>, name: &str) -> Result<Reply, ApiError> {
    let app = signed.app;
    let recoveries = shared.metrics.recoveries(Asking::Pusher);
    let query = EventsQuery::parse(name, signed).inspect_err(|error| {
        let after = signed.query.get("after").map(str::parse::<EventPosition>);
        if let (ApiError::Parameter(_), Some(Err(_))) = (error, after) {
            recoveries.ended(Recovery::Invalid);
        }
    })?;
    let tier = app.tier(&query.channel);
    if let Some(after) = query.after()
        // What is not stored has no history, whatever position a client may have.
        && tier != Tier::Ephemeral
        && let Some(answer) = from_ring(shared, &app.id, tier, &query, after).await
    {
        count(recoveries, &answer, Recovery::FromMemory);
        return Ok(reply::ok(answer.body));
    }
    let read = HistoryQuery {
        after: query.after(),
        limit: query.limit(),
        ..HistoryQuery::all(app.id.clone(), query.channel.clone(), tier)
    };
    let history = match shared.backbone.history(read).await {
        Ok(history) => history,
        Err(HistoryError::OtherEpoch { head }) => {
            recoveries.ended(Recovery::OtherEpoch);
            let nothing = Page { records: &[], complete: false, more: false, head };
            return Ok(reply::ok(query.answer(&nothing).body));
        }
        Err(error @ (HistoryError::NotStored | HistoryError::Unavailable)) => {
            if query.after().is_some() {
                recoveries.ended(match error {
                    HistoryError::NotStored => Recovery::NotStored,
                    HistoryError::Unavailable | HistoryError::OtherEpoch { .. } => Recovery::Unavailable,
                });
            }
            return Err(refusal(error));
        }
    };
    let records: Vec<_> = history.records.into_iter().map(|stored| (stored.position, stored.record)).collect();
    let page = Page { records: &records, complete: history.complete, more: history.more, head: history.head };
    let answer = query.answer(&page);
    if query.after().is_some() {
        count(recoveries, &answer, if page.complete { Recovery::FromStream } else { Recovery::Expired });
    }
    Ok(reply::ok(answer.body))
}

/// Counts an answer to one who has come back, and that it `ended` like this: with the first page of which a part is
/// missing, or else with the last one.
fn count(recoveries: &Recoveries, answer: &EventsAnswer, ended: Recovery) {
    // At most as many as fit on a page.
    recoveries.messages.record(u32::try_from(answer.events).map_or(f64::INFINITY, f64::from));
    if !answer.more || ended == Recovery::Expired {
        recoveries.ended(ended);
    }
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
async fn from_ring(
    shared: &Shared,
    app: &AppId,
    tier: Tier,
    query: &EventsQuery,
    after: Position,
) -> Option<EventsAnswer> {
    let channel = &query.channel;
    shared.hub.replay(app, channel, after, 1)?;
    let head = shared.backbone.head(app, channel, tier).await.ok()?;
    let replay = shared.hub.replay(app, channel, after, query.limit())?;
    let whole = replay.head.epoch == head.epoch && replay.head.sequence >= head.sequence;
    let page = Page { records: &replay.records, complete: true, more: replay.more, head: replay.head };
    whole.then(|| query.answer(&page))
}
