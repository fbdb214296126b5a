use auth::Query;
use bytes::Bytes;
use channels::{
    App, ClientId, ConnectionId, EdgeId, Epoch, Key, Message, PresenceAction, PresenceChange, Record, RecordKind,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{self, KEY, capability, key};

fn parse(name: &str, query: &str, app: &App, key: &Key) -> Result<EventsQuery, ApiError> {
    EventsQuery::parse(name, &Authenticated { app, key, query: Query::parse(query).unwrap() })
}

fn query(query: &str) -> EventsQuery {
    let app = fixtures::app();
    parse("a", query, &app, &app.keys[0]).unwrap()
}

fn at(sequence: u64) -> Position {
    Position { epoch: Epoch::new(0xff), sequence }
}

fn record(kind: RecordKind, names: &[&str]) -> Arc<Record> {
    let messages = names.iter().map(|name| Message::text(name, format!("data of {name}"))).collect();
    Arc::new(Record { id: None, kind, connection: None, client: None, timestamp_ms: 0, messages, traceparent: None })
}

fn presence() -> Arc<Record> {
    let change =
        PresenceChange { edge: EdgeId::from_random(1), sequence: 1, action: PresenceAction::Enter, quiet: false };
    let mut record = Arc::unwrap_or_clone(record(RecordKind::Presence(change), &["x"]));
    record.connection = Some(ConnectionId::new("1.2").unwrap());
    record.client = Some(ClientId::new("u").unwrap());
    Arc::new(record)
}

/// Asks page by page, as a reader does, until there is no more. Every answer's event names and its `next`.
fn read(records: &[(Position, Arc<Record>)], limit: usize, begin: &str) -> Vec<String> {
    let head = records.last().map_or(at(0), |(position, _)| *position);
    let (mut after, mut pages) = (begin.to_owned(), Vec::new());
    loop {
        let query = query(&format!("limit={limit}&after={after}"));
        let from = query.after().map_or(0, |after| after.sequence);
        let rest: Vec<_> = records.iter().filter(|(at, _)| at.sequence > from).cloned().collect();
        let page = &rest[..rest.len().min(query.limit())];
        let page = Page { records: page, complete: true, more: page.len() < rest.len(), head };
        let answer: Value = serde_json::from_str(&query.answer(&page).body).unwrap();
        let names = answer["events"].as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap());
        after = answer["next"].as_str().unwrap().to_owned();
        pages.push(format!("{} {}", names.collect::<String>(), &after[17..]));
        assert!(pages.len() < 100, "no end: {pages:?}");
        if answer["more"] == json!(false) {
            return pages;
        }
    }
}

