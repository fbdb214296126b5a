//! What a channel has held.

use super::*;

fn events(node: &Node, channel: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
    get(node, &format!("/apps/1001/channels/{channel}/events"), parameters)
}

fn data(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|event| event["data"].as_str().unwrap()).collect()
}

/// With and without a subscriber: from the ring and from the backbone, the same answers.
#[test]
fn history_catches_up_from_a_position() {
    let node = Node::start(quick());
    let mut client = node.client();
    for channel in ["cold", "warm"] {
        if channel == "warm" {
            client.subscribe(channel);
        }
        let start = events(&node, channel, &[]).1["head"].as_str().unwrap().to_owned();
        for i in 0..5 {
            node.publish(channel, &i.to_string());
        }
        let (status, answer) = events(&node, channel, &[("after", &start)]);
        assert_eq!((status, data(&answer)), (200, vec!["0", "1", "2", "3", "4"]));
        assert_eq!((&answer["complete"], &answer["more"]), (&json!(true), &json!(false)));
        assert_eq!(answer["head"], answer["events"][4]["position"]);
        assert_eq!(answer["events"][0]["name"], "e");
        let (_, first) = events(&node, channel, &[("after", &start), ("limit", "2")]);
        assert_eq!((data(&first), &first["more"]), (vec!["0", "1"], &json!(true)));
        assert_eq!(first["next"], first["events"][1]["position"]);
        let next = first["next"].as_str().unwrap();
        let (_, rest) = events(&node, channel, &[("after", next)]);
        assert_eq!((data(&rest), &rest["more"]), (vec!["2", "3", "4"], &json!(false)));
    }
    let (_, other_life) = events(&node, "warm", &[("after", "0000000000000001-5")]);
    assert_eq!((data(&other_life), &other_life["complete"]), (vec![], &json!(false)));
    assert_eq!(events(&node, "warm", &[("after", "x")]).0, 400);
    assert_eq!(events(&node, "warm", &[("limit", "0")]).0, 400);
    assert_eq!(events(&node, "tick-a", &[]).0, 400);
    // Nor from memory, with a position of this very life.
    let mut other = node.client();
    other.subscribe("tick-a");
    let head = events(&node, "warm", &[]).1["head"].as_str().unwrap().to_owned();
    assert_eq!(events(&node, "tick-a", &[("after", &head)]).0, 400);
    assert_eq!(events(&node, "a%20b", &[]).0, 400);
}

/// The position of every event that a client gets is one to go on from, also in the middle of what was published
/// together.
#[test]
fn a_client_catches_up_behind_any_event_it_got() {
    let node = Node::start(quick());
    let mut client = node.client();
    let event = |data: String| json!({ "name": "e", "channel": "room", "data": data });
    client.subscribe("room");
    for batch in 0..2 {
        let events: Vec<_> = (0..3).map(|i| event(format!("{batch}.{i}"))).collect();
        node.api("POST", "/apps/1001/batch_events", &[], &json!({ "batch": events }));
    }
    let got: Vec<Value> = (0..6).map(|_| client.next()).collect();
    let check = || {
        for (index, frame) in got.iter().enumerate() {
            let position = frame["position"].as_str().unwrap();
            let (_, missed) = events(&node, "room", &[("after", position)]);
            let expected: Vec<_> = got[index + 1..].iter().map(|frame| frame["data"].as_str().unwrap()).collect();
            assert_eq!(data(&missed), expected, "{position}");
            let positions = missed["events"].as_array().unwrap().iter().map(|event| &event["position"]);
            assert!(positions.eq(got[index + 1..].iter().map(|frame| &frame["position"])));
            assert_eq!((&missed["complete"], &missed["more"]), (&json!(true), &json!(false)));
        }
    };
    check();
    drop(client);
    eventually(|| get(&node, "/apps/1001/channels/room", &[]).1["occupied"] == false, || "occupied".to_owned());
    check();
}

/// Page by page, to the end.
fn read(node: &Node, channel: &str, limit: &str) -> (Vec<String>, usize) {
    let start = "0000000000000000-0";
    let mut after = events(node, channel, &[("after", start)]).1["head"].as_str().map(str::to_owned).unwrap();
    after.replace_range(17.., "0");
    let (mut read, mut pages) = (Vec::new(), 0);
    loop {
        let (status, page) = events(node, channel, &[("after", &after), ("limit", limit)]);
        assert_eq!(status, 200, "{page}");
        read.extend(data(&page).into_iter().map(str::to_owned));
        pages += 1;
        assert!(pages < 100, "no end");
        after = page["next"].as_str().unwrap().to_owned();
        if page["more"] == false {
            return (read, pages);
        }
    }
}

