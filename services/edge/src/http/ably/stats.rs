//! `GET /stats`: what nodes have counted, folded or not.

use ::channels::Operation;
use ably::rest::{Answer, StatsQuery};
use backbone::usage::UsageStore;

use super::failure::unread;
use super::{Call, Caller, Failure};

/// Answers a page of it.
pub(super) async fn answer(call: &Call<'_>, caller: &Caller) -> Result<Answer, Failure> {
    caller.granted.permit_app_wide(Operation::Stats)?;
    let query = StatsQuery::parse(&call.query, call.now_ms)?;
    let (from_ms, until_ms) = query.range();
    let store = UsageStore::reader(&call.shared.backbone);
    let used = store.query(&caller.app.id, query.unit, from_ms, until_ms, call.now_ms).await;
    let used = used.map_err(|error| unread(&error))?;
    Ok(query.answer(&call.exchange, &caller.app.id, &used))
}
