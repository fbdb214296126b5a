//! What an operator says of keys and namespaces, and what becomes of it on a running node.

use channels::{Namespace, Namespaces, PreviousSecret, Secret, SlowConsumers, Tier};

use super::*;

/// The fixture's app with this rule alone.
fn under(rule: Namespace) -> App {
    App { namespaces: Namespaces::new(vec![rule]).unwrap(), ..fixtures::app() }
}

/// An open connection to a node whose app's key was rotated: its old secret is good for a while.
struct Rotated {
    node: Node,
    client: Client,
    old: Signer,
    new: Signer,
    until_ms: u64,
}

impl Rotated {
    fn new(overlap: Duration) -> Self {
        let mut app = fixtures::app();
        let until_ms = clock::unix_ms() + clock::millis(overlap);
        let secret = std::mem::replace(&mut app.keys[0].secret, Secret::new("the new secret").unwrap());
        app.keys[0].previous = Some(PreviousSecret { secret, until_ms });
        let new = Signer::from(&app.keys[0]);
        let node = Node::with_app(quick(), app);
        let client = node.client();
        Self { node, client, old: signer(), new, until_ms }
    }

    fn publish(&self, signer: &Signer) -> u16 {
        let (path, body) = ("/apps/1001/events", json!({ "name": "e", "channel": "room", "data": "x" }).to_string());
        let query = signer.request("POST", path, &[], body.as_bytes(), now());
        self.node.http(&request("POST", &format!("{path}?{query}"), &body, "Connection: close\r\n")).0
    }

    /// Whether a subscription is taken that either secret signs.
    fn subscribes(&mut self) -> [bool; 2] {
        let Self { client, old, new, .. } = self;
        [(old, "private-a"), (new, "private-b")].map(|(signer, channel)| {
            let auth = signer.channel(&client.socket_id, channel, None);
            client.send(&json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } }));
            client.next()["event"] == "pusher_internal:subscription_succeeded"
        })
    }
}

#[test]
fn a_rotated_key_signs_with_both_secrets() {
    let mut key = Rotated::new(Duration::from_secs(3600));
    assert_eq!((key.publish(&key.old), key.publish(&key.new)), (200, 200));
    assert_eq!(key.subscribes(), [true, true]);
}

#[test]
fn an_old_secret_is_good_until_its_end_on_open_connections_too() {
    let mut key = Rotated::new(Duration::from_secs(1));
    eventually(|| clock::unix_ms() >= key.until_ms, || "time stands still".to_owned());
    // Requests are dated to the second.
    eventually(|| key.publish(&key.old) == 401, || "still good".to_owned());
    assert_eq!(key.publish(&key.new), 200);
    assert_eq!(key.subscribes(), [false, true]);
}

#[test]
fn a_namespace_has_its_own_switch_for_client_events_and_its_own_room_for_members() {
    let app = under(Namespace {
        client_events: Some(false),
        presence_members: Some(1),
        ..Namespace::new("presence-", Tier::Recoverable)
    });
    let node = Node::with_app(quick(), app);
    let (mut a, mut b) = (node.client(), node.client());
    let join = |client: &mut Client, user: &str| {
        let data = json!({ "user_id": user }).to_string();
        let auth = signer().channel(&client.socket_id, "presence-a", Some(&data));
        let data = json!({ "channel": "presence-a", "auth": auth, "channel_data": data });
        client.send(&json!({ "event": "pusher:subscribe", "data": data }));
        client.next()
    };
    assert_eq!(join(&mut a, "ann")["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(join(&mut b, "bob")["data"]["error"], "this channel already has 1 members, the most it may have");
    a.send(&json!({ "event": "client-x", "channel": "presence-a", "data": 1 }));
    assert_eq!(a.next()["data"]["message"], "Client events are not enabled for this channel");
    for client in [&mut a, &mut b] {
        client.subscribe("private-a");
    }
    a.send(&json!({ "event": "client-x", "channel": "private-a", "data": 1 }));
    assert_eq!(b.next()["event"], "client-x");
}

/// It does not read, is not cut, and in the end gets what is newest, behind a note of how much it missed.
#[test]
fn a_slow_reader_of_the_newest_stays() {
    let rule = Namespace { slow_consumers: SlowConsumers::KeepLatest, ..Namespace::new("price-", Tier::Recoverable) };
    let node = Node::with_app(Config { send_queue_bytes: 64 * 1024, ..quick() }, under(rule));
    let mut slow = node.client();
    slow.subscribe("price-a");
    slow.subscribe("price-b");
    let coalesced = r#"fanfare_slow_consumers_total{action="coalesced"}"#;
    let mut published = 0;
    while node.metric(coalesced) < 3.0 {
        published += 1;
        assert!(published < 5_000, "never full");
        let channel = if published % 2 == 0 { "price-a" } else { "price-b" };
        assert_eq!(node.publish(channel, &format!("{published:010000}")).0, 200);
    }
    for channel in ["price-a", "price-b"] {
        node.publish(channel, "last");
    }
    let mut lasts = 0;
    let (mut seen, mut dropped, mut newest) = (0, 0, [0; 2]);
    while lasts < 2 {
        let event = slow.next();
        let data = event["data"].as_str().unwrap();
        if event["event"] == "fanfare:gap" {
            let gap: Value = serde_json::from_str(data).unwrap();
            dropped += gap["dropped"].as_u64().unwrap();
        } else if data == "last" {
            lasts += 1;
        } else {
            let number: u64 = data.parse().unwrap();
            // Each channel has an order of its own.
            let newest = &mut newest[usize::from(event["channel"] == "price-b")];
            assert!(number > *newest, "{number} behind {newest}");
            (*newest, seen) = (number, seen + 1);
        }
    }
    assert_eq!(seen + dropped, published, "{seen} seen, {dropped} dropped");
    slow.check();
    let discarded = r#"fanfare_discarded_total{reason="coalesced",intentional="true"}"#;
    assert_eq!(node.metric(discarded).to_string(), dropped.to_string());
    assert_eq!(node.metric(r#"fanfare_slow_consumers_total{action="disconnected"}"#), 0.0);
}

/// The events of other channels must not be lost unsaid, so a queue full of those ends the connection all the same.
#[test]
fn a_slow_reader_of_everything_else_is_cut() {
    let rule = Namespace { slow_consumers: SlowConsumers::KeepLatest, ..Namespace::new("price-", Tier::Recoverable) };
    let node = Node::with_app(Config { send_queue_bytes: 64 * 1024, ..quick() }, under(rule));
    let mut slow = node.client();
    slow.subscribe("price-a");
    slow.subscribe("room");
    let mut published = 0;
    while node.metric(r#"fanfare_slow_consumers_total{action="disconnected"}"#) < 1.0 {
        published += 1;
        assert!(published < 5_000, "never cut");
        node.publish(if published % 4 == 0 { "price-a" } else { "room" }, &"x".repeat(10_000));
    }
}
