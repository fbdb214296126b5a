//! Whatever bytes come in: the process lives, and others notice nothing.

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};

use super::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let upgrade = "GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let realtime = |format: &str| {
        let query = format!("key=app-key:app-secret&format={format}&heartbeats=true");
        Just(upgrade.replace("app/app-key?protocol=7", &format!("?{query}")).into_bytes())
    };
    let head = prop_oneof![
        Just(Vec::new()),
        Just(upgrade.as_bytes().to_vec()),
        realtime("json"),
        realtime("msgpack"),
        "GET /[?](key=[a-z:-]{0,20}&)?(resume=[a-zA-Z0-9!%_-]{0,60}&)?(v=[0-9a-z.]{0,3})? HTTP/1.1\r\n"
            .prop_map(move |head| upgrade.replace("GET /app/app-key?protocol=7 HTTP/1.1\r\n", &head).into_bytes()),
        "(GET|POST|PUT) /(app|apps)/[a-z0-9%./?&=-]{0,30} HTTP/1.[01]\r\n(Content-Length: [0-9]{1,3}\r\n)?\r\n"
            .prop_map(String::into_bytes),
        "POST /app/app-key/12/abcdefgh/xhr_send HTTP/1.1\r\nContent-Length: [0-9]{1,3}\r\n\r\n\\[?"
            .prop_map(String::into_bytes),
    ];
    let frame = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..100), any::<bool>()).prop_map(
        |(first, payload, proper)| {
            let first = if proper { 0x81 } else { first };
            masked(first, &payload)
        },
    );
    // Frames of the Ably protocol that mean something, or nearly.
    let said = (0..22_u8, prop_oneof![Just("room"), Just(""), Just("[x]y"), Just("#a")], any::<u16>(), "\\PC{0,20}");
    let said = said.prop_map(|(action, channel, serial, text)| {
        let item = json!({ "action": 2, "name": text, "data": text, "clientId": "bob" });
        let frame = json!({
            "action": action, "channel": channel, "msgSerial": serial, "channelSerial": text, "flags": serial,
            "messages": [item], "presence": [item], "auth": { "accessToken": text }, "params": { "rewind": text },
        });
        masked(0x81, frame.to_string().as_bytes())
    });
    let body = prop_oneof![
        proptest::collection::vec(said, 0..10).prop_map(|frames| frames.concat()),
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec(frame, 0..10).prop_map(|frames| frames.concat()),
    ];
    (head, body).prop_map(|(head, body)| [head, body].concat())
}

/// A client's WebSocket frame.
pub(super) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => vec![0x80 | short],
        _ => [&[0xfe][..], &u16::try_from(payload.len()).unwrap().to_be_bytes()].concat(),
    };
    [&[first][..], &length, &[0; 4], payload].concat()
}

#[test]
fn any_bytes_harm_nobody() {
    let node = Node::start(quick());
    let (mut realtime, _) = node.connected("key=app-key:app-secret");
    realtime.attach("quiet");
    let mut other = node.client();
    other.subscribe("room");
    let mut streaming = node.stream();
    streaming.greeting();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&bytes(), |bytes| {
            let mut stream = node.tcp();
            // The edge may have had enough before everything is sent.
            stream.write_all(&bytes).ok();
            stream.shutdown(std::net::Shutdown::Write).ok();
            stream.read_to_end(&mut Vec::new()).ok();
            Ok(())
        })
        .unwrap();
    other.check();
    realtime.publish("quiet", 0, "alive");
    assert_eq!(realtime.message(), "alive");
    node.send(&json!({ "event": "pusher:ping" }));
    while streaming.frame()["event"] != "pusher:pong" {}
    assert_eq!(node.publish("room", "alive").0, 200);
    // Some of those were let in and had something to say.
    while other.next()["data"] != "alive" {}
    node.await_metric(r#"fanfare_connections{protocol="pusher",transport="websocket"}"#, 1.0);
}
