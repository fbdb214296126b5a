//! The signed HTTP API over real sockets.

mod channels;
mod history;
mod users;

use std::io::{BufRead as _, BufReader};

use super::*;

/// What a server library asks for.
fn get(node: &Node, path: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
    node.api("GET", path, parameters, &Value::Null)
}

/// Becomes a member of a presence channel.
pub(super) fn join(client: &mut Client, channel: &str, user: &str) {
    let data = json!({ "user_id": user }).to_string();
    let auth = signer().channel(&client.socket_id, channel, Some(&data));
    let data = json!({ "channel": channel, "auth": auth, "channel_data": data });
    client.send(&json!({ "event": "pusher:subscribe", "data": data }));
    assert_eq!(client.next()["event"], "pusher_internal:subscription_succeeded");
}

/// Takes leave. Whoever just drops a connection might be back in a moment, and stays a member for that long.
fn leave(client: &mut Client, channel: &str) {
    client.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } }));
}

/// Becomes `user`.
pub(super) fn sign_in(client: &mut Client, user: &str) {
    let data = json!({ "id": user }).to_string();
    let auth = signer().user(&client.socket_id, &data);
    client.send(&json!({ "event": "pusher:signin", "data": { "auth": auth, "user_data": data } }));
    assert_eq!(client.next()["event"], "pusher:signin_success");
}

