//! What operators see of clients, and do to them.

use agent::TapEvents;
use channels::{Namespace, Namespaces, Tier};
use proto::control::node_order::{ListChannels, ListConnections};
use proto::control::{Channel, Connection, TailEvent, TailKind, TailRequest};

use super::api::{join, sign_in};
use super::*;

impl Node {
    fn listed(&self, order: ListConnections) -> Vec<Connection> {
        self.host.connections(&ListConnections { app_id: "1001".to_owned(), most: 1000, ..order }).items
    }

    fn ids(&self, order: ListConnections) -> Vec<String> {
        self.listed(order).into_iter().map(|connection| connection.id).collect()
    }

    fn occupied(&self, order: ListChannels) -> Vec<Channel> {
        self.host.channels(&ListChannels { app_id: "1001".to_owned(), most: 1000, ..order }).items
    }

    fn tail(&self, channel: &str, connection: &str) -> Tail {
        let (channel, connection) = (channel.to_owned(), connection.to_owned());
        let request = TailRequest { app_id: "1001".to_owned(), channel, connection, events_per_second: 1000 };
        let (tap, events) = agent::tap(request);
        self.host.tail(tap);
        Tail { runtime: Arc::clone(&self.runtime), events }
    }
}

struct Tail {
    runtime: Arc<Runtime>,
    events: TapEvents,
}

impl Tail {
    fn next(&mut self) -> TailEvent {
        let next = async { tokio::time::timeout(PATIENCE, self.events.next()).await };
        self.runtime.block_on(next).expect("an event").expect("not over")
    }

    /// The next of this kind.
    fn await_kind(&mut self, kind: TailKind) -> TailEvent {
        loop {
            let event = self.next();
            if event.kind() == kind {
                return event;
            }
        }
    }
}

fn sorted<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Vec<String> {
    let mut ids: Vec<_> = clients.into_iter().map(|client| client.socket_id.clone()).collect();
    ids.sort();
    ids
}

#[test]
fn connections_are_listed_found_and_told_apart() {
    let node = Node::start(quick());
    let before = clock::unix_ms();
    let (mut a, mut b, mut c) = (node.client(), node.client(), node.client());
    let mut fallback = node.stream();
    fallback.greeting();
    a.subscribe("room");
    a.subscribe("private-x");
    b.subscribe("room");
    sign_in(&mut b, "ann");
    join(&mut c, "presence-x", "ann");
    let all = node.ids(ListConnections::default());
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted());
    let only = |order: ListConnections| node.ids(order);
    assert_eq!(only(ListConnections { channel: "room".to_owned(), ..Default::default() }), sorted([&a, &b]));
    assert_eq!(only(ListConnections { channel: "no name".to_owned(), ..Default::default() }), [""; 0]);
    assert_eq!(only(ListConnections { user_id: "ann".to_owned(), ..Default::default() }), sorted([&b, &c]));
    let both = ListConnections { user_id: "ann".to_owned(), channel: "room".to_owned(), ..Default::default() };
    assert_eq!(only(both), sorted([&b]));
    let page = |after: &str| {
        let order =
            ListConnections { after: after.to_owned(), most: 3, app_id: "1001".to_owned(), ..Default::default() };
        node.host.connections(&order)
    };
    let first = page("");
    assert_eq!((first.items.len(), first.more), (3, true));
    let second = page(&first.items[2].id);
    assert_eq!((second.items.len(), second.more), (1, false));
    assert_eq!(second.items[0].id, all[3]);

    let of = |client: &Client| ListConnections { connection: client.socket_id.clone(), ..Default::default() };
    // A client may have read what its node has not yet counted as gone.
    eventually(|| node.listed(of(&a))[0].queued_bytes == 0, || "still queued".to_owned());
    let [shown] = node.listed(of(&a)).try_into().unwrap();
    let (connected, address) = (shown.connected_ms, shown.address.clone());
    assert!((before / 1000 * 1000..=clock::unix_ms()).contains(&connected), "{connected}");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let expected = Connection {
        id: a.socket_id.clone(),
        protocol: "pusher".to_owned(),
        transport: "websocket".to_owned(),
        key: "app-key".to_owned(),
        connected_ms: connected,
        address,
        subscriptions: 2,
        channels: vec!["private-x".to_owned(), "room".to_owned()],
        ..Connection::default()
    };
    assert_eq!(shown, expected);
    assert_eq!(node.listed(of(&b))[0].user_id, "ann");
    assert_eq!(node.listed(ListConnections::default()).iter().filter(|c| c.transport == "xhr_streaming").count(), 1);
    let elsewhere = ListConnections { app_id: "77".to_owned(), most: 10, ..Default::default() };
    assert_eq!(node.host.connections(&elsewhere).items, []);

    let load = node.host.load();
    assert_eq!((load.connections, load.channels, load.subscriptions), (4, 3, 4));
    assert_eq!(load.max_connections, quick().max_connections as u64);
    assert!(!node.host.is_draining() && node.host.edge_id().len() == 16);
    a.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "room" } }));
    a.check();
    assert_eq!(node.listed(of(&a))[0].subscriptions, 1);
    drop((b, fallback));
    eventually(|| node.ids(ListConnections::default()).len() == 2, || "still listed".to_owned());
    eventually(|| node.host.load().subscriptions == 2, || format!("{:?}", node.host.load()));
}

