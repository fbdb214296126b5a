//! Cache channels.

use super::*;

async fn subscribed(f: &Fixture, number: u32, channel: &str) -> (Arc<Peer>, Subscription) {
    let peer = f.peer(number, 1 << 20);
    let subscription = f.subscribe(&peer, channel);
    (peer, subscription)
}

/// Spec §5: the last event comes straight after the confirmation, or word that there is none.
#[tokio::test]
async fn a_subscriber_gets_the_last_event_first() {
    let f = Fixture::new().await;
    let (first, _first) = subscribed(&f, 1, "cache-rates").await;
    assert_eq!(collect(&first, 2).await, ["ok", "{}"]);
    f.publish("cache-rates", "1", None).await;
    f.publish("cache-rates", "2", None).await;
    assert_eq!(collect(&first, 2).await, ["1", "2"]);
    let (second, _second) = subscribed(&f, 2, "cache-rates").await;
    assert_eq!(collect(&second, 2).await, ["ok", "2"]);
    f.publish("cache-rates", "3", None).await;
    assert_eq!(collect(&second, 1).await, ["3"], "live once, and not from the cache too");
}

/// Spec §5: published with no subscriber, and for everybody but one, it is cached all the same.
#[tokio::test]
async fn what_nobody_here_saw_is_read_from_the_history() {
    let f = Fixture::new().await;
    let excluded = f.peer(1, 1 << 20);
    f.publish("private-cache-a", "1", Some(&excluded)).await;
    let _subscription = f.subscribe(&excluded, "private-cache-a");
    assert_eq!(collect(&excluded, 2).await, ["ok", "1"]);
    let app = fixtures::app();
    let cached = f.hub.cached(&app, &name("private-cache-a")).await.unwrap().unwrap();
    assert_eq!(cached.message().unwrap().data, "1");
    assert!(f.hub.cached(&app, &name("cache-nothing")).await.unwrap().is_none());
}

/// Spec §5: client events are never cached.
#[tokio::test]
async fn client_events_are_not_cached() {
    let f = Fixture::new().await;
    f.publish("private-cache-a", "1", None).await;
    let (peer, _subscription) = subscribed(&f, 1, "private-cache-a").await;
    assert_eq!(collect(&peer, 2).await, ["ok", "1"]);
    let record = Record {
        id: None,
        kind: RecordKind::ClientEvent,
        connection: None,
        client: None,
        timestamp_ms: 1,
        messages: vec![Message::text("client-a", "2")],
        traceparent: None,
    };
    let app = fixtures::app().id;
    let channel = name("private-cache-a");
    let publish = Publish { app, channel, tier: Tier::Ephemeral, record, idempotency: None };
    f.world.backbone.publish(publish).await.unwrap();
    assert_eq!(collect(&peer, 1).await, ["2"]);
    let (late, _late) = subscribed(&f, 2, "private-cache-a").await;
    assert_eq!(collect(&late, 2).await, ["ok", "1"]);
}

/// Spec §16: the cache lasts 30 minutes.
#[tokio::test]
async fn an_old_event_is_none() {
    let f = Fixture::new().await;
    let record = Record {
        id: None,
        kind: RecordKind::Messages,
        connection: None,
        client: None,
        timestamp_ms: clock::unix_ms() - 31 * 60 * 1000,
        messages: vec![Message::text("e", "old")],
        traceparent: None,
    };
    let (app, channel) = (fixtures::app(), name("cache-a"));
    let tier = app.tier(&channel);
    let publish = Publish { app: app.id.clone(), channel: channel.clone(), tier, record, idempotency: None };
    f.world.backbone.publish(publish).await.unwrap();
    let (peer, _subscription) = subscribed(&f, 1, "cache-a").await;
    assert_eq!(collect(&peer, 2).await, ["ok", "{}"]);
    assert!(f.hub.cached(&app, &channel).await.unwrap().is_none());
}
