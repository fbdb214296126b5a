//! The past of a channel, page by page: messages, or presence events.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use channels::{Position, Record, RecordKind};

use super::paging::{self, Links};
use crate::query::Query;
use crate::{Code, ErrorInfo};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages.
    Messages,
    /// What members did.
    Presence,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    #[default]
    Backwards,
    /// Oldest first.
    Forwards,
}

impl Direction {
    /// `direction` (40003).
    pub(super) fn parse(query: &Query<'_>) -> Result<Self, ErrorInfo> {
        match query.get("direction") {
            None | Some("backwards") => Ok(Self::Backwards),
            Some("forwards") => Ok(Self::Forwards),
            Some(_) => Err(Code::BadParam.says("direction must be backwards or forwards")),
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Backwards => "backwards",
            Self::Forwards => "forwards",
        }
    }
}

/// A request for a page of a channel's past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Of what.
    pub kind: Kind,
    /// Nothing from before this, milliseconds since the Unix epoch.
    pub start_ms: Option<u64>,
    /// Nothing from after this.
    pub end_ms: Option<u64>,
    /// Order.
    pub direction: Direction,
    /// Most items.
    pub limit: usize,
    /// Nothing from behind this position: what a client knows that attached there.
    pub from_serial: Option<Position>,
    /// The last item of the page before this one.
    pub cursor: Option<Cursor>,
    /// What `end` was taken to be, for the links.
    resolved_end_ms: Option<u64>,
}

/// An item's place: its record's position, and which of the record's it is. The text form is `POSITION.INDEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The record.
    pub position: Position,
    /// Which of its messages.
    pub index: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.position, self.index)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (position, index) = text.split_once('.').ok_or(())?;
        let position = position.parse().map_err(|_| ())?;
        let digits = index.bytes().all(|b| b.is_ascii_digit());
        Ok(Self { position, index: index.parse().ok().filter(|_| digits).ok_or(())? })
    }
}

impl HistoryQuery {
    /// Reads the query of a request at `now_ms` (40003).
    pub fn parse(kind: Kind, query: &Query<'_>, now_ms: u64) -> Result<Self, ErrorInfo> {
        let (start_ms, end_ms) = (paging::time(query, "start")?, paging::time(query, "end")?);
        if start_ms.zip(end_ms).is_some_and(|(start, end)| start > end) {
            return Err(Code::BadParam.says("start must not be after end"));
        }
        let direction = Direction::parse(query)?;
        let from_serial =
            query.any(&["from_serial", "fromSerial"]).map(crate::serial::parse_channel_serial).transpose();
        let cursor = query.get("cursor").map(str::parse).transpose();
        // Forwards, what is published meanwhile belongs to later pages.
        let resolved_end_ms = end_ms.or_else(|| (direction == Direction::Backwards).then_some(now_ms));
        Ok(Self {
            kind,
            start_ms,
            end_ms,
            direction,
            limit: paging::limit(query)?,
            from_serial: from_serial.map_err(|unreadable| Code::BadParam.says(format!("from_serial: {unreadable}")))?,
            cursor: cursor.map_err(|()| Code::BadParam.says("cursor is not one of a link"))?,
            resolved_end_ms,
        })
    }

    /// Only records after this position can be on the page.
    pub fn after(&self) -> Option<Position> {
        let Cursor { position, .. } = self.cursor.filter(|_| self.direction == Direction::Forwards)?;
        // The cursor's own record may have more.
        Some(Position { sequence: position.sequence.saturating_sub(1), ..position })
    }

    /// Only records before this position can be on the page.
    pub fn before(&self) -> Option<Position> {
        let behind = |position: Position| Position { sequence: position.sequence.saturating_add(1), ..position };
        let cursor = self.cursor.filter(|_| self.direction == Direction::Backwards).map(|cursor| match cursor.index {
            0 => cursor.position,
            _ => behind(cursor.position),
        });
        // A cursor of such a query is never behind it.
        cursor.or_else(|| self.from_serial.map(behind))
    }