#[test]
fn an_operator_closes_a_connection() {
    let node = Node::start(quick());
    let (mut a, mut b, mut other) = (node.client(), node.client(), node.client());
    assert!(!node.host.close_connection("77", &a.socket_id, true));
    assert!(!node.host.close_connection("1001", "1.1", true));
    assert!(node.host.close_connection("1001", &a.socket_id, true));
    assert!(node.host.close_connection("1001", &b.socket_id, false));
    assert_eq!((a.close_code(), b.close_code()), (4009, 4200));
    other.check();
    eventually(|| !node.host.close_connection("1001", &a.socket_id, true), || "still there".to_owned());
}

#[test]
fn channels_are_listed_with_what_the_cluster_knows() {
    let rule = Namespace::new("price-", Tier::Ephemeral);
    let app = App { namespaces: Namespaces::new(vec![rule]).unwrap(), ..fixtures::app() };
    let node = Node::with_app(quick(), app);
    let there = node.another(quick());
    let (mut a, mut b) = (node.client(), there.client());
    for channel in ["price-1", "price-2", "private-z"] {
        a.subscribe(channel);
    }
    sign_in(&mut a, "ann");
    a.subscribe("#server-to-user-ann");
    join(&mut a, "presence-x", "ann");
    b.subscribe("price-2");
    join(&mut b, "presence-x", "bob");
    let channel = |name: &str| node.occupied(ListChannels { channel: name.to_owned(), ..Default::default() });
    eventually(|| channel("price-2")[0].subscriptions == 2, || format!("{:?}", channel("price-2")));
    eventually(|| channel("presence-x")[0].users == 2, || format!("{:?}", channel("presence-x")));
    let price = Channel {
        name: "price-2".to_owned(),
        subscriptions: 2,
        tier: proto::control::Tier::Ephemeral.into(),
        namespace: Some("price-".to_owned()),
        ..Channel::default()
    };
    assert_eq!(channel("price-2"), [price]);
    assert_eq!(channel("#server-to-user-ann")[0].subscriptions, 1);
    assert_eq!(channel("nobody-here"), []);
    let names = |order: ListChannels| node.occupied(order).into_iter().map(|channel| channel.name).collect::<Vec<_>>();
    assert_eq!(names(ListChannels::default()), ["presence-x", "price-1", "price-2", "private-z"]);
    let priced = ListChannels { prefix: "price-".to_owned(), after: "price-1".to_owned(), ..Default::default() };
    assert_eq!(names(priced), ["price-2"]);
    let two = ListChannels { app_id: "1001".to_owned(), most: 2, ..Default::default() };
    let page = node.host.channels(&two);
    assert_eq!((page.items.len(), page.more), (2, true));
}

