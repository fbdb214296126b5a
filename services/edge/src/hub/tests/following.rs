//! Followers, of every medium: what they get, from where, and that nothing is left out or comes twice.

mod interleavings;
mod members;
mod recoveries;
mod replays;

use std::collections::BTreeMap;

use ably::{ChannelParams, Flags, Format, Modes, Name};
use channels::{ClientId, Epoch, EventPosition, Position, PresenceAction};
use serde_json::{Value, json};

use super::*;
use crate::hub::own::PresenceRefused;
use crate::hub::{Attach, EventKind, From, Medium, MemberRequest};

pub(super) const MEDIA: [Medium; 3] =
    [Medium::WebSocket(Format::Json), Medium::WebSocket(Format::MsgPack), Medium::Events];
pub(super) const JSON: Medium = MEDIA[0];

/// An attachment that asks for nothing in particular.
pub(super) fn plain(channel: &str, medium: Medium) -> Attach {
    with(channel, medium, &[])
}

pub(super) fn with(channel: &str, medium: Medium, params: &[(&str, &str)]) -> Attach {
    let name = Name::parse(channel).unwrap();
    let params = ChannelParams::parse(name.params(), params.iter().copied()).unwrap();
    let modes = params.modes().unwrap_or(Modes::DEFAULT);
    Attach { name, medium, modes, params, echo: true, from: From::Now, resumed: false }
}

/// What a hub's follower reads.
pub(super) struct Reader {
    pub(super) peer: Arc<Peer>,
    pub(super) subscription: Option<Subscription>,
    told: VecDeque<Value>,
    /// The serial of the last frame that had one, and of the attachment.
    pub(super) serial: Option<Position>,
}

impl Reader {
    pub(super) fn new(hub: &Arc<Hub>, meter: &Arc<AppMeter>, connection: &str, attach: Attach) -> Self {
        let id = ConnectionId::new(connection).unwrap();
        let peer = Arc::new(Peer::new(id, Arc::clone(meter), fixtures::client(), 1 << 20));
        let subscription = Some(hub.attach(&peer, attach).unwrap());
        Self { peer, subscription, told: VecDeque::new(), serial: None }
    }

    pub(super) fn of(f: &Fixture, connection: &str, attach: Attach) -> Self {
        Self::new(&f.hub, &f.meter, connection, attach)
    }

    /// Whatever waits for it, without waiting.
    fn take(&mut self, cx: &std::task::Context<'_>) -> crate::queue::Notices {
        let mut frames = VecDeque::new();
        let written = 0;
        let mut notices = self.peer.queue.take(cx, written, &mut frames);
        while !frames.is_empty() {
            let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
            self.told.extend(frames.drain(..).flat_map(|frame| decoded(&frame)));
            notices = self.peer.queue.take(cx, bytes, &mut frames);
        }
        notices
    }

    /// The next thing it is told.
    pub(super) async fn next(&mut self) -> Value {
        let next = poll_fn(|cx| {
            if self.told.is_empty() {
                self.take(cx);
            }
            self.told.pop_front().map_or(Poll::Pending, Poll::Ready)
        });
        let next = tokio::time::timeout(PATIENCE, next).await.expect("a frame in time");
        if let Some(serial) = next["channelSerial"].as_str().and_then(|serial| serial.parse().ok()) {
            self.serial = Some(serial);
        }
        next
    }

    /// What is there and was not read.
    pub(super) fn rest(&mut self) -> Vec<Value> {
        self.take(&std::task::Context::from_waker(std::task::Waker::noop()));
        self.told.drain(..).collect()
    }

    /// The next thing, which has to be that it is attached: the flags beside the modes, and the code of an error.
    pub(super) async fn attached(&mut self) -> (u64, Option<u64>) {
        let frame = self.next().await;
        assert_eq!(frame["action"], 11, "{frame}");
        (frame["flags"].as_u64().unwrap_or_default() & 0xff, frame["error"]["code"].as_u64())
    }

