//! The signed HTTP API over real sockets.

use std::io::{BufRead as _, BufReader};

use super::*;

#[test]
fn refusals_have_statuses_and_json() {
    let node = Node::start(quick());
    let signed = |path: &str, at: u64| signer().request("POST", path, &[], b"{}", at);
    for (request, status) in [
        (request("GET", "/", "", "Connection: close\r\n"), 404),
        (request("GET", "/apps/1001/nothing", "", "Connection: close\r\n"), 404),
        (request("GET", "/apps/1001/events", "", "Connection: close\r\n"), 405),
        (request("POST", "/apps/1001/events", "{}", "Connection: close\r\n"), 401),
        (request("POST", "/apps/77/events", "{}", "Connection: close\r\n"), 404),
        (request("GET", "/app/app-key", "", "Connection: close\r\n"), 426),
        (
            request(
                "POST",
                &format!("/apps/1001/events?{}", signed("/apps/1001/events", now() - 700)),
                "{}",
                "Connection: close\r\n",
            ),
            401,
        ),
        (
            request(
                "POST",
                &format!("/apps/1001/events?{}", signed("/apps/1001/events", now())),
                "{}",
                "Connection: close\r\n",
            ),
            400,
        ),
        (
            request(
                "POST",
                &format!("/apps/1001/events?{}", signed("/apps/1001/events", now())),
                "{ }",
                "Connection: close\r\n",
            ),
            401,
        ),
    ] {
        let (got, head, body) = node.http(&request);
        assert_eq!(got, status, "{request}");
        assert!(head.contains("content-type: application/json"), "{head}");
        assert!(serde_json::from_str::<Value>(&body).unwrap()["error"].is_string(), "{body}");
    }
    let large = json!({ "name": "e", "channel": "a", "data": "x".repeat(10_241) });
    assert_eq!(node.api("POST", "/apps/1001/events", &[], &large).0, 413);
}

#[test]
fn keep_alive_carries_many_requests() {
    let node = Node::start(quick());
    let mut stream = BufReader::new(node.tcp());
    for i in 0..20 {
        let body = json!({ "name": "e", "channel": "a", "data": i.to_string() }).to_string();
        let query = signer().request("POST", "/apps/1001/events", &[], body.as_bytes(), now());
        let request = request("POST", &format!("/apps/1001/events?{query}"), &body, "");
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut body = [0; 2];
        stream.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"{}");
    }
}

/// Ten events of the largest data, as badly escaped as JSON can.
#[test]
fn a_full_batch_of_the_largest_events_passes() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.subscribe("room");
    let data = r"\u0061".repeat(10_240);
    let event = format!(r#"{{"name":"e","channel":"room","data":"{data}"}}"#);
    let body = format!(r#"{{"batch":[{}]}}"#, vec![event; 10].join(","));
    let query = signer().request("POST", "/apps/1001/batch_events", &[], body.as_bytes(), now());
    let path = format!("/apps/1001/batch_events?{query}");
    let (status, _, answer) = node.http(&request("POST", &path, &body, "Connection: close\r\n"));
    assert_eq!((status, answer.as_str()), (200, "{}"));
    for _ in 0..10 {
        assert_eq!(client.next()["data"], "a".repeat(10_240));
    }
}

#[test]
fn one_publish_to_a_hundred_channels() {
    let node = Node::start(quick());
    let mut client = node.client();
    let names: Vec<String> = (0..100).map(|i| format!("c{i}")).collect();
    for name in &names {
        client.subscribe(name);
    }
    let body = json!({ "name": "e", "channels": names, "data": "x", "info": "subscription_count" });
    let (status, answer) = node.api("POST", "/apps/1001/events", &[], &body);
    assert_eq!((status, &answer["channels"]["c99"]), (200, &json!({ "subscription_count": 1 })));
    let mut got: Vec<String> = (0..100).map(|_| client.next()["channel"].as_str().unwrap().to_owned()).collect();
    got.sort_by_key(|name| name[1..].parse::<u32>().unwrap());
    assert_eq!(got, names);
}

#[test]
fn channels_are_listed_while_occupied() {
    let node = Node::start(quick());
    assert_eq!(node.api("GET", "/apps/1001/channels", &[], &Value::Null), (200, json!({ "channels": {} })));
    let mut client = node.client();
    client.subscribe("room");
    client.subscribe("private-x");
    let (_, all) = node.api("GET", "/apps/1001/channels", &[("info", "subscription_count")], &Value::Null);
    let one = json!({ "subscription_count": 1 });
    assert_eq!(all, json!({ "channels": { "private-x": one, "room": one } }));
    let (_, some) = node.api("GET", "/apps/1001/channels", &[("filter_by_prefix", "priv")], &Value::Null);
    assert_eq!(some, json!({ "channels": { "private-x": {} } }));
    assert_eq!(node.api("GET", "/apps/1001/channels/room", &[], &Value::Null).1, json!({ "occupied": true }));
    assert_eq!(node.api("GET", "/apps/1001/channels/none", &[], &Value::Null).1, json!({ "occupied": false }));
    drop(client);
    eventually(
        || node.api("GET", "/apps/1001/channels/room", &[], &Value::Null).1 == json!({ "occupied": false }),
        || "still occupied".to_owned(),
    );
}

fn events(node: &Node, channel: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
    node.api("GET", &format!("/apps/1001/channels/{channel}/events"), parameters, &Value::Null)
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
        let next = first["events"][1]["position"].as_str().unwrap();
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

#[test]
fn a_node_without_apps_asks_for_patience() {
    // Nobody keeps its copy of the apps current.
    let runtime = Arc::new(Runtime::new().unwrap());
    let mut world = runtime.block_on(World::with(fixtures::app()));
    world.apps = backbone::registry::Apps::watch(world.registry.clone());
    let node = Node::beside(quick(), runtime, Arc::new(world));
    let (status, answer) = node.publish("a", "x");
    assert_eq!((status, answer), (503, json!({ "error": "temporarily unavailable: nothing was done, try again" })));
    node.await_metric(r#"fanfare_publish_total{source="http",result="unavailable"}"#, 1.0);
    let (_, head, _) = node.http(&request("GET", "/apps/1001/channels", "", "Connection: close\r\n"));
    assert!(head.contains("retry-after: 5"), "{head}");
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4100);
}