#[test]
fn what_is_asked() {
    let app = fixtures::app();
    let all = query("");
    assert_eq!((all.channel.as_str(), all.after(), all.limit()), ("a", None, 100));
    let some = query("after=00000000000000ff-41.2&limit=1000");
    assert_eq!((some.after(), some.limit()), (Some(at(41)), 1000));
    for name in ["presence-a", "cache-a", "#server-to-user-u"] {
        assert!(parse(name, "", &app, &app.keys[0]).is_ok(), "{name}");
    }
    for (name, query) in [
        ("a b", ""),
        ("a", "after="),
        ("a", "after=42"),
        ("a", "after=00000000000000ff-41."),
        ("a", "limit=0"),
        ("a", "limit=1001"),
        ("a", "limit=x"),
    ] {
        assert_eq!(parse(name, query, &app, &app.keys[0]).unwrap_err().status(), 400, "{name}?{query}");
    }
    let listener = key(KEY, capability("*", "subscribe"));
    let refused = parse("a", "", &app, &listener).unwrap_err();
    assert_eq!((refused.status(), refused.to_string().as_str()), (403, r#"the key may not history on channel "a""#));
}

#[test]
fn an_answer_whole() {
    let mut bytes = Arc::unwrap_or_clone(record(RecordKind::Messages, &["b"]));
    bytes.messages[0].data = Bytes::from_static(&[0xff]);
    let records = [(at(3), record(RecordKind::Messages, &["a"])), (at(7), Arc::new(bytes))];
    let page = Page { records: &records, complete: true, more: true, head: at(9) };
    assert_eq!(
        query("").answer(&page).body,
        concat!(
            r#"{"events":[{"name":"a","data":"data of a","position":"00000000000000ff-3"},"#,
            r#"{"name":"b","data":"/w==","position":"00000000000000ff-7"}],"#,
            r#""complete":true,"more":true,"next":"00000000000000ff-7","head":"00000000000000ff-9"}"#
        )
    );
    let page = Page { records: &[], complete: false, more: false, head: at(9) };
    assert_eq!(
        query("").answer(&page).body,
        r#"{"events":[],"complete":false,"more":false,"next":"00000000000000ff-9","head":"00000000000000ff-9"}"#
    );
}

#[test]
fn events_are_counted_and_found_one_by_one() {
    let batch = |names: &[&str]| record(RecordKind::Messages, names);
    let records = [(at(5), batch(&["a", "b", "c"])), (at(9), batch(&["d"])), (at(12), batch(&["e", "f"]))];
    let beginning = "00000000000000ff-0";
    assert_eq!(read(&records, 100, beginning), ["abcdef 12"]);
    assert_eq!(read(&records, 3, beginning), ["abc 5", "def 12"]);
    assert_eq!(read(&records, 2, beginning), ["ab 4.2", "cd 9", "ef 12"]);
    assert_eq!(read(&records, 1, beginning), ["a 4.1", "b 4.2", "c 5", "d 9", "e 11.1", "f 12"]);
    assert_eq!(read(&records, 100, "00000000000000ff-11.1"), ["f 12"]);
    // The record that was known in part is gone: the next one is all new.
    assert_eq!(read(&records[1..], 100, "00000000000000ff-4.2"), ["def 12"]);
    assert_eq!(read(&records[..1], 100, "00000000000000ff-4.4294967295"), [" 5"]);
    assert_eq!(read(&records, 100, "00000000000000ff-18446744073709551615.1"), [" 12"]);
}

/// Spec §6, 7: neither who came and went nor what clients said is what a backend has published.
#[test]
fn other_records_are_left_out_and_do_not_end_the_reading() {
    let message = |name| record(RecordKind::Messages, &[name]);
    let client = record(RecordKind::ClientEvent, &["client-x"]);
    let mut records = vec![(at(1), message("a")), (at(2), presence()), (at(3), client), (at(4), message("pusher:x"))];
    records.extend((5..10).map(|sequence| (at(sequence), presence())));
    assert_eq!(read(&records, 2, "00000000000000ff-0"), ["a 2", " 4", " 6", " 8", " 9"]);
    records.push((at(10), message("b")));
    assert_eq!(read(&records, 4, "00000000000000ff-0"), ["a 4", " 8", "b 10"]);
}

proptest! {
    /// However pages fall, a reader gets every event once, in order.
    #[test]
    fn paging_loses_and_repeats_nothing(
        shapes in proptest::collection::vec((0_usize..5, 1_u64..4), 0..12),
        limit in 1_usize..6,
    ) {
        let (mut sequence, mut records, mut expected) = (0, Vec::new(), String::new());
        for (count, hole) in shapes {
            sequence += hole;
            let names: Vec<String> = (0..count).map(|i| format!("{sequence}.{i},")).collect();
            expected.extend(names.iter().map(String::as_str));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            records.push((at(sequence), if count == 0 { presence() } else { record(RecordKind::Messages, &names) }));
        }
        let pages = read(&records, limit, "00000000000000ff-0");
        let read: String = pages.iter().map(|page| page.split_once(' ').unwrap().0).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn any_records_have_a_json_answer(
        data in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6), 0..4),
        skip: u32, before: u64, sequence: u64,
    ) {
        let messages = data.into_iter().map(|data| Message { data: data.into(), ..Message::text("\"", "") }).collect();
        let record = Record { messages, ..Record::clone(&record(RecordKind::Messages, &[])) };
        let records = [(at(sequence), Arc::new(record))];
        let page = Page { records: &records, complete: true, more: false, head: at(sequence) };
        for before in [before, sequence.wrapping_sub(1)] {
            let after = EventPosition { position: at(before), skip };
            let answer = query(&format!("after={after}&limit=2")).answer(&page).body;
            prop_assert!(serde_json::from_str::<Value>(&answer).is_ok());
        }
    }
}
