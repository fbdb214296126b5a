mod budgets;
mod cached;
mod following;
mod presence;
mod quotas;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use backbone::Publish;
use backbone::registry::AppChange;
use channels::{App, ConnectionId, Message, Namespace, Namespaces, Record, RecordKind};
use metering::{AppMeter, Meters};

use super::*;
use crate::fixtures::{self, World};
use crate::queue::Ending;
use crate::websocket::frame;

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    world: World,
    hub: Arc<Hub>,
    meters: Meters,
    /// That of the one app.
    meter: Arc<AppMeter>,
}

impl Fixture {
    async fn new() -> Self {
        Self::over(&backbone::Config::default()).await
    }

    async fn over(config: &backbone::Config) -> Self {
        Self::with(config, fixtures::app()).await
    }

    async fn with(config: &backbone::Config, app: App) -> Self {
        let meters = Meters::new(Instant::now());
        let meter = meters.meter(&app);
        let world = World::over(config, app).await;
        let parts = world.parts(Duration::from_secs(15));
        let hub = Hub::new(&Config::default(), parts, world.stop.child_token());
        Self { world, hub, meters, meter }
    }

    fn peer(&self, number: u32, limit: usize) -> Arc<Peer> {
        let id = ConnectionId::new(&format!("1.{number}")).unwrap();
        Arc::new(Peer::new(id, Arc::clone(&self.meter), fixtures::client(), limit))
    }

    fn subscribe(&self, peer: &Arc<Peer>, channel: &str) -> Subscription {
        self.hub.subscribe(peer, &name(channel), frame::text("ok")).unwrap()
    }

    async fn publish(&self, channel: &str, data: &str, exclude: Option<&Peer>) {
        let record = Record {
            id: None,
            kind: RecordKind::Messages,
            connection: exclude.map(|peer| peer.id.clone()),
            client: None,
            timestamp_ms: clock::unix_ms(),
            messages: vec![Message::text("e", data.to_owned())],
            traceparent: None,
        };
        let app = fixtures::app();
        let tier = app.tier(&name(channel));
        let publish = Publish { app: app.id, channel: name(channel), tier, record, idempotency: None };
        self.world.backbone.publish(publish).await.unwrap();
    }
}

fn name(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

/// Waits for the next frames of `peer`: `ok`, or the data of an event.
async fn next(peer: &Peer) -> Vec<String> {
    let taken = poll_fn(|cx| {
        let mut frames = VecDeque::new();
        peer.queue.take(cx, 0, &mut frames);
        if frames.is_empty() { Poll::Pending } else { Poll::Ready(frames) }
    });
    let frames = tokio::time::timeout(PATIENCE, taken).await.expect("frames in time");
    frames.iter().map(shown).collect()
}

fn shown(frame: &Frame) -> String {
    let text = String::from_utf8_lossy(&frame.bytes[2..]).into_owned();
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(event) => event["data"].as_str().unwrap().to_owned(),
        Err(_) => text,
    }
}

async fn ending(peer: &Peer) -> Ending {
    let ended = poll_fn(|cx| match peer.queue.take(cx, 0, &mut VecDeque::new()).ending {
        Some(ending) => Poll::Ready(ending),
        None => Poll::Pending,
    });
    tokio::time::timeout(PATIENCE, ended).await.expect("an ending in time")
}

/// Collects until `count` frames are there.
async fn collect(peer: &Peer, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(next(peer).await);
    }
    all
}

#[tokio::test]
async fn the_confirmation_comes_first_and_order_is_kept() {
    let f = Fixture::new().await;
    let peer = f.peer(1, 1 << 20);
    let _subscription = f.subscribe(&peer, "a");
    assert_eq!(next(&peer).await, ["ok"]);
    for i in 0..500 {
        f.publish("a", &i.to_string(), None).await;
    }
    let expected: Vec<_> = (0..500).map(|i| i.to_string()).collect();
    assert_eq!(collect(&peer, 500).await, expected);
}

#[tokio::test]
async fn joining_while_messages_flow_confirms_before_any_of_them() {
    let f = Fixture::new().await;
    let first = f.peer(0, 1 << 20);
    let _first = f.subscribe(&first, "a");
    next(&first).await;
    let mut late = Vec::new();
    for i in 0..50 {
        f.publish("a", &i.to_string(), None).await;
        let peer = f.peer(i + 1, 1 << 20);
        late.push((f.subscribe(&peer, "a"), peer));
        tokio::task::yield_now().await;
    }
    f.publish("a", "last", None).await;
    for (i, (_, peer)) in late.iter().enumerate() {
        let mut got = collect(peer, 1).await;
        while got.last().unwrap() != "last" {
            got.extend(next(peer).await);
        }
        assert_eq!(got[0], "ok");
        let mut owed: Vec<_> = (i + 1..50).map(|i| i.to_string()).collect();
        owed.push("last".to_owned());
        assert!(got[1..].ends_with(&owed), "subscriber {i} got {got:?}");
    }
}

