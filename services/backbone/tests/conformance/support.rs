//! What the cases share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backbone::{Attachment, Backbone, Config, Delivery, Publish, Published};
use channels::{AppId, ChannelName, Message, Position, Record, RecordKind, Tier};
use testkit::{eventually, within};

pub use crate::connect::connect;

/// Messages buffered for an attachment: few, so that a test can make one fall behind.
pub const BUFFER: usize = 32;

/// Two processes' handles on one backbone.
pub struct Nodes {
    pub a: Backbone,
    pub b: Backbone,
}

pub fn config(replicas: usize) -> Config {
    Config { shards: 4, replicas, attach_buffer: BUFFER, webhook_queue_bytes: 128 << 10, ..Config::default() }
}

/// An app nobody else uses.
pub fn app() -> AppId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    AppId::new(&format!("app{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap()
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

pub fn record(text: &str) -> Record {
    Record {
        id: None,
        kind: RecordKind::Messages,
        connection: None,
        client: None,
        timestamp_ms: 1,
        messages: vec![Message::text("event", text.to_owned())],
        traceparent: None,
    }
}

pub fn publish(app: &AppId, name: &str, tier: Tier, text: &str) -> Publish {
    Publish { app: app.clone(), channel: channel(name), tier, record: record(text), idempotency: None }
}

pub async fn send(backbone: &Backbone, app: &AppId, name: &str, text: &str) -> Position {
    let published: Published = backbone.publish(publish(app, name, Tier::Recoverable, text)).await.unwrap();
    published.position.unwrap()
}

pub async fn attach(backbone: &Backbone, app: &AppId, name: &str) -> Attachment {
    attach_to(backbone, app, name, Tier::Recoverable).await
}

/// Attaches, again if the backbone does not answer in time.
pub async fn attach_to(backbone: &Backbone, app: &AppId, name: &str, tier: Tier) -> Attachment {
    eventually("an attach", || async { backbone.attach(app, &channel(name), tier).await.ok() }).await
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.messages[0].data.to_vec()).unwrap()
}

pub async fn next(attachment: &mut Attachment) -> Delivery {
    within("a delivery", attachment.next()).await
}

/// The next delivery, which must be a record; its position and text.
pub async fn next_record(attachment: &mut Attachment) -> (Option<Position>, String) {
    match next(attachment).await {
        Delivery::Record(position, record) => (position, text(&record)),
        Delivery::Gap(gap) => panic!("unexpected {gap:?}"),
    }
}

pub async fn next_texts(attachment: &mut Attachment, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    for _ in 0..count {
        texts.push(next_record(attachment).await.1);
    }
    texts
}

pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Whether nothing more comes. The only way to see that nothing happens is to look for a while.
pub async fn is_silent(attachment: &mut Attachment) -> bool {
    tokio::time::timeout(Duration::from_millis(300), attachment.next()).await.is_err()
}