/// Spec §6, §7: who comes and goes, and what clients say, stands in the channel's order but is no event of a backend's.
#[test]
fn members_do_not_hide_events() {
    let node = Node::start(quick());
    node.publish("presence-a", "1");
    let mut watcher = node.client();
    join(&mut watcher, "presence-a", "watcher");
    for user in 0..5 {
        let mut client = node.client();
        join(&mut client, "presence-a", &user.to_string());
        client.send(&json!({ "event": "client-x", "channel": "presence-a", "data": {} }));
        assert_eq!(watcher.next()["event"], "pusher_internal:member_added");
        assert_eq!(watcher.next()["event"], "client-x");
        leave(&mut client, "presence-a");
        assert_eq!(watcher.next()["event"], "pusher_internal:member_removed");
    }
    node.publish("presence-a", "2");
    for limit in ["1", "2", "100"] {
        assert_eq!(read(&node, "presence-a", limit).0, ["1", "2"], "limit {limit}");
    }
    leave(&mut watcher, "presence-a");
    eventually(|| get(&node, "/apps/1001/channels/presence-a", &[]).1["occupied"] == false, || "occupied".to_owned());
    let (cold, pages) = read(&node, "presence-a", "2");
    assert_eq!(cold, ["1", "2"]);
    assert!(pages > 2, "members were between: {pages}");
}

/// A user can be told what it missed, too.
#[test]
fn server_to_user_channels_have_a_past() {
    let node = Node::start(quick());
    node.publish("#server-to-user-u", "x");
    let (status, answer) = events(&node, "%23server-to-user-u", &[]);
    assert_eq!((status, data(&answer)), (200, vec!["x"]));
}

/// As `docs/recovery.md` has it: the app's backend asks for the history of a channel after a position.
#[test]
fn who_catches_up_is_counted() {
    let node = Node::start(quick());
    let events = |channel: &str, parameters: &[(&str, &str)]| events(&node, channel, parameters);
    let mut client = node.client();
    for (channel, source) in [("cold", "stream"), ("warm", "memory")] {
        if channel == "warm" {
            client.subscribe(channel);
        }
        let start = events(channel, &[]).1["head"].as_str().unwrap().to_owned();
        for number in 0..3 {
            node.publish(channel, &number.to_string());
            if channel == "warm" {
                // What a subscriber has is in the node's memory; what is acknowledged may still be on its way there.
                assert_eq!(client.next()["data"], number.to_string());
            }
        }
        let (_, first) = events(channel, &[("after", &start), ("limit", "2")]);
        assert_eq!((&first["more"], node.recoveries("pusher", "recovered", source)), (&json!(true), 0.0));
        events(channel, &[("after", first["next"].as_str().unwrap())]);
        assert_eq!(node.recoveries("pusher", "recovered", source), 1.0);
    }
    let brought = |part: &str| node.metric(&format!("fanfare_recovered_messages_{part}{{protocol=\"pusher\"}}"));
    assert_eq!((brought("count"), brought("sum")), (4.0, 6.0), "each page, and every event once");

    let start = events("long", &[]).1["head"].as_str().unwrap().to_owned();
    // One more than a channel keeps.
    for number in 0..=backbone::Config::default().recoverable_messages {
        node.publish("long", &number.to_string());
    }
    let (_, late) = events("long", &[("after", &start), ("limit", "1000")]);
    assert_eq!((&late["complete"], node.recoveries("pusher", "expired", "stream")), (&json!(false), 1.0));
    events("warm", &[("after", "0000000000000001-5")]);
    assert_eq!(node.recoveries("pusher", "other_epoch", "none"), 1.0);
    assert_eq!(events("warm", &[("after", "x")]).0, 400);
    assert_eq!(node.recoveries("pusher", "invalid", "none"), 1.0);
    assert_eq!(events("tick-a", &[("after", &start)]).0, 400);
    assert_eq!(node.recoveries("pusher", "not_stored", "none"), 1.0);
    // Who asks for what there is, or asks wrongly for something else, has not come back.
    events("warm", &[]);
    assert_eq!(events("warm", &[("after", &start), ("limit", "0")]).0, 400);
    assert_eq!(node.all_recoveries(), 6.0);
}
