//! WebSocket clients: connecting, subscribing, messages, misbehaviour.

use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderName;

use super::*;

#[test]
fn a_message_published_over_http_arrives_byte_for_byte() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.subscribe("room");
    let data = "{\"a\": 1e400, \"é\":\"\\u0041 🚀\\n\"} ";
    assert_eq!(node.publish("room", data), (200, json!({})));
    let mut event = client.next();
    assert!(event["position"].take().as_str().unwrap().parse::<channels::Position>().is_ok());
    assert_eq!(event, json!({ "event": "e", "channel": "room", "data": data, "position": null }));
    node.await_metric(r#"fanfare_publish_total{source="http",result="accepted"}"#, 1.0);
    node.await_metric(r#"fanfare_delivery_seconds_count{hop="total"}"#, 1.0);
    node.await_metric(r#"fanfare_subscriptions{kind="public"}"#, 1.0);
    node.await_metric(r#"fanfare_connections{protocol="pusher",transport="websocket"}"#, 1.0);
    let sent = || node.metric(r#"fanfare_messages_sent_total{protocol="pusher"}"#);
    eventually(|| sent() >= 3.0, || format!("{} sent", sent()));
    client.socket.close(None).unwrap();
    node.await_metric(r#"fanfare_connections_closed_total{protocol="pusher",code="1005"}"#, 1.0);
    node.await_metric(r#"fanfare_subscriptions{kind="public"}"#, 0.0);
}

#[test]
fn a_thousand_messages_stay_in_order_and_nobody_gets_their_own() {
    let node = Node::start(quick());
    let (mut a, mut b) = (node.client(), node.client());
    a.subscribe("room");
    b.subscribe("room");
    let batches: Vec<Value> = (0..100)
        .map(|batch| {
            let event = |i: i32| json!({ "name": "n", "channel": "room", "data": (batch * 10 + i).to_string() });
            json!({ "batch": (0..10).map(event).collect::<Vec<_>>() })
        })
        .collect();
    for batch in &batches {
        assert_eq!(node.api("POST", "/apps/1001/batch_events", &[], batch).0, 200);
    }
    for i in 0..1000 {
        assert_eq!(a.next()["data"], i.to_string());
    }
    let excluding = json!({ "name": "n", "channels": ["room"], "data": "x", "socket_id": a.socket_id });
    node.api("POST", "/apps/1001/events", &[], &excluding);
    node.publish("room", "y");
    assert_eq!(a.next()["data"], "y");
    for i in 0..1000 {
        assert_eq!(b.next()["data"], i.to_string());
    }
    assert_eq!((b.next()["data"].clone(), b.next()["data"].clone()), (json!("x"), json!("y")));
}

#[test]
fn client_events_reach_the_others_in_order() {
    let node = Node::start(quick());
    let (mut a, mut b) = (node.client(), node.client());
    a.subscribe("private-room");
    b.subscribe("private-room");
    for i in 0..10 {
        a.send(&json!({ "event": "client-typing", "channel": "private-room", "data": { "i": i } }));
    }
    for i in 0..10 {
        let expected = json!({ "event": "client-typing", "channel": "private-room", "data": { "i": i } });
        assert_eq!(b.next(), expected);
    }
    a.check();
    node.await_metric(r#"fanfare_publish_total{source="client_event",result="accepted"}"#, 10.0);
}

#[test]
fn what_clients_are_denied_is_counted() {
    let mut app = fixtures::app();
    app.limits.client_events_per_second = 2;
    app.limits.channels_per_connection = 1;
    let node = Node::with_app(quick(), app);
    let mut client = node.client();
    client.subscribe("private-room");
    for channel in ["#other", "private-other", "public"] {
        client.send(&json!({ "event": "pusher:subscribe", "data": { "channel": channel } }));
        assert_eq!(client.next()["event"], "pusher:subscription_error");
    }
    for (channel, data) in [("private-other", ""), ("private-room", "x".repeat(10_241).as_str())] {
        client.send(&json!({ "event": "client-x", "channel": channel, "data": data }));
        assert_eq!(client.next()["event"], "pusher:error");
    }
    // Once those are more than two in a second.
    let begun = Instant::now();
    loop {
        client.send(&json!({ "event": "client-x", "channel": "private-room", "data": "" }));
        client.send(&json!({ "event": "pusher:ping", "data": {} }));
        if client.next()["event"] == "pusher:error" {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "never refused");
    }
    for result in ["subscribed", "invalid", "unauthorized", "over_limit"] {
        node.await_metric(&format!(r#"fanfare_subscribe_total{{result="{result}"}}"#), 1.0);
    }
    for result in ["unauthorized", "too_large", "over_limit"] {
        node.await_metric(&format!(r#"fanfare_publish_total{{source="client_event",result="{result}"}}"#), 1.0);
    }
    node.await_metric(r#"fanfare_quota_rejected_total{quota="client_events"}"#, 1.0);
}

/// Clients of protocol 5 learn of a fatal error by an event, whoever closes.
#[test]
fn old_clients_are_told_why_before_every_close() {
    let node = Node::start(quick());
    let mut broken = node.client_at("/app/app-key?protocol=5");
    broken.socket.get_mut().write_all(b"\x81\x01x").unwrap();
    assert_eq!(broken.next()["data"]["code"], 1002);
    assert_eq!(broken.close_code(), 1002);

    let mut missed = node.client_at("/app/app-key?protocol=5");
    missed.subscribe("room");
    let rules = vec![channels::Namespace::new("room", channels::Tier::Ephemeral)];
    let namespaces = Some(channels::Namespaces::new(rules).unwrap());
    let change = AppChange { namespaces, ..Default::default() };
    let registry = node.world.registry.clone();
    node.runtime.block_on(async { registry.update(&fixtures::app().id, None, &change).await }).unwrap();
    assert_eq!(missed.next()["data"]["code"], 4200);
    assert_eq!(missed.close_code(), 4200);
}

#[test]
fn leaving_and_coming_back_ends_subscribed() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.subscribe("room");
    client.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "room" } }));
    client.subscribe("room");
    node.publish("room", "1");
    assert_eq!(client.next()["data"], "1");
    client.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "room" } }));
    client.check();
    node.publish("room", "2");
    client.check();
}

#[test]
fn refusals_come_as_close_codes_after_the_upgrade() {
    let node = Node::start(Config { max_connections: 2, ..quick() });
    for (path, code) in [
        ("/app/nobody?protocol=7", 4001),
        ("/app/app-key?protocol=3", 4007),
        ("/elsewhere", 4005),
        ("/app/app-key?protocol=8", 4007),
    ] {
        assert_eq!(node.upgraded(path).close_code(), code, "{path}");
    }
    let mut old = node.upgraded("/app/nobody?protocol=5");
    assert_eq!(old.next()["data"]["code"], 4001);
    assert_eq!(old.close_code(), 4001);
    let (_a, _b) = (node.client(), node.client());
    assert_eq!(node.upgraded("/app/app-key?protocol=7").close_code(), 4100);
    node.await_metric(r#"fanfare_connections_refused_total{reason="connection_limit"}"#, 1.0);
    node.await_metric(r#"fanfare_connections_refused_total{reason="unknown_app"}"#, 2.0);
}

#[test]
fn quota_disabled_app_and_revoked_key() {
    let mut app = fixtures::app();
    app.quota.connections = Some(1);
    let node = Node::with_app(quick(), app.clone());
    let mut client = node.client();
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4004);
    let registry = node.world.registry.clone();
    let key = app.keys[0].name.clone();
    node.runtime.block_on(async { registry.revoke_key(&app.id, &key, 2).await }).unwrap();
    assert_eq!(client.close_code(), 4009);
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4001);
    node.await_metric(r#"fanfare_quota_rejected_total{quota="connections"}"#, 1.0);
}

#[test]
fn a_disabled_app_closes_what_is_open() {
    let node = Node::start(quick());
    let mut client = node.client();
    let change = AppChange { enabled: Some(false), ..Default::default() };
    let registry = node.world.registry.clone();
    node.runtime.block_on(async { registry.update(&fixtures::app().id, None, &change).await }).unwrap();
    assert_eq!(client.close_code(), 4003);
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4003);
}

#[test]
fn a_deleted_app_closes_what_is_open() {
    let node = Node::start(quick());
    let mut client = node.client();
    client.subscribe("room");
    let registry = node.world.registry.clone();
    node.runtime.block_on(async { registry.delete(&fixtures::app().id).await }).unwrap();
    assert_eq!(client.close_code(), 4001);
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4001);
}

#[test]
fn a_lower_quota_refuses_new_connections_only() {
    let node = Node::start(quick());
    let (mut one, mut two) = (node.client(), node.client());
    let quota = channels::Quota { connections: Some(1), ..channels::Quota::default() };
    let change = AppChange { quota: Some(quota), ..Default::default() };
    node.change(&change, |app| app.quota.connections == Some(1));
    eventually(|| node.upgraded("/app/app-key").first_close() == Some(4004), || "still let in".to_owned());
    one.check();
    two.check();
}

#[test]
fn the_subprotocol_is_echoed() {
    use tungstenite::client::IntoClientRequest as _;
    let node = Node::start(quick());
    let mut request = format!("ws://{}/app/app-key?protocol=7", node.address).into_client_request().unwrap();
    let offer = "chat, pusher-channels-protocol-7".parse().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", offer);
    let (_, response) = tungstenite::client::client(request, node.tcp()).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "pusher-channels-protocol-7");
}

/// Bad frames close their own connection with the right code, and nobody notices.
#[test]
fn broken_rules_have_close_codes_and_harm_nobody() {
    let node = Node::start(quick());
    let mut other = node.client();
    other.subscribe("room");
    let oversized = [&[0x81, 0xff, 0, 0, 0, 0, 0, 2, 0, 0][..], &[0; 4]].concat();
    for (bytes, code) in [
        (b"\x82\x81\0\0\0\0x".to_vec(), 1003_u16),
        (b"\x81\x81\0\0\0\0\xff".to_vec(), 1007),
        (b"\x81\x01x".to_vec(), 1002),
        (b"\x83\x81\0\0\0\0x".to_vec(), 1002),
        (oversized, 1009),
    ] {
        let mut client = node.client();
        client.subscribe("room");
        client.socket.get_mut().write_all(&bytes).unwrap();
        assert_eq!(client.close_code(), code);
        node.publish("room", "still here");
        assert_eq!(other.next()["data"], "still here");
    }
    let mut client = node.client();
    client.socket.send(Message::text("no json")).unwrap();
    assert_eq!(client.next()["event"], "pusher:error");
    client.check();
}

#[test]
fn the_server_pings_and_then_gives_up() {
    let config =
        Config { activity_timeout: Duration::from_secs(1), pong_timeout: Duration::from_millis(500), ..quick() };
    let node = Node::start(config);
    // Answers nothing: only raw bytes are looked at.
    let mut silent = node.tcp();
    let upgrade = "GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    silent.write_all(upgrade.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    silent.read_to_end(&mut bytes).unwrap();
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    // The greeting is short.
    assert!(bytes[head] == 0x81 && bytes[head + 1] < 126, "{bytes:?}");
    let bytes = &bytes[head + 2 + usize::from(bytes[head + 1])..];
    assert_eq!(bytes[..2], [0x89, 0]);
    assert_eq!(bytes[2..6], [0x88, bytes[3], 0x10, 0x69]);
    node.await_metric(r#"fanfare_connections_closed_total{protocol="pusher",code="4201"}"#, 1.0);
}

#[test]
fn a_slow_reader_is_cut_and_the_others_get_everything() {
    let config = Config { send_queue_bytes: 64 * 1024, ..quick() };
    let node = Node::start(config);
    let (mut slow, mut quick) = (node.client(), node.client());
    slow.subscribe("room");
    quick.subscribe("room");
    let data = "x".repeat(10_000);
    let cut = r#"fanfare_slow_consumers_total{action="disconnected"}"#;
    let mut published = 0;
    while node.metric(cut) < 1.0 {
        assert_eq!(node.publish("room", &data).0, 200);
        // Read before the next is published, or on a busy machine this one would be a slow reader, too.
        assert_eq!(quick.next()["data"], data.as_str());
        published += 1;
        assert!(published < 5_000, "never cut");
    }
    node.publish("room", "end");
    assert_eq!(quick.next()["data"], "end");
    drop(quick);
    let discarded = r#"fanfare_discarded_total{reason="slow_consumer",intentional="false"}"#;
    eventually(|| node.metric(discarded) > 0.0, || "nothing was discarded".to_owned());
    // What it does read ends with the code that tells it to come back later.
    let mut seen = Vec::new();
    slow.socket.get_mut().read_to_end(&mut seen).ok();
    drop(slow);
    node.await_metric(r#"fanfare_connections{protocol="pusher",transport="websocket"}"#, 0.0);
}

/// Spec §18, 40, and close code 4000.
#[test]
fn an_app_may_demand_tls_and_an_origin() {
    let code = |app: App, headers: &[(&str, &str)]| {
        let node = Node::with_app(quick(), app);
        let mut request = format!("ws://{}/app/app-key?protocol=7", node.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let (socket, _) = tungstenite::client::client(request, node.tcp()).unwrap();
        let mut client = Client { socket, socket_id: String::new() };
        client.send(&json!({ "event": "pusher:ping" }));
        match client.socket.read().unwrap() {
            Message::Close(Some(close)) => u16::from(close.code),
            _ => 0,
        }
    };
    let mut tls_only = fixtures::app();
    tls_only.pusher.tls_only = true;
    assert_eq!(code(tls_only.clone(), &[]), 4000);
    assert_eq!(code(tls_only, &[("X-Forwarded-Proto", "https")]), 0);
    let mut fussy = fixtures::app();
    fussy.pusher.allowed_origins = vec![channels::OriginPattern::new("*.example.com").unwrap()];
    assert_eq!(code(fussy.clone(), &[("Origin", "https://evil.org")]), 4009);
    assert_eq!(code(fussy.clone(), &[("Origin", "https://app.example.com")]), 0);
    assert_eq!(code(fussy, &[]), 0, "what sends no origin is no browser");
}
