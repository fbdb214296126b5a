//! Members on any channel: what followers are told of them, and what becomes of them.

use std::collections::BTreeSet;

use super::super::presence::{Node, TTL, world};
use super::*;

const ENTER: u64 = 2;
const LEAVE: u64 = 3;
const UPDATE: u64 = 4;
const LIVE: u64 = 14;
const SYNC: u64 = 16;

use PresenceAction::{Enter, Leave, Update};

fn attach(node: &Node, connection: &str, attach: Attach) -> Reader {
    Reader::new(&node.hub, &node.meter, connection, attach)
}

fn one(action: u64, user: &str, data: &str) -> (u64, Vec<(u64, String, String)>) {
    (LIVE, vec![(action, user.to_owned(), data.to_owned())])
}

/// Spec §7.2, for each medium and between two nodes.
#[tokio::test(start_paused = true)]
async fn members_come_change_and_go() {
    for medium in MEDIA {
        let world = world().await;
        let (here, there) = (Node::start(&world), Node::start(&world));
        let mut watcher = attach(&there, "w", plain("room", medium));
        watcher.attached().await;
        let mut me = attach(&here, "c0nn", plain("room", JSON));
        assert_eq!(me.attached().await, (0, None));
        me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
        let frame = me.next().await;
        let item = &frame["presence"][0];
        assert_eq!((&item["id"], &item["connectionId"]), (&json!("c0nn:0:0"), &json!("c0nn")));
        assert!(frame["channelSerial"].is_string() && item["timestamp"].is_u64());
        assert_eq!(watcher.presence().await, one(ENTER, "ann", "hi"));
        me.ask("ann", Update, "c0nn:1:0", "ho").await.unwrap();
        me.ask("ann", Enter, "c0nn:2:0", "he").await.unwrap();
        me.ask("bob", Update, "c0nn:3:0", "bob").await.unwrap();
        me.ask("ann", Leave, "c0nn:4:0", "").await.unwrap();
        me.ask("cid", Leave, "c0nn:5:0", "").await.unwrap();
        me.ask("bob", Leave, "c0nn:6:0", "bye").await.unwrap();
        for (action, user, data) in [
            (UPDATE, "ann", "ho"),
            (ENTER, "ann", "he"),
            (ENTER, "bob", "bob"),
            (LEAVE, "ann", "he"),
            (LEAVE, "bob", "bye"),
        ] {
            assert_eq!(watcher.presence().await, one(action, user, data));
            assert_eq!(me.presence().await, one(action, user, data));
        }
    }
}

/// Spec §7.3: who is there comes behind the word that somebody is, also after a resume, and in pages.
#[tokio::test(start_paused = true)]
async fn who_is_there() {
    let world = World::with(App {
        limits: channels::Limits { presence_members: 250, ..fixtures::app().limits },
        ..fixtures::app()
    })
    .await;
    let node = Node::start(&world);
    let me = attach(&node, "c0nn", with("room", JSON, &[("modes", "presence")]));
    let asked: Vec<_> = (0..230).map(|n| me.ask(&format!("u{n}"), Enter, &format!("c0nn:{n}:0"), "x")).collect();
    for asked in asked {
        asked.await.unwrap();
    }
    for medium in MEDIA {
        let mut reader = attach(&node, "r", plain("room", medium));
        let (flags, _) = reader.attached().await;
        let mut users = BTreeSet::new();
        let mut cursors = Vec::new();
        let mut serials = BTreeSet::new();
        while users.len() < 230 {
            let frame = reader.next().await;
            assert_eq!(frame["action"], SYNC);
            let items = frame["presence"].as_array().unwrap();
            assert!(items.len() <= 100);
            users.extend(items.iter().map(|item| item["clientId"].as_str().unwrap().to_owned()));
            if let Some((id, cursor)) = frame["channelSerial"].as_str().and_then(|serial| serial.split_once(':')) {
                serials.insert(id.to_owned());
                cursors.push(cursor.to_owned());
            }
        }
        if medium != Medium::Events {
            assert_eq!(flags, 1);
            assert_eq!((serials.len(), cursors), (1, vec!["1".to_owned(), "2".to_owned(), String::new()]));
            let mut resumed = attach(&node, "r", Attach { from: after(reader.serial), ..plain("room", medium) });
            assert_eq!(resumed.attached().await, (5, None));
            assert_eq!(resumed.next().await["action"], SYNC);
            reader.subscription().sync();
            assert_eq!(reader.next().await["presence"].as_array().unwrap().len(), 100);
        }
    }
    let members = node.hub.members(&fixtures::app(), &name("room")).await.unwrap();
    assert_eq!(members.len(), 230);
    assert_eq!(node.hub.counts(&fixtures::app().id, &name("room")).2.presence_connections, 1);
}

