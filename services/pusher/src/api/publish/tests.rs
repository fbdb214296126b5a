use auth::Query;
use channels::{App, Key};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{self, KEY, capability, key};

fn with_query<T>(query: &str, check: impl FnOnce(&Authenticated<'_>) -> T) -> T {
    let app = fixtures::app();
    check(&Authenticated { app: &app, key: &app.keys[0], query: Query::parse(query).unwrap() })
}

fn signed<'a>(app: &'a App, key: &'a Key) -> Authenticated<'a> {
    Authenticated { app, key, query: Query::parse("").unwrap() }
}

fn single(body: &str) -> Result<Event, ApiError> {
    with_query("", |signed| parse_event(body.as_bytes(), signed))
}

fn batch(body: &str) -> Result<Vec<Event>, ApiError> {
    with_query("", |signed| parse_batch(body.as_bytes(), signed))
}

/// An event in one line: name, data, encoding, channels, and what else it has.
fn shown(event: &Event) -> String {
    let data = std::str::from_utf8(&event.message.data).unwrap();
    let name = event.message.name.as_ref().unwrap();
    format!("{name} {data} {:?} {:?} {:?} {:?}", event.message.encoding, event.channels, event.exclude, event.info)
}

fn check(body: &str, expected: &str) {
    assert_eq!(shown(&single(body).unwrap()), expected, "{body}");
}

fn check_refused(body: &str, status: u16, text: &str) {
    let error = single(body).unwrap_err();
    assert_eq!((error.status(), error.to_string().as_str()), (status, text), "{body}");
}

#[test]
fn as_the_libraries_send_them() {
    // node, python, go, ruby
    check(
        r#"{"name":"price","channels":["ticker.acme"],"data":"{\"p\":101.5}"}"#,
        r#"price {"p":101.5} "" ["ticker.acme"] None None"#,
    );
    // php
    check(r#"{"name":"e","data":"x","channel":"c"}"#, r#"e x "" ["c"] None None"#);
    check(
        r#"{"name":"e","data":"x","channels":["a","b"],"socket_id":"1.2","info":"subscription_count"}"#,
        r#"e x "" ["a", "b"] Some("1.2") Some(Info { subscription_count: true, user_count: false, cache: false })"#,
    );
    check(
        r#"{"name":"e","data":"x","channels":["a"],"socket_id":null,"info":null,"more":[1]}"#,
        r#"e x "" ["a"] None None"#,
    );
}

/// Spec §18, 33.
#[test]
fn any_name_and_any_string() {
    check(
        r#"{"name":"Illuminate\\Notifications\\Events\\BroadcastNotificationCreated","channels":["private-App.User.1"],"data":""}"#,
        r#"Illuminate\Notifications\Events\BroadcastNotificationCreated  "" ["private-App.User.1"] None None"#,
    );
    check(
        r#"{"name":"client-x","channels":["a"],"data":" not json \ud83d\ude80\u0000"}"#,
        "client-x  not json 🚀\0 \"\" [\"a\"] None None",
    );
}

/// Spec §18, 13: server-to-user channels too.
#[test]
fn every_kind_of_channel() {
    for name in [
        "private-encrypted-vault",
        "presence-room",
        "cache-rates",
        "private-cache-rates",
        "private-encrypted-cache-rates",
        "presence-cache-room",
        "#server-to-user-u-42",
    ] {
        let body = format!(r#"{{"name":"e","channels":["{name}"],"data":"x","socket_id":"1.2"}}"#);
        check(&body, &format!(r#"e x "" ["{name}"] Some("1.2") None"#));
        let events = batch(&format!(r#"{{"batch":[{body}]}}"#)).unwrap();
        assert_eq!(events, [single(&body).unwrap()]);
    }
}

#[test]
fn the_old_way() {
    let parse = |query: &str, channel: &str, body: &[u8]| {
        with_query(query, |signed| parse_channel_event(channel, body, signed)).map(|event| shown(&event))
    };
    assert_eq!(parse("name=e&socket_id=1.2", "a", b"{ 1"), Ok(r#"e { 1 "" ["a"] Some("1.2") None"#.to_owned()));
    assert_eq!(parse("name=e", "presence-a", b""), Ok(r#"e  "" ["presence-a"] None None"#.to_owned()));
    for (query, channel, body, status) in [
        ("", "a", b"".as_slice(), 400),
        ("name=", "a", b"", 400),
        ("name=pusher:x", "a", b"", 400),
        ("name=e", "a b", b"", 400),
        ("name=e&socket_id=1", "a", b"", 400),
        ("name=e", "a", b"\xff", 400),
        ("name=e", "a", &[b'x'; 10_241], 413),
    ] {
        assert_eq!(parse(query, channel, body).unwrap_err().status(), status, "{query} {channel}");
    }
    let (app, listener) = (fixtures::app(), key(KEY, capability("*", "subscribe")));
    let query = Query::parse("name=e").unwrap();
    let refused = parse_channel_event("a", b"", &Authenticated { app: &app, key: &listener, query });
    assert_eq!(refused.unwrap_err().status(), 403);
}

#[test]
fn other_json_as_data_keeps_its_text() {
    check(
        "{\"name\":\"e\",\"channel\":\"a\",\"data\":{ \"n\" : 1e400,\n \"s\": \"\\u00e9 \\/\" }}",
        r#"e {"n":1e400,"s":"\u00e9 \/"} "json" ["a"] None None"#,
    );
    check(r#"{"name":"e","channel":"a","data":12.50}"#, r#"e 12.50 "json" ["a"] None None"#);
    check(r#"{"name":"e","channel":"a","data":false}"#, r#"e false "json" ["a"] None None"#);
}

#[test]
fn a_channel_named_twice_gets_it_once() {
    check(r#"{"name":"e","data":"x","channels":["b","a","b"],"channel":"a"}"#, r#"e x "" ["b", "a"] None None"#);
}

#[test]
fn refusals() {
    let shape = single("[]").unwrap_err().to_string();
    check_refused("", 400, "body is not JSON");
    check_refused("{", 400, "body is not JSON");
    for body in [
        "[]",
        "null",
        "{}",
        r#"["e","x","c"]"#,
        r#"{"name":1,"channel":"c","data":"x"}"#,
        r#"{"name":"e","channels":"c","data":"x"}"#,
        r#"{"name":"e","channels":[1],"data":"x"}"#,
        r#"{"name":"e","channel":["c"],"data":"x"}"#,
        r#"{"name":"e","channel":"c","data":"x","socket_id":1.2}"#,
        r#"{"name":"e","channel":"c","data":"x","info":[]}"#,
        r#"{"name":"e","name":"f","channel":"c","data":"x"}"#,
    ] {
        check_refused(body, 400, &shape);
    }
    for body in [r#"{"name":"e","channel":"c"}"#, r#"{"name":"e","channel":"c","data":null}"#] {
        check_refused(body, 400, r#"event has no "data""#);
    }
    check_refused(r#"{"name":"e","channel":"c","data":"\ud83d"}"#, 400, r#""data" is not Unicode"#);
    check_refused(r#"{"name":"","channel":"c","data":"x"}"#, 400, "event name must have 1 to 200 characters");
    let reserved = "event names that start with pusher: or pusher_internal: are reserved";
    check_refused(r#"{"name":"pusher:error","channel":"c","data":"x"}"#, 400, reserved);
    check_refused(r#"{"name":"e","data":"x"}"#, 400, "event names no channel");
    check_refused(r#"{"name":"e","channels":[],"data":"x"}"#, 400, "event names no channel");
    let socket = "socket_id must be two numbers joined with a dot";
    check_refused(r#"{"name":"e","channel":"c","data":"x","socket_id":""}"#, 400, socket);
    let alphabet = r#"invalid channel "a b": channel name may hold only A-Z a-z 0-9 _ - = @ , . ;"#;
    check_refused(r#"{"name":"e","channels":["a","a b"],"data":"x"}"#, 400, alphabet);
    let reserved =
        r##"invalid channel "#private-a": a channel name that starts with # must be #server-to-user- and a user id"##;
    check_refused(r##"{"name":"e","channel":"#private-a","data":"x"}"##, 400, reserved);
    assert_eq!(with_query("", |signed| parse_event(b"\xff", signed)), Err(ApiError::NotJson));
}

#[test]
fn limits_of_the_app() {
    let mut app = fixtures::app();
    app.limits = Limits {
        channel_name_chars: 4,
        event_name_chars: 2,
        event_data_bytes: 4,
        channels_per_publish: 2,
        events_per_batch: 1,
        ..Limits::default()
    };
    let signed = signed(&app, &app.keys[0]);
    let status = |body: &str| parse_event(body.as_bytes(), &signed).map_err(|error| error.status()).err();
    assert_eq!(status(r#"{"name":"éé","channels":["abcd","b"],"data":"éé"}"#), None);
    assert_eq!(status(r#"{"name":"ééé","channel":"a","data":""}"#), Some(400));
    assert_eq!(status(r#"{"name":"e","channel":"abcde","data":""}"#), Some(400));
    assert_eq!(status(r#"{"name":"e","channels":["a","b","c"],"data":""}"#), Some(400));
    assert_eq!(status(r#"{"name":"e","channel":"a","data":"ééx"}"#), Some(413));
    assert_eq!(status(r#"{"name":"e","channel":"a","data":[1,2]}"#), Some(413));
    assert_eq!(status(r#"{"name":"e","channel":"a","data":[1 , 2 ]}"#), Some(413));
    assert_eq!(status(r#"{"name":"e","channel":"a","data":[  12  ]}"#), None);
    let event = r#"{"name":"e","channel":"a","data":"ééx"}"#;
    let parse = |body: &str| parse_batch(body.as_bytes(), &signed).map_err(|error| error.status()).err();
    assert_eq!(parse(&format!(r#"{{"batch":[{event}]}}"#)), Some(413));
    assert_eq!(parse(&format!(r#"{{"batch":[{event},{event}]}}"#)), Some(400));
}

#[test]
fn the_key_must_be_allowed_to_publish_everywhere() {
    let app = fixtures::app();
    let key = key(KEY, capability("a", "publish"));
    let signed = signed(&app, &key);
    assert!(parse_event(br#"{"name":"e","channel":"a","data":""}"#, &signed).is_ok());
    let refused = parse_event(br#"{"name":"e","channels":["a","b"],"data":""}"#, &signed).unwrap_err();
    assert_eq!((refused.status(), refused.to_string().as_str()), (403, r#"the key may not publish on channel "b""#));
}

#[test]
fn a_batch_is_checked_whole() {
    let good = r#"{"name":"a","channel":"c1","data":"1"}"#;
    let events =
        batch(&format!(r#"{{"batch":[{good},{{"name":"b","channel":"c2","data":"2","info":"x"}}]}}"#)).unwrap();
    let shown: Vec<_> = events.iter().map(shown).collect();
    let info = "Some(Info { subscription_count: false, user_count: false, cache: false })";
    assert_eq!(shown, [r#"a 1 "" ["c1"] None None"#.to_owned(), format!(r#"b 2 "" ["c2"] None {info}"#)]);
    let error = batch(&format!(r#"{{"batch":[{good},{{"name":"b","channel":"c2"}}]}}"#)).unwrap_err();
    assert_eq!((error.status(), error.to_string().as_str()), (400, r#"event 1 of the batch: event has no "data""#));
    assert_eq!(batch(r#"{"batch":[]}"#), Ok(vec![]));
    for body in ["{}", "[]", r#"{"batch":{}}"#, good] {
        assert_eq!(batch(body).unwrap_err().status(), 400, "{body}");
    }
    assert_eq!(batch(r#"{"batch":[1]}"#).unwrap_err().status(), 400);
    assert_eq!(batch("{\"batch\":[").unwrap_err(), ApiError::NotJson);
}

/// Spec §18, 22.
#[test]
fn answers() {
    let counts = |channel: &ChannelName| Counts { subscriptions: channel.as_str().len() as u64, users: 0 };
    let event = |body: &str| event_answer(&single(body).unwrap(), counts);
    assert_eq!(event(r#"{"name":"e","channel":"a","data":""}"#), "{}");
    assert_eq!(
        event(r#"{"name":"e","channels":["a","bb"],"data":"","info":"subscription_count,user_count"}"#),
        r#"{"channels":{"a":{"subscription_count":1},"bb":{"subscription_count":2}}}"#
    );
    assert_eq!(event(r#"{"name":"e","channel":"a","data":"","info":"nothing"}"#), r#"{"channels":{"a":{}}}"#);
    assert_eq!(
        event(
            r##"{"name":"e","channels":["#server-to-user-u","cache-a"],"data":"","info":"subscription_count,cache"}"##
        ),
        r##"{"channels":{"#server-to-user-u":{},"cache-a":{"subscription_count":7}}}"##
    );
    let batch = |body: &str| batch_answer(&batch(body).unwrap(), counts);
    let (plain, asking) = (
        r#"{"name":"e","channel":"a","data":""}"#,
        r#"{"name":"e","channel":"bb","data":"","info":"subscription_count"}"#,
    );
    assert_eq!(batch(&format!(r#"{{"batch":[{plain},{plain}]}}"#)), "{}");
    let answer = r#"{"batch":[{},{"subscription_count":2}]}"#;
    assert_eq!(batch(&format!(r#"{{"batch":[{plain},{asking}]}}"#)), answer);
}

/// Spec §18, 34.
#[test]
fn the_record_carries_the_exclusion() {
    let record = single(r#"{"name":"e","channel":"a","data":"x","socket_id":"1.2"}"#).unwrap().record(7);
    assert_eq!(record.connection.unwrap().as_str(), "1.2");
    assert_eq!((record.kind, record.timestamp_ms), (RecordKind::Messages, 7));
    assert_eq!(record.messages, [Message::text("e", "x")]);
}

proptest! {
    #[test]
    fn any_body_is_answered(body in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        r#"\{"name":"[a-z\\"]{0,4}","channels?":\[?"[a-z" ,-]{0,6}\]?,"data":[{}\[\]":0-9a-e\\ ]{0,8}\}"#.prop_map(String::into_bytes),
        r#"\{"batch":\[(\{"name":"a","channel":"c","data":[0-9"\\]{0,4}\},?){0,12}\]\}"#.prop_map(String::into_bytes),
    ]) {
        let app = fixtures::app();
        let signed = signed(&app, &app.keys[0]);
        match parse_event(&body, &signed) {
            Ok(event) => prop_assert!(!event.channels.is_empty()),
            Err(error) => prop_assert!(matches!(error.status(), 400 | 413)),
        }
        match parse_batch(&body, &signed) {
            Ok(events) => prop_assert!(events.len() <= app.limits.events_per_batch),
            Err(error) => prop_assert!(matches!(error.status(), 400 | 413)),
        }
    }

    /// From a library's body to a subscriber's socket, every character of the data is kept.
    #[test]
    fn data_arrives_exactly(data in any::<String>()) {
        let body = serde_json::json!({ "name": "e", "channel": "c", "data": data }).to_string();
        let event = single(&body).unwrap();
        let frames = crate::encode_record(&event.channels[0], &event.record(0), None);
        let frame: serde_json::Value = serde_json::from_str(&frames[0]).unwrap();
        prop_assert_eq!(&frame["data"], &serde_json::Value::String(data));
    }
}
