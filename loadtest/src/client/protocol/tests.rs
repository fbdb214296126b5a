use channels::{AppId, KeyName, Secret};

use super::*;

fn dialect(protocol: Protocol) -> Dialect {
    let target = Target {
        name: "t".to_owned(),
        version: String::new(),
        addresses: Vec::new(),
        pids: Vec::new(),
        stores: Vec::new(),
        tls: None,
        app: AppId::new("1").unwrap(),
        key: KeyName::new("k").unwrap(),
        secret: Secret::new("s").unwrap(),
        surface: Surface::Fanfare,
    };
    Dialect::new(&target, protocol, &["a".to_owned(), "b".to_owned()]).unwrap()
}

fn packed(value: &serde_json::Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

fn frames(json: serde_json::Value) -> [(Dialect, Vec<u8>); 2] {
    [(dialect(Protocol::AblyJson), json.to_string().into_bytes()), (dialect(Protocol::AblyMsgpack), packed(&json))]
}

#[test]
fn finds_channel_and_position_in_messages() {
    let pusher = r#"{"event":"load","channel":"b","data":"x","position":"00-7"}"#.as_bytes().to_vec();
    let sse = b"id: c@p\nevent: message\ndata: {\"name\":\"load\",\"data\":\"x\",\"channel\":\"b\"}".to_vec();
    let ably = frames(serde_json::json!({"action": 15, "channel": "b", "channelSerial": "00-7", "messages": []}));
    let all = ably.into_iter().chain([(dialect(Protocol::Pusher), pusher), (dialect(Protocol::Sse), sse)]);
    for (dialect, frame) in all {
        assert_eq!(dialect.kind(&frame), Kind::Message, "{dialect:?}");
        assert_eq!((dialect.is_of(&frame, 0), dialect.is_of(&frame, 1)), (false, true), "{dialect:?}");
        let expected = if dialect.protocol == Protocol::Sse { "c@p" } else { "00-7" };
        assert_eq!(dialect.position(&frame), Some(expected), "{dialect:?}");
    }
}

#[test]
fn tells_control_frames() {
    for (dialect, frame) in frames(serde_json::json!({"action": 4, "connectionId": "i", "connectionKey": "k!1"})) {
        assert_eq!(dialect.kind(&frame), Kind::Control);
        assert_eq!(dialect.word(&frame), Word::Greeting { resume: Some("k!1".to_owned()) });
    }
    for (flags, resumed) in [(4, true), (0, false)] {
        let json = serde_json::json!({"action": 11, "channel": "b", "channelSerial": "00-7", "flags": flags});
        for (dialect, frame) in frames(json) {
            let (channel, position) = (Some("b".to_owned()), Some("00-7".to_owned()));
            assert_eq!(dialect.word(&frame), Word::Confirmed { channel, resumed, position });
        }
    }
    for (dialect, frame) in frames(serde_json::json!({"action": 9, "error": {"code": 40101, "message": "no"}})) {
        assert_eq!(dialect.word(&frame), Word::Foreign);
    }
    let pusher = dialect(Protocol::Pusher);
    let established = br#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\"}"}"#;
    assert_eq!(pusher.word(established), Word::Greeting { resume: Some("1.2".to_owned()) });
    assert_eq!(pusher.word(br#"{"event":"pusher:error","data":{"code":4009}}"#), Word::Foreign);
    let sse = dialect(Protocol::Sse);
    let position = Some("c@p".to_owned());
    assert_eq!(sse.word(b"retry: 1000\nid: c@p"), Word::Confirmed { channel: None, resumed: true, position });
    assert_eq!(sse.word(b":keepalive"), Word::Aside);
    assert_eq!(sse.word(b"event: error\ndata: {}"), Word::Foreign);
}

#[test]
fn tells_acknowledgements() {
    for (packed_form, json) in [(false, true), (true, false)] {
        let read = |value: serde_json::Value| {
            let frame = if json { value.to_string().into_bytes() } else { packed(&value) };
            ably_acknowledgement(packed_form, &frame)
        };
        assert_eq!(read(serde_json::json!({"action": 1, "msgSerial": 7, "count": 2, "res": []})), Some((7, 2, None)));
        let refused = serde_json::json!({"action": 2, "msgSerial": 9, "count": 1, "error": {"code": 42910}});
        assert_eq!(read(refused), Some((9, 1, Some("42910 ".to_owned()))));
        assert_eq!(read(serde_json::json!({"action": 15})), None);
    }
}
