//! Members whose connection moves.

use super::*;

const PRESENCE: u64 = 14;

impl Realtime {
    fn enter(&mut self, channel: &str, serial: u64, data: &str) {
        let item = json!({ "action": 2, "data": data });
        self.send(&json!({ "action": PRESENCE, "channel": channel, "msgSerial": serial, "presence": [item] }));
        loop {
            let frame = self.next();
            if frame["action"] == ACK {
                assert_eq!((&frame["msgSerial"], &frame["count"]), (&json!(serial), &json!(1)), "{frame}");
                return;
            }
            assert_ne!(frame["action"], NACK, "{frame}");
        }
    }

    /// The next thing that a member did: which, who, and what it said.
    fn member(&mut self) -> (Value, Value, Value) {
        let mut item = self.await_action(PRESENCE)["presence"][0].take();
        (item["action"].take(), item["clientId"].take(), item["data"].take())
    }
}

/// What was told in the room of who holds which members.
fn told(node: &Node) -> String {
    let room = channels::ChannelName::new("room").unwrap();
    let query = backbone::HistoryQuery::all(fixtures::app().id, room, channels::Tier::Recoverable);
    let history = node.runtime.block_on(async { node.backbone().history(query).await }).unwrap();
    history.records.iter().map(|stored| format!("\n{:?}", stored.record.kind)).collect()
}

fn members(node: &Node) -> usize {
    let kv = node.backbone().kv(backbone::Bucket::Roster);
    node.runtime.block_on(async { kv.entries().await }).unwrap().len()
}

#[test]
fn a_member_that_moves_to_another_node_neither_leaves_nor_enters() {
    let config = || Config { ably_presence_grace: Duration::from_secs(5), ..quick() };
    let here = Node::start(config());
    let there = here.another(config());
    let (mut watcher, _) = there.connected(KEY);
    watcher.attach("room");
    let (mut bob, _) = here.connected(&format!("{KEY}&clientId=bob"));
    let attached = bob.attach("room");
    bob.enter("room", 0, "hi");
    assert_eq!(watcher.member(), (json!(2), json!("bob"), json!("hi")));
    let (mut back, _) = there.connected(&format!("{KEY}&resume={}", bob.key));
    let attached = back.attach_at("room", &attached["channelSerial"]);
    assert_eq!(attached["flags"].as_u64().unwrap() & 1, 1, "there are members");
    // Both nodes hold it, then one.
    drop(bob);
    eventually(|| members(&there) == 1, || format!("{} hold the member", members(&there)));
    watcher.check_without(PRESENCE);
    // As SDKs do: the same again, under the id that it had.
    let item = json!({ "action": 2, "data": "hi", "id": format!("{}:0:0", back.id) });
    back.send(&json!({ "action": PRESENCE, "channel": "room", "msgSerial": 1, "presence": [item] }));
    back.await_action(ACK);
    watcher.check_without(PRESENCE);
    back.send(&json!({ "action": 7 }));
    assert_eq!(watcher.member(), (json!(3), json!("bob"), json!("hi")), "at once, with what it said last");
}

#[test]
fn a_member_that_moves_to_and_fro_was_never_away() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let (mut watcher, _) = here.connected(KEY);
    watcher.attach("room");
    let (mut bob, _) = here.connected(&format!("{KEY}&clientId=bob"));
    let mut serial = bob.attach("room")["channelSerial"].clone();
    bob.enter("room", 0, "hi");
    assert_eq!(watcher.member().0, 2);
    for (time, node) in [&there, &here, &there, &here, &here].into_iter().enumerate() {
        let key = bob.key.clone();
        drop(bob);
        bob = node.connected(&format!("{KEY}&resume={key}")).0;
        let attached = bob.attach_at("room", &serial);
        let flags = attached["flags"].as_u64().unwrap();
        assert_eq!(flags & 5, 5, "at move {time}: resumed, and there are members: {attached} {}", told(&here));
        serial = attached["channelSerial"].clone();
        let item = json!({ "action": 2, "data": "hi", "id": format!("{}:0:0", bob.id) });
        bob.send(&json!({ "action": PRESENCE, "channel": "room", "msgSerial": time + 1, "presence": [item] }));
        bob.await_action(ACK);
    }
    bob.enter("room", 6, "back");
    assert_eq!(watcher.member(), (json!(2), json!("bob"), json!("back")), "{}", told(&here));
}

#[test]
fn a_member_that_does_not_come_back_leaves_after_the_grace() {
    let node = Node::start(Config { ably_presence_grace: Duration::from_millis(500), ..quick() });
    let (mut watcher, _) = node.connected(KEY);
    watcher.attach("room");
    let (mut bob, _) = node.connected(&format!("{KEY}&clientId=bob"));
    bob.attach("room");
    bob.enter("room", 0, "hi");
    assert_eq!(watcher.member().0, 2);
    let begun = Instant::now();
    let id = bob.id.clone();
    drop(bob);
    let left = watcher.await_action(PRESENCE);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    let item = &left["presence"][0];
    assert_eq!((&item["action"], &item["clientId"], &item["data"]), (&json!(3), &json!("bob"), &json!("hi")));
    let item_id = item["id"].as_str().or(left["id"].as_str()).unwrap_or_default();
    assert!(!item_id.starts_with(&id), "nobody said it: {left}");
}
