//! How streams end: behind a whole event, and with a word why.

use channels::{Namespace, Namespaces, Tier};

use super::*;

fn token(node: &Node, ttl: u64, client: &str) -> String {
    let request = json!({ "keyName": "app-key", "timestamp": now() * 1000, "ttl": ttl, "clientId": client });
    let answer = node.ably_post("/keys/app-key/requestToken", &request);
    answer.value()["token"].as_str().unwrap_or_else(|| panic!("{}", answer.value())).to_owned()
}

#[test]
fn an_expired_token_ends_it() {
    let node = Node::start(quick());
    let begun = Instant::now();
    let token = token(&node, 5000, "bob");
    let mut reader = node.events(&format!("/sse?v=1.2&channels=room&accessToken={token}"), "");
    assert_eq!(reader.last_error(), 40142);
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    node.await_metric(r#"fanfare_connections{protocol="ably",transport="sse"}"#, 0.0);
    let refused = node.exchange("GET", &format!("/sse?v=1.2&channels=room&accessToken={token}"), "", &[]);
    assert_eq!(refused.refused(), (401, 40142));
}

#[test]
fn a_revoked_token_ends_it_on_every_node() {
    let mut app = fixtures::app();
    app.keys[0].revocable_tokens = true;
    let here = Node::with_app(quick(), app);
    let there = here.another(quick());
    let (bob, eve) = (token(&here, 60_000, "bob"), token(&here, 60_000, "eve"));
    let open = |node: &Node, token: &str| {
        let mut reader = node.events(&format!("/sse?v=1.2&channels=room&access_token={token}"), "");
        reader.block();
        reader
    };
    let mut readers = [open(&here, &bob), open(&there, &bob)];
    let mut other = open(&there, &eve);
    // Tokens of the same millisecond are not issued before it.
    std::thread::sleep(Duration::from_millis(5));
    let begun = Instant::now();
    assert_eq!(here.ably_post("/keys/app-key/revokeTokens", &json!({ "targets": ["clientId:bob"] })).status, 201);
    for reader in &mut readers {
        assert_eq!(reader.last_error(), 40141);
    }
    // At once; a busy machine adds some.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    here.ably_publish("room", &json!({ "name": "n" }));
    assert_eq!(other.message()["name"], "n");
}

#[test]
fn a_drain_ends_it_behind_a_whole_event_and_it_goes_on_elsewhere() {
    let mut here = Node::start(quick());
    let there = here.another(quick());
    let mut reader = here.attached("room", "");
    here.ably_publish("room", &json!({ "name": "1" }));
    assert_eq!(reader.message()["name"], "1");
    here.shutdown.cancel();
    assert_eq!(reader.last_error(), 50320);
    there.ably_publish("room", &json!({ "name": "2" }));
    let target = format!("/sse?{KEY}&channels=room");
    let mut reader = there.events(&target, &format!("Last-Event-ID: {}\r\n", reader.last_id));
    assert_eq!(reader.message()["name"], "2");
    here.stop();
}

/// By the end of a stream, which an `EventSource` takes for a reason to come back.
#[test]
fn who_comes_behind_the_grace_is_sent_on() {
    let node = Node::start(everlasting());
    node.close();
    assert_eq!(node.events(&format!("/sse?{KEY}&channels=room"), "").last_error_of_whole(), 50320);
}

#[test]
fn a_slow_reader_is_ended_behind_a_whole_event_and_misses_nothing() {
    let tier = Tier::Persistent { retention: Duration::from_secs(3600) };
    let namespaces = Namespaces::new(vec![Namespace::new("kept-", tier)]).unwrap();
    let config = Config { send_queue_bytes: 128 * 1024, close_timeout: Duration::from_secs(10), ..quick() };
    let here = Node::with_app(config, App { namespaces, ..fixtures::app() });
    let there = here.another(quick());
    let mut reader = here.attached("kept-room", "");
    let slow = || here.metric(r#"fanfare_slow_consumers_total{action="disconnected"}"#);
    let data = "x".repeat(50_000);
    let mut published = 0;
    while slow() == 0.0 {
        assert!(published < 2000, "never slow");
        here.ably_publish("kept-room", &json!({ "name": published.to_string(), "data": data }));
        published += 1;
    }
    // Now it reads again.
    let mut next = 0;
    let code = loop {
        let event = reader.event().expect("an error before the end");
        if event.kind == "error" {
            break event.value()["code"].clone();
        }
        assert_eq!(event.value()["name"], next.to_string());
        next += 1;
    };
    assert_eq!((code, reader.event()), (json!(42916), None));
    assert!(next < published, "it has missed some");
    let target = format!("/sse?{KEY}&channels=kept-room");
    let mut reader = there.events(&target, &format!("Last-Event-ID: {}\r\n", reader.last_id));
    for number in next..published {
        assert_eq!(reader.message()["name"], number.to_string());
    }
}

#[test]
fn a_key_that_is_gone_ends_it() {
    let node = Node::start(quick());
    let mut reader = node.attached("room", "");
    node.change(&AppChange { enabled: Some(false), ..Default::default() }, |app| !app.enabled);
    assert_eq!(reader.last_error(), 40120);
}

impl Reader {
    /// The code of an answer that is no more than an error event.
    fn last_error_of_whole(mut self) -> u64 {
        let length = self.head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a whole body");
        let mut body = vec![0; length.parse().unwrap()];
        self.socket.read_exact(&mut body).unwrap();
        (self.text, self.ended) = (body, true);
        self.last_error()
    }
}
