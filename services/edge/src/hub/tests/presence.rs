//! Presence, on one node and between two.

use channels::{ClientId, EdgeId};
use serde_json::Value;

use super::*;
use crate::connections::Peer;

const ROOM: &str = "presence-room";
pub(super) const TTL: Duration = Duration::from_secs(10);

/// An edge's hub with its part of the membership running.
pub(super) struct Node {
    pub(super) hub: Arc<Hub>,
    pub(super) membership: Arc<Membership>,
    pub(super) meter: Arc<AppMeter>,
    pub(super) stop: CancellationToken,
}

impl Node {
    /// Members of its channel by the cluster's roster.
    async fn users(&self) -> Vec<String> {
        let users = self.hub.users(&fixtures::app(), &name(ROOM)).await.unwrap();
        users.iter().map(|user| user.as_str().to_owned()).collect()
    }

    pub(super) fn start(world: &World) -> Self {
        let parts = world.parts(TTL);
        let (membership, stop) = (Arc::clone(&parts.membership), world.stop.child_token());
        let hub = Hub::new(&Config::default(), parts, stop.clone());
        let (joining, following) = (Arc::clone(&membership), Arc::clone(&hub));
        let (stop_membership, stop_following) = (stop.clone(), stop.clone());
        let staying = Arc::clone(&hub);
        tokio::spawn(async move { joining.run(stop_membership, || staying.has_members()).await });
        tokio::spawn(async move { following.follow_edges(stop_following).await });
        Self { hub, membership, meter: fixtures::meter(&fixtures::app()), stop }
    }

    pub(super) async fn enter(&self, connection: &str, user: &str, info: &'static str) -> Member {
        let id = ConnectionId::new(connection).unwrap();
        let peer = Arc::new(Peer::new(id, Arc::clone(&self.meter), fixtures::client(), 1 << 20));
        let subscription =
            self.hub.enter(&peer, &name(ROOM), ClientId::new(user).unwrap(), Bytes::from_static(info.as_bytes()));
        Member { peer, subscription: Some(subscription.unwrap()), told: Vec::new() }
    }
}

/// A connection in the room.
pub(super) struct Member {
    peer: Arc<Peer>,
    subscription: Option<Subscription>,
    told: Vec<(String, Value)>,
}

impl Member {
    /// The next event and its decoded data.
    pub(super) async fn next(&mut self) -> (String, Value) {
        while self.told.is_empty() {
            let taken = poll_fn(|cx| {
                let mut frames = VecDeque::new();
                self.peer.queue.take(cx, 0, &mut frames);
                if frames.is_empty() { Poll::Pending } else { Poll::Ready(frames) }
            });
            for frame in tokio::time::timeout(PATIENCE, taken).await.expect("frames in time") {
                let start = if frame.bytes[1] < 126 { 2 } else { 4 };
                let event: Value = serde_json::from_slice(&frame.bytes[start..]).unwrap();
                let data = serde_json::from_str(event["data"].as_str().unwrap()).unwrap();
                self.told.push((event["event"].as_str().unwrap().to_owned(), data));
            }
        }
        self.told.remove(0)
    }

