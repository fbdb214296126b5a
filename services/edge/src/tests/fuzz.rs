//! Whatever bytes come in: the process lives, and others notice nothing.

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};

use super::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let upgrade = "GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let head = prop_oneof![
        Just(Vec::new()),
        Just(upgrade.as_bytes().to_vec()),
        "(GET|POST|PUT) /(app|apps)/[a-z0-9%./?&=-]{0,30} HTTP/1.[01]\r\n(Content-Length: [0-9]{1,3}\r\n)?\r\n"
            .prop_map(String::into_bytes),
        "POST /app/app-key/12/abcdefgh/xhr_send HTTP/1.1\r\nContent-Length: [0-9]{1,3}\r\n\r\n\\[?"
            .prop_map(String::into_bytes),
    ];
    let frame = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..100), any::<bool>()).prop_map(
        |(first, payload, proper)| {
            let first = if proper { 0x81 } else { first };
            let length = u8::try_from(payload.len()).unwrap();
            [&[first, 0x80 | length, 0, 0, 0, 0][..], &payload].concat()
        },
    );
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec(frame, 0..10).prop_map(|frames| frames.concat()),
    ];
    (head, body).prop_map(|(head, body)| [head, body].concat())
}

#[test]
fn any_bytes_harm_nobody() {
    let node = Node::start(Config { handshake_timeout: Duration::from_secs(1), ..quick() });
    let mut other = node.client();
    other.subscribe("room");
    let mut streaming = node.stream();
    streaming.greeting();
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
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
    node.send(&json!({ "event": "pusher:ping" }));
    while streaming.frame()["event"] != "pusher:pong" {}
    assert_eq!(node.publish("room", "alive").0, 200);
    assert_eq!(other.next()["data"], "alive");
    node.await_metric(r#"fanfare_connections{protocol="pusher",transport="websocket"}"#, 1.0);
}
