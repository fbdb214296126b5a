//! Client frames in both formats.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Spec appendix B.
const ATTACH: &str = "83a6616374696f6e0aa76368616e6e656ca163a5666c616773ce00060000";
const MESSAGE: &str = "84a6616374696f6e0fa76368616e6e656ca163a96d736753657269616c00\
                       a86d657373616765739182a46e616d65a16ea464617461c4030102ff";

fn text(text: &str) -> Field<Text<'_>> {
    Field::Given(text.into())
}

#[test]
fn vectors() {
    let bytes = hex(ATTACH);
    let attach = decode(Format::MsgPack, &bytes).unwrap();
    assert_eq!(attach.action(), Some(Action::Attach));
    assert_eq!((attach.channel, attach.flags), (text("c"), Field::Given(393_216)));
    let bytes = hex(MESSAGE);
    let frame = decode(Format::MsgPack, &bytes).unwrap();
    assert_eq!((frame.action(), &frame.msg_serial), (Some(Action::Message), &Field::Given(0)));
    let [message] = frame.messages.items.as_slice() else { panic!("one message") };
    assert_eq!(message.name, text("n"));
    assert_eq!(message.data, Data::Bytes(vec![1, 2, 0xff].into()));
}

#[test]
fn the_same_frame_in_both_formats() {
    let value = json!({
        "action": 15, "channel": "ü", "msgSerial": 7, "id": null, "unknown": [1, {"a": "b"}], "flags": 1.0,
        "params": {"_forceNack": "true", "n": 5, "z": null},
        "messages": [{"name": "n", "data": "d\n", "encoding": null, "extras": {"headers": {"a": [1, -2, 1.5, true, null]}}},
                     {"data": {"a": 1}}, {"data": [2]}, {"data": 5}, {"data": null}],
        "presence": null, "auth": {"accessToken": "t"}, "annotations": [{}], "channelSerial": "s",
    });
    let [json, msgpack] = Format::ALL.map(|format| to_vec(format, &value));
    let json = decode(Format::Json, &json).unwrap();
    assert_eq!(json, decode(Format::MsgPack, &msgpack).unwrap());
    assert_eq!((&json.channel, &json.id, &json.flags), (&text("ü"), &Field::Absent, &Field::Given(1)));
    assert_eq!(json.params.get("_forceNack"), Some("true"));
    assert_eq!(json.params.get("n"), None);
    assert_eq!(json.messages.items[0].data, Data::Text("d\n".into()));
    assert_eq!(json.messages.items[0].extras.0, text(r#"{"headers":{"a":[1,-2,1.5,true,null]}}"#));
    let kinds: Vec<_> = json.messages.items[1..].iter().map(|message| message.data.clone()).collect();
    assert_eq!(kinds, [Data::Json(r#"{"a":1}"#.into()), Data::Json("[2]".into()), Data::Unusable, Data::Absent]);
    assert_eq!(json.auth.unwrap().access_token, text("t"));
}

#[test]
fn numbers_of_any_width() {
    let action = |bytes: &[u8]| {
        let frame = [&[0x81, 0xa9][..], b"msgSerial", bytes].concat();
        decode(Format::MsgPack, &frame).unwrap().msg_serial
    };
    for bytes in [
        &[0x0a][..],
        &[0xcc, 0x0a],
        &[0xcd, 0, 0x0a],
        &[0xce, 0, 0, 0, 0x0a],
        &[0xcf, 0, 0, 0, 0, 0, 0, 0, 0x0a],
        &[0xd0, 0x0a],
        &[0xd3, 0, 0, 0, 0, 0, 0, 0, 0x0a],
        &[0xca, 0x41, 0x20, 0, 0],
        &[0xcb, 0x40, 0x24, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(action(bytes), Field::Given(10), "{bytes:x?}");
    }
    // -1, 10.5, NaN, true, bin, ext, a list and a map.
    for bytes in [
        &[0xff][..],
        &[0xcb, 0x40, 0x25, 0, 0, 0, 0, 0, 0],
        &[0xca, 0x7f, 0xc0, 0, 0],
        &[0xc3],
        &[0xc4, 1, 0],
        &[0xd4, 1, 0],
        &[0x91, 0x90],
        &[0x81, 1, 1],
    ] {
        assert_eq!(action(bytes), Field::Wrong, "{bytes:x?}");
    }
    assert_eq!(action(&[0xc0]), Field::Absent);
    // 1700000000000 as a float.
    assert_eq!(action(&[0xcb, 0x42, 0x78, 0xbc, 0xfe, 0x56, 0x80, 0, 0]), Field::Given(1_700_000_000_000));
}

#[test]
fn what_is_no_frame() {
    for json in
        ["", "[]", "[10]", "5", "\"\"", "null", "{", "{\"action\":10}x", "{\"messages\":[5]}", "{\"messages\":[[]]}"]
    {
        assert!(decode(Format::Json, json.as_bytes()).is_err(), "{json}");
    }
    for bytes in [&[][..], &[0x90], &[0x91, 0x0a], &[0x0a], &[0xc0], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xc1]] {
        assert!(decode(Format::MsgPack, bytes).is_err(), "{bytes:x?}");
    }
    assert_eq!(decode(Format::Json, b" {} ").unwrap(), ClientFrame::default());
    assert_eq!(decode(Format::MsgPack, &[0x80]).unwrap(), ClientFrame::default());
}

/// Text that is not UTF-8 is bytes, and keys that are not text are passed over.
#[test]
fn oddities_of_messagepack() {
    let frame = [&[0x81, 0xa8][..], b"messages", &[0x91, 0x81, 0xa4], b"data", &[0xa1, 0xff]].concat();
    let frame = decode(Format::MsgPack, &frame).unwrap();
    assert_eq!(frame.messages.items[0].data, Data::Bytes(vec![0xff].into()));
    let map = [&[0x81, 0xa8][..], b"messages", &[0x91, 0x81, 0xa4], b"data", &[0x82, 1, 2, 0xa1, b'k', 0xc4, 1, 0xff]]
        .concat();
    let frame = decode(Format::MsgPack, &map).unwrap();
    assert_eq!(frame.messages.items[0].data, Data::Json(r#"{"k":"/w=="}"#.into()));
}

#[test]
fn depth_and_counts_have_bounds() {
    let deep = [&[0x81, 0xa1, b'x'][..], &[0x91; 100_000], &[0xc0]].concat();
    assert!(decode(Format::MsgPack, &deep).is_err());
    let deep = format!("{{\"messages\":[{{\"data\":{}1{}}}]}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(decode(Format::Json, deep.as_bytes()).unwrap().messages.items[0].data, Data::Json(_)));
    let many = format!("{{\"messages\":[{}{{}}]}}", "{},".repeat(5000));
    let messages = decode(Format::Json, many.as_bytes()).unwrap().messages;
    assert_eq!((messages.items.len(), messages.total), (1000, 5001));
}

/// A control character takes six bytes in JSON: what would be larger than any frame is not written out.
#[test]
fn what_becomes_too_large_in_json_is_not_data() {
    let frame = |length: u16| {
        let text = [&[0xda][..], &length.to_be_bytes(), &vec![1; length.into()]].concat();
        [&[0x81, 0xa8][..], b"messages", &[0x91, 0x81, 0xa4], b"data", &[0x92], &text, &[0x01]].concat()
    };
    for (length, fits) in [(40_000, true), (50_000, false)] {
        let frame = frame(length);
        let data = &decode(Format::MsgPack, &frame).unwrap().messages.items[0].data;
        assert_eq!(matches!(data, Data::Json(json) if json.ends_with("\",1]")), fits);
        assert_eq!(*data == Data::TooLarge, !fits);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in Format::ALL {
            drop(decode(format, &bytes));
        }
    }

    /// Whatever a value holds, both formats tell the same frame.
    #[test]
    fn formats_agree(name in "\\PC{0,20}", data in "\\PC{0,40}", serial in 0..1_u64 << 53, list in proptest::collection::vec(any::<i64>(), 0..5)) {
        let value = json!({"action": 15, "msgSerial": serial, "channel": name,
                           "messages": [{"name": data, "data": data, "extras": {"list": list, "name": name}}, {"data": list}]});
        let [json, msgpack] = Format::ALL.map(|format| to_vec(format, &value));
        prop_assert_eq!(decode(Format::Json, &json).unwrap(), decode(Format::MsgPack, &msgpack).unwrap());
    }
}