#[test]
fn refusals_have_statuses_and_json() {
    let node = Node::start(quick());
    let signed = |path: &str, at: u64| signer().request("POST", path, &[], b"{}", at);
    for (request, status) in [
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
    // What is nobody's is refused as the Ably protocol does.
    let (status, _, body) = node.http(&request("GET", "/nothing", "", "Connection: close\r\n"));
    assert_eq!((status, &serde_json::from_str::<Value>(&body).unwrap()["error"]["code"]), (404, &json!(40400)));
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

/// Spec §5, §18 (34): in every kind of channel, one by one and in batches.
#[test]
fn events_reach_all_but_the_one_left_out() {
    let node = Node::start(quick());
    let (mut sender, mut other) = (node.client(), node.client());
    let kinds = ["room", "private-a", "private-encrypted-a", "cache-a", "private-cache-a", "private-encrypted-cache-a"];
    for client in [&mut sender, &mut other] {
        for channel in kinds {
            client.subscribe(channel);
            if channel.contains("cache-") {
                assert_eq!(client.next()["event"], "pusher:cache_miss");
            }
        }
        for channel in ["presence-a", "presence-cache-a"] {
            join(client, channel, "u");
            if channel.contains("cache-") {
                assert_eq!(client.next()["event"], "pusher:cache_miss");
            }
        }
        sign_in(client, "u");
        client.subscribe("#server-to-user-u");
    }
    for channel in kinds.into_iter().chain(["presence-a", "presence-cache-a", "#server-to-user-u"]) {
        let event = |data: &str, left_out: Option<&str>| json!({ "name": "e", "channels": [channel], "data": data, "socket_id": left_out });
        let left_out = Some(sender.socket_id.as_str());
        assert_eq!(node.api("POST", "/apps/1001/events", &[], &event("1", left_out)), (200, json!({})));
        let batch = json!({ "batch": [event("2", left_out), event("3", None)] });
        assert_eq!(node.api("POST", "/apps/1001/batch_events", &[], &batch), (200, json!({})));
        for (client, expected) in [(&mut sender, ["3"].as_slice()), (&mut other, &["1", "2", "3"])] {
            for data in expected {
                let frame = client.next();
                assert_eq!((&frame["channel"], &frame["data"]), (&json!(channel), &json!(data)));
                assert_eq!(frame["user_id"], Value::Null, "nobody's");
            }
        }
    }
}

#[test]
fn the_old_way_to_publish() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.subscribe("room");
    let path = "/apps/1001/channels/room/events";
    let query = signer().request("POST", path, &[("name", "e")], b"not json", now());
    let (status, _, answer) =
        node.http(&request("POST", &format!("{path}?{query}"), "not json", "Connection: close\r\n"));
    assert_eq!((status, answer.as_str()), (202, "{}"));
    assert_eq!(client.next()["data"], "not json");
}

#[test]
fn the_answer_to_an_event_tells_what_was_asked() {
    let node = Node::start(quick());
    let (mut one, mut two) = (node.client(), node.client());
    one.subscribe("room");
    join(&mut one, "presence-a", "u");
    join(&mut two, "presence-a", "u");
    let info = "subscription_count,user_count,cache,nonsense";
    let channels = ["room", "presence-a", "empty"];
    let event = json!({ "name": "e", "channels": channels, "data": "x", "info": info });
    let counts = json!({
        "room": { "subscription_count": 1 },
        "presence-a": { "subscription_count": 2, "user_count": 1 },
        "empty": { "subscription_count": 0 },
    });
    assert_eq!(node.api("POST", "/apps/1001/events", &[], &event), (200, json!({ "channels": counts })));
    let batch = json!({ "batch": [
        { "name": "e", "channel": "room", "data": "x" },
        { "name": "e", "channel": "presence-a", "data": "x", "info": "user_count" },
    ] });
    let answer = node.api("POST", "/apps/1001/batch_events", &[], &batch);
    assert_eq!(answer, (200, json!({ "batch": [{}, { "user_count": 1 }] })));
}

/// A refused batch has sent nothing.
#[test]
fn every_limit_is_the_apps() {
    let mut app = fixtures::app();
    app.limits.channel_name_chars = 4;
    app.limits.event_name_chars = 2;
    app.limits.event_data_bytes = 4;
    app.limits.channels_per_publish = 2;
    app.limits.events_per_batch = 2;
    app.limits.user_id_chars = 3;
    app.limits.auth_timestamp_window = Duration::from_secs(60);
    let node = Node::with_app(quick(), app);
    let mut client = node.client();
    client.subscribe("room");
    let event = |name: &str, channels: &[&str], data: &str| json!({ "name": name, "channels": channels, "data": data });
    let fine = event("ok", &["room", "b"], "data");
    let (events, batch_events) = ("/apps/1001/events", "/apps/1001/batch_events");
    let batch = |events: &[&Value]| json!({ "batch": events });
    for (path, body, status, error) in [
        (
            events,
            event("e", &["rooms"], ""),
            400,
            r#"invalid channel "rooms": channel name is longer than 4 characters"#,
        ),
        (
            events,
            event("e", &["#server-to-user-anna"], ""),
            400,
            r##"invalid channel "#server-to-user-anna": user id in channel name is longer than 3 characters"##,
        ),
        (events, event("eee", &["room"], ""), 400, "event name must have 1 to 2 characters"),
        (events, event("e", &["room"], "12345"), 413, "event data is larger than 4 bytes"),
        (events, event("e", &["a", "b", "c"], ""), 400, "event names more than 2 channels"),
        (batch_events, batch(&[&fine, &fine, &fine]), 400, "batch holds more than 2 events"),
        (
            batch_events,
            batch(&[&fine, &event("e", &["room"], "12345")]),
            413,
            "event 1 of the batch: event data is larger than 4 bytes",
        ),
        (
            "/apps/1001/users/anna/terminate_connections",
            json!({}),
            400,
            "user id must have 1 to 3 characters, none of them a control character",
        ),
    ] {
        let mut expected = json!({ "error": error });
        if status == 413 {
            expected["quota"] = "message_size".into();
        }
        assert_eq!(node.api("POST", path, &[], &body), (status, expected), "{path} {body}");
    }
    let late = signer().request("GET", "/apps/1001/channels", &[], b"", now() - 65);
    let (status, _, body) =
        node.http(&request("GET", &format!("/apps/1001/channels?{late}"), "", "Connection: close\r\n"));
    let error = "auth_timestamp is more than 60 s from this server's clock";
    assert_eq!((status, body), (401, json!({ "error": error }).to_string()));
    assert_eq!(node.api("POST", batch_events, &[], &batch(&[&fine])), (200, json!({})));
    assert_eq!(client.next()["data"], "data", "and nothing before it");
}

/// A tool in a page can use the API, and read what it is told when it is refused.
#[test]
fn browsers_may_ask() {
    let node = Node::start(quick());
    for path in ["/apps/1001/events", "/apps/1001/nothing"] {
        let asked = "Origin: https://example.com\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n";
        let (status, head, body) = node.http(&request("OPTIONS", path, "", asked));
        assert_eq!((status, body.as_str()), (204, ""));
        for line in [
            "access-control-allow-origin: *",
            "access-control-allow-methods: get, post",
            "access-control-allow-headers: content-type, x-pusher-library",
        ] {
            assert!(head.contains(line), "{head}");
        }
    }
    let query = signer().request("GET", "/apps/1001/channels", &[], b"", now());
    for (path, status) in [(format!("/apps/1001/channels?{query}"), 200), ("/apps/1001/channels".to_owned(), 401)] {
        let (got, head, _) = node.http(&request("GET", &path, "", "Connection: close\r\n"));
        assert_eq!(got, status);
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
    }
}

#[test]
fn other_methods_are_told_which_there_are() {
    let node = Node::start(quick());
    for (method, path, allowed) in [
        ("GET", "/apps/1001/events", "post"),
        ("POST", "/apps/1001/channels", "get"),
        ("PUT", "/apps/1001/channels/a/events", "get, post"),
        ("GET", "/users/u/terminate_connections", "post"),
    ] {
        let (status, head, _) = node.http(&request(method, path, "", "Connection: close\r\n"));
        assert_eq!(status, 405, "{method} {path}");
        assert!(
            head.contains(&format!("allow: {allowed}\r\n")) || head.ends_with(&format!("allow: {allowed}")),
            "{head}"
        );
    }
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