    /// A page to fill.
    pub fn page(&self) -> HistoryPage<'_> {
        HistoryPage { query: self, items: Vec::new(), more: false, paused: None }
    }

    /// The `Link` headers of the page that `next` follows.
    fn links(&self, next: Option<Cursor>) -> Vec<String> {
        let segment = match self.kind {
            Kind::Messages => "messages",
            Kind::Presence => "history",
        };
        let text = |cursor: Option<Cursor>| cursor.map(|cursor| cursor.to_string());
        let links = |end_ms: Option<u64>| {
            let mut params = vec![("start", self.start_ms.unwrap_or_default().to_string().into())];
            params.extend(end_ms.map(|end| ("end", end.to_string().into())));
            params.push(("limit", self.limit.to_string().into()));
            params.push(("direction", self.direction.word().into()));
            params.extend(self.from_serial.map(|serial| ("from_serial", serial.to_string().into())));
            Links { segment, params }
        };
        // What was taken for the end stands in the first link alone. Behind a cursor there may be messages of a node whose
        // clock is ahead of this one's.
        let mut values = links(self.end_ms).values(text(self.cursor).as_deref(), text(next).as_deref());
        values[0] = links(self.resolved_end_ms).first();
        values
    }
}

/// A page that is being filled.
#[derive(Debug)]
pub struct HistoryPage<'q> {
    query: &'q HistoryQuery,
    items: Vec<(Cursor, Arc<Record>)>,
    more: bool,
    /// Where the next page goes on, if this one ends before it is full.
    paused: Option<Cursor>,
}

impl HistoryPage<'_> {
    /// Takes of `record` what belongs on the page; records come in the query's direction. Answers whether there is room
    /// for more: if not, the page is finished.
    pub fn push(&mut self, position: Position, record: &Arc<Record>) -> bool {
        let query = self.query;
        let of_kind = match &record.kind {
            RecordKind::Messages => query.kind == Kind::Messages,
            RecordKind::Presence(change) => query.kind == Kind::Presence && !change.quiet,
            RecordKind::ClientEvent => false,
        };
        let time = record.timestamp_ms;
        let in_time = query.start_ms.is_none_or(|start| time >= start) && query.end_ms.is_none_or(|end| time <= end);
        let known = query.from_serial.is_none_or(|serial| position.sequence <= serial.sequence);
        if !(of_kind && in_time && known) {
            return !self.more;
        }
        let count = record.messages.len();
        for step in 0..count {
            let index = match query.direction {
                Direction::Forwards => step,
                Direction::Backwards => count - 1 - step,
            };
            if !self.is_past(position, index) {
                continue;
            }
            if self.items.len() == query.limit {
                self.more = true;
                return false;
            }
            self.items.push((Cursor { position, index }, Arc::clone(record)));
        }
        !self.more
    }

    /// Whether an item is behind the cursor, in the query's direction.
    fn is_past(&self, position: Position, index: usize) -> bool {
        self.query.cursor.is_none_or(|cursor| {
            let (item, last) = ((position.sequence, index), (cursor.position.sequence, cursor.index));
            match self.query.direction {
                Direction::Forwards => item > last,
                Direction::Backwards => item < last,
            }
        })
    }

    /// The items: places and records.
    pub fn items(&self) -> &[(Cursor, Arc<Record>)] {
        &self.items
    }

    /// Ends the page though it may not be full, since enough was read for one request. The next one goes on behind the
    /// record at `scanned`, the last that was read.
    pub fn pause(&mut self, scanned: Position) {
        let index = match self.query.direction {
            Direction::Backwards => 0,
            // Behind the last message, however many there are.
            Direction::Forwards => u32::MAX as usize,
        };
        self.paused = Some(Cursor { position: scanned, index });
    }

    /// The `Link` headers of the page.
    pub fn links(&self) -> Vec<String> {
        let last = self.items.last().filter(|_| self.more).map(|(cursor, _)| *cursor);
        self.query.links(last.or(self.paused))
    }
}

