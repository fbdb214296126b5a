//! Connections that have lasted long enough.

use super::*;
use crate::tests::api::join;

const ROTATED: &str = "fanfare_connections_rotated_total";

/// Long enough for a slow machine to do what comes before the end.
fn short_lived() -> Config {
    Config { max_connection_age: Duration::from_secs(5), ..quick() }
}

#[test]
fn old_connections_are_told_to_reconnect_whatever_they_speak() {
    let node = Node::start(short_lived());
    let begun = Instant::now();
    let mut pusher = node.client();
    let (mut realtime, _) = node.connected("key=app-key:app-secret");
    let mut events = node.attached("news", "");
    let mut fallback = node.stream();
    fallback.greeting();
    assert_eq!(pusher.close_code(), 4200);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    let told = realtime.last();
    assert_eq!((&told["action"], &told["error"]["code"]), (&json!(6), &json!(50320)), "{told}");
    // To its end, behind a whole event.
    while events.block().is_some() {}
    assert_eq!(fallback.close_code(), 4200);
    node.await_metric(ROTATED, 4.0);
    assert!(node.readiness.is_ready());
    node.client().check();
}

#[test]
fn nobody_sees_a_member_leave_that_comes_back() {
    let old = Node::start(short_lived());
    let new = old.another(quick());
    let mut observer = new.client();
    join(&mut observer, "presence-a", "ann");
    let mut member = old.client();
    join(&mut member, "presence-a", "bob");
    assert_eq!(observer.next()["event"], "pusher_internal:member_added");
    assert_eq!(member.close_code(), 4200);
    let mut back = new.client();
    join(&mut back, "presence-a", "bob");
    assert_eq!(new.publish("presence-a", "after").0, 200);
    assert_eq!(observer.next()["data"], "after", "neither removed nor added");
    old.await_metric(ROTATED, 1.0);
}

#[test]
fn what_is_queued_comes_first_and_without_a_limit_nobody_goes() {
    let node = Node::start(short_lived());
    let other = node.another(quick());
    let (mut client, mut stays) = (node.client(), other.client());
    client.subscribe("room");
    stays.subscribe("room");
    let publishing = std::thread::spawn(move || {
        let mut sent = 0;
        while stays.socket.can_write() && sent < 300 {
            assert_eq!(other.publish("room", &sent.to_string()).0, 200);
            assert_eq!(stays.next()["data"], sent.to_string());
            sent += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        stays.check();
    });
    // In order, without a hole, and then the close.
    let mut expected = 0;
    loop {
        match client.socket.read().unwrap() {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(event["data"], expected.to_string());
                expected += 1;
            }
            Message::Close(Some(close)) => {
                assert_eq!(u16::from(close.code), 4200);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(expected > 0);
    publishing.join().unwrap();
}
