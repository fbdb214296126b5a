//! What a stream is made of, and what is refused.

use channels::{Quota, QuotaKind};
use proto::control::node_order::ListConnections;

use super::super::ably_rest::bearer;
use super::super::api::join;
use super::*;

#[test]
fn messages_come_as_they_are_published() {
    let node = Node::start(quick());
    let mut reader = node.attached("room,other", "");
    for header in
        ["content-type: text/event-stream\r\n", "cache-control: no-store", "access-control-allow-origin: *\r\n"]
    {
        assert!(reader.head.contains(header), "{}", reader.head);
    }
    node.ably_publish(
        "room",
        &json!([{ "name": "n", "data": { "a": 1 }, "clientId": "bob" }, { "data": "line\nbreak" }]),
    );
    let first = reader.message();
    assert_eq!(
        (&first["channel"], &first["name"], &first["data"], &first["encoding"], &first["clientId"]),
        (&json!("room"), &json!("n"), &json!(r#"{"a":1}"#), &json!("json"), &json!("bob"))
    );
    assert!(first["id"].as_str().unwrap().ends_with(":0") && first["timestamp"].is_u64());
    assert_eq!(reader.message()["data"], "line\nbreak");
    // Only within a channel is there an order.
    node.ably_publish("other", &json!({ "data": "x" }));
    assert_eq!(reader.message()["channel"], "other");

    let mut bare = node.attached("room", "enveloped=false");
    node.ably_publish("room", &json!({ "data": "just\nthis" }));
    assert_eq!(bare.event().unwrap(), Event { kind: "message".to_owned(), data: "just\nthis".to_owned() });
    assert_eq!(reader.message()["data"], "just\nthis");
    // What a Pusher backend publishes comes, too.
    assert_eq!(node.publish("other", "from there").0, 200);
    assert_eq!(reader.message()["data"], "from there");
}

#[test]
fn lines_of_json_for_those_who_want_no_events() {
    let node = Node::start(quick());
    node.ably_publish("room", &json!({ "name": "n" }));
    let target = format!("/event-stream?{KEY}&channel=room&rewind=1");
    let mut events = node.events(&target, "Accept: text/event-stream\r\n");
    assert_eq!(events.message()["name"], "n");
    let mut lines = node.events(&target, "");
    assert!(lines.head.contains("content-type: application/x-ndjson\r\n"), "{}", lines.head);
    while !lines.text.ends_with(b"\n") {
        lines.fill().unwrap();
    }
    let line = String::from_utf8(lines.text).unwrap();
    let value: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    assert_eq!((&value["event"], &value["data"]["name"]), (&json!("message"), &json!("n")));
}

#[test]
fn a_silent_stream_shows_that_it_is_alive() {
    let node = Node::start(Config { sse_keep_alive: Duration::from_millis(50), ..quick() });
    let mut reader = node.attached("room", "");
    assert_eq!(reader.block().unwrap(), ":keepalive\n\n");
    assert_eq!(reader.block().unwrap(), ":keepalive\n\n");
    let mut reader = node.attached("room", "heartbeats=true");
    assert_eq!(reader.event().unwrap().kind, "heartbeat");
}

#[test]
fn presence_for_those_who_ask_for_it() {
    let node = Node::start(quick());
    let (mut ann, mut bob) = (node.client(), node.client());
    join(&mut ann, "presence-room", "ann");
    let mut without = node.attached("presence-room", "");
    // Who is there comes first of all.
    let target = format!("/sse?{KEY}&channels=presence-room&modes=subscribe,presence_subscribe");
    let mut reader = node.events(&target, "");
    let event = reader.event().unwrap();
    assert_eq!(
        (event.kind.as_str(), &event.value()["action"], &event.value()["clientId"]),
        ("presence", &json!(1), &json!("ann"))
    );
    join(&mut bob, "presence-room", "bob");
    let event = reader.event().unwrap();
    assert_eq!(
        (event.kind.as_str(), &event.value()["action"], &event.value()["clientId"]),
        ("presence", &json!(2), &json!("bob"))
    );
    assert_eq!(event.value()["channel"], "presence-room");
    node.ably_publish("presence-room", &json!({ "name": "n" }));
    assert_eq!((reader.message()["name"].clone(), without.message()["name"].clone()), (json!("n"), json!("n")));
}

/// A browser says that a stream is open when it has the head, and whoever hears that publishes.
#[test]
fn whatever_is_published_once_the_head_is_there_comes() {
    let node = Node::start(quick());
    for number in 0..20 {
        let mut reader = node.events(&format!("/sse?{KEY}&channels=a{number},b{number}"), "");
        node.ably_publish(&format!("b{number}"), &json!({ "name": "n" }));
        assert_eq!(reader.message()["name"], "n");
    }
}

#[test]
fn members_of_any_channel_are_told() {
    let node = Node::start(quick());
    let target = format!("/sse?{KEY}&channels=room&modes=subscribe,presence_subscribe");
    let mut reader = node.events(&target, "");
    let mut bob = node.upgraded("/?key=app-key:app-secret&v=6&clientId=bob&format=json");
    bob.send(&json!({ "action": 10, "channel": "room" }));
    bob.send(&json!({ "action": 14, "channel": "room", "msgSerial": 0, "presence": [{ "action": 2, "data": "hi" }] }));
    let event = reader.event().unwrap();
    assert_eq!(
        (event.kind.as_str(), &event.value()["action"], &event.value()["data"]),
        ("presence", &json!(2), &json!("hi"))
    );
    bob.send(&json!({ "action": 12, "channel": "room" }));
    let event = reader.event().unwrap();
    assert_eq!((&event.value()["action"], &event.value()["clientId"]), (&json!(3), &json!("bob")));
}

#[test]
fn what_is_wrong_from_the_start_is_an_http_error() {
    let node = Node::start(quick());
    let token = json!({ "keyName": "app-key", "timestamp": now() * 1000, "capability": json!({ "other": ["*"], "room": ["publish"] }).to_string() });
    let token = node.ably_post("/keys/app-key/requestToken", &token).value();
    let bearer = bearer(token["token"].as_str().unwrap());
    for (target, headers, expected) in [
        ("/sse?channels=room&v=1.2", "", (401, 40101)),
        ("/sse?channels=room&v=1.2&key=app-key:wrong", "", (401, 40101)),
        ("/sse?channels=room&key=app-key:app-secret", "", (400, 40017)),
        ("/sse?v=1.2&key=app-key:app-secret", "", (400, 40003)),
        ("/sse?channels=%5Bbad&v=1.2&key=app-key:app-secret", "", (400, 40010)),
        ("/sse?channels=room&v=1.2&key=app-key:app-secret&rewind=x", "", (400, 40000)),
        ("/event-stream?channels=room&v=1.2", bearer.as_str(), (401, 40160)),
        ("/sse?channels=other,room&v=1.2", bearer.as_str(), (401, 40160)),
    ] {
        let answer = node.exchange("GET", target, headers, &[]);
        assert_eq!(answer.refused(), expected, "{target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(node.exchange("POST", "/sse", "", &[]).refused(), (405, 40500));
    let mut allowed = node.events("/sse?channels=other&v=1.2", &bearer);
    assert!(allowed.block().unwrap().contains("retry: "));
}

#[test]
fn a_stream_is_a_connection() {
    let quota = Quota { connections: Some(1), ..Quota::default() };
    let node = Node::with_app(quick(), App { quota, ..fixtures::app() });
    let reader = node.attached("room", "");
    let series = r#"fanfare_connections{protocol="ably",transport="sse"}"#;
    node.await_metric(series, 1.0);
    let order = ListConnections { app_id: "1001".to_owned(), most: 10, ..ListConnections::default() };
    let listed = node.host.connections(&order).items;
    assert_eq!((listed.len(), listed[0].subscriptions), (1, 1), "{listed:?}");
    let status = || node.ably_get("/channels/room").value()["status"]["occupancy"]["metrics"].clone();
    assert_eq!(
        (&status()["connections"], &status()["subscribers"], &status()["publishers"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let refused = node.exchange("GET", &format!("/sse?{KEY}&channels=room"), "", &[]);
    assert_eq!((refused.refused().0, refused.header("retry-after").is_some()), (429, true));
    assert!(
        node.metric(&format!(r#"fanfare_quota_rejected_total{{quota="{}"}}"#, QuotaKind::Connections.name())) >= 1.0
    );
    drop(reader);
    node.await_metric(series, 0.0);
    eventually(|| status()["connections"] == 0, || status().to_string());
    eventually(|| node.host.load().connections == 0, || format!("{:?}", node.host.load()));
    node.attached("room", "");
}
