//! What the inner loops on a message's way may cost: verify a signature, parse a publish, encode a record, hand it to a
//! thousand subscribers. All in one place, and here since the last is private to the hub.

use std::io::Read as _;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};

use ably::sse::{EventId, Path as Surface, Positions, StreamRequest};
use ably::{Identity, encode, publish, wire};
use auth::{Query, Signer};
use channels::{Epoch, Position};
use pusher::api;
use serde_json::json;
use testkit::Budgets;

use super::following::{MEDIA, plain};
use super::*;
use crate::hub::Medium;
use crate::hub::due::Due;
use crate::hub::encoded::Messages;

const NOW: u64 = 1_750_000_000;
const SOCKET: &str = "1234.1234";
const CHANNEL: &str = "private-orders";

/// Bytes of data in each publish.
const DATA: usize = 128;

const SUBSCRIBERS: u32 = 1000;

/// How many of them share a socket: a process may have only so many.
const SHARE: usize = 50;

/// Some of it has to be escaped.
fn data() -> String {
    r#"{"price":42.5,"name":"x"}"#.chars().cycle().take(DATA).collect()
}

/// A record like that of one publish.
fn published() -> Arc<Record> {
    let messages = vec![Message::text("price", data())];
    let kind = RecordKind::Messages;
    Arc::new(Record {
        id: None,
        kind,
        connection: None,
        client: None,
        timestamp_ms: NOW * 1000,
        messages,
        traceparent: None,
    })
}

fn at(sequence: u64) -> Position {
    Position { epoch: Epoch::new(7), sequence }
}

#[tokio::test]
async fn inner_loops() {
    let mut budgets = Budgets::of("hub::tests::budgets::inner_loops");
    verify(&mut budgets);
    parse(&mut budgets);
    encode(&mut budgets);
    fan_out(&mut budgets, "fan out to 1,000 Pusher clients", None).await;
    for (name, medium) in [
        ("fan out to 1,000 Ably clients, JSON", MEDIA[0]),
        ("fan out to 1,000 Ably clients, MessagePack", MEDIA[1]),
        ("fan out to 1,000 event streams", MEDIA[2]),
    ] {
        fan_out(&mut budgets, name, Some(medium)).await;
    }
    budgets.check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/budgets.md"));
}

fn signer() -> Signer {
    let key = fixtures::app().keys.remove(0);
    Signer::new(key.name, key.secret)
}

fn body() -> Vec<u8> {
    json!({ "name": "price", "channels": [CHANNEL], "data": data() }).to_string().into_bytes()
}

const PATH: &str = "/apps/1001/events";

fn verify(budgets: &mut Budgets) {
    let (app, body) = (fixtures::app(), body());
    let query = signer().request("POST", PATH, &[], &body, NOW);
    budgets.count("verify a signed request, query and body", || {
        let signed = api::authenticate(&app, "POST", PATH, Query::parse(&query).unwrap(), NOW).unwrap();
        signed.check_body(&body).unwrap();
    });
    let auth = signer().channel(SOCKET, CHANNEL, None);
    budgets.count("verify the auth of a private channel", || {
        auth::check_channel(&app, &auth, SOCKET, CHANNEL, None, NOW * 1000).unwrap();
    });
}

fn parse(budgets: &mut Budgets) {
    let (app, body) = (fixtures::app(), body());
    let query = signer().request("POST", PATH, &[], &body, NOW);
    let signed = api::authenticate(&app, "POST", PATH, Query::parse(&query).unwrap(), NOW).unwrap();
    budgets.count("parse the body of a Pusher publish", || api::parse_event(&body, &signed).unwrap());

    let frame = json!({
        "action": 15, "msgSerial": 7, "channel": CHANNEL, "messages": [{ "name": "price", "data": data() }],
    });
    let connection = ConnectionId::new(SOCKET).unwrap();
    let publisher = publish::Publisher {
        identity: &Identity::Any,
        connection: Some(&connection),
        message_bytes: app.limits.message_bytes,
        messages: 100,
    };
    for (name, format) in [
        ("parse an Ably publish, JSON", ably::Format::Json),
        ("parse an Ably publish, MessagePack", ably::Format::MsgPack),
    ] {
        let frame = wire::to_vec(format, &frame);
        budgets.count(name, || publish::compose(&wire::decode(format, &frame).unwrap().messages, &publisher).unwrap());
    }
}

