//! What quotas keep out of the hub, and what it counts.

use channels::{ClientId, Quota, QuotaKind};
use metering::usage::Counts;

use super::*;

async fn fixture(quota: Quota) -> Fixture {
    Fixture::with(&backbone::Config::default(), App { quota, ..fixtures::app() }).await
}

impl Fixture {
    fn try_subscribe(&self, peer: &Arc<Peer>, channel: &str) -> Result<Subscription, QuotaKind> {
        self.hub.subscribe(peer, &name(channel), frame::text("ok")).map_err(|refused| refused.quota)
    }

    fn try_enter(&self, peer: &Arc<Peer>, channel: &str) -> Result<Subscription, QuotaKind> {
        let user = ClientId::new("ann").unwrap();
        self.hub.enter(peer, &name(channel), user, Bytes::new()).map_err(|refused| refused.quota)
    }
}

#[tokio::test]
async fn so_many_channels_and_no_more() {
    let f = fixture(Quota { channels: Some(2), ..Quota::default() }).await;
    let (ann, bob) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let first = f.try_subscribe(&ann, "a").unwrap();
    let _second = f.try_subscribe(&ann, "b").unwrap();
    assert_eq!(f.try_subscribe(&bob, "c").unwrap_err(), QuotaKind::Channels);
    assert!(f.hub.find(&bob.app, &name("c")).is_none(), "nothing was done for it");
    let again = f.try_subscribe(&bob, "a").unwrap();
    drop(first);
    assert_eq!(f.try_subscribe(&bob, "c").unwrap_err(), QuotaKind::Channels, "a is still occupied");
    drop(again);
    let _third = f.try_subscribe(&bob, "c").unwrap();
    assert_eq!(f.meter.channels(), 2);
    let report = f.meters.report(Instant::now(), 0);
    assert_eq!(report.apps[0].counts.refused.get(QuotaKind::Channels), 2);
}

#[tokio::test]
async fn so_many_members_and_no_more() {
    let f = fixture(Quota { presence_members: Some(1), ..Quota::default() }).await;
    let (ann, bob) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let first = f.try_enter(&ann, "presence-a").unwrap();
    for channel in ["presence-a", "presence-b"] {
        assert_eq!(f.try_enter(&bob, channel).unwrap_err(), QuotaKind::PresenceMembers);
    }
    assert!(f.hub.find(&bob.app, &name("presence-b")).is_none(), "nothing was done for it");
    assert_eq!((f.meter.presence_members(), f.meter.channels()), (1, 1));
    // Who comes back at once is still there.
    drop(first);
    let first = f.try_enter(&ann, "presence-a").unwrap();
    assert_eq!(f.meter.presence_members(), 1);
    drop(first);
    let second = async {
        loop {
            match f.try_enter(&bob, "presence-b") {
                Ok(subscription) => return subscription,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let _second = tokio::time::timeout(PATIENCE, second).await.expect("the place becomes free");
    assert_eq!(f.meter.presence_members(), 1);
}

#[tokio::test]
async fn deliveries_are_counted_for_each_subscriber_that_gets_them() {
    let f = fixture(Quota::default()).await;
    let peers = [1, 2, 3].map(|number| f.peer(number, 1 << 20));
    let subscriptions = peers.each_ref().map(|peer| f.subscribe(peer, "a"));
    for peer in &peers {
        assert_eq!(next(peer).await, ["ok"]);
    }
    f.publish("a", "12345", Some(&peers[0])).await;
    f.publish("a", "1", None).await;
    assert_eq!((collect(&peers[0], 1).await, collect(&peers[1], 2).await.len()), (vec!["1".to_owned()], 2));
    // It is counted when all have it.
    let mut counts = Counts::default();
    let counted = async {
        while counts.messages_out < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            f.meters.report(Instant::now(), 0).apps.iter().for_each(|app| counts.add(&app.counts));
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("deliveries are counted");
    assert_eq!((counts.messages_out, counts.bytes_out), (5, 2 * 5 + 3));
    drop(subscriptions);
}

#[tokio::test]
async fn the_event_of_a_cache_channel_is_a_delivery_and_its_absence_is_none() {
    let f = fixture(Quota::default()).await;
    let (ann, bob) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let _first = f.subscribe(&ann, "cache-a");
    assert_eq!(collect(&ann, 2).await, ["ok", "{}"]);
    f.publish("cache-a", "123", None).await;
    assert_eq!(next(&ann).await, ["123"]);
    let _second = f.subscribe(&bob, "cache-a");
    assert_eq!(collect(&bob, 2).await, ["ok", "123"]);
    let counts = &f.meters.report(Instant::now(), 0).apps[0].counts;
    assert_eq!((counts.messages_out, counts.bytes_out), (2, 6));
}