/// The life of a client, as whoever tails its app sees it. Never what was said.
#[test]
fn a_tail_shows_what_happens() {
    let node = Node::start(quick());
    let mut tail = node.tail("", "");
    let (mut a, mut b) = (node.client(), node.client());
    let (first, second) = (tail.next(), tail.next());
    assert_eq!((first.kind(), &first.connection), (TailKind::Connected, &a.socket_id));
    assert_eq!((second.kind(), &second.connection), (TailKind::Connected, &b.socket_id));

    for client in [&mut a, &mut b] {
        client.subscribe("private-room");
        let event = tail.next();
        assert_eq!((event.kind(), event.channel.as_str()), (TailKind::Subscribed, "private-room"));
        assert_eq!(event.connection, client.socket_id);
    }
    a.send(&json!({ "event": "pusher:subscribe", "data": { "channel": "private-other", "auth": "app-key:00" } }));
    let refused = tail.next();
    assert_eq!((refused.kind(), refused.channel.as_str()), (TailKind::SubscribeRefused, "private-other"));
    assert!(refused.reason.starts_with("invalid signature"), "{}", refused.reason);
    assert_eq!(a.next()["event"], "pusher:subscription_error");
    sign_in(&mut a, "ann");
    let signed_in = tail.next();
    assert_eq!((signed_in.kind(), signed_in.user_id.as_str()), (TailKind::SignedIn, "ann"));

    node.publish("private-room", "hush-hush");
    let both = [tail.next(), tail.next()];
    for kind in [TailKind::Published, TailKind::Delivered] {
        let event = both.iter().find(|event| event.kind() == kind).unwrap();
        assert_eq!((event.channel.as_str(), event.event.as_str(), event.count), ("private-room", "e", 2));
    }
    assert!(!format!("{both:?}").contains("hush"));
    a.next();
    a.send(&json!({ "event": "client-x", "channel": "private-room", "data": "hush-hush" }));
    let both = [tail.next(), tail.next()];
    let published = both.iter().find(|event| event.kind() == TailKind::Published).unwrap();
    assert_eq!((published.event.as_str(), &published.connection), ("client-x", &a.socket_id));
    let delivered = both.iter().find(|event| event.kind() == TailKind::Delivered).unwrap();
    assert_eq!(delivered.count, 1, "not to its sender");
    a.send(&json!({ "event": "client-x", "channel": "room", "data": "hush-hush" }));
    let refused = tail.next();
    assert_eq!((refused.kind(), refused.channel.as_str()), (TailKind::PublishRefused, "room"));
    assert!(refused.reason.starts_with("Client events are only for"), "{}", refused.reason);
    node.publish("private-room", &"x".repeat(20_000));
    let refused = tail.next();
    assert_eq!((refused.kind(), refused.code), (TailKind::PublishRefused, 413));
    assert_eq!(refused.reason, "event data is larger than 10240 bytes");

    a.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "private-room" } }));
    assert_eq!(tail.next().kind(), TailKind::Unsubscribed);
    b.socket.close(None).unwrap();
    let closed = tail.next();
    assert_eq!((closed.kind(), closed.code, closed.reason.as_str()), (TailKind::Closed, 1005, "by the client"));
    node.host.close_connection("1001", &a.socket_id, true);
    let closed = tail.next();
    assert_eq!((closed.kind(), closed.code, closed.reason.as_str()), (TailKind::Closed, 4009, "Closed by an operator"));

    let change = AppChange { enabled: Some(false), ..AppChange::default() };
    node.change(&change, |app| !app.enabled);
    node.upgraded("/app/app-key").close_code();
    let refused = tail.next();
    assert_eq!((refused.kind(), refused.code), (TailKind::ConnectionRefused, 4003));
}

/// "Why did this client not get that message?"
#[test]
fn a_tail_of_one_connection_shows_what_it_got() {
    let node = Node::start(quick());
    let (mut a, mut b) = (node.client(), node.client());
    a.subscribe("room");
    b.subscribe("room");
    let (mut tail, mut of_channel) = (node.tail("", &a.socket_id), node.tail("elsewhere", ""));
    node.publish("room", "x");
    let got = tail.next();
    assert_eq!((got.kind(), &got.connection, got.count), (TailKind::Delivered, &a.socket_id, 1));
    let excluding = json!({ "name": "n", "channels": ["room"], "data": "x", "socket_id": a.socket_id });
    node.api("POST", "/apps/1001/events", &[], &excluding);
    let missed = tail.next();
    assert_eq!((missed.kind(), missed.event.as_str(), missed.count), (TailKind::Delivered, "n", 0));
    assert_eq!(missed.reason, "left out, as its sender asked");
    assert_eq!((b.next()["event"].clone(), b.next()["event"].clone()), (json!("e"), json!("n")));
    b.subscribe("elsewhere");
    let subscribed = of_channel.next();
    assert_eq!((subscribed.kind(), &subscribed.connection), (TailKind::Subscribed, &b.socket_id));
}

#[test]
fn a_tail_shows_what_is_dropped_and_ends_with_its_reader() {
    let slow_consumers = channels::SlowConsumers::KeepLatest;
    let rule = Namespace { slow_consumers, ..Namespace::new("price-", Tier::Recoverable) };
    let app = App { namespaces: Namespaces::new(vec![rule]).unwrap(), ..fixtures::app() };
    let node = Node::with_app(Config { send_queue_bytes: 64 * 1024, ..quick() }, app);
    let mut slow = node.client();
    slow.subscribe("price-a");
    slow.subscribe("room");
    let mut tail = node.tail("", &slow.socket_id);
    let publish = |channel: &str, until: &str| {
        for _ in 0..5000 {
            if node.metric(until) > 0.0 {
                return;
            }
            node.publish(channel, &"x".repeat(10_000));
        }
        panic!("never {until}");
    };
    publish("price-a", r#"fanfare_slow_consumers_total{action="coalesced"}"#);
    let dropped = tail.await_kind(TailKind::Dropped);
    assert_eq!((dropped.channel.as_str(), dropped.count > 0), ("price-a", true));
    publish("room", r#"fanfare_slow_consumers_total{action="disconnected"}"#);
    let dropped = tail.await_kind(TailKind::Dropped);
    assert!(dropped.count > 0, "{dropped:?}");
    let closed = tail.await_kind(TailKind::Closed);
    assert_eq!((closed.code, closed.reason.as_str()), (4100, "Messages were not read fast enough"));
}
