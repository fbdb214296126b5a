//! What metachannels tell of connections.

use super::*;

fn node(config: Config) -> Node {
    let mut app = fixtures::app();
    app.keys[0].capability = channels::Capability::new([("[*]*".to_owned(), ["*"])]).unwrap();
    Node::with_app(config, app)
}

impl Realtime {
    /// The next message of a metachannel: name and data.
    fn told(&mut self) -> (String, Value) {
        let mut message = self.await_action(MESSAGE)["messages"][0].take();
        assert_eq!(message["encoding"], "json");
        let data = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
        (message["name"].take().as_str().unwrap().to_owned(), data)
    }
}

#[test]
fn connections_come_and_go() {
    let node = node(Config { ably_connection_state_ttl: Duration::from_secs(5), ..quick() });
    let (mut watcher, _) = node.connected(KEY);
    watcher.attach("[meta]connection.lifecycle");
    let (mut bob, _) = node.connected(&format!("{KEY}&clientId=bob"));
    let (name, data) = watcher.told();
    assert_eq!(
        (name.as_str(), &data["connectionId"], &data["clientId"]),
        ("connection.opened", &json!(bob.id), &json!("bob"))
    );
    bob.send(&json!({ "action": 7 }));
    let (name, data) = watcher.told();
    assert_eq!((name.as_str(), &data["connectionId"]), ("connection.closed", &json!(bob.id)));
    // One who comes back was never away; one who does not has gone when its time is over.
    let (first, _) = node.connected(KEY);
    assert_eq!(watcher.told().0, "connection.opened");
    let id = first.id.clone();
    let key = first.key.clone();
    drop(first);
    let (back, _) = node.connected(&format!("{KEY}&resume={key}"));
    assert_eq!(back.id, id);
    node.await_metric(r#"fanfare_connections{protocol="ably",transport="websocket"}"#, 2.0);
    drop(back);
    let (name, data) = watcher.told();
    assert_eq!((name.as_str(), &data["connectionId"]), ("connection.closed", &json!(id)));
    watcher.check_without(MESSAGE);
}

#[test]
fn refusals_are_logged_and_nobody_publishes_there() {
    let node = node(quick());
    let (mut watcher, _) = node.connected(KEY);
    watcher.attach("[meta]log");
    node.refusal("key=app-key:wrong");
    let (name, data) = watcher.told();
    assert_eq!((name.as_str(), &data["error"]["code"]), ("error", &json!(40101)));
    watcher.publish("[meta]log", 0, "x");
    assert_eq!(watcher.await_action(NACK)["error"]["code"], 40010);
}