    /// The data of the next message, behind the id of its item.
    pub(super) async fn message(&mut self) -> String {
        let frame = self.next().await;
        assert_eq!(frame["action"], 15, "{frame}");
        frame["messages"][0]["data"].as_str().unwrap_or_default().to_owned()
    }

    /// The data of the next `count` messages, frame by frame.
    pub(super) async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let frame = self.next().await;
            assert_eq!(frame["action"], 15, "{frame}");
            let items = frame["messages"].as_array().unwrap();
            messages.extend(items.iter().map(|item| item["data"].as_str().unwrap_or_default().to_owned()));
        }
        messages
    }

    /// Actions and clients of the next presence frame or SYNC, with what they say.
    pub(super) async fn presence(&mut self) -> (u64, Vec<(u64, String, String)>) {
        let frame = self.next().await;
        let action = frame["action"].as_u64().unwrap();
        assert!(action == 14 || action == 16, "{frame}");
        let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
        let items = frame["presence"].as_array().unwrap().iter();
        let mut items: Vec<_> =
            items.map(|item| (item["action"].as_u64().unwrap(), text(item, "clientId"), text(item, "data"))).collect();
        items.sort();
        (action, items)
    }

    pub(super) fn subscription(&self) -> &Subscription {
        self.subscription.as_ref().unwrap()
    }

    pub(super) fn leave(&mut self, stay: Duration) {
        let mut subscription = self.subscription.take().unwrap();
        subscription.stay_for(stay);
    }

    pub(super) fn ask(
        &self,
        user: &str,
        action: PresenceAction,
        id: &str,
        data: &str,
    ) -> impl Future<Output = Result<(), PresenceRefused>> + use<> {
        let encoding = if data.is_empty() { ably::data::ABSENT } else { "" };
        let said = channels::MemberData {
            id: id.to_owned(),
            data: data.to_owned().into(),
            encoding: encoding.to_owned(),
            timestamp_ms: clock::unix_ms(),
            ..channels::MemberData::default()
        };
        self.subscription().presence(MemberRequest { user: ClientId::new(user).unwrap(), action, said })
    }
}

pub(super) fn flags(flags: &[Flags]) -> u64 {
    flags.iter().map(|flag| u64::from(flag.bits())).sum()
}

/// A frame as JSON, whatever its medium.
fn decoded(frame: &Frame) -> Vec<Value> {
    if let Some(event) = frame.event() {
        return vec![shown_event(&event.channel, &event.kind)];
    }
    let format = if frame.bytes[0] == 0x81 { Format::Json } else { Format::MsgPack };
    let start = match frame.bytes[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    vec![ably::wire::from_slice::<Shown>(format, &frame.bytes[start..]).unwrap().0]
}

/// Any value of either format, bytes as what JSON shows of them.
struct Shown(Value);

impl<'de> serde::Deserialize<'de> for Shown {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Shown)
    }
}

struct AnyValue;

