//! The request itself.

use std::time::Duration;

use auth::Signer;
use channels::{KeyName, Secret, Webhook};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::on_both;
use crate::support::*;

on_both!(
    signed_with_the_oldest_key,
    signed_with_the_previous_secret_while_it_is_good,
    batched_in_order,
    each_webhook_gets_what_it_wants,
);

fn check_signature(received: &Received) {
    let signer = Signer::new(KeyName::new(KEY).unwrap(), Secret::new("4b7e0c9a62d1f5833ae6").unwrap());
    assert_eq!(received.headers["x-pusher-key"], KEY);
    assert_eq!(received.headers["x-pusher-signature"], signer.webhook(&received.body));
    assert_eq!(received.headers["content-type"], "application/json");
}

async fn signed_with_the_oldest_key(variant: Variant) {
    let hook = Hook::start(Manner::Answer(204)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let _worker = site.work(config());
    let before = unix_ms();
    site.client_event("private-a", "hello \"world\" ü").await;
    hook.wait_for_requests(1).await;
    let received = hook.received().remove(0);
    check_signature(&received);
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/hook"));
    let json = received.json();
    let time = json["time_ms"].as_u64().unwrap();
    assert!((before..=unix_ms()).contains(&time));
    let expected = serde_json::json!([{
        "name": "client_event", "channel": "private-a", "event": "client-x", "data": "hello \"world\" ü",
        "socket_id": "1.2",
    }]);
    assert_eq!(json["events"], expected);
    assert_eq!(json.as_object().unwrap().len(), 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(hook.received().len(), 1, "204 is a good answer");
}

async fn signed_with_the_previous_secret_while_it_is_good(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let _worker = site.work(config());
    site.rotate("the second secret", Duration::from_secs(3600)).await;
    site.client_event("private-a", "1").await;
    hook.wait_for_requests(1).await;
    check_signature(&hook.received()[0]);
    site.rotate("the third secret", Duration::ZERO).await;
    site.client_event("private-a", "2").await;
    hook.wait_for_requests(2).await;
    let newest = Signer::new(KeyName::new(KEY).unwrap(), Secret::new("the third secret").unwrap());
    let received = &hook.received()[1];
    assert_eq!(received.headers["x-pusher-signature"], newest.webhook(&received.body));
}

/// The vector of the specification: this very body, with this very signature.
#[test]
fn vector_14() {
    let signer = Signer::new(KeyName::new(KEY).unwrap(), Secret::new("4b7e0c9a62d1f5833ae6").unwrap());
    let body = br#"{"time_ms":1730000000123,"events":[{"name":"channel_occupied","channel":"ticker.acme"}]}"#;
    assert_eq!(signer.webhook(body), "6de88692e9a96424dd9193ea04d0f89134184c82e86df5c5a2be6131a5fec734");
}

async fn batched_in_order(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let batch = Some(Duration::from_millis(300));
    let site = Site::start(variant, vec![Webhook { batch, ..webhook(&hook) }]).await;
    for number in 0..150 {
        site.client_event(&format!("private-{}", number % 3), &number.to_string()).await;
    }
    let _worker = site.work(config());
    let told = hook.wait_for(150).await;
    for channel in 0..3 {
        let numbers: Vec<_> = (0..150).filter(|number| number % 3 == channel).collect();
        let expected: Vec<_> =
            numbers.iter().map(|number| format!("client_event private-{channel} client-x {number}")).collect();
        assert_eq!(of_channel(&told, &format!("private-{channel}")), expected);
    }
    let received = hook.received();
    assert!(received.len() < 20, "{} requests", received.len());
    assert!(received.iter().any(|received| received.events().len() > 10));
    received.iter().for_each(check_signature);
}

async fn each_webhook_gets_what_it_wants(variant: Variant) {
    let (all, members) = (Hook::start(Manner::Answer(200)).await, Hook::start(Manner::Answer(200)).await);
    let filtered = Webhook {
        events: [channels::WebhookEvent::ClientEvent].into_iter().collect(),
        prefix: "presence-".to_owned(),
        headers: vec![("X-Token".to_owned(), "s3cret value".to_owned())],
        batch: Some(Duration::from_millis(50)),
        ..webhook(&members)
    };
    let site = Site::start(variant, vec![webhook(&all), filtered]).await;
    let _worker = site.work(config());
    for channel in ["private-a", "presence-a", "presence-b"] {
        site.client_event(channel, "x").await;
    }
    all.wait_for(3).await;
    let mut told = members.wait_for(2).await;
    told.sort();
    assert_eq!(told, ["client_event presence-a client-x x", "client_event presence-b client-x x"]);
    for received in members.received() {
        assert_eq!(received.headers["x-token"], "s3cret value");
        check_signature(&received);
    }
}

/// PHP code reads header names case-sensitively, so the bytes count.
#[tokio::test]
async fn header_names_are_written_as_the_protocol_writes_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a/b?c=d", listener.local_addr().unwrap());
    let site = Site::start(Variant::Memory, vec![webhook_to(&url)]).await;
    let _worker = site.work(config());
    site.client_event("private-a", "x").await;
    let (mut socket, _) = testkit::within("a connection", listener.accept()).await.unwrap();
    let mut text = String::new();
    while !text.ends_with("]}") {
        let mut chunk = [0; 4096];
        let read = testkit::within("a request", socket.read(&mut chunk)).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next(), Some("POST /a/b?c=d HTTP/1.1"));
    let headers: Vec<&str> = lines.take_while(|line| !line.is_empty()).collect();
    for name in ["Content-Type: application/json", "X-Pusher-Key: ", "X-Pusher-Signature: ", "Host: 127.0.0.1:"] {
        assert!(headers.iter().any(|header| header.starts_with(name)), "{name} in {headers:?}");
    }
    assert!(headers.contains(&"Content-Type: application/json"), "without a charset");
    assert!(headers.iter().any(|header| header.starts_with("Content-Length: ")), "not chunked: {headers:?}");
}
