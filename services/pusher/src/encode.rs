//! Records as a Pusher subscriber sees them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use channels::{ChannelName, Message, Record, RecordKind};

use crate::frame;

/// The frames for `record`, one per message; the same for every subscriber, so encode once and share. Whoever sends
/// them leaves out the subscriber that is `record.connection`.
///
/// * Text is a JSON string, exact to the character, whatever its encoding says; JSON from another protocol too, since
///   Pusher data is a string. An encoding that ends in base64 is text already.
/// * The JSON of a client event stays a JSON value, as its sender wrote it.
/// * Bytes that are no text become a base64 string.
/// * A message without a name has the event name `""`.
/// * A message named as one of the protocol's own events is left out: another protocol lets clients choose any name, and
///   a Pusher client would take it for the server's word.
pub fn encode_record(channel: &ChannelName, record: &Record) -> Vec<String> {
    let relayed = record.messages.iter().filter(|message| !is_reserved(message.name.as_deref().unwrap_or_default()));
    relayed.map(|message| encode_message(channel, record.kind, message)).collect()
}

/// Whether only the server may send events called `name`.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("pusher:") || name.starts_with("pusher_internal:")
}

fn encode_message(channel: &ChannelName, kind: RecordKind, message: &Message) -> String {
    let name = message.name.as_deref().unwrap_or_default();
    match (std::str::from_utf8(&message.data), kind) {
        (Ok(json), RecordKind::ClientEvent) if message.encoding == "json" => {
            frame::event_with_json(name, channel.as_str(), json)
        }
        (Ok(text), RecordKind::ClientEvent | RecordKind::Messages) => {
            frame::event_with_string(name, channel.as_str(), text)
        }
        (Err(_), RecordKind::ClientEvent | RecordKind::Messages) => {
            frame::event_with_string(name, channel.as_str(), &STANDARD.encode(&message.data))
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn record(kind: RecordKind, messages: Vec<Message>) -> Record {
        Record { kind, connection: None, client: None, timestamp_ms: 0, messages }
    }

    fn message(name: Option<&str>, data: &'static [u8], encoding: &str) -> Message {
        Message {
            name: name.map(str::to_owned),
            data: Bytes::from_static(data),
            encoding: encoding.to_owned(),
            extras: Bytes::new(),
        }
    }

    fn check(kind: RecordKind, message: Message, expected: &[&str]) {
        let channel = ChannelName::new("c").unwrap();
        assert_eq!(encode_record(&channel, &record(kind, vec![message])), expected);
    }

    #[test]
    fn data_by_encoding() {
        use RecordKind::{ClientEvent, Messages};
        let string = [r#"{"event":"e","channel":"c","data":"{\"a\": 1}"}"#];
        check(Messages, message(Some("e"), br#"{"a": 1}"#, ""), &string);
        check(Messages, message(Some("e"), br#"{"a": 1}"#, "json"), &string);
        check(ClientEvent, message(Some("e"), br#"{"a": 1}"#, ""), &string);
        check(
            ClientEvent,
            message(Some("e"), br#"{"a": 1}"#, "json"),
            &[r#"{"event":"e","channel":"c","data":{"a": 1}}"#],
        );
        let base64 = [r#"{"event":"e","channel":"c","data":"//79"}"#];
        check(Messages, message(Some("e"), &[0xff, 0xfe, 0xfd], ""), &base64);
        check(Messages, message(Some("e"), b"//79", "base64"), &base64);
        check(ClientEvent, message(Some("e"), &[0xff], "json"), &[r#"{"event":"e","channel":"c","data":"/w=="}"#]);
        check(Messages, message(None, b"", ""), &[r#"{"event":"","channel":"c","data":""}"#]);
    }

    #[test]
    fn nobody_speaks_for_the_server() {
        for name in ["pusher:error", "pusher_internal:member_added"] {
            check(RecordKind::Messages, message(Some(name), b"{}", ""), &[]);
        }
        check(
            RecordKind::Messages,
            message(Some("pusher"), b"", ""),
            &[r#"{"event":"pusher","channel":"c","data":""}"#],
        );
    }

    #[test]
    fn one_frame_per_message_in_order() {
        let channel = ChannelName::new("c").unwrap();
        let messages = vec![Message::text("a", "1"), Message::text("b", "2")];
        let frames = encode_record(&channel, &record(RecordKind::Messages, messages));
        assert_eq!(frames.len(), 2);
        assert!(frames[0].contains(r#""event":"a""#) && frames[1].contains(r#""event":"b""#));
    }

    proptest! {
        #[test]
        fn text_arrives_exactly(name in "\\PC{0,20}", data in any::<String>()) {
            prop_assume!(!is_reserved(&name));
            let channel = ChannelName::new("名前").unwrap();
            let message = Message::text(&name, data.clone());
            let frames = encode_record(&channel, &record(RecordKind::Messages, vec![message]));
            let frame: Value = serde_json::from_str(&frames[0]).unwrap();
            prop_assert_eq!(&frame, &serde_json::json!({"event": name, "channel": "名前", "data": data}));
        }

        #[test]
        fn any_bytes_make_a_valid_frame(data in proptest::collection::vec(any::<u8>(), 0..40), encoding in "json|utf-8/base64||x") {
            let message = Message { name: None, data: data.into(), encoding, extras: Bytes::new() };
            let frames = encode_record(&ChannelName::new("c").unwrap(), &record(RecordKind::Messages, vec![message]));
            prop_assert!(serde_json::from_str::<Value>(&frames[0]).is_ok());
        }
    }
}