#[cfg(test)]
mod tests {
    use channels::{Epoch, Message};
    use proptest::prelude::*;

    use super::*;

    fn at(sequence: u64) -> Position {
        Position { epoch: Epoch::new(0xe1), sequence }
    }

    fn record(timestamp_ms: u64, messages: usize) -> Arc<Record> {
        let messages = vec![Message::text("n", ""); messages];
        Arc::new(Record {
            id: None,
            kind: RecordKind::Messages,
            connection: None,
            client: None,
            timestamp_ms,
            messages,
            traceparent: None,
        })
    }

    fn parse(text: &str) -> Result<HistoryQuery, u32> {
        HistoryQuery::parse(Kind::Messages, &Query::parse(text).unwrap(), 5_000).map_err(|error| error.code)
    }

    /// A page of what `log` holds, read as its query says.
    fn page(query: &HistoryQuery, log: &[(Position, Arc<Record>)]) -> (Vec<(u64, usize)>, Vec<String>) {
        let mut log: Vec<_> = log
            .iter()
            .filter(|(position, _)| query.after().is_none_or(|after| position.sequence > after.sequence))
            .filter(|(position, _)| query.before().is_none_or(|before| position.sequence < before.sequence))
            .collect();
        if query.direction == Direction::Backwards {
            log.reverse();
        }
        let mut page = query.page();
        for (position, record) in log {
            if !page.push(*position, record) {
                break;
            }
        }
        let items = page.items().iter().map(|(cursor, _)| (cursor.position.sequence, cursor.index)).collect();
        (items, page.links())
    }

    fn next(links: &[String]) -> Option<&str> {
        links.iter().find_map(|link| link.strip_prefix("<./messages?")?.strip_suffix(">; rel=\"next\""))
    }

