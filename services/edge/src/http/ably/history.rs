//! A channel's past, page by page. What belongs on a page is `ably::rest`'s; here is the reading.

use ably::encode::{self, MessageAt, PresenceItem};
use ably::rest::{Answer, Cursor, Direction, HistoryPage, HistoryQuery, Kind};
use ably::wire::PresenceAction;
use backbone::{HistoryError, HistoryQuery as Read};
use channels::{ChannelName, Member, MemberData, Operation, Record, RecordKind, Tier};

use super::failure::no_history;
use super::{Call, Caller, Failure};

/// How far the time at which a record was stored may be from its own: publishing is tried for that long, and clocks
/// differ.
const STORED_WITHIN_MS: u64 = 60_000;

/// Records that are read for one page at most, for a channel that is full of what does not belong on it.
const MOST_READ: usize = 5_000;

/// A page of messages, or of what members did.
pub(super) async fn answer(call: &Call<'_>, caller: &Caller, name: &str, kind: Kind) -> Result<Answer, Failure> {
    let channel = super::existing(name)?;
    caller.granted.permit(channel.as_str(), Operation::History)?;
    let query = HistoryQuery::parse(kind, &call.query, call.now_ms)?;
    let mut page = query.page();
    fill(call, caller, &channel, &query, &mut page).await?;
    let format = call.exchange.format;
    let body = match kind {
        Kind::Messages => encode::history(format, &messages(&page)),
        Kind::Presence => {
            let events: Vec<_> = page.items().iter().filter_map(|(_, record)| event(record)).collect();
            let item = |(action, member, data)| PresenceItem { action, member, data };
            encode::presence_list(
                format,
                &events.iter().map(|(action, member, data)| item((*action, member, data))).collect::<Vec<_>>(),
            )
        }
    };
    Ok(call.exchange.page(body, page.links()))
}

fn messages<'p>(page: &'p HistoryPage<'_>) -> Vec<MessageAt<'p>> {
    let at = |(Cursor { position, index }, record): &'p (Cursor, std::sync::Arc<Record>)| MessageAt {
        record,
        at: Some(*position),
        index: *index,
    };
    page.items().iter().map(at).collect()
}

/// What a presence record tells.
fn event(record: &Record) -> Option<(PresenceAction, Member, MemberData)> {
    let RecordKind::Presence(change) = &record.kind else { return None };
    let member = Member { connection: record.connection.clone()?, user: record.client.clone()? };
    let data = MemberData::of_message(record.messages.first()?, record.timestamp_ms);
    Some((change.action.into(), member, data))
}

/// Reads until the page is full, or there is nothing more.
async fn fill(
    call: &Call<'_>,
    caller: &Caller,
    channel: &ChannelName,
    query: &HistoryQuery,
    page: &mut HistoryPage<'_>,
) -> Result<(), Failure> {
    let app = &caller.app;
    let tier = app.tier(channel);
    // What is delivered and not stored has no past.
    if tier == Tier::Ephemeral {
        return Ok(());
    }
    let mut read = Read {
        after: query.after(),
        before: query.before(),
        start_ms: query.start_ms.map(|start| start.saturating_sub(STORED_WITHIN_MS)),
        end_ms: query.end_ms.map(|end| end.saturating_add(STORED_WITHIN_MS)),
        direction: match query.direction {
            Direction::Backwards => backbone::Direction::Backward,
            Direction::Forwards => backbone::Direction::Forward,
        },
        ..Read::all(app.id.clone(), channel.clone(), tier)
    };
    let mut left = MOST_READ;
    loop {
        // One more than there is room for shows whether another page follows.
        read.limit = (query.limit - page.items().len() + 1).min(Read::MAX_LIMIT);
        let history = match call.shared.backbone.history(read.clone()).await {
            Ok(history) => history,
            Err(HistoryError::NotStored) => return Ok(()),
            Err(error) => return Err(no_history(&error, query.cursor.is_none()).into()),
        };
        left = left.saturating_sub(history.records.len());
        for stored in &history.records {
            if !page.push(stored.position, &stored.record) {
                return Ok(());
            }
        }
        let Some(last) = history.records.last().filter(|_| history.more) else { return Ok(()) };
        if left == 0 {
            page.pause(last.position);
            return Ok(());
        }
        match query.direction {
            Direction::Backwards => read.before = Some(last.position),
            Direction::Forwards => read.after = Some(last.position),
        }
    }
}