#[tokio::test]
async fn subscribers_share_the_bytes_and_a_later_one_needs_no_round_trip() {
    let f = Fixture::new().await;
    let (a, b) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let _a = f.subscribe(&a, "a");
    assert_eq!(next(&a).await, ["ok"]);
    let _b = f.subscribe(&b, "a");
    let mut frames = VecDeque::new();
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    b.queue.take(&cx, 0, &mut frames);
    assert_eq!(frames.len(), 1, "confirmed within the call");
    f.publish("a", "x", None).await;
    let raw = async |peer: &Peer| {
        poll_fn(|cx| {
            let mut frames = VecDeque::new();
            peer.queue.take(cx, 0, &mut frames);
            frames.pop_front().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    };
    assert_eq!(raw(&a).await.bytes.as_ptr(), raw(&b).await.bytes.as_ptr());
}

#[tokio::test]
async fn the_excluded_connection_gets_nothing() {
    let f = Fixture::new().await;
    let (a, b) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let _subscriptions = (f.subscribe(&a, "a"), f.subscribe(&b, "a"));
    next(&a).await;
    next(&b).await;
    f.publish("a", "not for a", Some(&a)).await;
    f.publish("a", "for both", None).await;
    assert_eq!(next(&a).await, ["for both"]);
    assert_eq!(collect(&b, 2).await, ["not for a", "for both"]);
}

#[tokio::test]
async fn a_slow_consumer_is_cut_and_the_others_get_everything() {
    let f = Fixture::new().await;
    let (slow, quick) = (f.peer(1, 2_000), f.peer(2, 1 << 20));
    let _subscriptions = (f.subscribe(&slow, "a"), f.subscribe(&quick, "a"));
    next(&quick).await;
    for i in 0..100 {
        f.publish("a", &i.to_string(), None).await;
    }
    assert_eq!(collect(&quick, 100).await.len(), 100);
    assert_eq!(ending(&slow).await, Ending::TooSlow);
    assert!(slow.queue.bytes() <= 2_000);
}

#[tokio::test]
async fn one_who_leaves_while_attaching_is_confirmed_once_and_gets_nothing() {
    let f = Fixture::new().await;
    let (gone, stays) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    // No await in between, so the channel's task has not run.
    let _stays = f.subscribe(&stays, "a");
    for _ in 0..10 {
        drop(f.subscribe(&gone, "a"));
    }
    assert_eq!(next(&stays).await, ["ok"]);
    f.publish("a", "x", None).await;
    assert_eq!(next(&stays).await, ["x"]);
    assert_eq!(next(&gone).await, ["ok"]);
    assert_eq!(f.hub.subscriptions(&fixtures::app().id, &name("a")), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vacant_channel_lingers_then_ends() {
    let f = Fixture::new().await;
    let app = fixtures::app().id;
    let peer = f.peer(1, 1 << 20);
    let subscription = f.subscribe(&peer, "a");
    next(&peer).await;
    let channel = f.hub.find(&app, &name("a")).unwrap();
    drop(subscription);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(f.hub.find(&app, &name("a")).is_some_and(|found| Arc::ptr_eq(&found, &channel)));
    // Back in time: the same attachment, and the linger begins anew.
    drop(f.subscribe(&peer, "a"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(f.hub.find(&app, &name("a")).is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(f.hub.find(&app, &name("a")).is_none());
    // And it begins again.
    let _again = f.subscribe(&peer, "a");
    f.publish("a", "x", None).await;
    assert!(next(&peer).await.contains(&"ok".to_owned()));
}

#[tokio::test]
async fn the_ring_answers_for_what_it_saw() {
    let f = Fixture::new().await;
    let app = fixtures::app().id;
    let peer = f.peer(1, 1 << 20);
    let _subscription = f.subscribe(&peer, "a");
    next(&peer).await;
    let start = f.world.backbone.head(&app, &name("a"), Tier::Recoverable).await.unwrap();
    for data in ["1", "2", "3"] {
        f.publish("a", data, None).await;
    }
    collect(&peer, 3).await;
    let replay = f.hub.replay(&app, &name("a"), start, 2).unwrap();
    assert_eq!((replay.records.len(), replay.more), (2, true));
    let rest = f.hub.replay(&app, &name("a"), replay.records[1].0, 10).unwrap();
    assert_eq!((rest.records.len(), rest.more), (1, false));
    assert_eq!(rest.head, rest.records[0].0);
    assert!(f.hub.replay(&app, &name("b"), start, 1).is_none());
}

#[tokio::test]
async fn a_new_tier_is_told_as_a_gap() {
    let f = Fixture::new().await;
    let app = fixtures::app().id;
    let peer = f.peer(1, 1 << 20);
    let _subscription = f.subscribe(&peer, "a");
    next(&peer).await;
    let rules = vec![Namespace::new("a", Tier::Ephemeral)];
    let change = AppChange { namespaces: Some(Namespaces::new(rules).unwrap()), ..AppChange::default() };
    let mut changed = f.world.apps.changed();
    changed.mark_unchanged();
    f.world.registry.update(&app, None, &change).await.unwrap();
    changed.changed().await.unwrap();
    f.hub.recheck(&[app]);
    assert_eq!(ending(&peer).await, Ending::Missed);
}

/// What a change of the tier does to those who are there and those who come before the new attachment.
#[tokio::test]
async fn nobody_is_confirmed_between_two_attachments() {
    let f = Fixture::new().await;
    let app = fixtures::app().id;
    let (before, between) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let _before = f.subscribe(&before, "a");
    next(&before).await;
    let channel = f.hub.find(&app, &name("a")).unwrap();
    let head = f.world.backbone.head(&app, &name("a"), Tier::Recoverable).await.unwrap();
    channel.start_over();
    assert_eq!(ending(&before).await, Ending::Missed);
    let _between = f.subscribe(&between, "a");
    assert_eq!(between.queue.bytes(), 0, "not yet");
    assert!(f.hub.replay(&app, &name("a"), head, 1).is_none());
    channel.go_live(&f.hub, channel::Loaded { head, stored: true, roster: None, cached: None });
    assert_eq!(next(&between).await, ["ok"]);
}

#[tokio::test]
async fn who_waits_for_a_channel_that_cannot_be_attached_is_sent_elsewhere() {
    let f = Fixture::new().await;
    let peer = f.peer(1, 1 << 20);
    // No await until the end, so the channel's task has not run.
    let subscription = f.subscribe(&peer, "a");
    let channel = f.hub.find(&fixtures::app().id, &name("a")).unwrap();
    assert!(f.hub.remove(&channel, |channel| channel.fail(&f.hub)));
    assert!(f.hub.find(&fixtures::app().id, &name("a")).is_none());
    drop(subscription);
    let other = f.peer(2, 1 << 20);
    let _other = f.subscribe(&other, "a");
    assert_eq!(ending(&peer).await, Ending::Unavailable);
    assert_eq!(next(&other).await, ["ok"], "the next one gets a new channel");
}

/// More than the attachment buffers and the log keeps, before its task runs once.
#[tokio::test]
async fn a_gap_ends_the_subscribers_of_that_channel_only() {
    let tiny = backbone::Config { attach_buffer: 16, recoverable_messages: 1, ..backbone::Config::default() };
    let f = Fixture::over(&tiny).await;
    let (a, b) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let _subscriptions = (f.subscribe(&a, "a"), f.subscribe(&b, "b"));
    next(&a).await;
    next(&b).await;
    let start = f.world.backbone.head(&fixtures::app().id, &name("a"), Tier::Recoverable).await.unwrap();
    for i in 0..100 {
        f.publish("a", &i.to_string(), None).await;
    }
    assert_eq!(ending(&a).await, Ending::Missed);
    assert!(f.hub.replay(&fixtures::app().id, &name("a"), start, 1).is_none(), "the ring has no hole");
    f.publish("b", "x", None).await;
    assert_eq!(next(&b).await, ["x"]);
}

#[tokio::test]
async fn channels_end_with_the_hub() {
    let f = Fixture::new().await;
    let peer = f.peer(1, 1 << 20);
    let _subscriptions: Vec<_> = (0..100).map(|i| f.subscribe(&peer, &format!("c{i}"))).collect();
    assert_eq!(f.hub.occupied(&fixtures::app().id).len(), 100);
    f.world.stop.cancel();
    tokio::time::timeout(PATIENCE, f.hub.ended()).await.expect("the tasks end");
}

#[tokio::test(start_paused = true)]
async fn apps_do_not_see_each_other_and_leave_nothing_behind() {
    let f = Fixture::new().await;
    let other = AppId::new("2002").unwrap();
    let (mine, theirs) = (f.peer(1, 1 << 20), f.peer(2, 1 << 20));
    let meter = fixtures::meter(&App { id: other.clone(), ..fixtures::app() });
    let theirs = Arc::new(Peer::new(theirs.id.clone(), meter, fixtures::client(), 1 << 20));
    let subscriptions = (f.subscribe(&mine, "a"), f.subscribe(&theirs, "a"));
    assert_eq!((f.hub.occupied(&mine.app).len(), f.hub.occupied(&other).len()), (1, 1));
    assert_eq!((next(&mine).await, next(&theirs).await), (vec!["ok".to_owned()], vec!["ok".to_owned()]));
    f.publish("a", "x", None).await;
    assert_eq!(next(&mine).await, ["x"]);
    assert_eq!(theirs.queue.bytes(), frame::text("ok").bytes.len(), "nothing new");
    drop(subscriptions);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(f.hub.shards.iter().all(|shard| shard.lock().is_empty()));
}
