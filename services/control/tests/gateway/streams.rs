//! Answers that go on.

use std::time::Duration;

use control::Config;
use proto::control::{TailEvent, TailKind};
use serde_json::{Value, json};
use testkit::{eventually, within};

use crate::http::Http;
use crate::node::Node;
use crate::support::{Plane, config, memory};

#[tokio::test]
async fn usage_comes_line_by_line_until_the_server_stops() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    http.good("POST", "/v1/apps", Some(json!({ "id": "1" }))).await;
    let mut watch = http.begin("GET", "/v1/apps/1/usage:watch", &[], "").await;
    assert_eq!(watch.answer.headers()["content-type"], "application/x-ndjson");
    for _ in 0..2 {
        let line = watch.piece().await.unwrap();
        let usage: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!((&usage["connections"], &usage["refused"]), (&json!(0), &json!({})));
        assert!(usage["time_ms"].as_u64().unwrap() > 0);
    }
    within("the server to stop", plane.stop()).await;
    while watch.piece().await.is_some() {}
}

#[tokio::test]
async fn a_stream_that_is_refused_is_an_error_like_any() {
    let plane = Plane::start().await;
    assert_eq!(Http::admin(&plane).get("/v1/apps/none/usage:watch").await.refusal(), (404, "NO_SUCH_APP"));
    assert_eq!(Http::nobody(&plane).get("/v1/apps/none/tail").await.refusal(), (401, "NO_TOKEN"));
}

#[tokio::test]
async fn a_tail_as_events_ends_when_its_client_leaves() {
    let backbone = memory();
    // Nothing is said for longer than a connection may be silent.
    let config = Config { silence_timeout: Duration::from_secs(4), ..config() };
    let plane = Plane::start_with(config, &backbone).await;
    let node = Node::start(&backbone, &[]).await;
    let http = Http::admin(&plane);
    http.good("POST", "/v1/apps", Some(json!({ "id": "1" }))).await;
    let tail = "/v1/apps/1/tail?events_per_second=7";
    let mut tail = http.begin("GET", tail, &[("accept", "text/event-stream")], "").await;
    assert_eq!(tail.answer.headers()["content-type"], "text/event-stream");
    for _ in 0..8 {
        assert_eq!(tail.piece().await.unwrap(), ":\n\n", "a sign of life");
    }
    eventually("the node to be asked", || async { (!node.clients.taps.lock().is_empty()).then_some(()) }).await;
    node.clients.taps.lock()[0].tell(|| TailEvent {
        kind: TailKind::Published.into(),
        channel: "a".to_owned(),
        ..TailEvent::default()
    });
    let event = loop {
        let piece = tail.piece().await.unwrap();
        if piece != ":\n\n" {
            break piece;
        }
    };
    let event: Value =
        serde_json::from_str(event.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap()).unwrap();
    assert_eq!((&event["kind"], &event["channel"]), (&json!("TAIL_KIND_PUBLISHED"), &json!("a")));
    drop(tail);
    eventually("the tail to be over", || async { node.clients.taps.lock()[0].is_over().then_some(()) }).await;
}

#[tokio::test]
async fn a_backup_comes_in_pieces_and_ends() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    http.good("POST", "/v1/apps", Some(json!({ "id": "kept" }))).await;
    let mut backup = http.begin("GET", "/v1/registry/backup?everything=true", &[], "").await;
    assert_eq!(backup.answer.status(), 200);
    let mut text = String::new();
    while let Some(piece) = backup.piece().await {
        text.push_str(&piece);
    }
    let pieces: Vec<Value> =
        text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!pieces.is_empty());
    assert!(pieces.iter().all(|piece| piece["data"].as_str().is_some_and(|data| !data.is_empty())), "{text}");
}
