//! Clients that come back, on this node or another.

use super::*;

fn resume(key: &str) -> String {
    format!("{KEY}&resume={}", key.replace('!', "%21"))
}

#[test]
fn a_connection_goes_on_at_another_node() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let (mut client, _) = here.connected(KEY);
    let (mut other, _) = there.connected(KEY);
    other.attach("room");
    let attached = client.attach("room");
    client.publish("room", 0, "zero");
    let zero = client.acknowledged(0);
    client.publish("room", 1, "one");
    let one = client.acknowledged(1);
    let seen = json!(attached["channelSerial"].as_str().unwrap());
    // It comes back before its old node has noticed that it went.
    let (mut back, connected) = there.connected(&resume(&client.key));
    assert_eq!(back.id, client.id);
    assert_ne!(back.key, client.key);
    assert!(connected.get("error").is_none());
    let end = client.await_action(DISCONNECTED);
    assert_eq!(end["error"]["code"], 80003, "{end}");
    assert_eq!(client.read(), None);
    // As SDKs do: what had no answer first, before the channel is attached again.
    back.publish("room", 1, "one");
    assert_eq!(back.acknowledged(1), one, "the same message, not another one");
    let attached = back.attach_at("room", &seen);
    assert_eq!(attached["flags"].as_u64().unwrap() & 4, 4, "resumed");
    assert_eq!([back.message(), back.message()], ["zero", "one"]);
    back.publish("room", 2, "two");
    let two = back.acknowledged(2);
    assert!(zero.as_str() < one.as_str() && one.as_str() < two.as_str(), "{zero} {one} {two}");
    assert_eq!(back.message(), "two");
    // Nothing was published twice.
    assert_eq!([other.message(), other.message(), other.message()], ["zero", "one", "two"]);
    other.check_without(MESSAGE);
    back.check_without(MESSAGE);
}

#[test]
fn on_one_node_the_newest_transport_wins() {
    let node = Node::start(quick());
    let (mut first, _) = node.connected(KEY);
    let (mut second, _) = node.connected(&format!("{KEY}&recover={}", first.key));
    assert_eq!(second.id, first.id);
    assert_eq!(first.await_action(DISCONNECTED)["error"]["code"], 80003);
    let (mut third, _) = node.connected(&resume(&second.key));
    assert_eq!(third.id, first.id);
    assert_eq!(second.await_action(DISCONNECTED)["error"]["code"], 80003);
    third.check_without(DISCONNECTED);
    node.await_metric(r#"fanfare_connections{protocol="ably",transport="websocket"}"#, 1.0);
    node.await_metric(r#"fanfare_connections_closed_total{protocol="ably",code="80003"}"#, 2.0);
}

#[test]
fn a_key_that_is_unknown_or_spent_gives_a_new_connection() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let (client, _) = here.connected(KEY);
    let (resumed, _) = there.connected(&resume(&client.key));
    for key in [client.key.as_str(), "c0nnA!k1", "garbage", &format!("{}x", resumed.key)] {
        for node in [&here, &there] {
            let (new, connected) = node.connected(&resume(key));
            assert_ne!(new.id, client.id, "{key}");
            let error = &connected["error"];
            assert_eq!((&error["code"], &error["statusCode"]), (&json!(80018), &json!(400)), "{key}");
        }
    }
    let elsewhere = Node::start(quick());
    let (_, connected) = elsewhere.connected(&resume(&resumed.key));
    assert_eq!(connected["error"]["code"], 80018, "another cluster");
}

#[test]
fn a_connection_is_its_clients() {
    let node = Node::start(quick());
    let (bob, _) = node.connected(&format!("{KEY}&clientId=bob"));
    let refusal = node.refusal(&format!("{}&clientId=eve", resume(&bob.key)));
    assert_eq!((&refusal["action"], &refusal["error"]["code"]), (&json!(ERROR), &json!(40102)));
    let (back, connected) = node.connected(&resume(&bob.key));
    assert_eq!(back.id, bob.id, "the refusal has not spent the key");
    assert_eq!(connected["connectionDetails"]["clientId"], "bob");
}

#[test]
fn bad_credentials_do_not_spend_a_key() {
    let node = Node::start(quick());
    let (client, _) = node.connected(KEY);
    let encoded = client.key.replace('!', "%21");
    let expired = token(-1.0, None, None);
    for (query, code) in [("key=app-key:wrong", 40101), (&*format!("access_token={expired}"), 40142)] {
        assert_eq!(node.refusal(&format!("{query}&resume={encoded}"))["error"]["code"], code);
    }
    let (back, _) = node.connected(&resume(&client.key));
    assert_eq!(back.id, client.id);
}

/// Many come back at once, each twice, to two nodes: every connection has one transport in the end.
#[test]
fn a_crowd_that_comes_back_is_one_transport_each() {
    let here = Arc::new(Node::start(quick()));
    let there = Arc::new(here.another(quick()));
    let clients: Vec<_> = (0..20).map(|_| here.connected(KEY).0).collect();
    let comebacks: Vec<_> = clients
        .iter()
        .flat_map(|client| [(Arc::clone(&here), client.key.clone()), (Arc::clone(&there), client.key.clone())])
        .map(|(node, key)| std::thread::spawn(move || node.connected(&resume(&key)).0))
        .collect();
    let back: Vec<_> = comebacks.into_iter().map(|comeback| comeback.join().unwrap()).collect();
    for client in &clients {
        let same = back.iter().filter(|back| back.id == client.id).count();
        assert_eq!(same, 1, "of two who show one key, one is it");
    }
    let open = || {
        let series = r#"fanfare_connections{protocol="ably",transport="websocket"}"#;
        here.metric(series) + there.metric(series)
    };
    eventually(|| open() == 40.0, || format!("{} transports", open()));
}

#[test]
fn who_catches_up_is_counted() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let (mut client, _) = here.connected(KEY);
    let serial = client.attach("room")["channelSerial"].clone();
    here.publish("room", "missed");
    let (mut back, _) = there.connected(&resume(&client.key));
    assert_eq!(there.all_recoveries(), 0.0, "it has not said what it misses");
    back.attach_at("room", &serial);
    assert_eq!(back.message(), "missed");
    let recovered = || there.recoveries("ably", "recovered", "stream");
    eventually(|| recovered() == 1.0, || "not counted".to_owned());
    assert_eq!(there.metric("fanfare_recovered_messages_sum{protocol=\"ably\"}"), 1.0);
    back.attach_at("other", &json!("nonsense"));
    eventually(|| there.recoveries("ably", "invalid", "none") == 1.0, || "not counted".to_owned());
    assert_eq!((here.all_recoveries(), there.all_recoveries()), (0.0, 2.0));
}
