//! What reading a frame may cost, whatever the frame claims to hold. In a program of its own, since it counts what the
//! allocator gives out.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

use ably::Format;
use ably::wire::decode;
use allocation_counter::measure;
use proptest::prelude::*;

/// Largest frame that a connection lets through.
const FRAME: usize = 262_144;

/// Most that is taken for any frame.
const MOST: u64 = 4 * FRAME as u64;

/// Most that is taken for each byte of a small frame: an empty item is one byte of MessagePack.
const PER_BYTE: u64 = 512;

fn bytes_for(format: Format, frame: &[u8]) -> u64 {
    measure(|| drop(decode(format, frame))).bytes_max
}

fn check(format: Format, frame: &[u8]) {
    assert!(frame.len() <= FRAME);
    let bytes = bytes_for(format, frame);
    let limit = MOST.min(PER_BYTE * frame.len() as u64 + 1024);
    assert!(bytes <= limit, "{bytes} bytes for {} of {format:?}: {:x?}", frame.len(), &frame[..frame.len().min(64)]);
}

fn key(name: &str) -> Vec<u8> {
    [&[0xa0 | u8::try_from(name.len()).unwrap()], name.as_bytes()].concat()
}

/// A map of one field.
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    [&[0x81][..], &key(name), value].concat()
}

#[test]
fn lengths_that_are_not_there() {
    let claims: [&[u8]; 8] = [
        &[0xdd, 0xff, 0xff, 0xff, 0xff],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xc9, 0xff, 0xff, 0xff, 0xff, 1],
        &[0xdc, 0xff, 0xff],
        &[0xde, 0xff, 0xff],
        &[0xda, 0xff, 0xff],
    ];
    for claim in claims {
        for name in ["messages", "presence", "params", "channel", "auth", "unknown", "annotations"] {
            check(Format::MsgPack, &field(name, claim));
        }
        for name in ["data", "extras", "name", "unknown"] {
            check(Format::MsgPack, &field("messages", &[&[0x91][..], &field(name, claim)].concat()));
        }
        check(Format::MsgPack, claim);
    }
}

#[test]
fn frames_as_large_as_they_may_be() {
    let room = FRAME - 64;
    let list = |item: &[u8]| {
        let count = u32::try_from(room / item.len()).unwrap();
        [&[0xdd][..], &count.to_be_bytes(), &item.repeat(usize::try_from(count).unwrap())].concat()
    };
    let text = |character: u8| {
        let length = u32::try_from(room).unwrap();
        [&[0xdb][..], &length.to_be_bytes(), &vec![character; room]].concat()
    };
    for value in [list(&[0x80]), list(&[0x90]), list(&[0x01]), list(&[0xa1, 1]), text(1), text(b'"'), text(0xff)] {
        check(Format::MsgPack, &field("messages", &value));
        for name in ["channel", "params", "auth", "unknown", "msgSerial"] {
            check(Format::MsgPack, &field(name, &value));
        }
        check(Format::MsgPack, &value);
        for wrapped in [value.clone(), [&[0x91][..], &value].concat(), field("a", &value)] {
            check(Format::MsgPack, &field("messages", &[&[0x91][..], &field("data", &wrapped)].concat()));
            check(Format::MsgPack, &field("messages", &[&[0x91][..], &field("extras", &wrapped)].concat()));
        }
    }
    let json = |open: &str, item: &str, close: &str| {
        check(Format::Json, format!("{open}{}{close}", item.repeat((room - 64) / item.len())).as_bytes());
    };
    json("{\"messages\":[{}", ",{}", "]}");
    json("{\"messages\":[{\"data\":\"", "\\u0001", "\"}]}");
    json("{\"messages\":[{\"data\":\"", "\\n", "\"}]}");
    json("{\"messages\":[{\"data\":[0", ",0", "]}]}");
    json("{\"params\":{\"a\":\"b\"", ",\"\":\"\"", "}}");
    json("{\"unknown\":", "[", "");
    for name in ["channel", "messages", "params", "auth", "flags", "unknown"] {
        json(&format!("{{\"{name}\":\""), "\\\"", "\"}");
    }
    json("\"", "\\\"", "\"");
    json("{\"messages\":[{\"name\":\"\"", ",\"id\":\"\"", "}]}");
}

/// Bytes that look like MessagePack more often than not.
fn msgpack() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop_oneof![Just(0x81_u8), Just(0x91), Just(0x80), Just(0x90), Just(0xc0)].prop_map(|byte| vec![byte]),
        prop_oneof![
            Just("action"),
            Just("channel"),
            Just("messages"),
            Just("presence"),
            Just("data"),
            Just("params"),
            Just("extras"),
            Just("name"),
            Just("msgSerial"),
            Just("auth"),
            Just("accessToken"),
        ]
        .prop_map(key),
        proptest::collection::vec(any::<u8>(), 1..9),
    ];
    proptest::collection::vec(value, 0..40).prop_map(|values| {
        let mut frame = vec![0x8f];
        frame.extend(values.concat());
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_of_messagepack(frame in prop_oneof![msgpack(), proptest::collection::vec(any::<u8>(), 0..300)]) {
        check(Format::MsgPack, &frame);
    }

    #[test]
    fn any_text_of_json(
        frame in prop_oneof![
            "\\PC{0,200}",
            r#"\{("(action|channel|messages|presence|params|auth|flags)":[0-9a-z\[\]{}":,\\.eE+-]{0,12},?){0,8}\}?"#,
            r#"\{"messages":\[(\{"(data|name|extras|id)":("[a-z\\u0-9]{0,8}"|[0-9.eE+-]{1,6}|\[\]|\{\}|null)\},?){0,9}\]\}"#,
        ],
        bytes in proptest::collection::vec(any::<u8>(), 0..4),
    ) {
        check(Format::Json, frame.as_bytes());
        check(Format::Json, &[frame.as_bytes(), &bytes].concat());
    }
}
