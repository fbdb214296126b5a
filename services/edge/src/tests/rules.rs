//! What an operator says of keys and namespaces, and what becomes of it on a running node.

use channels::{Namespace, Namespaces, PreviousSecret, Secret, SlowConsumers, Tier};

use super::*;

/// The fixture's app with this rule alone.
fn under(rule: Namespace) -> App {
    App { namespaces: Namespaces::new(vec![rule]).unwrap(), ..fixtures::app() }
}

/// What the old secret signs is good until its end, on open connections and new ones, and the new one's at once.
#[test]
fn a_rotated_key_signs_with_both_secrets_for_a_while() {
    /// Long enough for a slow machine to do all that comes before its end.
    const OVERLAP_MS: u64 = 4000;
    let mut app = fixtures::app();
    let until_ms = clock::unix_ms() + OVERLAP_MS;
    let secret = std::mem::replace(&mut app.keys[0].secret, Secret::new("the new secret").unwrap());
    app.keys[0].previous = Some(PreviousSecret { secret, until_ms });
    let new = Signer::from(&app.keys[0]);
    let node = Node::with_app(quick(), app);
    let publish = |signer: &Signer| {
        let (path, body) = ("/apps/1001/events", json!({ "name": "e", "channel": "room", "data": "x" }).to_string());
        let query = signer.request("POST", path, &[], body.as_bytes(), now());
        node.http(&request("POST", &format!("{path}?{query}"), &body, "Connection: close\r\n")).0
    };
    let mut client = node.client();
    let mut subscribed = |signer: &Signer, channel: &str| {
        let auth = signer.channel(&client.socket_id, channel, None);
        client.send(&json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } }));
        client.next()["event"] == "pusher_internal:subscription_succeeded"
    };
    assert_eq!((publish(&signer()), publish(&new)), (200, 200));
    assert!(subscribed(&signer(), "private-a") && subscribed(&new, "private-b"));
    eventually(|| clock::unix_ms() >= until_ms, || "time stands still".to_owned());
    // Requests are dated to the second.
    eventually(|| publish(&signer()) == 401, || "still good".to_owned());
    assert_eq!(publish(&new), 200);
    assert!(!subscribed(&signer(), "private-c") && subscribed(&new, "private-d"));
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