    pub(super) async fn greeted(&mut self) -> Vec<String> {
        let (event, data) = self.next().await;
        assert_eq!(event, "pusher_internal:subscription_succeeded");
        let ids = data["presence"]["ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    async fn told(&mut self, expected: &str, user: &str) {
        let (event, data) = self.next().await;
        assert_eq!((event.as_str(), data["user_id"].as_str().unwrap()), (expected, user));
    }

    pub(super) fn leave(&mut self, stay: Duration) {
        let mut subscription = self.subscription.take().unwrap();
        subscription.stay_for(stay);
    }
}

const ADDED: &str = "pusher_internal:member_added";
const REMOVED: &str = "pusher_internal:member_removed";

pub(super) async fn world() -> World {
    World::with(fixtures::app()).await
}

/// Spec §6: the snapshot holds the new member, everybody else is told of it once, and of its end.
#[tokio::test(start_paused = true)]
async fn members_come_and_go() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut ann = here.enter("1.1", "ann", r#"{"name":"Ann"}"#).await;
    assert_eq!(ann.greeted().await, ["ann"]);
    let mut bob = there.enter("2.1", "bob", "").await;
    assert_eq!(bob.greeted().await, ["ann", "bob"]);
    ann.told(ADDED, "bob").await;
    bob.leave(Duration::ZERO);
    ann.told(REMOVED, "bob").await;
    assert_eq!(here.hub.users(&fixtures::app(), &name(ROOM)).await.unwrap(), [ClientId::new("ann").unwrap()]);
    // Where nobody is any more the roster is read.
    assert_eq!(there.hub.users(&fixtures::app(), &name(ROOM)).await.unwrap(), [ClientId::new("ann").unwrap()]);
}

/// Spec §18, 14, 15 and 20: one user on two nodes is one member, and one that moves was never away.
#[tokio::test(start_paused = true)]
async fn a_user_on_two_nodes_is_one_member() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut watcher = here.enter("1.1", "watcher", "").await;
    watcher.greeted().await;
    let mut first = here.enter("1.2", "ann", r#""first""#).await;
    assert_eq!(first.greeted().await, ["ann", "watcher"]);
    watcher.told(ADDED, "ann").await;
    let mut second = there.enter("2.1", "ann", r#""second""#).await;
    let (_, data) = second.next().await;
    assert_eq!(data["presence"]["hash"]["ann"], "first", "what its first connection said");
    first.leave(Duration::ZERO);
    let mut last = there.enter("2.2", "last", "").await;
    assert_eq!(last.greeted().await, ["ann", "last", "watcher"]);
    watcher.told(ADDED, "last").await;
    second.leave(Duration::ZERO);
    watcher.told(REMOVED, "ann").await;
    last.told(REMOVED, "ann").await;
}

/// Who drops without a word stays for the grace: coming back within it is seen by nobody.
#[tokio::test(start_paused = true)]
async fn an_abrupt_drop_is_not_seen_if_the_user_comes_back() {
    let world = world().await;
    let node = Node::start(&world);
    let mut watcher = node.enter("1.1", "watcher", "").await;
    watcher.greeted().await;
    let mut ann = node.enter("1.2", "ann", "").await;
    ann.greeted().await;
    watcher.told(ADDED, "ann").await;
    ann.leave(Duration::from_secs(3600));
    let mut back = node.enter("1.3", "ann", "").await;
    assert_eq!(back.greeted().await, ["ann", "watcher"]);
    let mut bob = node.enter("1.4", "bob", "").await;
    assert_eq!(bob.greeted().await, ["ann", "bob", "watcher"]);
    watcher.told(ADDED, "bob").await;
    bob.leave(Duration::from_millis(50));
    watcher.told(REMOVED, "bob").await;
}

/// The limit of §16: who is too many is refused, a further connection of somebody who is there is not.
#[tokio::test(start_paused = true)]
async fn a_full_channel_refuses_new_users_only() {
    let mut app = fixtures::app();
    app.limits.presence_members = 2;
    let world = World::with(app).await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut ann = here.enter("1.1", "ann", "").await;
    ann.greeted().await;
    let mut bob = there.enter("2.1", "bob", "").await;
    bob.greeted().await;
    ann.told(ADDED, "bob").await;
    let cid = here.enter("1.2", "cid", "").await;
    let refused = poll_fn(|cx| match cid.peer.queue.take(cx, 0, &mut VecDeque::new()).aside {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    tokio::time::timeout(PATIENCE, refused).await.expect("a refusal in time");
    assert_eq!(cid.peer.queue.take_aside().refused.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), [name(ROOM)]);
    drop(cid);
    let mut again = here.enter("1.3", "bob", "").await;
    assert_eq!(again.greeted().await, ["ann", "bob"]);
    bob.leave(Duration::ZERO);
    again.leave(Duration::ZERO);
    ann.told(REMOVED, "bob").await;
    let mut dora = there.enter("2.2", "dora", "").await;
    assert_eq!(dora.greeted().await, ["ann", "dora"]);
}

/// Of users who come at the same time on many connections, each is added once, and nobody twice in a row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_joins_add_each_user_once() {
    let world = world().await;
    let nodes = [Node::start(&world), Node::start(&world), Node::start(&world)];
    let mut watcher = nodes[0].enter("9.9", "watcher", "").await;
    watcher.greeted().await;
    let mut members = Vec::new();
    for number in 0..60 {
        let node = &nodes[number % 3];
        members.push(node.enter(&format!("{}.{number}", number % 3 + 1), &format!("u{}", number / 3 % 10), "").await);
    }
    let mut added = std::collections::BTreeSet::new();
    while added.len() < 10 {
        let (event, data) = watcher.next().await;
        assert_eq!(event, ADDED);
        assert!(added.insert(data["user_id"].as_str().unwrap().to_owned()), "{data} twice");
    }
    for member in &mut members {
        assert!(member.greeted().await.contains(&"watcher".to_owned()));
    }
    members.iter_mut().for_each(|member| member.leave(Duration::ZERO));
    while !added.is_empty() {
        let (event, data) = watcher.next().await;
        assert_eq!(event, REMOVED);
        assert!(added.remove(data["user_id"].as_str().unwrap()), "{data} was not there");
    }
}

/// Spec §18, 18: a node that dies takes its members along within its lease, and nobody else's.
#[tokio::test(start_paused = true)]
async fn the_members_of_a_dead_node_are_gone() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut ann = here.enter("1.1", "ann", "").await;
    ann.greeted().await;
    let mut bob = there.enter("2.1", "bob", "").await;
    bob.greeted().await;
    ann.told(ADDED, "bob").await;
    // It ends with a member, so its lease is left to lapse.
    let gone = there.membership.me();
    there.stop.cancel();
    ann.told(REMOVED, "bob").await;
    assert!(here.membership.is_gone(&gone));
    // And the backbone forgets them, too.
    let roster = world.backbone.kv(Bucket::Roster);
    let forgotten = async {
        while !roster.list(&format!("*.*.{gone}")).await.unwrap().entries.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("the entries go in time");
}

/// What a dead node left behind is nobody's member, also for a node that never knew it.
#[tokio::test(start_paused = true)]
async fn leftovers_are_not_believed() {
    let world = world().await;
    let left =
        channels::Member { connection: ConnectionId::new("7.7").unwrap(), user: ClientId::new("ghost").unwrap() };
    let key = facts::roster_key(&fixtures::app().id, &name(ROOM), &EdgeId::from_random(7), &left);
    let value = facts::encode_member(&name(ROOM), &left, &channels::MemberData::default());
    world.backbone.kv(Bucket::Roster).put(&key, value).await.unwrap();
    let node = Node::start(&world);
    let mut ann = node.enter("1.1", "ann", "").await;
    assert_eq!(ann.greeted().await, ["ann"]);
}

/// A node that was taken for dead comes back with all its members: others see them again, its own saw nothing wrong.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_taken_for_dead_brings_its_members_back() {
    let world = world().await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut ann = here.enter("1.1", "ann", "").await;
    ann.greeted().await;
    let mut bob = there.enter("2.1", "bob", "").await;
    bob.greeted().await;
    ann.told(ADDED, "bob").await;
    let lease = facts::edge_lease_key(&there.membership.me());
    world.backbone.kv(Bucket::Leases).remove(&lease, None).await.unwrap();
    ann.told(REMOVED, "bob").await;
    ann.told(ADDED, "bob").await;
    bob.leave(Duration::ZERO);
    ann.told(REMOVED, "bob").await;
    // Bob himself was there all the time, and Ann for him, too.
    let told = poll_fn(|cx| {
        let mut frames = VecDeque::new();
        bob.peer.queue.take(cx, 0, &mut frames);
        Poll::Ready(frames.len())
    });
    assert_eq!(told.await, 0);
}

/// A node that has missed too many records to know who came and went reads the roster anew.
#[tokio::test(start_paused = true)]
async fn after_a_gap_the_roster_is_read_anew() {
    let config = backbone::Config { recoverable_messages: 1, attach_buffer: 16, ..backbone::Config::default() };
    let world = World::over(&config, fixtures::app()).await;
    let (here, there) = (Node::start(&world), Node::start(&world));
    let mut ann = here.enter("1.1", "ann", "").await;
    ann.greeted().await;
    let mut bob = there.enter("2.1", "bob", "").await;
    bob.greeted().await;
    ann.told(ADDED, "bob").await;
    // Bob leaves, and before anybody here has run again that is out of the log, and out of the buffer.
    let roster = world.backbone.kv(Bucket::Roster);
    let entry = roster.entries().await.unwrap().into_iter().find(|entry| entry.key.contains("bob")).unwrap();
    roster.remove(&entry.key, None).await.unwrap();
    for number in 0..40 {
        let app = fixtures::app();
        let record = Record {
            id: None,
            kind: RecordKind::Messages,
            connection: None,
            client: None,
            timestamp_ms: 1,
            messages: vec![Message::text("e", number.to_string())],
            traceparent: None,
        };
        let tier = app.tier(&name(ROOM));
        let publish = Publish { app: app.id, channel: name(ROOM), tier, record, idempotency: None };
        world.backbone.publish(publish).await.unwrap();
    }
    assert_eq!(ending(&ann.peer).await, Ending::Missed);
    let mut cid = here.enter("1.2", "cid", "").await;
    assert_eq!(cid.greeted().await, ["ann", "cid"]);
    assert_eq!(here.users().await, ["ann", "cid"]);
}

/// A limit that is lowered below what is there keeps nobody's second tab out.
#[tokio::test(start_paused = true)]
async fn an_over_full_channel_lets_users_who_are_there_in() {
    let world = world().await;
    let node = Node::start(&world);
    let mut ann = node.enter("1.1", "ann", "").await;
    ann.greeted().await;
    let mut bob = node.enter("1.2", "bob", "").await;
    bob.greeted().await;
    let mut lowered = fixtures::app();
    lowered.limits.presence_members = 1;
    let change = AppChange { limits: Some(lowered.limits), ..AppChange::default() };
    world.registry.update(&fixtures::app().id, None, &change).await.unwrap();
    let mut changed = world.apps.changed();
    while node.hub.apps.get(&fixtures::app().id).unwrap().limits.presence_members != 1 {
        changed.changed().await.unwrap();
    }
    let mut again = node.enter("1.3", "ann", "").await;
    assert_eq!(again.greeted().await, ["ann", "bob"]);
}

/// An attempt to write a member that is delivered when the member has long left does not bring it back.
#[tokio::test(start_paused = true)]
async fn a_late_write_brings_nobody_back() {
    let world = world().await;
    let node = Node::start(&world);
    let mut ann = node.enter("1.1", "ann", "").await;
    ann.greeted().await;
    let mut bob = node.enter("1.2", "bob", "").await;
    bob.greeted().await;
    ann.told(ADDED, "bob").await;
    let roster = world.backbone.kv(Bucket::Roster);
    let entry = roster.entries().await.unwrap().into_iter().find(|entry| entry.key.contains("bob")).unwrap();
    bob.leave(Duration::ZERO);
    ann.told(REMOVED, "bob").await;
    // What the member was written with, once more.
    assert!(roster.update(&entry.key, entry.value, 0).await.is_err());
    assert_eq!(roster.get(&entry.key).await.unwrap(), None);
}

/// Who leaves and comes back at once is confirmed by its new entry, not by the old one that is being removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_and_coming_back_is_told_in_order() {
    let world = world().await;
    let node = Node::start(&world);
    let mut watcher = node.enter("1.1", "watcher", "").await;
    watcher.greeted().await;
    let mut ann = node.enter("1.2", "ann", "").await;
    ann.greeted().await;
    watcher.told(ADDED, "ann").await;
    for _ in 0..50 {
        ann.leave(Duration::ZERO);
        let user = ClientId::new("ann").unwrap();
        ann.subscription = Some(node.hub.enter(&ann.peer, &name(ROOM), user, Bytes::new()).unwrap());
        // Either it had not begun to leave, or it has left and come back: never confirmed and then removed.
        assert_eq!(ann.greeted().await, ["ann", "watcher"]);
        assert_eq!(node.users().await, ["ann", "watcher"]);
    }
    ann.leave(Duration::ZERO);
    let mut there = true;
    while there {
        let (event, data) = watcher.next().await;
        assert_eq!(data["user_id"], "ann");
        if event == REMOVED && node.users().await == ["watcher"] {
            there = false;
        }
    }
}

