//! Frames as they are written.

use bytes::Bytes;
use channels::{ClientId, ConnectionId, Epoch, Member, MemberData, Message, Position, Record, RecordKind};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::delta::Delta;
use crate::wire::{Flags, Format, Modes, PresenceAction, from_slice};
use crate::{Code, ErrorInfo, data};

fn at(sequence: u64) -> Option<Position> {
    Some(Position { epoch: Epoch::new(0xe1), sequence })
}

fn message(name: Option<&str>, data: &str, encoding: &str) -> Message {
    Message {
        id: None,
        client: None,
        name: name.map(str::to_owned),
        data: Bytes::copy_from_slice(data.as_bytes()),
        encoding: encoding.to_owned(),
        extras: Bytes::new(),
    }
}

fn record(messages: Vec<Message>) -> Record {
    Record {
        id: Some("c0nnA:1".to_owned()),
        kind: RecordKind::Messages,
        connection: Some(ConnectionId::new("c0nnA").unwrap()),
        client: Some(ClientId::new("bob").unwrap()),
        timestamp_ms: 1_700_000_000_200,
        messages,
        traceparent: None,
    }
}

/// What both formats say, which has to be the same but for bytes.
fn both(encode: impl Fn(Format) -> Bytes) -> Value {
    let [json, msgpack] = Format::ALL.map(|format| {
        let bytes = encode(format);
        from_slice::<Value>(format, &bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
    });
    assert_eq!(json, msgpack);
    json
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Spec appendix A: the frame that the transcript shows, with our serials.
#[test]
fn a_record_is_one_frame() {
    let record = record(vec![message(Some("a"), "1", ""), message(Some("b"), r#"{"x":1}"#, "json")]);
    assert_eq!(
        std::str::from_utf8(&messages(Format::Json, "room", &record, at(42))).unwrap(),
        r#"{"action":15,"channel":"room","id":"c0nnA:1","channelSerial":"00000000000000e1-42","connectionId":"c0nnA","timestamp":1700000000200,"messages":[{"name":"a","data":"1","clientId":"bob","serial":"00000000000000e1-00000000000042:000","action":0},{"name":"b","data":"{\"x\":1}","encoding":"json","clientId":"bob","serial":"00000000000000e1-00000000000042:001","action":0}]}"#
    );
    both(|format| messages(format, "room", &record, at(42)));
}

/// Spec appendix B.
#[test]
fn the_vector_of_an_acknowledgement() {
    let acknowledged = [Acknowledged { serials: vec![Some("s1".to_owned())] }];
    assert_eq!(
        hex(&ack(Format::MsgPack, 0, 1, &acknowledged)),
        "84a6616374696f6e01a96d736753657269616c00a5636f756e7401a37265739181a773657269616c7391a27331"
    );
    assert_eq!(
        ack(Format::Json, 0, 1, &acknowledged),
        r#"{"action":1,"msgSerial":0,"count":1,"res":[{"serials":["s1"]}]}"#
    );
    assert_eq!(
        both(|format| ack(format, 3, 2, &[Acknowledged { serials: vec![None] }, Acknowledged { serials: Vec::new() }])),
        json!({"action": 1, "msgSerial": 3, "count": 2, "res": [{"serials": [null]}, {"serials": []}]})
    );
    assert_eq!(both(|format| ack(format, 3, 2, &[])), json!({"action": 1, "msgSerial": 3, "count": 2}));
}

/// Bytes from MessagePack: `data` of the second vector in appendix B.
#[test]
fn bytes_cross_formats() {
    let item = |data: &str, encoding: &str| {
        let record = Record {
            id: None,
            connection: None,
            client: None,
            timestamp_ms: 0,
            ..record(vec![message(None, data, encoding)])
        };
        Format::ALL.map(|format| messages(format, "c", &record, None))
    };
    let [json, msgpack] = item("AQL/", "base64");
    assert_eq!(
        json,
        r#"{"action":15,"channel":"c","timestamp":0,"messages":[{"data":"AQL/","encoding":"base64","action":0}]}"#
    );
    assert_eq!(
        hex(&msgpack),
        "84a6616374696f6e0fa76368616e6e656ca163a974696d657374616d7000a86d657373616765739182a464617461c4030102ffa6616374696f6e00"
    );
    let [json, msgpack] = item("AQL/", "utf-8/cipher+aes-128-cbc/base64");
    assert!(json.ends_with(br#"[{"data":"AQL/","encoding":"utf-8/cipher+aes-128-cbc/base64","action":0}]}"#));
    assert!(hex(&msgpack).contains(&format!("c4030102ffa8{}b8{}", hex(b"encoding"), hex(b"utf-8/cipher+aes-128-cbc"))));
    // What cannot be undone stays as it is.
    let [json, msgpack] = item("AQ!", "base64");
    assert_eq!(
        from_slice::<Value>(Format::Json, &json).unwrap(),
        from_slice::<Value>(Format::MsgPack, &msgpack).unwrap()
    );
}

#[test]
fn odd_payloads_come_back_untouched() {
    for (data, encoding) in [("", ""), ("x", "json/utf-8"), ("x", "nonsense"), ("{", "json"), ("xbase64", "notbase64")]
    {
        let record = record(vec![message(None, data, encoding)]);
        let shown = both(|format| messages(format, "c", &record, at(1)));
        assert_eq!(shown["messages"][0]["data"], data);
        assert_eq!(shown["messages"][0]["encoding"].as_str().unwrap_or_default(), encoding);
    }
    for encoding in [data::ABSENT, "json"] {
        let record = record(vec![message(None, "", encoding)]);
        let shown = both(|format| messages(format, "c", &record, at(1)));
        assert!(shown["messages"][0].get("data").is_none() && shown["messages"][0].get("encoding").is_none());
    }
    let not_text = Message { data: Bytes::from_static(&[0xff]), ..message(None, "", "json") };
    let frame = messages(Format::Json, "c", &record(vec![not_text]), None);
    assert!(frame.ends_with(br#""data":"/w==","encoding":"json/base64","clientId":"bob","serial":"01700000000200-c0nnA:1:000","action":0}]}"#));
}

#[test]
fn a_filtered_record_keeps_its_ids() {
    let given = Message { id: Some("mine".to_owned()), ..message(Some("c"), "3", "") };
    let given = Message { client: Some(ClientId::new("eve").unwrap()), ..given };
    let record = record(vec![message(Some("a"), "1", ""), message(Some("b"), "2", ""), given]);
    let delta = Delta {
        data: Bytes::from_static(&[0xd6, 0xff]),
        encoding: "utf-8/vcdiff".to_owned(),
        extras: Bytes::from_static(br#"{"delta":{"format":"vcdiff","from":"c0nnA:1:0"}}"#),
    };
    let items = [Item { index: 1, delta: Some(&delta) }, Item::whole(2)];
    let frame = messages_with(Format::Json, "room", &record, at(42), &items);
    let shown: Value = serde_json::from_slice(&frame).unwrap();
    let [first, second] = [&shown["messages"][0], &shown["messages"][1]];
    assert_eq!(
        (&first["id"], &first["data"], &first["encoding"]),
        (&json!("c0nnA:1:1"), &json!("1v8="), &json!("utf-8/vcdiff/base64"))
    );
    assert_eq!(first["extras"]["delta"]["from"], "c0nnA:1:0");
    assert_eq!(first["serial"], "00000000000000e1-00000000000042:001");
    assert_eq!((&second["id"], &second["clientId"]), (&json!("mine"), &json!("eve")));
    assert_eq!(first["clientId"], "bob");
    let msgpack = messages_with(Format::MsgPack, "room", &record, at(42), &items);
    assert!(hex(&msgpack).contains("c402d6ff"));
}

#[test]
fn presence_items_say_everything() {
    let member = Member { connection: ConnectionId::new("c0nnA").unwrap(), user: ClientId::new("bob").unwrap() };
    let said = MemberData {
        id: "c0nnA:0:0".to_owned(),
        data: Bytes::from_static(b"hi"),
        encoding: String::new(),
        extras: Bytes::from_static(br#"{"headers":{"a":1}}"#),
        timestamp_ms: 1_700_000_000_100,
    };
    let item = PresenceItem { action: PresenceAction::Enter, member: &member, data: &said };
    assert_eq!(
        both(|format| presence(format, "room", at(41), Some("c0nnA:0"), &[item])),
        json!({"action": 14, "channel": "room", "id": "c0nnA:0", "channelSerial": "00000000000000e1-41", "presence": [
            {"id": "c0nnA:0:0", "action": 2, "clientId": "bob", "connectionId": "c0nnA", "data": "hi",
             "timestamp": 1_700_000_000_100_u64, "extras": {"headers": {"a": 1}}}]})
    );
    let nothing = MemberData { encoding: "json".to_owned(), ..MemberData::default() };
    assert_eq!(
        both(|format| sync(format, "room", "s7", "", [(&member, &nothing)].into_iter())),
        json!({"action": 16, "channel": "room", "channelSerial": "s7:", "presence": [
            {"action": 1, "clientId": "bob", "connectionId": "c0nnA", "timestamp": 0}]})
    );
    assert_eq!(both(|format| member_list(format, &[(&member, &said)]))[0]["action"], 1);
}

#[test]
fn frames_about_channels() {
    let error = Code::ContinuityLost.info();
    let attached_with = Attached {
        at: at(42),
        flags: Flags::RESUMED | Flags::HAS_PRESENCE,
        modes: Modes::DEFAULT,
        params: &[("modes", "subscribe")],
        error: Some(&error),
    };
    assert_eq!(
        both(|format| attached(format, "room", &attached_with)),
        json!({"action": 11, "channel": "room", "channelSerial": "00000000000000e1-42", "flags": 3_080_197,
               "params": {"modes": "subscribe"},
               "error": {"code": 90003, "statusCode": 404, "message": error.message, "href": "https://help.ably.io/error/90003"}})
    );
    let plain = Attached { at: None, flags: Flags::default(), modes: Modes::SUBSCRIBE, params: &[], error: None };
    assert_eq!(both(|format| attached(format, "", &plain)), json!({"action": 11, "channel": "", "flags": 262_144}));
    assert_eq!(both(|format| detached(format, "a\"b", None)), json!({"action": 13, "channel": "a\"b"}));
    assert_eq!(both(|format| channel_error(format, "c", &error))["error"]["code"], 90003);
    let metrics = r#"{"metrics":{}}"#;
    let shown = both(|format| occupancy(format, "c", "o:1", 5, metrics));
    assert_eq!(
        shown["messages"],
        json!([{"name": "[meta]occupancy", "data": metrics, "encoding": "json", "action": 0}])
    );
    assert!(shown.get("channelSerial").is_none());
}

#[test]
fn frames_about_connections() {
    let error = Code::TokenExpired.info();
    let frames: [fn(Format, &ErrorInfo) -> Bytes; 3] = [disconnected, connection_error, nack_of_one];
    for frame in frames {
        let shown = both(|format| frame(format, &error));
        assert_eq!(shown["error"]["code"], 40142);
        assert!(shown.get("channel").is_none());
    }
    assert_eq!(heartbeat(Format::Json, None), r#"{"action":0}"#);
    assert_eq!(heartbeat(Format::Json, Some("x\"")), r#"{"action":0,"id":"x\""}"#);
    assert_eq!((auth(Format::Json), closed(Format::Json)), (r#"{"action":17}"#.into(), r#"{"action":8}"#.into()));
}

fn nack_of_one(format: Format, error: &ErrorInfo) -> Bytes {
    nack(format, 0, 1, error)
}

#[test]
fn pages_say_everything() {
    let record = record(vec![message(Some("a"), "1", ""), message(Some("b"), "2", "")]);
    let page =
        [MessageAt { record: &record, at: at(42), index: 1 }, MessageAt { record: &record, at: at(42), index: 0 }];
    let serial = "00000000000000e1-00000000000042:001";
    assert_eq!(
        both(|format| history(format, &page))[0],
        json!({"id": "c0nnA:1:1", "name": "b", "data": "2", "clientId": "bob", "connectionId": "c0nnA",
               "timestamp": 1_700_000_000_200_u64, "serial": serial, "action": 0,
               "version": {"serial": serial, "timestamp": 1_700_000_000_200_u64}})
    );
    let alone = both(|format| message_item(format, page[1], Some("room")));
    assert_eq!((&alone["channel"], &alone["id"]), (&json!("room"), &json!("c0nnA:1:0")));
    // Published through another surface: called by its position.
    let foreign = Record { id: None, ..record.clone() };
    let shown = both(|format| messages(format, "room", &foreign, at(42)));
    assert_eq!(shown["id"], "00000000000000e1-42");
    assert_eq!(both(|format| error_body(format, &Code::NotFound.info()))["error"]["statusCode"], 404);
}

#[test]
fn maps_of_more_than_fifteen_fields() {
    let mut writer = writer::Writer::new(Format::MsgPack, 0);
    let mut map = writer.map();
    for index in 0..20_u64 {
        map.number(&index.to_string(), index);
    }
    map.end();
    let shown: Value = from_slice(Format::MsgPack, &writer.into_bytes()).unwrap();
    assert_eq!(shown.as_object().unwrap().len(), 20);
}

proptest! {
    /// What a client publishes in one format comes back the same in the other.
    #[test]
    fn payloads_cross_formats(text in "\\PC{0,30}", bytes in proptest::collection::vec(any::<u8>(), 0..30), encoding in "(utf-8|json|x)?(/utf-8)?(/base64)?") {
        use crate::wire::{Data, Field};
        let encoding = encoding.trim_start_matches('/');
        let given = if encoding.is_empty() { Field::Absent } else { Field::Given(encoding.into()) };
        for data in [Data::Text(text.as_str().into()), Data::Bytes(bytes.as_slice().into())] {
            let stored = data::Payload::new(&data, &given).unwrap();
            let record = record(vec![Message { data: stored.data, encoding: stored.encoding, ..message(None, "", "") }]);
            for format in Format::ALL {
                let frame = messages(format, "c", &record, at(1));
                let shown: crate::wire::ClientFrame<'_> = crate::wire::decode(format, &frame).unwrap();
                let item = &shown.messages.items[0];
                let again = data::Payload::new(&item.data, &item.encoding).unwrap();
                prop_assert_eq!(&again.data, &record.messages[0].data);
                let same = again.encoding == record.messages[0].encoding || data::is_absent(&again.data, &again.encoding);
                prop_assert!(same, "{} {}", again.encoding, record.messages[0].encoding);
            }
        }
    }
}
