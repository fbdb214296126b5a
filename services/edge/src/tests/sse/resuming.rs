//! Going on from an event: on any node, in all channels, without loss and without anything twice.

use std::collections::BTreeMap;

use super::*;

fn resumed(node: &Node, channels: &str, last_id: &str) -> Reader {
    node.events(&format!("/sse?{KEY}&channels={channels}&rewind=2"), &format!("Last-Event-ID: {last_id}\r\n"))
}

#[test]
fn every_message_comes_once_however_often_the_stream_is_cut() {
    const EACH: usize = 60;
    let here = Arc::new(Node::start(quick()));
    let there = Arc::new(here.another(quick()));
    let mut reader = here.attached("a,b", "");
    let publishing = {
        let nodes = [Arc::clone(&here), Arc::clone(&there)];
        std::thread::spawn(move || {
            for number in 0..EACH {
                for (channel, node) in ["a", "b"].iter().zip(&nodes) {
                    // Every third is part of a record of several.
                    let one = json!({ "name": number.to_string() });
                    if number % 3 == 1 {
                        continue;
                    }
                    let body =
                        if number % 3 == 0 { json!([one, { "name": (number + 1).to_string() }]) } else { json!(one) };
                    node.ably_publish(channel, &body);
                }
            }
        })
    };
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut taken = 0;
    while seen.values().map(Vec::len).sum::<usize>() < 2 * EACH {
        let message = reader.message();
        let number = message["name"].as_str().unwrap().parse().unwrap();
        seen.entry(message["channel"].as_str().unwrap().to_owned()).or_default().push(number);
        taken += 1;
        if taken % 7 == 0 {
            let node = if taken % 2 == 0 { &here } else { &there };
            reader = resumed(node, "a,b", &reader.last_id);
        }
    }
    publishing.join().unwrap();
    for channel in ["a", "b"] {
        assert_eq!(seen[channel], (0..EACH).collect::<Vec<_>>(), "{channel}");
    }
}

#[test]
fn who_was_cut_off_before_the_first_event_misses_nothing() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let reader = here.attached("a,b", "");
    let id = reader.last_id.clone();
    drop(reader);
    here.ably_publish("a", &json!({ "name": "missed" }));
    let mut reader = there.events(&format!("/sse?{KEY}&channels=a,b&lastEvent={id}"), "");
    assert_eq!(reader.message()["name"], "missed");
    there.ably_publish("b", &json!({ "name": "live" }));
    assert_eq!(reader.message()["name"], "live");
}

#[test]
fn a_rewind_is_for_those_who_come_first() {
    let node = Node::start(quick());
    for name in ["1", "2", "3"] {
        node.ably_publish("room", &json!({ "name": name }));
    }
    let mut reader = node.events(&format!("/sse?{KEY}&channels=room&rewind=2"), "");
    assert_eq!((reader.message()["name"].clone(), reader.message()["name"].clone()), (json!("2"), json!("3")));
    node.ably_publish("room", &json!({ "name": "4" }));
    assert_eq!(reader.message()["name"], "4");
    let mut again = resumed(&node, "room", &reader.last_id);
    node.ably_publish("room", &json!({ "name": "5" }));
    assert_eq!(again.message()["name"], "5");
}

#[test]
fn an_id_that_cannot_be_honoured_is_said_and_the_stream_goes_on_live() {
    let node = Node::start(quick());
    node.ably_publish("room", &json!({ "name": "old" }));
    let mut reader = resumed(&node, "room", "nonsense");
    let error = reader.event().unwrap();
    assert_eq!((error.kind.as_str(), &error.value()["code"]), ("error", &json!(80018)));
    assert!(reader.block().unwrap().contains("id: "), "attached");
    node.ably_publish("room", &json!({ "name": "live" }));
    assert_eq!(reader.message()["name"], "live");

    // Of a log that is not this one.
    let other = Node::start(quick());
    let mut reader = resumed(&other, "room", &reader.last_id);
    let error = reader.event().unwrap();
    let code = error.value()["code"].as_u64().unwrap();
    assert!(error.kind == "error" && [90003, 90005].contains(&code), "{error:?}");
    assert!(reader.block().unwrap().contains("id: "), "attached");
    other.ably_publish("room", &json!({ "name": "live" }));
    assert_eq!(reader.message()["name"], "live");
}

#[test]
fn who_catches_up_is_counted() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let id = here.attached("a,b", "").last_id.clone();
    here.publish("a", "missed");
    let mut back = resumed(&there, "a,b", &id);
    assert_eq!(back.message()["data"], "missed");
    // Nothing was missed of the other one, which needs no look.
    for source in ["stream", "memory"] {
        let recovered = || there.recoveries("sse", "recovered", source);
        eventually(|| recovered() == 1.0, || format!("{} from {source}", recovered()));
    }
    assert_eq!(there.metric("fanfare_recovered_messages_sum{protocol=\"sse\"}"), 1.0);
    drop(resumed(&there, "a,b", "nonsense"));
    assert_eq!(there.recoveries("sse", "invalid", "none"), 2.0);
    assert_eq!((here.all_recoveries(), there.all_recoveries()), (0.0, 4.0));
}
