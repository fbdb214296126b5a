//! `GET /stats`: what nodes have counted, folded or not.

use std::time::Duration;

use ::channels::Operation;
use ably::rest::{Answer, StatsQuery};
use backbone::usage::{Kept, UsageStore};

use super::failure::unread;
use super::{Call, Caller, Failure};

/// Whatever is still there is told. How long it stays is for who writes it to say.
const EVERYTHING: Kept = Kept { minutes: AGES, hours: AGES, days: AGES, months: AGES };
const AGES: Duration = Duration::from_secs(u32::MAX as u64);

/// Answers a page of it.
pub(super) async fn answer(call: &Call<'_>, caller: &Caller) -> Result<Answer, Failure> {
    caller.granted.permit_app_wide(Operation::Stats)?;
    let query = StatsQuery::parse(&call.query, call.now_ms)?;
    let (from_ms, until_ms) = query.range();
    let store = UsageStore::new(&call.shared.backbone, EVERYTHING);
    let used = store.query(&caller.app.id, query.unit, from_ms, until_ms, call.now_ms).await;
    let used = used.map_err(|error| unread(&error))?;
    Ok(query.answer(&call.exchange, &caller.app.id, &used))
}
