//! Quotas: every refusal in the form of its protocol, counted, and over when there is room again.

use channels::{Namespace, Namespaces, Quota, QuotaKind, Tier};
use metering::usage::Counts;

use super::*;

impl Node {
    fn with_quota(quota: Quota) -> Self {
        Self::with_app(quick(), App { quota, ..fixtures::app() })
    }

    /// What the app has done, once `what` holds.
    fn counts(&self, what: impl Fn(&Counts) -> bool) -> Counts {
        let counts = std::cell::RefCell::new(Counts::default());
        let counted = || {
            let report = self.meters.report(Instant::now(), 0);
            report.apps.iter().for_each(|app| counts.borrow_mut().add(&app.counts));
            what(&counts.borrow())
        };
        eventually(counted, || format!("{:?}", counts.borrow()));
        counts.into_inner()
    }

    fn over_quota(&self, kind: QuotaKind) -> f64 {
        self.metric(&format!(r#"fanfare_quota_rejected_total{{quota="{}"}}"#, kind.name()))
    }

    fn post_json(&self, path: &str, body: &Value) -> (u16, String, Value) {
        let body = body.to_string();
        let query = signer().request("POST", path, &[], body.as_bytes(), now());
        let (status, head, body) =
            self.http(&request("POST", &format!("{path}?{query}"), &body, "Connection: close\r\n"));
        (status, head, serde_json::from_str(&body).unwrap())
    }
}

impl Client {
    fn refused_subscription(&mut self, channel: &str, auth: &Value) -> Value {
        let mut data = auth.clone();
        data["channel"] = channel.into();
        self.send(&json!({ "event": "pusher:subscribe", "data": data }));
        let answer = self.next();
        assert_eq!((&answer["event"], &answer["channel"]), (&json!("pusher:subscription_error"), &json!(channel)));
        answer["data"].clone()
    }

    /// What vouches for a member of `channel`.
    fn member(&self, channel: &str, user: &str) -> Value {
        let data = json!({ "user_id": user }).to_string();
        json!({ "auth": signer().channel(&self.socket_id, channel, Some(&data)), "channel_data": data })
    }
}

#[test]
fn over_the_quota_of_connections_with_its_name() {
    let node = Node::with_quota(Quota { connections: Some(1), ..Quota::default() });
    let first = node.client();
    let (code, reason) = node.upgraded("/app/app-key?protocol=7").close();
    assert_eq!((code, reason.as_str()), (4004, "quota connections exceeded, retry in 10 s"));
    let mut old = node.upgraded("/app/app-key?protocol=5");
    let told = json!({ "code": 4004, "message": "quota connections exceeded, retry in 10 s" });
    assert_eq!(old.next(), json!({ "event": "pusher:error", "data": told }));
    let session = "/app/app-key/123/abcd2345/xhr?protocol=7";
    let (status, _, lines) = node.http(&request("POST", session, "", "Connection: close\r\n"));
    assert_eq!(status, 200);
    assert!(lines.contains(r#"c[4004,"quota connections exceeded, retry in 10 s"]"#), "{lines}");
    assert_eq!(node.over_quota(QuotaKind::Connections), 3.0);
    let counts = node.counts(|_| true);
    assert_eq!((counts.connections_opened, counts.refused.get(QuotaKind::Connections)), (1, 3));
    drop(first);
    eventually(|| node.upgraded("/app/app-key?protocol=7").first_close().is_none(), || "still full".to_owned());
}

/// Another node has room, or this one will have: the client is to come back.
#[test]
fn a_node_that_has_used_up_its_share_only_says_try_again() {
    let node = Node::with_quota(Quota { connections: Some(2), ..Quota::default() });
    let live = metering::Live { edges: 2, workers: 1 };
    let _first = node.client();
    node.meters.tick(Instant::now(), 0, live);
    let (code, reason) = node.upgraded("/app/app-key?protocol=7").close();
    assert_eq!((code, reason.as_str()), (4100, "quota connections exceeded, retry in 2.0 s"));
}

#[test]
fn a_publish_over_the_rate_is_429_and_says_when() {
    let node = Node::with_quota(Quota { messages_in_per_second: Some(20), ..Quota::default() });
    let mut client = node.client();
    client.subscribe("room");
    // A hundred channels count a hundred times, and all or nothing is published.
    let many: Vec<String> = (0..99).map(|n| format!("c{n}")).chain(["room".to_owned()]).collect();
    let publish =
        |name: &str| node.post_json("/apps/1001/events", &json!({ "name": name, "channels": many, "data": "x" }));
    let begun = Instant::now();
    assert_eq!(publish("first").0, 200);
    // More than there was is owed.
    let (status, head, body) = publish("no");
    let passed = u64::try_from(begun.elapsed().as_millis()).unwrap();
    assert_eq!(status, 429, "{body}");
    assert_eq!(body["quota"], "messages_in");
    let wait = body["retry_after_ms"].as_u64().unwrap();
    assert!(head.contains(&format!("retry-after: {}\r\n", wait.div_ceil(1000))), "{head}");
    let range = 4999_u64.saturating_sub(passed)..=5000;
    assert!(range.contains(&wait), "{wait}, {passed} ms later: eighty and twenty are missing at twenty a second");
    let text = body["error"].as_str().unwrap();
    assert!(text.starts_with("quota messages_in exceeded, retry in "), "{text}");
    std::thread::sleep(Duration::from_millis(wait));
    assert_eq!(publish("yes").0, 200);
    let (status, body) = node.publish("room", "x");
    assert_eq!((status, &body["quota"]), (429, &json!("messages_in")));
    assert_eq!(client.next()["event"], "first");
    assert_eq!(client.next()["event"], "yes", "nothing of what was refused");
    assert_eq!(node.over_quota(QuotaKind::MessagesIn), 2.0);
    assert_eq!(node.metric(r#"fanfare_publish_total{source="http",result="over_limit"}"#), 2.0);
    let counts = node.counts(|counts| counts.messages_out == 2);
    assert_eq!((counts.messages_in, counts.bytes_in, counts.bytes_out), (200, 200, 2));
    assert_eq!(counts.refused.get(QuotaKind::MessagesIn), 2);
}

/// Also if its body is so large that it is not looked at.
#[test]
fn a_refused_publish_keeps_its_connection() {
    let node = Node::with_quota(Quota { messages_in_per_second: Some(0), ..Quota::default() });
    let ask = |body: &str, headers: &str| {
        let query = signer().request("POST", "/apps/1001/events", &[], body.as_bytes(), now());
        request("POST", &format!("/apps/1001/events?{query}"), body, headers)
    };
    let small = r#"{"name":"e","channel":"c","data":"x"}"#;
    let requests = [ask(small, ""), ask(&"x".repeat(100_000), ""), ask(small, "Connection: close\r\n")].concat();
    let mut stream = node.tcp();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("429 Too Many").count(), 3, "{answers}");
    assert_eq!(node.over_quota(QuotaKind::MessagesIn), 3.0);
    // Who cannot sign learns nothing of the app's quotas.
    let unsigned = request("POST", "/apps/1001/events", &"x".repeat(100_000), "Connection: close\r\n");
    assert_eq!(node.http(&unsigned).0, 401);
    assert_eq!(node.api("GET", "/apps/1001/channels", &[], &Value::Null).0, 200, "questions are no publishes");
}

#[test]
fn a_client_event_over_the_rate_is_told_and_not_relayed() {
    let node = Node::with_quota(Quota { messages_in_per_second: Some(1), ..Quota::default() });
    let (mut ann, mut bob) = (node.client(), node.client());
    ann.subscribe("private-room");
    bob.subscribe("private-room");
    let event = json!({ "event": "client-e", "channel": "private-room", "data": 1 });
    // More than one, if that takes a busy machine more than a second.
    let (mut relayed, begun) = (0_u64, Instant::now());
    let refused = loop {
        ann.send(&event);
        ann.send(&json!({ "event": "pusher:ping", "data": {} }));
        let answer = ann.next();
        if answer["event"] != "pusher:pong" {
            break answer;
        }
        assert_eq!(bob.next()["data"], 1);
        relayed += 1;
        assert!(begun.elapsed() < PATIENCE, "never refused");
    };
    assert_eq!((&refused["event"], &refused["data"]["code"]), (&json!("pusher:error"), &json!(4301)));
    assert_eq!(ann.next()["event"], "pusher:pong");
    let text = refused["data"]["message"].as_str().unwrap();
    assert!(text.starts_with("quota messages_in exceeded, retry in "), "{text}");
    std::thread::sleep(Duration::from_millis(1100));
    ann.send(&event);
    assert_eq!(bob.next()["data"], 1);
    relayed += 1;
    assert_eq!(node.over_quota(QuotaKind::MessagesIn), 1.0);
    assert_eq!(node.metric(r#"fanfare_publish_total{source="client_event",result="over_limit"}"#), 1.0);
    let counts = node.counts(|counts| counts.messages_out == relayed);
    assert_eq!((counts.messages_in, counts.bytes_in, counts.bytes_out), (relayed, relayed, relayed));
}

#[test]
fn who_has_delivered_too_much_may_not_publish_for_a_while() {
    let node = Node::with_quota(Quota { messages_out_per_second: Some(2), ..Quota::default() });
    let mut clients: Vec<_> = (0..4).map(|_| node.client()).collect();
    clients.iter_mut().for_each(|client| client.subscribe("room"));
    let three = json!({ "batch": vec![json!({ "name": "e", "channel": "room", "data": "1" }); 3] });
    assert_eq!(node.post_json("/apps/1001/batch_events", &three).0, 200);
    for client in &mut clients {
        for _ in 0..3 {
            assert_eq!(client.next()["data"], "1", "what is published reaches all");
        }
    }
    node.counts(|counts| counts.messages_out == 12);
    let (status, body) = node.publish("room", "2");
    assert_eq!((status, &body["quota"]), (429, &json!("messages_out")));
    assert!((1..=5000).contains(&body["retry_after_ms"].as_u64().unwrap()), "{body}");
    eventually(|| node.publish("room", "3").0 == 200, || "the debt is not paid".to_owned());
    for client in &mut clients {
        assert_eq!(client.next()["data"], "3");
    }
}

#[test]
fn channels_over_the_quota_are_refused_on_the_channel() {
    let node = Node::with_quota(Quota { channels: Some(1), ..Quota::default() });
    let (mut ann, mut bob) = (node.client(), node.client());
    ann.subscribe("a");
    bob.subscribe("a");
    let refused = bob.refused_subscription("b", &json!({}));
    let text = "quota channels exceeded, retry in 10 s";
    assert_eq!(refused, json!({ "type": "LimitReached", "error": text, "status": 4004 }));
    bob.check();
    drop((ann, bob));
    eventually(
        || node.meters.get(&fixtures::app().id).is_none_or(|meter| meter.channels() == 0),
        || "still there".to_owned(),
    );
    node.client().subscribe("b");
    assert_eq!(node.over_quota(QuotaKind::Channels), 1.0);
    assert_eq!(node.metric(r#"fanfare_subscribe_total{result="over_limit"}"#), 1.0);
    assert_eq!(node.counts(|_| true).refused.get(QuotaKind::Channels), 1);
}

/// A channel that others already have is none more.
#[test]
fn channels_of_other_nodes_count() {
    let quota = Quota { channels: Some(1), ..Quota::default() };
    let node = Node::with_quota(quota);
    let other = node.another(quick());
    let mut ann = node.client();
    ann.subscribe("a");
    eventually(
        || {
            let mut bob = other.client();
            bob.send(&json!({ "event": "pusher:subscribe", "data": { "channel": "b" } }));
            bob.next()["event"] == "pusher:subscription_error"
        },
        || "the other node does not know".to_owned(),
    );
    other.client().subscribe("a");
    drop(ann);
    eventually(
        || {
            let mut bob = other.client();
            bob.send(&json!({ "event": "pusher:subscribe", "data": { "channel": "b" } }));
            bob.next()["event"] == "pusher_internal:subscription_succeeded"
        },
        || "still occupied".to_owned(),
    );
}

#[test]
fn members_over_the_quota_are_refused_like_those_of_a_full_channel() {
    let node = Node::with_quota(Quota { presence_members: Some(1), ..Quota::default() });
    let (mut ann, mut bob) = (node.client(), node.client());
    let member = ann.member("presence-a", "ann");
    let mut data = member.clone();
    data["channel"] = "presence-a".into();
    ann.send(&json!({ "event": "pusher:subscribe", "data": data }));
    assert_eq!(ann.next()["event"], "pusher_internal:subscription_succeeded");
    let vouched = bob.member("presence-b", "bob");
    let refused = bob.refused_subscription("presence-b", &vouched);
    let text = "quota presence_members exceeded, retry in 10 s";
    assert_eq!(refused, json!({ "type": "LimitReached", "error": text, "status": 4004 }));
    ann.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "presence-a" } }));
    let meter = node.meters.get(&fixtures::app().id).unwrap();
    eventually(|| meter.presence_members() == 0, || "still a member".to_owned());
    let mut data = vouched;
    data["channel"] = "presence-b".into();
    bob.send(&json!({ "event": "pusher:subscribe", "data": data }));
    assert_eq!(bob.next()["event"], "pusher_internal:subscription_succeeded");
    assert_eq!(node.over_quota(QuotaKind::PresenceMembers), 1.0);
}

#[test]
fn a_message_that_is_too_large_counts_as_a_quota() {
    let node = Node::start(quick());
    let (status, body) = node.publish("room", &"x".repeat(10_241));
    assert_eq!((status, &body["quota"], &body["retry_after_ms"]), (413, &json!("message_size"), &Value::Null));
    let mut client = node.client();
    client.subscribe("private-room");
    client.send(&json!({ "event": "client-e", "channel": "private-room", "data": "x".repeat(10_241) }));
    assert_eq!(client.next()["event"], "pusher:error");
    assert_eq!(node.over_quota(QuotaKind::MessageSize), 2.0);
    assert_eq!(node.counts(|_| true).refused.get(QuotaKind::MessageSize), 2);
}

#[test]
fn what_persistent_channels_may_store_is_limited_and_others_go_on() {
    let hour = Tier::Persistent { retention: Duration::from_secs(3600) };
    let app = App {
        quota: Quota { history_bytes: Some(10), ..Quota::default() },
        namespaces: Namespaces::new(vec![Namespace::new("log-", hour)]).unwrap(),
        ..fixtures::app()
    };
    let node = Node::with_app(quick(), app);
    assert_eq!(node.publish("log-a", "1234567").0, 200);
    let both = json!({ "name": "e", "channels": ["log-a", "room"], "data": "4567" });
    let (status, _, body) = node.post_json("/apps/1001/events", &both);
    assert_eq!((status, &body["quota"]), (429, &json!("history_bytes")));
    assert_eq!(node.publish("room", "4567").0, 200, "it stores nothing for long");
    assert_eq!(node.publish("log-b", "890").0, 200, "there was room for so much");
    assert_eq!(node.over_quota(QuotaKind::HistoryBytes), 1.0);
    let counts = node.counts(|_| true);
    assert_eq!((counts.messages_in, counts.bytes_in), (3, 14));
}

/// Quotas follow the app's settings at once, with and without connections.
#[test]
fn a_quota_may_change() {
    let node = Node::start(quick());
    assert_eq!(node.publish("room", "1").0, 200);
    let quota = Quota { messages_in_per_second: Some(0), ..Quota::default() };
    node.change(&AppChange { quota: Some(quota), ..AppChange::default() }, |app| app.quota != Quota::default());
    eventually(|| node.publish("room", "2").0 == 429, || "still let in".to_owned());
    node.change(&AppChange { quota: Some(Quota::default()), ..AppChange::default() }, |app| {
        app.quota == Quota::default()
    });
    eventually(|| node.publish("room", "3").0 == 200, || "still refused".to_owned());
}

/// Its connection was counted when it began.
#[test]
fn a_stream_that_is_refused_a_channel_is_no_connection() {
    let node = Node::with_quota(Quota { channels: Some(1), ..Quota::default() });
    let target = format!("/sse?{}&channels=a,b", sse::KEY);
    let (status, head, _) = node.http(&request("GET", &target, "", "Connection: close\r\n"));
    assert!(status == 429 && head.contains("retry-after: "), "{head}");
    assert_eq!(node.metric(r#"fanfare_connections{protocol="ably",transport="sse"}"#), 0.0);
    assert_eq!(node.metric(r#"fanfare_connections_opened_total{protocol="ably"}"#), 1.0);
    assert_eq!(node.metric(r#"fanfare_connections_closed_total{protocol="ably",code="42910"}"#), 1.0);
}
