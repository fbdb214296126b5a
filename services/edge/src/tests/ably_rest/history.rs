//! A channel's past: pages that do not change under their reader.

use super::*;

fn fill(node: &Node, channel: &str, from: usize, until: usize) {
    for number in from..until {
        let messages: Vec<_> =
            ["a", "b", "c"].iter().map(|part| json!({ "name": format!("{number}{part}") })).collect();
        node.ably_publish(channel, &json!(messages));
    }
}

fn names(from: usize, until: usize) -> Vec<String> {
    (from..until).flat_map(|number| ["a", "b", "c"].map(|part| format!("{number}{part}"))).collect()
}

#[test]
fn pages_hold_each_message_once_while_others_publish_and_on_any_node() {
    let here = Node::start(quick());
    let there = here.another(quick());
    fill(&here, "room", 0, 7);
    let path = "/channels/room/messages";
    for limit in [1, 2, 3, 4, 20, 1000] {
        let turn = std::cell::Cell::new(0);
        let between = || {
            turn.set(turn.get() + 1);
            there.ably_publish("room", &json!({ "name": "later" }));
        };
        // Newest first; what is published between two pages is on neither.
        let mut backwards = here.all_pages(path, &format!("limit={limit}"), between);
        backwards.retain(|item| item["name"] != "later");
        let mut expected = names(0, 7);
        expected.reverse();
        assert_eq!(each(&backwards, "name"), expected, "limit {limit}");
    }
    let forwards = there.all_pages(path, "limit=2&direction=forwards", || {});
    assert_eq!(each(&forwards, "name")[..21], names(0, 7)[..]);
    let serials = each(&forwards, "serial");
    assert!(serials.windows(2).all(|pair| pair[0] < pair[1]), "in the order of their serials");
    let timestamps: Vec<_> = forwards.iter().map(|item| item["timestamp"].as_u64().unwrap()).collect();
    assert!(timestamps.is_sorted());

    // One page here, the next there.
    let first = here.ably_get(&format!("{path}?limit=4"));
    let second = there.ably_get(&first.link(path, "next").unwrap());
    let both = [first.value(), second.value()].concat_arrays();
    assert_eq!(each(&both, "serial"), serials.iter().rev().take(8).cloned().collect::<Vec<_>>());
    let again = here.ably_get(&second.link(path, "current").unwrap());
    assert_eq!(again.value(), second.value());
}

trait ConcatArrays {
    fn concat_arrays(self) -> Vec<Value>;
}

impl<const N: usize> ConcatArrays for [Value; N] {
    fn concat_arrays(self) -> Vec<Value> {
        self.iter().flat_map(|array| array.as_array().unwrap().clone()).collect()
    }
}

#[test]
fn what_is_acknowledged_is_in_the_next_answer_of_any_node() {
    let here = Node::start(quick());
    let there = here.another(quick());
    for number in 0..20 {
        let (one, other) = if number % 2 == 0 { (&here, &there) } else { (&there, &here) };
        one.ably_publish("room", &json!({ "name": number.to_string() }));
        let newest = other.ably_get("/channels/room/messages?limit=1").value();
        assert_eq!(newest[0]["name"], number.to_string());
    }
}

#[test]
fn bounds_in_time_are_inclusive() {
    let node = Node::start(quick());
    for name in ["1", "2", "3"] {
        node.ably_publish("room", &json!({ "name": name }));
        std::thread::sleep(Duration::from_millis(3));
    }
    let path = "/channels/room/messages";
    let all = node.all_pages(path, "direction=forwards", || {});
    let at = |index: usize| all[index]["timestamp"].as_u64().unwrap();
    let found = |query: String| each(&node.all_pages(path, &query, || {}), "name");
    assert_eq!(found(format!("start={}", at(1))), ["3", "2"]);
    assert_eq!(found(format!("end={}", at(1))), ["2", "1"]);
    assert_eq!(found(format!("start={0}&end={0}&direction=forwards", at(1))), ["2"]);
    assert_eq!(found(format!("start={}&limit=1", at(0))), ["3", "2", "1"]);
    assert!(found(format!("start={}", at(2) + 1)).is_empty());
    let backwards = format!("{path}?start={}&end={}", at(1), at(0));
    assert_eq!(node.ably_get(&backwards).refused(), (400, 40003));
}

#[test]
fn history_up_to_where_a_client_attached() {
    let node = Node::start(quick());
    fill(&node, "room", 0, 2);
    // A message's serial begins with the position's epoch and sequence.
    let serial = node.ably_get("/channels/room/messages?limit=1").value()[0]["serial"].as_str().unwrap().to_owned();
    let (epoch, sequence) = serial.split_once(':').unwrap().0.split_once('-').unwrap();
    let position = format!("{epoch}-{}", sequence.parse::<u64>().unwrap());
    fill(&node, "room", 2, 4);
    for name in ["from_serial", "fromSerial"] {
        let found = node.all_pages("/channels/room/messages", &format!("{name}={position}&limit=2"), || {});
        let mut expected = names(0, 2);
        expected.reverse();
        assert_eq!(each(&found, "name"), expected);
    }
    let foreign = format!("/channels/room/messages?from_serial=00000000000000ff-{sequence}");
    assert_eq!(node.ably_get(&foreign).refused(), (404, 90005));
    assert_eq!(node.ably_get("/channels/room/messages?from_serial=e1-42").refused(), (400, 40003));
    assert_eq!(node.ably_get("/channels/room/messages?cursor=nonsense").refused(), (400, 40003));
}

#[test]
fn members_that_come_and_go_are_in_a_history_of_their_own() {
    let node = Node::start(quick());
    node.ably_publish("presence-room", &json!({ "name": "before" }));
    let mut client = node.client();
    api::join(&mut client, "presence-room", "ann");
    node.ably_publish("presence-room", &json!({ "name": "after" }));
    client.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "presence-room" } }));
    let path = "/channels/presence-room/presence/history";
    eventually(
        || node.ably_get(path).value().as_array().unwrap().len() == 2,
        || node.ably_get(path).value().to_string(),
    );
    let events = node.all_pages(path, "limit=1&direction=forwards", || {});
    let actions: Vec<_> = events.iter().map(|event| event["action"].as_u64().unwrap()).collect();
    assert_eq!((actions, each(&events, "clientId")), (vec![2, 3], vec!["ann".to_owned(), "ann".to_owned()]));
    assert_eq!(events[0]["connectionId"], client.socket_id);
    let messages = node.all_pages("/channels/presence-room/messages", "limit=1", || {});
    assert_eq!(each(&messages, "name"), ["after", "before"]);
}
