//! Publishing: every form of a body, ids, quotas, whom it is for, and batches.

use channels::{Namespace, Namespaces, Quota, Tier};

use super::*;

fn history(node: &Node, channel: &str) -> Vec<Value> {
    node.all_pages(&format!("/channels/{channel}/messages"), "direction=forwards", || {})
}

#[test]
fn every_form_of_a_body_comes_out_as_it_went_in() {
    let node = Node::start(quick());
    let post = |target: &str, headers: &str, body: &[u8]| {
        let answer = node.exchange("POST", target, &format!("{}{headers}", basic()), body);
        assert_eq!(answer.status, 201, "{}", answer.value());
        answer.value()
    };
    let target = "/channels/room/messages";
    let mut serials = Vec::new();
    let mut published = |value: Value| {
        assert_eq!(value["channel"], "room");
        serials.extend(value["serials"].as_array().unwrap().iter().cloned());
    };
    published(node.ably_publish("room", &json!({ "name": "object", "data": { "a": [1] } })));
    published(node.ably_publish("room", &json!([{ "name": "0", "data": "zero" }, { "name": "1" }])));
    let packed = rmp_packed();
    published(post(target, "Content-Type: application/x-msgpack\r\nAccept: application/x-msgpack\r\n", &packed));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    published(post(target, form, b"name=form&data=a+b%26c"));
    let bare = "Content-Type: text/plain\r\nX-Ably-Name: bare\r\nX-Ably-ClientId: Ym9i\r\n";
    published(post("/channels/room/messages?enveloped=false", bare, b"just text"));

    let items = history(&node, "room");
    assert_eq!(each(&items, "name"), ["object", "0", "1", "packed", "form", "bare"]);
    assert_eq!(items.iter().map(|item| item["serial"].clone()).collect::<Vec<_>>(), serials);
    assert_eq!((&items[0]["data"], &items[0]["encoding"]), (&json!(r#"{"a":[1]}"#), &json!("json")));
    assert_eq!((&items[1]["data"], items[1].get("encoding")), (&json!("zero"), None));
    assert_eq!(items[2].get("data"), None);
    assert_eq!((&items[3]["data"], &items[3]["encoding"]), (&json!("AQL/"), &json!("base64")));
    assert_eq!(items[4]["data"], "a b&c");
    assert_eq!((&items[5]["data"], &items[5]["clientId"]), (&json!("just text"), &json!("bob")));
    for item in &items {
        assert_eq!((item["action"].as_u64(), item.get("connectionId")), (Some(0), None), "{item}");
        assert!(item["timestamp"].as_u64().is_some() && item["id"].is_string());
    }

    // The same in the other format: bytes are bytes.
    let raw = node.exchange("GET", target, &format!("{}Accept: application/x-msgpack\r\n", basic()), &[]);
    assert!(raw.body.windows(5).any(|window| window == [0xc4, 3, 1, 2, 0xff]), "a bin of three bytes");
}

/// `{name: "packed", data: <bin 01 02 ff>}`.
fn rmp_packed() -> Vec<u8> {
    [&[0x82, 0xa4][..], b"name", &[0xa6], b"packed", &[0xa4], b"data", &[0xc4, 3, 1, 2, 0xff]].concat()
}

#[test]
fn a_name_is_decoded_once() {
    let node = Node::start(quick());
    let answer = node.ably_publish("a%2Fb%2541%20%E2%98%83", &json!({ "name": "n" }));
    assert_eq!(answer["channel"], "a/b%41 ☃");
    let mut client = node.client();
    client.subscribe("room");
    assert_eq!(history(&node, "a%2Fb%2541%20%E2%98%83").len(), 1);
    assert!(history(&node, "a%2FbA%20%E2%98%83").is_empty());
}

#[test]
fn pusher_clients_get_what_is_published_here() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.subscribe("room");
    node.ably_publish("room", &json!({ "name": "greeting", "data": "hi" }));
    let event = client.next();
    assert_eq!((&event["event"], &event["data"]), (&json!("greeting"), &json!("hi")));
}

#[test]
fn an_id_makes_a_publish_one_of_a_kind_on_all_nodes() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let body = json!([{ "id": "base:0", "name": "a" }, { "id": "base:1", "name": "b" }]);
    let first = here.ably_publish("room", &body);
    assert_eq!(first["messageId"], "base");
    assert_eq!(there.ably_publish("room", &body), first);
    assert_eq!(here.ably_publish("room", &json!({ "id": "own", "name": "c" }))["messageId"], "own");
    let items = history(&there, "room");
    assert_eq!(each(&items, "id"), ["base:0", "base:1", "own"]);
    let mixed = json!([{ "id": "a:0" }, { "id": "b:1" }]);
    assert_eq!(here.ably_post("/channels/room/messages", &mixed).refused(), (400, 40031));
    // Without ids each is a publish of its own.
    let (one, other) = (here.ably_publish("x", &json!({})), here.ably_publish("x", &json!({})));
    assert_ne!(one["messageId"], other["messageId"]);
    assert_eq!(history(&here, "x").len(), 2);
}

#[test]
fn what_is_not_allowed_is_refused_whole() {
    let node = Node::start(quick());
    let publish = |body: Value| node.ably_post("/channels/room/messages", &body).refused();
    assert_eq!(publish(json!({ "data": 5 })), (400, 40013));
    assert_eq!(publish(json!({ "data": "x".repeat(65_537) })), (400, 40009));
    assert_eq!(publish(json!([{ "name": "fine" }, { "connectionId": "c0nn" }])), (400, 40006));
    assert_eq!(publish(json!({ "connectionKey": "c0nn!key" })), (400, 40006));
    assert_eq!(publish(json!({ "clientId": "*" })), (400, 40012));
    assert_eq!(node.ably_post("/channels/room/messages?_forceNack=true", &json!({})).refused(), (400, 40099));
    // `name == 'x'`
    let derived = "/channels/%5Bfilter=bmFtZSA9PSAneCc=%5Droom/messages";
    assert_eq!(node.ably_post(derived, &json!({})).refused(), (400, 40010));
    assert_eq!(node.ably_post("/channels/%5Bmeta%5Dlog/messages", &json!({})).refused(), (401, 40160));
    let as_eve = format!("{}X-Ably-ClientId: *\r\n", basic());
    assert_eq!(node.exchange("POST", "/channels/room/messages", &as_eve, b"{}").refused().0, 400);
    assert!(history(&node, "room").is_empty());
}

#[test]
fn a_quota_in_the_way_says_when_to_come_back() {
    let quota = Quota { messages_in_per_second: Some(2), ..Quota::default() };
    let node = Node::with_app(quick(), App { quota, ..fixtures::app() });
    let three = json!([{}, {}, {}]);
    // More than there is, which is then owed for some seconds.
    assert_eq!(node.ably_post("/channels/room/messages", &json!(vec![json!({}); 18])).status, 201);
    let refused = node.ably_post("/channels/room/messages", &json!([{}]));
    assert_eq!(refused.refused(), (429, 42910));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    let batch = json!({ "channels": ["a", "b"], "messages": three });
    let answer = node.ably_post("/messages", &batch).value();
    assert_eq!((&answer["failureCount"], &answer["results"][0]["error"]["code"]), (&json!(2), &json!(42910)));
    assert!(node.metric(r#"fanfare_quota_rejected_total{quota="messages_in"}"#) >= 3.0);
}

#[test]
fn what_is_ephemeral_is_not_stored() {
    let namespaces = Namespaces::new(vec![Namespace::new("tick-", Tier::Ephemeral)]).unwrap();
    let node = Node::with_app(quick(), App { namespaces, ..fixtures::app() });
    node.ably_publish("tick-a", &json!({ "name": "n" }));
    node.ably_publish("room", &json!({ "name": "n", "extras": { "ephemeral": true } }));
    assert!(history(&node, "tick-a").is_empty() && history(&node, "room").is_empty());
}

#[test]
fn a_batch_goes_to_many_channels_of_which_each_fails_by_itself() {
    let node = Node::start(quick());
    let specs = json!([
        { "channels": ["a", ":bad", "b"], "messages": { "name": "one" } },
        { "channels": "a", "messages": [{ "name": "two" }, { "name": "three" }] },
        { "channels": ["c"], "messages": { "data": 7 } },
    ]);
    let answer = node.ably_post("/messages", &specs);
    assert_eq!(answer.status, 201);
    let value = answer.value();
    let results = |index: usize| value[index]["results"].as_array().unwrap().clone();
    assert_eq!((&value[0]["successCount"], &value[0]["failureCount"]), (&json!(2), &json!(1)));
    assert_eq!(each(&results(0), "channel"), ["a", ":bad", "b"]);
    assert_eq!(results(0)[1]["error"]["code"], 40010);
    assert_eq!(results(1)[0]["serials"].as_array().unwrap().len(), 2);
    assert_eq!(results(2)[0]["error"]["code"], 40013);
    assert_eq!(each(&history(&node, "a"), "name"), ["one", "two", "three"]);
    assert_eq!(each(&history(&node, "b"), "name"), ["one"]);

    let single = node.ably_post("/messages", &json!({ "channels": ["a"], "messages": { "name": "four" } })).value();
    assert_eq!((&single["successCount"], &single["results"][0]["channel"]), (&json!(1), &json!("a")));
    let old = format!("{}X-Ably-Version: 2\r\n", basic());
    let body = json!({ "channels": ["a", ""], "messages": { "name": "five" } }).to_string();
    let answer = node.exchange("POST", "/messages", &old, body.as_bytes());
    assert_eq!(answer.refused(), (400, 40020));
    assert_eq!(answer.value()["batchResponse"].as_array().unwrap().len(), 2);
}

#[test]
fn a_connections_key_publishes_for_it() {
    let node = Node::start(quick());
    let mut client = node.upgraded("/?key=app-key:app-secret&v=6&clientId=bob&format=json");
    let connected = client.next();
    let (id, key) = (&connected["connectionId"], &connected["connectionDetails"]["connectionKey"]);
    node.ably_publish("room", &json!({ "name": "n", "connectionKey": key }));
    let items = history(&node, "room");
    assert_eq!((&items[0]["connectionId"], &items[0]["clientId"]), (id, &json!("bob")));
    let stranger = json!({ "connectionKey": key, "clientId": "eve" });
    assert_eq!(node.ably_post("/channels/room/messages", &stranger).refused(), (400, 40012));
}