/// Left and back as another user, faster than anything can be written: the first is gone, the second is there.
#[tokio::test(start_paused = true)]
async fn a_connection_may_come_back_as_somebody_else() {
    let world = world().await;
    let node = Node::start(&world);
    let mut watcher = node.enter("1.1", "watcher", "").await;
    watcher.greeted().await;
    let peer =
        Arc::new(Peer::new(ConnectionId::new("1.2").unwrap(), Arc::clone(&node.meter), fixtures::client(), 1 << 20));
    let enter = |user: &str| node.hub.enter(&peer, &name(ROOM), ClientId::new(user).unwrap(), Bytes::new()).unwrap();
    for _ in 0..5 {
        drop(enter("ann"));
        drop(enter("bob"));
    }
    let _stays = enter("cid");
    let mut there = std::collections::BTreeSet::new();
    loop {
        let (event, data) = watcher.next().await;
        let user = data["user_id"].as_str().unwrap().to_owned();
        if event == ADDED {
            assert!(there.insert(user));
        } else {
            assert!(there.remove(&user));
        }
        if there.iter().eq(["cid"]) {
            break;
        }
    }
    let users = node.hub.users(&fixtures::app(), &name(ROOM)).await.unwrap();
    assert_eq!(users.iter().map(ClientId::as_str).collect::<Vec<_>>(), ["cid", "watcher"]);
}