    #[test]
    fn pages_follow_one_another() {
        let log = [(at(1), record(10, 1)), (at(3), record(20, 3)), (at(7), record(30, 1))];
        let query = parse("limit=2").unwrap();
        let (items, links) = page(&query, &log);
        assert_eq!(items, [(7, 0), (3, 2)]);
        assert_eq!(
            links,
            [
                r#"<./messages?start=0&end=5000&limit=2&direction=backwards>; rel="first""#,
                r#"<./messages?start=0&limit=2&direction=backwards>; rel="current""#,
                r#"<./messages?start=0&limit=2&direction=backwards&cursor=00000000000000e1-3.2>; rel="next""#,
            ]
        );
        let (items, links) = page(&parse(next(&links).unwrap()).unwrap(), &log);
        assert_eq!(items, [(3, 1), (3, 0)]);
        let (items, links) = page(&parse(next(&links).unwrap()).unwrap(), &log);
        assert_eq!(items, [(1, 0)]);
        assert_eq!(next(&links), None);
        assert!(links[1].ends_with(r#"&cursor=00000000000000e1-3.0>; rel="current""#), "{links:?}");
    }

    #[test]
    fn bounds_hold() {
        let log = [(at(1), record(10, 1)), (at(3), record(20, 2)), (at(7), record(30, 1))];
        for (query, expected) in [
            ("", &[(7_u64, 0_usize), (3, 1), (3, 0), (1, 0)] as &[_]),
            ("direction=forwards", &[(1, 0), (3, 0), (3, 1), (7, 0)]),
            ("start=20", &[(7, 0), (3, 1), (3, 0)]),
            ("start=11&end=20", &[(3, 1), (3, 0)]),
            ("from_serial=00000000000000e1-3", &[(3, 1), (3, 0), (1, 0)]),
            ("fromSerial=00000000000000e1-2", &[(1, 0)]),
            ("from_serial=00000000000000e1-3&direction=forwards", &[(1, 0), (3, 0), (3, 1)]),
            ("start=31", &[]),
        ] {
            assert_eq!(page(&parse(query).unwrap(), &log).0, expected, "{query}");
        }
        // Only a full page with something behind it has a next one.
        for (query, more) in [("limit=3", true), ("limit=4", false), ("limit=3&start=20", false)] {
            assert_eq!(next(&page(&parse(query).unwrap(), &log).1).is_some(), more, "{query}");
        }
    }

    #[test]
    fn a_page_may_end_early() {
        let log = [(at(1), record(10, 2)), (at(3), record(20, 2)), (at(7), record(30, 1))];
        for (direction, scanned, rest) in
            [("backwards", 3, &[(1_u64, 1_usize), (1, 0)] as &[_]), ("forwards", 3, &[(7, 0)]), ("backwards", 1, &[])]
        {
            let query = parse(&format!("direction={direction}")).unwrap();
            let mut page = query.page();
            page.pause(at(scanned));
            let links = page.links();
            let (items, links) = self::page(&parse(next(&links).unwrap()).unwrap(), &log);
            assert_eq!((items.as_slice(), next(&links)), (rest, None), "{direction}");
        }
    }

    #[test]
    fn other_kinds_are_left_out() {
        let change = |quiet| channels::PresenceChange {
            edge: channels::EdgeId::new("00000000000000e1").unwrap(),
            sequence: 1,
            action: channels::PresenceAction::Enter,
            quiet,
        };
        let of = |kind| Arc::new(Record { kind, ..Record::clone(&record(10, 1)) });
        let log = [
            (at(1), record(10, 1)),
            (at(2), of(RecordKind::Presence(change(false)))),
            (at(3), of(RecordKind::Presence(change(true)))),
        ];
        let kinds = |kind| {
            let query = HistoryQuery::parse(kind, &Query::default(), 0).unwrap();
            page(&query, &log)
        };
        assert_eq!(kinds(Kind::Messages).0, [(1, 0)]);
        let (items, links) = kinds(Kind::Presence);
        assert_eq!(items, [(2, 0)]);
        assert!(links[0].starts_with("<./history?"), "{links:?}");
    }

    #[test]
    fn what_is_refused() {
        for query in [
            "start=x",
            "start=-1",
            "end=1.5",
            "start=2&end=1",
            "direction=up",
            "limit=0",
            "from_serial=x",
            "cursor=x",
            "cursor=00000000000000e1-3.",
            "cursor=00000000000000e1-3.%2B1",
        ] {
            assert_eq!(parse(query), Err(40003), "{query}");
        }
    }

    proptest! {
        #[test]
        fn every_item_is_on_one_page(counts in proptest::collection::vec(1_usize..4, 0..8), limit in 1_usize..6, forwards: bool) {
            let log: Vec<_> = counts.iter().zip(1_u64..).map(|(count, place)| (at(place * 2), record(place, *count))).collect();
            let mut expected: Vec<_> =
                log.iter().flat_map(|(at, record)| (0..record.messages.len()).map(|index| (at.sequence, index))).collect();
            if !forwards {
                expected.reverse();
            }
            let direction = if forwards { "forwards" } else { "backwards" };
            let mut query = format!("limit={limit}&direction={direction}");
            let mut seen = Vec::new();
            loop {
                let (items, links) = page(&parse(&query).unwrap(), &log);
                prop_assert!(items.len() <= limit);
                seen.extend(items);
                let Some(next) = next(&links) else { break };
                query = next.to_owned();
            }
            prop_assert_eq!(seen, expected);
        }

        #[test]
        fn any_query_is_answered(text in "((start|end|limit|direction|cursor|from_serial)=[0-9a-f.-]{0,22}&){0,4}") {
            if let Ok(query) = parse(&text) {
                prop_assert!(!query.page().links().is_empty());
            }
        }
    }
}