/// However many there are, the queue of a connection never holds more than it may.
#[tokio::test(start_paused = true)]
async fn a_crowd_waits_for_its_reader() {
    let limits = channels::Limits { presence_members: 2000, ..fixtures::app().limits };
    let world = World::with(App { limits, ..fixtures::app() }).await;
    let node = Node::start(&world);
    let me = attach(&node, "c0nn", with("room", JSON, &[("modes", "presence")]));
    let data = "x".repeat(100);
    for number in (0..1000).step_by(50) {
        let users = number..number + 50;
        let asked = users.map(|n| me.ask(&format!("u{n:04}"), Enter, &format!("c0nn:{n}:0"), &data));
        futures_util::future::join_all(asked).await.into_iter().for_each(|asked| asked.unwrap());
    }
    const LIMIT: usize = 64 * 1024;
    for medium in [MEDIA[0], MEDIA[1]] {
        let id = ConnectionId::new("r").unwrap();
        let peer = Arc::new(Peer::new(id, Arc::clone(&node.meter), fixtures::client(), LIMIT));
        let subscription = node.hub.attach(&peer, plain("room", medium)).unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
            assert!(peer.queue.bytes() <= LIMIT);
        }
        let mut reader = Reader { peer, subscription: Some(subscription), told: VecDeque::new(), serial: None };
        assert_eq!(reader.attached().await, (1, None));
        // Live all the while.
        publish(&world, "room", record(&["live"])).await;
        let (mut users, mut done, mut live) = (BTreeSet::new(), false, false);
        while !done {
            let frame = reader.next().await;
            if frame["action"] == 15 {
                live = true;
                continue;
            }
            done = frame["channelSerial"].as_str().unwrap().ends_with(':');
            let items = frame["presence"].as_array().unwrap();
            users.extend(items.iter().map(|item| item["clientId"].as_str().unwrap().to_owned()));
        }
        assert_eq!((users.len(), live), (1000, true));
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_mode_only_what_is_ones_own() {
    let world = world().await;
    let node = Node::start(&world);
    let mut deaf = attach(&node, "d", with("room", JSON, &[("modes", "presence,publish")]));
    let mut other = attach(&node, "o", plain("room", JSON));
    assert_eq!(deaf.attached().await.0, 0);
    other.attached().await;
    other.ask("ann", Enter, "o:0:0", "").await.unwrap();
    deaf.ask("bob", Enter, "d:0:0", "").await.unwrap();
    assert_eq!(deaf.presence().await, one(ENTER, "bob", ""));
    let mut late = attach(&node, "l", with("room", JSON, &[("modes", "subscribe")]));
    assert_eq!(late.attached().await.0, 0, "it is not told, so nothing is announced");
    other.ask("ann", Leave, "o:1:0", "").await.unwrap();
    assert!(late.rest().is_empty() && deaf.rest().is_empty());
}

/// Spec §7.2: what was said already is nothing new.
#[tokio::test(start_paused = true)]
async fn saying_the_same_again() {
    let world = world().await;
    let node = Node::start(&world);
    let mut me = attach(&node, "c0nn", plain("room", JSON));
    me.attached().await;
    me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
    me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
    me.ask("ann", Leave, "c0nn:1:0", "").await.unwrap();
    assert_eq!(me.presence().await, one(ENTER, "ann", "hi"));
    assert_eq!(me.presence().await, one(LEAVE, "ann", "hi"));
    assert!(me.rest().is_empty());
}

/// Spec §7.4: who detaches is gone at once, who is lost after a while; nobody can take that for the client's own word.
#[tokio::test(start_paused = true)]
async fn going_without_a_word() {
    let world = world().await;
    let node = Node::start(&world);
    let mut watcher = attach(&node, "w", plain("room", JSON));
    watcher.attached().await;
    for stay in [Duration::ZERO, Duration::from_millis(100)] {
        let mut me = attach(&node, "c0nn", plain("room", JSON));
        me.attached().await;
        me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
        let entered = watcher.next().await;
        let begun = tokio::time::Instant::now();
        me.leave(stay);
        let frame = watcher.next().await;
        assert!(begun.elapsed() >= stay);
        let item = &frame["presence"][0];
        assert_eq!((&item["action"], &item["data"], &item["connectionId"]), (&json!(3), &json!("hi"), &json!("c0nn")));
        assert!(!item["id"].as_str().unwrap().starts_with("c0nn"), "{item}");
        assert!(item["timestamp"].as_u64() >= entered["presence"][0]["timestamp"].as_u64());
    }
}

/// Back in time, on the same node or another one: nobody was ever away.
#[tokio::test(start_paused = true)]
async fn a_resumed_connection_keeps_its_members() {
    for same in [true, false] {
        let world = world().await;
        let (here, there) = (Node::start(&world), Node::start(&world));
        let mut watcher = attach(&here, "w", plain("room", JSON));
        watcher.attached().await;
        let mut me = attach(&here, "c0nn", plain("room", JSON));
        me.attached().await;
        me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
        me.presence().await;
        assert_eq!(watcher.presence().await, one(ENTER, "ann", "hi"));
        let serial = me.serial;
        me.leave(Duration::from_millis(300));
        let node = if same { &here } else { &there };
        let mut back = attach(node, "c0nn", Attach { from: after(serial), resumed: true, ..plain("room", JSON) });
        assert_eq!(back.attached().await, (5, None));
        assert_eq!(back.presence().await, (SYNC, vec![(1, "ann".to_owned(), "hi".to_owned())]));
        // Longer than it would have stayed.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!((watcher.rest(), back.rest()), (vec![], vec![]), "{same}");
        let roster = world.backbone.kv(Bucket::Roster).entries().await.unwrap();
        assert_eq!(roster.len(), 1, "one node holds it");
        // As it says so itself, once.
        back.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
        back.ask("ann", Leave, "c0nn:1:0", "").await.unwrap();
        assert_eq!(watcher.presence().await, one(LEAVE, "ann", "hi"));
        assert_eq!(back.presence().await, one(LEAVE, "ann", "hi"));
        assert!(watcher.rest().is_empty());
        // A move is nothing that history tells.
        let query = backbone::HistoryQuery::all(fixtures::app().id, name("room"), Tier::Recoverable);
        let records = world.backbone.history(query).await.unwrap().records;
        let loud = records.iter().filter(|stored| matches!(&stored.record.kind, RecordKind::Presence(c) if !c.quiet));
        assert_eq!(loud.count(), 2);
    }
}

/// To and fro, faster than anything is written: nobody was ever away, and in the end one node has it.
#[tokio::test(start_paused = true)]
async fn a_connection_that_moves_at_once_again() {
    for pause in [0, 1, 20, 1000] {
        let world = world().await;
        let nodes = [Node::start(&world), Node::start(&world)];
        let mut watcher = attach(&nodes[0], "w", plain("room", JSON));
        let mut far = attach(&nodes[1], "v", plain("room", JSON));
        watcher.attached().await;
        far.attached().await;
        let mut me = attach(&nodes[0], "c0nn", plain("room", JSON));
        me.attached().await;
        me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
        assert_eq!(watcher.presence().await, one(ENTER, "ann", "hi"));
        assert_eq!(far.presence().await, one(ENTER, "ann", "hi"));
        for turn in 1..9 {
            me.leave(Duration::from_secs(1));
            me = attach(&nodes[turn % 2], "c0nn", Attach { resumed: true, ..plain("room", JSON) });
            assert_eq!(me.attached().await.0, 1, "it is there");
            for _ in 0..pause * (turn % 3) {
                tokio::task::yield_now().await;
            }
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!((watcher.rest(), far.rest()), (vec![], vec![]));
        let roster = world.backbone.kv(Bucket::Roster).entries().await.unwrap();
        assert_eq!(roster.len(), 1, "one node holds it");
        assert_eq!(nodes[0].hub.members.load(Ordering::Relaxed) + nodes[1].hub.members.load(Ordering::Relaxed), 1);
        me.leave(Duration::ZERO);
        assert_eq!(watcher.presence().await, one(LEAVE, "ann", "hi"));
        assert_eq!(far.presence().await, one(LEAVE, "ann", "hi"));
    }
}

/// A newer transport takes over before the older one is known to be gone.
#[tokio::test(start_paused = true)]
async fn a_superseded_transport_takes_nobody_along() {
    let world = world().await;
    let node = Node::start(&world);
    let mut watcher = attach(&node, "w", plain("room", JSON));
    watcher.attached().await;
    let mut me = attach(&node, "c0nn", plain("room", JSON));
    me.attached().await;
    me.ask("ann", Enter, "c0nn:0:0", "").await.unwrap();
    watcher.presence().await;
    let mut back = attach(&node, "c0nn", Attach { resumed: true, ..plain("room", JSON) });
    back.attached().await;
    me.leave(Duration::ZERO);
    back.ask("ann", Leave, "c0nn:1:0", "").await.unwrap();
    assert_eq!(watcher.presence().await, one(LEAVE, "ann", ""));
    assert!(watcher.rest().is_empty());
}

#[tokio::test(start_paused = true)]
async fn so_many_users_and_no_more() {
    let mut app = fixtures::app();
    app.limits.presence_members = 2;
    let world = World::with(app).await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut me = attach(&here, "a", plain("room", JSON));
    let mut you = attach(&there, "b", plain("room", JSON));
    me.attached().await;
    you.attached().await;
    me.ask("ann", Enter, "a:0:0", "").await.unwrap();
    you.ask("bob", Enter, "b:0:0", "").await.unwrap();
    assert_eq!((me.presence().await, me.presence().await), (one(ENTER, "ann", ""), one(ENTER, "bob", "")));
    let refused = me.ask("cid", Enter, "a:1:0", "").await.unwrap_err();
    assert!(matches!(refused, PresenceRefused::Full));
    assert_eq!(ably::ErrorInfo::from(&refused).code, 91003);
    me.ask("bob", Enter, "a:2:0", "").await.expect("a user who is there");
    me.ask("bob", Leave, "a:3:0", "").await.unwrap();
    you.ask("bob", Leave, "b:1:0", "").await.unwrap();
    for action in [ENTER, LEAVE, LEAVE] {
        assert_eq!(me.presence().await, one(action, "bob", ""));
    }
    me.ask("cid", Enter, "a:4:0", "").await.expect("there is room again");
}

/// Whoever is first on any node, there are never more than there may be for longer than a moment.
#[tokio::test(start_paused = true)]
async fn the_last_place_is_taken_once() {
    let mut app = fixtures::app();
    app.limits.presence_members = 3;
    let world = World::with(app).await;
    let nodes = [Node::start(&world), Node::start(&world)];
    let mut readers = Vec::new();
    for number in 0..8 {
        let mut reader = attach(&nodes[number % 2], &format!("c{number}"), plain("room", JSON));
        reader.attached().await;
        readers.push(reader);
    }
    let asked =
        readers.iter().enumerate().map(|(n, reader)| reader.ask(&format!("u{n}"), Enter, &format!("c{n}:0:0"), ""));
    let answers = futures_util::future::join_all(asked).await;
    let entered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(entered <= 3, "{answers:?}");
    let settled = async {
        while nodes[0].hub.members(&fixtures::app(), &name("room")).await.unwrap().len() != entered {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("who was refused is not there");
}

#[tokio::test(start_paused = true)]
async fn the_apps_quota_of_members() {
    let quota = channels::Quota { presence_members: Some(1), ..channels::Quota::default() };
    let f = Fixture::with(&backbone::Config::default(), App { quota, ..fixtures::app() }).await;
    let node = Node::start(&f.world);
    let mut me = Reader::new(&node.hub, &f.meter, "a", plain("room", JSON));
    me.attached().await;
    me.ask("ann", Enter, "a:0:0", "").await.unwrap();
    assert!(matches!(me.ask("bob", Enter, "a:1:0", "").await, Err(PresenceRefused::OverQuota(_))));
    me.ask("ann", Update, "a:2:0", "").await.unwrap();
    me.ask("ann", Leave, "a:3:0", "").await.unwrap();
    let freed = async {
        while me.ask("bob", Enter, "a:4:0", "").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("the place becomes free");
    assert_eq!(f.meter.presence_members(), 1);
}

/// One roster: members of a Pusher presence channel and of the Ably protocol see each other, each in its own way.
#[tokio::test(start_paused = true)]
async fn both_protocols_are_one_room() {
    const ROOM: &str = "presence-room";
    let world = world().await;
    let node = Node::start(&world);
    let mut ann = node.enter("1.1", "ann", r#"{"name":"Ann"}"#).await;
    assert_eq!(ann.greeted().await, ["ann"]);
    let mut me = attach(&node, "c0nn", plain(ROOM, JSON));
    assert_eq!(me.attached().await, (1, None));
    let frame = me.next().await;
    let item = &frame["presence"][0];
    assert_eq!((&item["clientId"], &item["data"]), (&json!("ann"), &json!(r#"{"name":"Ann"}"#)));
    assert_eq!((&item["encoding"], &item["connectionId"]), (&json!("json"), &json!("1.1")));
    assert!(item["id"].as_str().unwrap().starts_with("1.1:"), "{item}");
    me.ask("bob", Enter, "c0nn:0:0", "text").await.unwrap();
    let (event, data) = ann.next().await;
    assert_eq!(
        (event.as_str(), &data),
        ("pusher_internal:member_added", &json!({ "user_id": "bob", "user_info": "text" }))
    );
    assert_eq!(me.presence().await, one(ENTER, "bob", "text"));
    // A second connection of a user is a member of its own, and no second user.
    let mut again = attach(&node, "c0nn2", with(ROOM, JSON, &[("modes", "presence")]));
    again.attached().await;
    again.ask("ann", Enter, "c0nn2:0:0", "").await.unwrap();
    assert_eq!(me.presence().await, one(ENTER, "ann", ""));
    ann.leave(Duration::ZERO);
    assert_eq!(me.presence().await.1[0].0, LEAVE);
    again.ask("ann", Leave, "c0nn2:1:0", "").await.unwrap();
    assert_eq!(me.presence().await, one(LEAVE, "ann", ""));
    let mut dora = node.enter("1.2", "dora", "").await;
    assert_eq!(dora.greeted().await, ["bob", "dora"]);
}

/// Members of a channel that nobody followed yet: read when somebody wants to know, and what changes meanwhile counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_read_when_somebody_asks() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let me = attach(&here, "c0nn", with("room", JSON, &[("modes", "presence")]));
    me.ask("u0", Enter, "c0nn:0:0", "").await.unwrap();
    // It follows the channel, and no members.
    let mut deaf = attach(&there, "d", with("room", JSON, &[("modes", "subscribe")]));
    deaf.attached().await;
    for round in 1..30 {
        let asked = me.ask(&format!("u{round}"), Enter, &format!("c0nn:{round}:0"), "");
        let mut reader = attach(&there, &format!("r{round}"), plain("room", JSON));
        let (flags, _) = reader.attached().await;
        assert_eq!(flags, 1);
        asked.await.unwrap();
        let mut users = BTreeSet::new();
        while users.len() < round + 1 {
            users.extend(reader.presence().await.1.into_iter().map(|(_, user, _)| user));
        }
        drop(reader);
        // Until nobody follows members any more it is known who is there.
        assert_eq!(users.len(), round + 1);
    }
}

/// Spec §18, 18: a node that dies takes its members along.
#[tokio::test(start_paused = true)]
async fn the_members_of_a_dead_node_leave() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut watcher = attach(&here, "w", plain("room", JSON));
    watcher.attached().await;
    let me = attach(&there, "c0nn", plain("room", JSON));
    me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
    assert_eq!(watcher.presence().await, one(ENTER, "ann", "hi"));
    there.stop.cancel();
    let frame = watcher.next().await;
    let item = &frame["presence"][0];
    assert_eq!((&item["action"], &item["data"]), (&json!(LEAVE), &json!("hi")));
    let id = item["id"].as_str().expect("an id, or clients stumble");
    assert!(!id.starts_with("c0nn"));
    drop(me);
}

/// A node that was taken for dead writes its members once more, which nobody there takes for news.
#[tokio::test(start_paused = true)]
async fn a_node_that_lives_on_brings_its_members_back() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut watcher = attach(&here, "w", plain("room", JSON));
    watcher.attached().await;
    let mut me = attach(&there, "c0nn", plain("room", JSON));
    me.attached().await;
    me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
    assert_eq!(me.presence().await, one(ENTER, "ann", "hi"));
    watcher.presence().await;
    let lease = facts::edge_lease_key(&there.membership.me());
    world.backbone.kv(Bucket::Leases).remove(&lease, None).await.unwrap();
    assert_eq!(watcher.presence().await, one(LEAVE, "ann", "hi"));
    assert_eq!(watcher.presence().await, one(ENTER, "ann", "hi"));
    tokio::time::sleep(TTL).await;
    assert!(me.rest().is_empty(), "it was there all the time");
    me.ask("ann", Leave, "c0nn:1:0", "").await.unwrap();
    assert_eq!(watcher.presence().await, one(LEAVE, "ann", "hi"));
}

/// What is not stored is told all the same.
#[tokio::test(start_paused = true)]
async fn members_of_a_channel_that_stores_nothing() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut watcher = attach(&there, "w", plain("tick-a", JSON));
    watcher.attached().await;
    let mut me = attach(&here, "c0nn", plain("tick-a", JSON));
    me.attached().await;
    me.ask("ann", Enter, "c0nn:0:0", "hi").await.unwrap();
    assert_eq!(watcher.presence().await, one(ENTER, "ann", "hi"));
    assert_eq!(me.presence().await, one(ENTER, "ann", "hi"));
    me.leave(Duration::ZERO);
    assert_eq!(watcher.presence().await, one(LEAVE, "ann", "hi"));
}

/// Presence is part of the one order: who resumes gets the changes it has missed, and then who is there.
#[tokio::test(start_paused = true)]
async fn missed_changes_are_replayed() {
    let world = world().await;
    let node = Node::start(&world);
    let me = attach(&node, "c0nn", plain("room", JSON));
    let mut reader = attach(&node, "r", plain("room", MEDIA[1]));
    reader.attached().await;
    let serial = reader.serial;
    drop(reader);
    me.ask("ann", Enter, "c0nn:0:0", "1").await.unwrap();
    publish(&world, "room", record(&["between"])).await;
    me.ask("ann", Update, "c0nn:1:0", "2").await.unwrap();
    let mut reader = attach(&node, "r", Attach { from: after(serial), ..plain("room", MEDIA[1]) });
    assert_eq!(reader.attached().await, (7, None));
    assert_eq!(reader.presence().await, one(ENTER, "ann", "1"));
    assert_eq!(reader.message().await, "between");
    assert_eq!(reader.presence().await, one(UPDATE, "ann", "2"));
    let (action, items) = reader.presence().await;
    assert_eq!((action, by_name(&items)), (SYNC, BTreeMap::from([("ann", "2")])));
    // One that only rewinds is told who is there, and not how they came.
    let mut rewound = attach(&node, "s", with("room", JSON, &[("rewind", "10")]));
    assert_eq!(rewound.attached().await, (3, None));
    assert_eq!(rewound.message().await, "between");
    assert_eq!(rewound.presence().await.0, SYNC);
}
