//! Several edges over one backbone.

use super::api::join;
use super::*;

fn count(node: &Node, channel: &str) -> u64 {
    let path = format!("/apps/1001/channels/{channel}");
    let (_, answer) = node.api("GET", &path, &[("info", "subscription_count")], &Value::Null);
    answer["subscription_count"].as_u64().unwrap()
}

#[test]
fn counts_are_those_of_the_cluster() {
    let here = Node::start(quick());
    let mut there = here.another(quick());
    let (mut a, mut b, mut c) = (here.client(), there.client(), there.client());
    a.subscribe("room");
    b.subscribe("room");
    c.subscribe("room");
    c.subscribe("far.away");
    for node in [&here, &there] {
        eventually(|| count(node, "room") == 3, || format!("{} in the room", count(node, "room")));
        eventually(|| count(node, "far.away") == 1, || "not seen".to_owned());
        let (_, listed) = node.api("GET", "/apps/1001/channels", &[], &Value::Null);
        assert_eq!(listed, json!({ "channels": { "far.away": {}, "room": {} } }));
    }
    b.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "room" } }));
    eventually(|| count(&here, "room") == 2, || "still 3".to_owned());
    here.publish("far.away", "x");
    assert_eq!(c.next()["data"], "x");
    let readers = [b, c].map(|mut client| std::thread::spawn(move || client.close_code()));
    there.stop();
    readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 4200));
    for (channel, left) in [("room", 1), ("far.away", 0)] {
        eventually(|| count(&here, channel) == left, || format!("the drained node still counts in {channel}"));
    }
}

/// From its last sign of life: that is when its members were there for the last time.
#[test]
fn how_long_members_outlive_their_edge_is_measured() {
    const TTL: Duration = Duration::from_secs(5);
    let config = || Config { lease_ttl: TTL, ..quick() };
    let here = Node::start(config());
    let (with_members, without) = (here.another(config()), here.another(config()));
    let mut watcher = here.client();
    join(&mut watcher, "presence-room", "watcher");
    let mut member = with_members.client();
    join(&mut member, "presence-room", "member");
    assert_eq!(watcher.next()["event"], "pusher_internal:member_added");
    let mut other = without.client();
    other.subscribe("room");
    eventually(|| count(&here, "room") == 1, || "not seen".to_owned());
    let begun = Instant::now();
    with_members.kill();
    without.kill();
    assert_eq!(watcher.next()["event"], "pusher_internal:member_removed");
    eventually(|| count(&here, "room") == 0, || "believed for ever".to_owned());
    here.await_metric("fanfare_presence_sync_seconds_count", 1.0);
    let took = begun.elapsed() + TTL;
    let measured = here.metric("fanfare_presence_sync_seconds_sum");
    // A part of the lease may be over when it is seen to be renewed.
    assert!((TTL.as_secs_f64() / 2.0..took.as_secs_f64()).contains(&measured), "{measured} of {took:?}");
    here.await_metric("fanfare_presence_stale_members_total", 1.0);
}

#[test]
fn a_dead_edge_is_forgotten_and_cleaned_up_after() {
    let config = || Config { lease_ttl: Duration::from_secs(2), ..quick() };
    let here = Node::start(config());
    let dead = here.another(config());
    let mut client = dead.client();
    client.subscribe("room");
    eventually(|| count(&here, "room") == 1, || "not seen".to_owned());
    dead.kill();
    eventually(|| count(&here, "room") == 0, || "believed for ever".to_owned());
    let left = || {
        let kv = here.backbone().kv(backbone::Bucket::Occupancy);
        here.runtime.block_on(async { kv.entries().await }).unwrap().len()
    };
    eventually(|| left() == 0, || format!("{} counts left", left()));
}
