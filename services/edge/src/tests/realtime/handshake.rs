//! Who gets in, and what who does not is told.

use super::*;

#[test]
fn the_first_frame_is_connected_in_either_format() {
    let node = Node::start(quick());
    for format in ["json", "msgpack"] {
        let (mut client, connected) =
            node.connected(&format!("{KEY}&v=6&format={format}&heartbeats=true&clientId=bob"));
        let details = &connected["connectionDetails"];
        assert_eq!(details["clientId"], "bob");
        assert_eq!(connected["connectionKey"], details["connectionKey"]);
        assert!(client.key.starts_with(&format!("{}!", client.id)) && !client.id.contains(':'), "{}", client.key);
        for (name, value) in [
            ("maxMessageSize", 65_536),
            ("maxFrameSize", 262_144),
            ("connectionStateTtl", 120_000),
            ("maxIdleInterval", 15_000),
        ] {
            assert_eq!(details[name], value, "{name}");
        }
        assert!(connected.get("error").is_none());
        client.send(&json!({ "action": 0, "id": "ping-1" }));
        assert_eq!(client.next(), json!({ "action": 0, "id": "ping-1" }));
        client.send(&json!({ "action": 7 }));
        assert_eq!(client.last(), json!({ "action": CLOSED }));
    }
    node.await_metric(r#"fanfare_connections{protocol="ably",transport="websocket"}"#, 0.0);
    node.await_metric(r#"fanfare_connections_opened_total{protocol="ably"}"#, 2.0);
    node.await_metric(r#"fanfare_connections_closed_total{protocol="ably",code="1000"}"#, 2.0);
}

#[test]
fn who_is_refused_is_told_over_the_socket() {
    let node = Node::start(quick());
    let code = |query: &str| {
        let refusal = node.refusal(query);
        assert_eq!(refusal["action"], ERROR, "{refusal}");
        assert!(refusal.as_object().unwrap().get("channel").is_none(), "{refusal}");
        refusal["error"]["code"].as_u64().unwrap()
    };
    let expired = token(-1.0, None, None);
    for (query, expected) in [
        ("v=6", 40101),
        ("key=app-key:wrong", 40101),
        ("key=app-key:wrong&format=msgpack", 40101),
        ("key=nobody:secret", 40101),
        ("key=app-key", 40005),
        (&*format!("access_token={expired}"), 40142),
        (&*format!("{KEY}&v=abc"), 40017),
        (&*format!("{KEY}&format=xml"), 40000),
        (&*format!("{KEY}&clientId=*"), 40012),
    ] {
        assert_eq!(code(query), expected, "{query}");
    }
    let bob = token(60.0, None, Some("bob"));
    assert_eq!(code(&format!("access_token={bob}&clientId=eve")), 40102);
    node.await_metric(r#"fanfare_connections{protocol="ably",transport="websocket"}"#, 0.0);
}

#[test]
fn a_token_and_a_previous_secret_get_in() {
    let mut app = fixtures::app();
    let previous = channels::Secret::new("former-secret").unwrap();
    app.keys[0].previous = Some(channels::PreviousSecret { secret: previous, until_ms: clock::unix_ms() + 60_000 });
    let node = Node::with_app(quick(), app);
    node.connected("key=app-key:former-secret");
    let (_client, connected) = node.connected(&format!("access_token={}", token(60.0, None, Some("bob"))));
    assert_eq!(connected["connectionDetails"]["clientId"], "bob");
    let (_client, connected) = node.connected(&format!("accessToken={}", token(60.0, None, None)));
    assert!(connected["connectionDetails"].get("clientId").is_none(), "anonymous");
}

#[test]
fn an_app_may_demand_tls_and_may_be_disabled() {
    let mut app = fixtures::app();
    app.pusher.tls_only = true;
    assert_eq!(Node::with_app(quick(), app).refusal(KEY)["error"]["code"], 40300);
    let app = App { enabled: false, ..fixtures::app() };
    let refusal = Node::with_app(quick(), app).refusal(KEY);
    assert_eq!((&refusal["action"], &refusal["error"]["code"]), (&json!(ERROR), &json!(40120)));
}

#[test]
fn quotas_are_fatal_and_a_full_node_is_not() {
    let mut app = fixtures::app();
    app.quota.connections = Some(1);
    let node = Node::with_app(quick(), app);
    let (_one, _) = node.connected(KEY);
    let refusal = node.refusal(KEY);
    assert_eq!((&refusal["action"], &refusal["error"]["code"]), (&json!(ERROR), &json!(40111)));

    let node = Node::start(Config { max_connections: 1, ..quick() });
    let (_one, _) = node.connected(KEY);
    let refusal = node.refusal(KEY);
    assert_eq!((&refusal["action"], &refusal["error"]["code"]), (&json!(DISCONNECTED), &json!(50320)));
    assert_eq!(refusal["error"]["statusCode"], 503, "so that another host is tried");
}

#[test]
fn both_protocols_share_a_node_and_its_channels() {
    let node = Node::start(quick());
    let mut pusher = node.client();
    pusher.subscribe("room");
    for format in ["json", "msgpack"] {
        let (mut client, _) = node.connected(&format!("{KEY}&format={format}"));
        let attached = client.attach("room");
        assert_eq!(attached["flags"], 3_080_192, "the default modes, nothing else");
        client.publish("room", 0, format);
        let serial = client.acknowledged(0);
        assert!(serial.is_string(), "{serial}");
        assert_eq!(client.message(), format);
        assert_eq!(pusher.next()["data"], format);
        node.publish("room", "over http");
        assert_eq!(client.message(), "over http");
        assert_eq!(pusher.next()["data"], "over http");
    }
    node.await_metric(r#"fanfare_publish_total{source="ably_realtime",result="accepted"}"#, 2.0);
}

#[test]
fn publishes_are_answered_in_order_and_echoed_unless_unwanted() {
    let node = Node::start(quick());
    let (mut silent, _) = node.connected(&format!("{KEY}&echo=false"));
    let (mut other, _) = node.connected(KEY);
    silent.attach("a");
    other.attach("a");
    for serial in 0..200 {
        silent.publish(if serial % 3 == 0 { "a" } else { "b" }, serial, &serial.to_string());
    }
    let mut next = 0;
    while next < 200 {
        let ack = silent.next();
        assert_eq!((&ack["action"], &ack["msgSerial"]), (&json!(ACK), &json!(next)), "{ack}");
        assert_eq!(ack["res"].as_array().unwrap().len() as u64, ack["count"].as_u64().unwrap());
        next += ack["count"].as_u64().unwrap();
    }
    for serial in (0..200).step_by(3) {
        assert_eq!(other.message(), serial.to_string());
    }
    silent.check_without(MESSAGE);
}

#[test]
fn over_a_quota_a_publish_is_refused_and_the_connection_stays() {
    let mut app = fixtures::app();
    app.quota.messages_in_per_second = Some(1);
    let node = Node::with_app(quick(), app);
    let (mut client, _) = node.connected(KEY);
    let mut refused = None;
    for serial in 0..50 {
        client.publish("room", serial, "x");
        let answer = client.next();
        assert_eq!(answer["msgSerial"], serial);
        if answer["action"] == NACK {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!((&refused["error"]["code"], &refused["error"]["statusCode"]), (&json!(42910), &json!(429)));
    let words = refused["error"]["message"].as_str().unwrap();
    assert!(words.contains("messages_in") && words.contains("retry in"), "{words}");
    client.check_without(ERROR);
}

#[test]
fn a_client_that_closes_has_what_it_published_done() {
    let node = Node::start(quick());
    let (mut reader, _) = node.connected(KEY);
    reader.attach("room");
    let (mut writer, _) = node.connected(KEY);
    for serial in 0..20 {
        writer.publish("room", serial, &serial.to_string());
    }
    writer.send(&json!({ "action": 7 }));
    writer.await_action(CLOSED);
    for serial in 0..20 {
        assert_eq!(reader.message(), serial.to_string());
    }
}
