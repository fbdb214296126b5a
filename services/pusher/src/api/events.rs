//! `GET /channels/{name}/events`: what a channel has held, for backends that want to catch up. Not a Pusher route: ours,
//! signed like the rest.

use std::fmt::Write as _;
use std::sync::Arc;

use channels::{ChannelName, EventPosition, Operation, Position, Record, RecordKind};

use super::{ApiError, Authenticated, text};
use crate::encode::is_reserved;
use crate::json;

/// A checked request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsQuery {
    /// The channel.
    pub channel: ChannelName,
    after: Option<EventPosition>,
    limit: usize,
}

/// An answer, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsAnswer {
    /// The body.
    pub body: String,
    /// How many events it holds.
    pub events: usize,
    /// Whether more follow them.
    pub more: bool,
}

/// What the channel's history holds behind [`EventsQuery::after`].
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Records of every kind, oldest first; at most [`EventsQuery::limit`] of them.
    pub records: &'a [(Position, Arc<Record>)],
    /// Whether nothing that followed the position is missing.
    pub complete: bool,
    /// Whether more records follow these.
    pub more: bool,
    /// The channel's newest position.
    pub head: Position,
}

impl EventsQuery {
    /// Most events in an answer, and most records that are needed for one.
    pub const MAX_LIMIT: usize = 1_000;

    /// Events in an answer if nothing is said.
    const DEFAULT_LIMIT: usize = 100;

    /// Checks the name from the path and reads `after` and `limit`; the key must be allowed to read history.
    pub fn parse(name: &str, signed: &Authenticated<'_>) -> Result<Self, ApiError> {
        const AFTER: &str = "after must be a position, as in 00f1e2d3c4b5a697-42";
        const LIMIT: &str = "limit must be a number from 1 to 1000";
        let (channel, _) = signed.channel(name, Operation::History)?;
        let after = signed.query.get("after").map(str::parse).transpose();
        let after = after.map_err(|_| ApiError::Parameter(AFTER))?;
        let limit = signed.query.get("limit").map_or(Ok(Self::DEFAULT_LIMIT), str::parse);
        let limit = limit.ok().filter(|limit| (1..=Self::MAX_LIMIT).contains(limit));
        Ok(Self { channel, after, limit: limit.ok_or(ApiError::Parameter(LIMIT))? })
    }

    /// Behind which position to read; `None` is the oldest that is left.
    pub fn after(&self) -> Option<Position> {
        self.after.map(|after| after.position)
    }

    /// How many records to read.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The answer: the events that a subscriber would have been sent, each with its position. `next` is the position to
    /// go on from, also when nothing on this page was an event.
    pub fn answer(&self, page: &Page<'_>) -> EventsAnswer {
        let Page { records, complete, more, head } = *page;
        let events = records.iter().flat_map(|(position, record)| self.events_of(*position, record));
        let mut events: Vec<_> = events.take(self.limit + 1).collect();
        let end = records.last().map_or(head, |(position, _)| *position).into();
        let (more, next) = match events.get(self.limit - 1) {
            Some((newest, ..)) if events.len() > self.limit => (true, *newest),
            Some(_) | None => (more, end),
        };
        events.truncate(self.limit);
        let count = events.len();
        let mut out = String::from(r#"{"events":["#);
        let mut separator = "";
        for (position, name, data) in events {
            out.push_str(separator);
            out.push_str(r#"{"name":"#);
            json::push_string(&mut out, name);
            out.push_str(r#","data":"#);
            json::push_string(&mut out, &text(data));
            write!(out, r#","position":"{position}"}}"#).expect("a string takes all text");
            separator = ",";
        }
        write!(out, r#"],"complete":{complete},"more":{more},"next":"{next}","head":"{head}"}}"#)
            .expect("a string takes all text");
        EventsAnswer { body: out, events: count, more }
    }

    /// The events of a record that are behind `after`: position, name, data.
    fn events_of<'a>(
        &self,
        position: Position,
        record: &'a Record,
    ) -> impl Iterator<Item = (EventPosition, &'a str, &'a [u8])> {
        let messages: &[_] = match record.kind {
            RecordKind::Messages => &record.messages,
            RecordKind::ClientEvent | RecordKind::Presence(_) => &[],
        };
        // Only the record right behind the position is the one of which a part is known.
        let before = position.sequence.checked_sub(1);
        let split = self.after.filter(|after| Some(after.position.sequence) == before);
        let known = split.map_or(0, |after| after.skip as usize);
        let events = messages.iter().enumerate().skip(known).map(move |(index, message)| {
            let name = message.name.as_deref().unwrap_or_default();
            (EventPosition::of_message(position, index, messages.len()), name, message.data.as_ref())
        });
        events.filter(|(_, name, _)| !is_reserved(name))
    }
}

#[cfg(test)]
mod tests;
