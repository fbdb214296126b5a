//! How connections end that their clients did not want to end.

use proto::control::node_order::ListConnections;

use super::*;

#[test]
fn a_drain_sends_clients_to_another_node_where_they_go_on() {
    let mut here = Node::start(Config { close_timeout: PATIENCE, ..quick() });
    let there = here.another(quick());
    let clients: Vec<_> = (0..10).map(|_| here.connected(KEY).0).collect();
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            client.attach("room");
            std::thread::spawn(move || (client.last(), client.id, client.key))
        })
        .collect();
    let drained = here.stop();
    assert_eq!((drained.closed, drained.forced), (10, 0));
    for reader in readers {
        let (end, id, key) = reader.join().unwrap();
        assert_eq!((&end["action"], &end["error"]["code"]), (&json!(DISCONNECTED), &json!(50320)));
        assert_eq!(there.connected(&format!("{KEY}&resume={key}")).0.id, id);
    }
}

#[test]
fn new_clients_are_let_in_during_the_grace_and_sent_elsewhere_behind_it() {
    let node = Node::start(Config { drain_grace: Duration::from_secs(3600), ..quick() });
    node.shutdown.cancel();
    eventually(|| !node.readiness.is_ready(), || "still ready".to_owned());
    node.connected(KEY);
    let node = Node::start(everlasting());
    node.close();
    let refusal = node.refusal(KEY);
    assert_eq!((&refusal["action"], &refusal["error"]["code"]), (&json!(DISCONNECTED), &json!(50320)));
}

#[test]
fn operators_see_clients_and_close_them() {
    let node = Node::start(quick());
    let (mut bob, _) = node.connected(&format!("{KEY}&clientId=bob"));
    let (mut eve, _) = node.connected(&format!("{KEY}&clientId=eve"));
    bob.attach("room");
    // It is noted when all of that is done.
    bob.check_without(ERROR);
    let order = ListConnections {
        app_id: "1001".to_owned(),
        connection: bob.id.clone(),
        most: 10,
        ..ListConnections::default()
    };
    let [shown] = node.host.connections(&order).items.try_into().unwrap();
    assert_eq!((shown.protocol.as_str(), shown.transport.as_str()), ("ably", "websocket"));
    assert_eq!((shown.key.as_str(), shown.user_id.as_str()), ("app-key", "bob"));
    assert_eq!((shown.subscriptions, shown.channels), (1, vec!["room".to_owned()]));
    assert!(node.host.close_connection("1001", &bob.id, false));
    let end = bob.await_action(DISCONNECTED);
    assert_eq!(end["error"]["code"], 80003);
    let (back, _) = node.connected(&format!("{KEY}&resume={}", bob.key));
    assert_eq!(back.id, bob.id);
    assert!(node.host.close_connection("1001", &eve.id, true));
    let end = eve.last();
    assert_eq!((&end["action"], &end["error"]["code"]), (&json!(ERROR), &json!(40300)));
}

#[test]
fn a_users_connections_are_ended_on_all_nodes() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let (mut bob, _) = there.connected(&format!("{KEY}&clientId=bob"));
    let (mut eve, _) = there.connected(&format!("{KEY}&clientId=eve"));
    let (status, _) = here.api("POST", "/apps/1001/users/bob/terminate_connections", &[], &json!({}));
    assert_eq!(status, 200);
    let end = bob.last();
    assert_eq!((&end["action"], &end["error"]["code"]), (&json!(ERROR), &json!(40300)));
    eve.check_without(ERROR);
}

#[test]
fn a_disabled_app_and_a_revoked_key_end_connections_for_good() {
    let node = Node::start(quick());
    let (mut client, _) = node.connected(KEY);
    node.change(&AppChange { enabled: Some(false), ..AppChange::default() }, |app| !app.enabled);
    let end = client.last();
    assert_eq!((&end["action"], &end["error"]["code"]), (&json!(ERROR), &json!(40120)));
    node.await_metric(r#"fanfare_connections_closed_total{protocol="ably",code="40120"}"#, 1.0);
    node.change(&AppChange { enabled: Some(true), ..AppChange::default() }, |app| app.enabled);
    let (mut client, _) = node.connected(KEY);
    let (registry, id, key) = (node.world.registry.clone(), fixtures::app().id, fixtures::app().keys[0].name.clone());
    node.runtime.block_on(async { registry.revoke_key(&id, &key, 2).await }).unwrap();
    let end = client.last();
    assert_eq!((&end["action"], &end["error"]["code"]), (&json!(ERROR), &json!(40131)));
}

#[test]
fn a_silent_server_sends_heartbeats_to_who_wants_them() {
    let node = Node::start(Config { ably_max_idle_interval: Duration::from_secs(1), ..quick() });
    let (mut wants, _) = node.connected(&format!("{KEY}&heartbeats=true"));
    assert_eq!(wants.next(), json!({ "action": HEARTBEAT }));
    let (mut pinged, _) = node.connected(KEY);
    loop {
        match pinged.socket.read().unwrap() {
            Message::Ping(_) => break,
            Message::Pong(_) => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[test]
fn a_slow_reader_is_cut_and_the_others_get_everything() {
    let node = Node::start(Config { send_queue_bytes: 64 * 1024, ..quick() });
    let (mut slow, _) = node.connected(KEY);
    let (mut quick, _) = node.connected(KEY);
    slow.attach("room");
    quick.attach("room");
    let data = "x".repeat(10_000);
    let cut = r#"fanfare_slow_consumers_total{action="disconnected"}"#;
    let mut published = 0;
    while node.metric(cut) < 1.0 {
        assert_eq!(node.publish("room", &data).0, 200);
        assert_eq!(quick.message(), data.as_str());
        published += 1;
        assert!(published < 5_000, "never cut");
    }
    let (back, _) = node.connected(&format!("{KEY}&resume={}", slow.key));
    assert_eq!(back.id, slow.id);
}

#[test]
fn what_is_no_frame_ends_its_own_connection() {
    let node = Node::start(quick());
    let (mut other, _) = node.connected(KEY);
    for bytes in [b"no json".to_vec(), b"[]".to_vec(), vec![b'x'; 300_000]] {
        let (mut client, _) = node.connected(KEY);
        client.socket.send(Message::text(String::from_utf8(bytes).unwrap())).ok();
        let end = client.await_action(ERROR);
        assert!(end["error"]["code"].as_u64().unwrap() == 80013, "{end}");
    }
    let (mut client, _) = node.connected(KEY);
    client.send(&json!({ "action": 99, "what": "is this" }));
    client.check_without(ERROR);
    other.check_without(ERROR);
}