impl<'de> serde::de::Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(json!({ "bytes": value.len() }))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Shown(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = serde_json::Map::new();
        while let Some((key, Shown(value))) = entries.next_entry::<String, Shown>()? {
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

fn shown_event(channel: &str, kind: &EventKind) -> Value {
    let at = |at: &Option<Position>| at.map(|at| at.to_string());
    let item = |item: &Bytes| serde_json::from_slice::<Value>(item).unwrap();
    match kind {
        EventKind::Attached { at: position, error } => {
            let error = error.as_ref().map(|error| json!({ "code": error.code }));
            json!({ "action": 11, "channel": channel, "channelSerial": at(position), "error": error })
        }
        EventKind::Messages { at: position, items, record } => {
            let items: Vec<_> = items
                .iter()
                .map(|(index, json)| {
                    assert!(*index < record.messages.len());
                    item(json)
                })
                .collect();
            json!({ "action": 15, "channel": channel, "channelSerial": at(position), "messages": items })
        }
        EventKind::Presence { at: position, item: one } => {
            let item = item(one);
            let action = if item["action"] == 1 { 16 } else { 14 };
            json!({ "action": action, "channel": channel, "channelSerial": at(position), "presence": [item] })
        }
        EventKind::Failed(error) => json!({ "action": 13, "channel": channel, "error": { "code": error.code } }),
    }
}

/// A record of these messages, by nobody.
pub(super) fn record(data: &[&str]) -> Record {
    Record {
        id: None,
        kind: RecordKind::Messages,
        connection: None,
        client: None,
        timestamp_ms: clock::unix_ms(),
        messages: data.iter().map(|data| Message::text("e", (*data).to_owned())).collect(),
        traceparent: None,
    }
}

pub(super) async fn publish(world: &World, channel: &str, record: Record) -> Option<Position> {
    let app = fixtures::app();
    let tier = app.tier(&name(channel));
    let publish = Publish { app: app.id, channel: name(channel), tier, record, idempotency: None };
    world.backbone.publish(publish).await.unwrap().position
}

pub(super) fn after(position: Option<Position>) -> From {
    From::After(EventPosition::from(position.unwrap()))
}

/// One channel, one order: what a Pusher client publishes is what all others get, and the other way round.
#[tokio::test]
async fn every_protocol_gets_what_any_other_published() {
    let f = Fixture::new().await;
    let pusher = f.peer(1, 1 << 20);
    let _pusher = f.subscribe(&pusher, "a");
    assert_eq!(next(&pusher).await, ["ok"]);
    let mut readers: Vec<_> = MEDIA.iter().map(|medium| Reader::of(&f, "reader", plain("a", *medium))).collect();
    for reader in &mut readers {
        assert_eq!(reader.attached().await, (0, None));
    }
    f.publish("a", "1", None).await;
    let by_ably = Record { id: Some("c0nn:0".to_owned()), ..record(&["2", "3"]) };
    let position = publish(&f.world, "a", by_ably).await.unwrap();
    assert_eq!(collect(&pusher, 2).await[0], "1");
    for reader in &mut readers {
        assert_eq!(reader.messages(3).await, ["1", "2", "3"]);
        assert_eq!(reader.serial, Some(position));
    }
}

#[tokio::test]
async fn what_is_told_of_a_message() {
    let f = Fixture::new().await;
    let mut reader = Reader::of(&f, "reader", plain("a", JSON));
    let attached = reader.next().await;
    assert_eq!(attached["flags"], 3_080_192);
    assert_eq!(attached["channel"], "a");
    let event = Record {
        kind: RecordKind::ClientEvent,
        connection: Some(ConnectionId::new("1.7").unwrap()),
        client: Some(ClientId::new("ann").unwrap()),
        messages: vec![Message { encoding: "json".to_owned(), ..Message::text("client-x", "{}") }],
        ..record(&[])
    };
    publish(&f.world, "a", event).await;
    let frame = reader.next().await;
    let item = &frame["messages"][0];
    assert_eq!((&item["name"], &item["clientId"], &item["data"]), (&json!("client-x"), &json!("ann"), &json!("{}")));
}

#[tokio::test]
async fn followers_of_one_medium_share_the_bytes() {
    let f = Fixture::new().await;
    for medium in [MEDIA[0], MEDIA[1]] {
        let mut readers = [1, 2].map(|number| Reader::of(&f, &format!("r{number}"), plain("a", medium)));
        for reader in &mut readers {
            reader.attached().await;
        }
        f.publish("a", "x", None).await;
        let mut raw = Vec::new();
        for reader in &readers {
            let frame = poll_fn(|cx| {
                let mut frames = VecDeque::new();
                reader.peer.queue.take(cx, 0, &mut frames);
                frames.pop_front().map_or(Poll::Pending, Poll::Ready)
            });
            raw.push(frame.await);
        }
        assert_eq!(raw[0].bytes.as_ptr(), raw[1].bytes.as_ptr());
        assert_eq!(raw[0].bytes[0], if medium == JSON { 0x81 } else { 0x82 });
    }
}

/// Spec §6.2: by default a publisher gets its own messages; what a Pusher backend excludes is a Pusher socket.
#[tokio::test]
async fn echoes() {
    let f = Fixture::new().await;
    let mut echoed = Reader::of(&f, "me", plain("a", JSON));
    let mut quiet = Reader::of(&f, "me", Attach { echo: false, ..plain("a", JSON) });
    let mut other = Reader::of(&f, "other", Attach { echo: false, ..plain("a", JSON) });
    for reader in [&mut echoed, &mut quiet, &mut other] {
        reader.attached().await;
    }
    let mine = Record { connection: Some(ConnectionId::new("me").unwrap()), ..record(&["mine"]) };
    publish(&f.world, "a", mine).await;
    f.publish("a", "all", None).await;
    assert_eq!(echoed.messages(2).await, ["mine", "all"]);
    assert_eq!(other.messages(2).await, ["mine", "all"]);
    assert_eq!(quiet.messages(1).await, ["all"]);
}

#[tokio::test]
async fn nothing_without_the_mode_for_it() {
    let f = Fixture::new().await;
    let mut publisher = Reader::of(&f, "p", with("a", JSON, &[("modes", "publish,presence")]));
    let mut listener = Reader::of(&f, "l", plain("a", JSON));
    assert_eq!(publisher.next().await["flags"], (Modes::PUBLISH | Modes::PRESENCE).bits());
    listener.attached().await;
    f.publish("a", "x", None).await;
    assert_eq!(listener.message().await, "x");
    publisher.subscription().set_modes(Modes::DEFAULT);
    f.publish("a", "y", None).await;
    assert_eq!(publisher.message().await, "y");
}

/// A derived channel: the same channel, of which only some is seen, under a name of its own.
#[tokio::test]
async fn filters_and_qualified_names() {
    let f = Fixture::new().await;
    let filter = base64(r#"name == `"kept"`"#);
    let derived = format!("[filter={filter}]a");
    for medium in MEDIA {
        let mut reader = Reader::of(&f, "r", plain(&derived, medium));
        let mut plainly = Reader::of(&f, "r", plain("[?echo=true]a", medium));
        reader.attached().await;
        plainly.attached().await;
        let messages = ["kept", "dropped", "kept"].iter().zip(["1", "2", "3"]);
        let messages = messages.map(|(name, data)| Message::text(name, data)).collect();
        publish(&f.world, "a", Record { messages, ..record(&[]) }).await;
        publish(&f.world, "a", record(&["none of it"])).await;
        publish(&f.world, "a", Record { messages: vec![Message::text("kept", "4")], ..record(&[]) }).await;
        let frame = reader.next().await;
        assert_eq!(frame["channel"], derived);
        let items = frame["messages"].as_array().unwrap();
        assert_eq!(items.iter().map(|item| item["data"].as_str().unwrap()).collect::<Vec<_>>(), ["1", "3"]);
        assert!(items[1]["id"].as_str().unwrap().ends_with(":2"), "{}", items[1]);
        assert_eq!(reader.message().await, "4");
        assert_eq!(plainly.messages(5).await, ["1", "2", "3", "none of it", "4"]);
    }
}

fn base64(text: &str) -> String {
    use ably::wire::Data;
    let payload = ably::data::Payload::new(&Data::Bytes(text.as_bytes().into()), &ably::wire::Field::Absent).unwrap();
    String::from_utf8(payload.data.to_vec()).unwrap()
}

/// Spec §11: the first message is whole, the next ones may be told by how they differ, and whoever lost the thread gets a
/// whole one.
#[tokio::test]
async fn deltas() {
    let f = Fixture::new().await;
    let text = |tail: &str| format!("{}{tail}", "all work and no play ".repeat(20));
    for medium in [MEDIA[0], MEDIA[1]] {
        let mut reader = Reader::of(&f, "r", with("a", medium, &[("delta", "vcdiff")]));
        let mut second = Reader::of(&f, "s", with("a", medium, &[("delta", "vcdiff")]));
        let mut plainly = Reader::of(&f, "p", plain("a", medium));
        reader.attached().await;
        second.attached().await;
        plainly.attached().await;
        for tail in ["1", "2", "3"] {
            f.publish("a", &text(tail), None).await;
        }
        let first = reader.next().await;
        assert_eq!(first["messages"][0]["data"], text("1"));
        let mut before = message_id(&first);
        let serial = reader.serial;
        for _ in 0..2 {
            let frame = reader.next().await;
            let item = &frame["messages"][0];
            assert_eq!(item["extras"]["delta"], json!({ "format": "vcdiff", "from": before }));
            let encoding = if medium == JSON { "utf-8/vcdiff/base64" } else { "utf-8/vcdiff" };
            assert_eq!(item["encoding"], encoding);
            before = message_id(&frame);
        }
        assert_eq!(plainly.messages(3).await, ["1", "2", "3"].map(text));
        second.next().await;
        assert!(second.next().await["messages"][0]["extras"]["delta"].is_object());
        // It could not decode the second one, and attaches behind the first.
        let again = Attach { from: after(serial), ..with("a", medium, &[("delta", "vcdiff")]) };
        reader.subscription().reattach(again);
        let attached = reader.next().await;
        assert_eq!(attached["flags"].as_u64().unwrap() & 6, 6, "{attached}");
        let frame = reader.next().await;
        assert_eq!(frame["messages"][0]["data"], text("2"));
        assert!(reader.next().await["messages"][0]["extras"]["delta"].is_object());
    }
}

fn message_id(frame: &Value) -> String {
    let item = &frame["messages"][0];
    item["id"].as_str().map_or_else(|| format!("{}:0", frame["id"].as_str().unwrap()), str::to_owned)
}

/// One who does not read fast enough is disconnected, in every namespace: it knows where it was, and comes back there.
#[tokio::test]
async fn a_slow_follower_is_cut_whatever_the_namespace_says() {
    let mut app = fixtures::app();
    let rule =
        Namespace { slow_consumers: channels::SlowConsumers::KeepLatest, ..Namespace::new("", Tier::Recoverable) };
    app.namespaces = Namespaces::new(vec![rule]).unwrap();
    let f = Fixture::with(&backbone::Config::default(), app).await;
    let id = ConnectionId::new("slow").unwrap();
    let peer = Arc::new(Peer::new(id, Arc::clone(&f.meter), fixtures::client(), 2_000));
    let _slow = f.hub.attach(&peer, plain("a", JSON)).unwrap();
    let mut quick = Reader::of(&f, "quick", plain("a", JSON));
    quick.attached().await;
    for number in 0..100 {
        f.publish("a", &number.to_string(), None).await;
    }
    assert_eq!(quick.messages(100).await.len(), 100);
    assert_eq!(ending(&peer).await, Ending::TooSlow);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_channel_that_cannot_be_attached_is_detached() {
    let f = Fixture::new().await;
    for medium in MEDIA {
        let mut reader = Reader::of(&f, "r", plain("a", medium));
        let channel = f.hub.find(&fixtures::app().id, &name("a")).unwrap();
        assert!(f.hub.remove(&channel, |channel| channel.fail(&f.hub)));
        let frame = reader.next().await;
        assert_eq!((&frame["action"], &frame["error"]["code"]), (&json!(13), &json!(50004)));
        let detached = reader.peer.queue.take_aside().detached;
        assert_eq!(detached.len(), 1);
        assert!(&*detached[0].0 == "a" && reader.subscription().is_at(detached[0].1));
        let asked = reader.ask("ann", PresenceAction::Enter, "r:0:0", "");
        assert!(matches!(asked.await, Err(PresenceRefused::Unavailable)));
    }
}

/// Deliveries, replayed ones too, are what the app uses.
#[tokio::test]
async fn deliveries_are_counted() {
    let f = Fixture::new().await;
    let mut first = Reader::of(&f, "a", plain("a", JSON));
    first.attached().await;
    let start = first.serial;
    publish(&f.world, "a", record(&["12345", "678"])).await;
    first.messages(2).await;
    let mut second = Reader::of(&f, "b", Attach { from: after(start), ..plain("a", MEDIA[1]) });
    second.attached().await;
    second.messages(2).await;
    let mut counts = metering::usage::Counts::default();
    let counted = async {
        while counts.messages_out < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            f.meters.report(Instant::now(), 0).apps.iter().for_each(|app| counts.add(&app.counts));
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("deliveries are counted");
    assert_eq!((counts.messages_out, counts.bytes_out), (4, 16));
}

/// Spec §11: the counts come when one attaches, and when they change.
#[tokio::test(start_paused = true)]
async fn who_wants_to_know_the_counts_is_told_what_is_news() {
    let f = Fixture::new().await;
    for medium in MEDIA {
        let mut all = Reader::of(&f, "a", with("a", medium, &[("occupancy", "metrics")]));
        let mut one = Reader::of(&f, "b", with("a", medium, &[("occupancy", "metrics.publishers")]));
        all.attached().await;
        one.attached().await;
        let metrics =
            |connections, publishers| ably::occupancy::Metrics { connections, publishers, ..Default::default() };
        let tell = |metrics| f.hub.tell_metrics(&fixtures::app().id, &name("a"), &metrics);
        assert!(f.hub.wants_metrics(&fixtures::app().id, &name("a")));
        assert_eq!(tell(metrics(2, 1)), None);
        let again = tell(metrics(3, 1)).expect("not so soon");
        tokio::time::sleep_until(again).await;
        assert_eq!(tell(metrics(3, 1)), None);
        let counted = async |reader: &mut Reader| {
            let frame = reader.next().await;
            let item = &frame["messages"][0];
            assert_eq!((&item["name"], &item["encoding"]), (&json!("[meta]occupancy"), &json!("json")));
            assert!(frame["channelSerial"].is_null());
            serde_json::from_str::<Value>(item["data"].as_str().unwrap()).unwrap()["metrics"].clone()
        };
        assert_eq!(counted(&mut all).await["connections"], 2);
        assert_eq!(counted(&mut all).await["connections"], 3);
        assert_eq!(counted(&mut one).await, json!({ "publishers": 1 }));
        assert!(one.rest().is_empty());
        drop((all, one));
        assert!(!f.hub.wants_metrics(&fixtures::app().id, &name("a")));
    }
}

/// What they are, as the cluster is told.
#[tokio::test]
async fn followers_are_counted_by_what_they_may_do() {
    let f = Fixture::new().await;
    let mut all = Reader::of(&f, "a", plain("a", JSON));
    let mut listener = Reader::of(&f, "b", with("a", JSON, &[("modes", "subscribe")]));
    let pusher = f.peer(1, 1 << 20);
    let _pusher = f.subscribe(&pusher, "a");
    all.attached().await;
    listener.attached().await;
    let (subscriptions, users, parts) = f.hub.counts(&fixtures::app().id, &name("a"));
    assert_eq!((subscriptions, users), (3, None));
    assert_eq!((parts.publishers, parts.subscribers, parts.presence_subscribers), (1, 3, 1));
    listener.subscription().set_modes(Modes::SUBSCRIBE | Modes::PUBLISH);
    let (_, _, parts) = f.hub.counts(&fixtures::app().id, &name("a"));
    assert_eq!(parts.publishers, 2);
}

pub(super) fn by_name(items: &[(u64, String, String)]) -> BTreeMap<&str, &str> {
    items.iter().map(|(_, user, data)| (user.as_str(), data.as_str())).collect()
}

pub(super) fn elsewhere(sequence: u64) -> From {
    From::After(Position { epoch: Epoch::new(99), sequence }.into())
}