fn encode(budgets: &mut Budgets) {
    let (record, position) = (published(), Some(at(42)));
    let channel = name(CHANNEL);
    budgets
        .count("encode a record as a Pusher frame", || frame::texts(&pusher::encode_record(&channel, &record, None)));
    let called: Arc<str> = CHANNEL.into();
    for (name, medium) in [
        ("encode a record as an Ably frame, JSON", MEDIA[0]),
        ("encode a record as an Ably frame, MessagePack", MEDIA[1]),
    ] {
        budgets.count(name, || Messages::new(&called, position, &record).whole(medium).clone());
    }
    let request = format!("v=2&channels={CHANNEL}");
    let encoder = StreamRequest::parse(Surface::Sse, &request, None, None).unwrap().encoder;
    let mut id = EventId { connection: "a1B2c3D4e5".to_owned(), positions: Positions::default() };
    let message = encode::MessageAt { record: &record, at: position, index: 0 };
    budgets.count("encode a record as an event of a stream", || {
        id.positions.set(CHANNEL, at(42).into());
        let item = encode::message_item(ably::Format::Json, message, None);
        encoder.message(&id, CHANNEL, std::str::from_utf8(&item).unwrap(), &record.messages[0])
    });
}

/// Counts one record on its way to a thousand subscribers, of a medium or of the Pusher protocol: into the sockets of
/// those that are written to directly, into and out of the queues of the others.
async fn fan_out(budgets: &mut Budgets, name: &'static str, medium: Option<Medium>) {
    let f = Fixture::new().await;
    let peers: Vec<_> = (0..SUBSCRIBERS).map(|number| f.peer(number, 1 << 20)).collect();
    let subscribe = |peer: &Arc<Peer>| match medium {
        None => f.subscribe(peer, CHANNEL),
        Some(medium) => f.hub.attach(peer, plain(CHANNEL, medium)).unwrap(),
    };
    let _subscriptions: Vec<_> = peers.iter().map(subscribe).collect();
    let mut frames = VecDeque::new();
    for peer in &peers {
        subscribed(peer, &mut frames).await;
    }
    let mut clients = if medium == Some(Medium::Events) { Vec::new() } else { sockets(&peers).await };
    let channel = f.hub.find(&fixtures::app().id, &super::name(CHANNEL)).unwrap();
    let head = f.world.backbone.head(&fixtures::app().id, &super::name(CHANNEL), Tier::Recoverable).await.unwrap();
    let mut buffer = [0; 32 * 1024];
    let (record, mut sequence, mut due) = (published(), head.sequence, Due::default());
    budgets.count(name, || {
        sequence += 1;
        channel.deliver(&f.hub, &mut due, Some(Position { sequence, ..head }), &record);
        while !due.is_empty() {
            complete(due.write(&f.hub.metrics));
        }
        clients.iter_mut().for_each(|client| read(client, &mut buffer));
        if clients.is_empty() {
            peers.iter().for_each(|peer| assert!(take(peer, &mut frames) > DATA, "it got the record"));
        }
    });
}

/// Gives each of `peers` a socket to be written to. The other ends.
async fn sockets(peers: &[Arc<Peer>]) -> Vec<std::net::TcpStream> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut clients = Vec::new();
    for peers in peers.chunks(SHARE) {
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        clients.push(client);
        let socket = Arc::new(listener.accept().await.unwrap().0);
        socket.writable().await.unwrap();
        peers.iter().for_each(|peer| peer.queue.share(Arc::clone(&socket)));
    }
    clients
}

/// Reads what those got who share a socket.
fn read(client: &mut std::net::TcpStream, buffer: &mut [u8]) {
    let mut bytes = 0;
    while bytes < SHARE * DATA {
        bytes += client.read(buffer).expect("they get the record");
    }
}

/// Waits until a connection is told that it is subscribed.
async fn subscribed(peer: &Peer, frames: &mut VecDeque<Frame>) {
    let told = poll_fn(|cx| {
        peer.queue.take(cx, 0, frames);
        if frames.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    });
    tokio::time::timeout(PATIENCE, told).await.expect("frames in time");
    take(peer, frames);
}

/// Takes what waits for a connection, as its task does that writes it. How many bytes that are.
fn take(peer: &Peer, frames: &mut VecDeque<Frame>) -> usize {
    let cx = Context::from_waker(Waker::noop());
    peer.queue.take(&cx, 0, frames);
    let written = frames.drain(..).map(|frame| frame.bytes.len()).sum();
    peer.queue.take(&cx, written, frames);
    written
}

/// Runs a future that waits for nothing but its turn.
fn complete(future: impl Future) {
    let mut future = pin!(future);
    while future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {}
}
