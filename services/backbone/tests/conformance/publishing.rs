//! Publishing.

use std::time::Duration;

use backbone::{IdempotencyId, Publish, PublishError, Publisher};
use channels::{Message, Tier};

use crate::support::*;

pub async fn cases(nodes: &Nodes) {
    an_id_is_stored_once(nodes).await;
    ids_belong_to_app_and_channel(nodes).await;
    a_publisher_keeps_order(nodes).await;
    an_abandoned_publish_holds_nobody_back(nodes).await;
    too_large_is_refused(nodes).await;
    persistent_messages_are_stored(nodes).await;
}

fn with_id(publish: Publish, id: &str) -> Publish {
    Publish { idempotency: Some(IdempotencyId::new(id).unwrap()), ..publish }
}

async fn an_id_is_stored_once(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach(&nodes.b, &app, "room").await;
    let first = nodes.a.publish(with_id(publish(&app, "room", Tier::Recoverable, "x"), "conn:1")).await.unwrap();
    let again = nodes.b.publish(with_id(publish(&app, "room", Tier::Recoverable, "x"), "conn:1")).await.unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.position, again.position);
    assert_eq!(next_record(&mut attachment).await.1, "x");
    assert!(is_silent(&mut attachment).await);
}

async fn ids_belong_to_app_and_channel(nodes: &Nodes) {
    let (one, other) = (app(), app());
    for (app, name) in [(&one, "room"), (&one, "hall"), (&other, "room")] {
        let published = nodes.a.publish(with_id(publish(app, name, Tier::Recoverable, "x"), "same")).await.unwrap();
        assert!(!published.duplicate, "{app} {name}");
    }
}

async fn a_publisher_keeps_order(nodes: &Nodes) {
    let app = app();
    let publisher = Publisher::new(nodes.a.clone());
    let names = ["one", "two", "three"];
    let futures: Vec<_> =
        (0..60).map(|i| publisher.publish(publish(&app, names[i % 3], Tier::Recoverable, &i.to_string()))).collect();
    // Polled in the opposite order: the place in line is taken by the call.
    let answers = futures_util::future::join_all(futures.into_iter().rev()).await;
    let mut positions: Vec<u64> = answers.into_iter().map(|p| p.unwrap().position.unwrap().sequence).collect();
    positions.reverse();
    for channel in 0..3 {
        let of_channel: Vec<u64> = positions.iter().skip(channel).step_by(3).copied().collect();
        assert!(of_channel.is_sorted(), "{of_channel:?}");
    }
}

async fn an_abandoned_publish_holds_nobody_back(nodes: &Nodes) {
    let app = app();
    let publisher = Publisher::new(nodes.a.clone());
    drop(publisher.publish(publish(&app, "room", Tier::Recoverable, "never sent")));
    publisher.publish(publish(&app, "room", Tier::Recoverable, "sent")).await.unwrap();
}

async fn too_large_is_refused(nodes: &Nodes) {
    let app = app();
    let mut large = publish(&app, "room", Tier::Recoverable, "");
    large.record.messages = vec![Message::text("e", vec![b'x'; 2 << 20])];
    assert!(matches!(nodes.a.publish(large.clone()).await, Err(PublishError::TooLarge)));
    large.tier = Tier::Ephemeral;
    assert!(matches!(nodes.a.publish(large).await, Err(PublishError::TooLarge)));
    send(&nodes.a, &app, "room", "still fine").await;
}

async fn persistent_messages_are_stored(nodes: &Nodes) {
    let app = app();
    let tier = Tier::Persistent { retention: Duration::from_secs(3600) };
    let mut attachment = attach_to(&nodes.b, &app, "ledger", tier).await;
    for number in 0..150 {
        nodes.a.publish(publish(&app, "ledger", tier, &number.to_string())).await.unwrap();
    }
    assert_eq!(next_texts(&mut attachment, 150).await, numbers(0..150));
    let query = backbone::HistoryQuery::all(app, channel("ledger"), tier);
    assert_eq!(nodes.b.history(query).await.unwrap().records.len(), 150, "more than the recoverable tier keeps");
}
