//! Records as a Pusher subscriber sees them.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use channels::{ChannelKind, ChannelName, ClientId, EventPosition, Message, Position, Record, RecordKind};

use crate::frame;

/// The frames for `record`, one per message; the same for every subscriber, so encode once and share. Whoever sends
/// them leaves out the subscriber that is `record.connection`. With the record's `position`, each event tells its own.
///
/// * Text is a JSON string, exact to the character, whatever its encoding says; JSON from another protocol too, since
///   Pusher data is a string. An encoding that ends in base64 is text already.
/// * The JSON of a client event stays a JSON value, as its sender wrote it. On a presence channel it tells which member
///   it comes from; no other event does, whoever published it.
/// * Bytes that are no text become a base64 string.
/// * A message without a name has the event name `""`.
/// * A message named as one of the protocol's own events is left out: another protocol lets clients choose any name,
///   and a Pusher client would take it for the server's word.
/// * A change of presence is none of its own: what it means for subscribers depends on who else is there.
pub fn encode_record(channel: &ChannelName, record: &Record, position: Option<Position>) -> Vec<String> {
    let (json_as_it_is, user) = match record.kind {
        RecordKind::Messages => (false, None),
        RecordKind::ClientEvent if ChannelKind::of(channel.as_str()).is_presence() => (true, record.client.as_ref()),
        RecordKind::ClientEvent => (true, None),
        RecordKind::Presence(_) => return Vec::new(),
    };
    let count = record.messages.len();
    let messages = record.messages.iter().enumerate();
    let relayed = messages.filter(|(_, message)| !is_reserved(message.name.as_deref().unwrap_or_default()));
    relayed
        .map(|(index, message)| {
            let position = position.map(|record| EventPosition::of_message(record, index, count));
            encode_message(channel, message, json_as_it_is, user, position)
        })
        .collect()
}

/// Whether only the server may send events called `name`.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("pusher:") || name.starts_with("pusher_internal:")
}

/// The string that Pusher clients see for `data`: its characters, or base64 if it has none.
pub(crate) fn text(data: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(data).map_or_else(|_| STANDARD.encode(data).into(), Cow::Borrowed)
}

fn encode_message(
    channel: &ChannelName,
    message: &Message,
    json_as_it_is: bool,
    user: Option<&ClientId>,
    position: Option<EventPosition>,
) -> String {
    /// About as long as a position is with the name of its member.
    const POSITION: usize = 48;
    let name = message.name.as_deref().unwrap_or_default();
    let length = message.data.len() + user.map_or(0, |user| user.as_str().len() + 16);
    let room = length + length / 8 + position.map_or(0, |_| POSITION);
    let event = frame::Event::new(name, channel.as_str(), room);
    let mut event = match text(&message.data) {
        Cow::Borrowed(json) if json_as_it_is && message.encoding == "json" => event.with_json(json),
        text => event.with_string(&text),
    };
    if let Some(user) = user {
        event = event.with_user(user);
    }
    if let Some(position) = position {
        event = event.at(position);
    }
    event.end()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn record(kind: RecordKind, messages: Vec<Message>) -> Record {
        Record { id: None, kind, connection: None, client: None, timestamp_ms: 0, messages, traceparent: None }
    }

    fn message(name: Option<&str>, data: &'static [u8], encoding: &str) -> Message {
        Message {
            id: None,
            client: None,
            name: name.map(str::to_owned),
            data: Bytes::from_static(data),
            encoding: encoding.to_owned(),
            extras: Bytes::new(),
        }
    }

    fn check(kind: RecordKind, message: Message, expected: &[&str]) {
        let channel = ChannelName::new("c").unwrap();
        assert_eq!(encode_record(&channel, &record(kind, vec![message]), None), expected);
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
        let frames = encode_record(&channel, &record(RecordKind::Messages, messages), None);
        assert_eq!(frames.len(), 2);
        assert!(frames[0].contains(r#""event":"a""#) && frames[1].contains(r#""event":"b""#));
    }

    fn client_event_of(user: Option<&str>) -> Record {
        let client = user.map(|user| ClientId::new(user).unwrap());
        Record { client, ..record(RecordKind::ClientEvent, vec![message(Some("client-x"), b"1", "json")]) }
    }

    /// `user_id` is for the client events of presence channels alone.
    #[test]
    fn who_sent_it() {
        let shown = |channel: &str, record: &Record| encode_record(&ChannelName::new(channel).unwrap(), record, None);
        for channel in ["presence-a", "presence-cache-a"] {
            let expected = format!(r#"{{"event":"client-x","channel":"{channel}","data":1,"user_id":"a\"b"}}"#);
            assert_eq!(shown(channel, &client_event_of(Some("a\"b"))), [expected]);
        }
        let nobody = r#"{"event":"client-x","channel":"presence-a","data":1}"#;
        assert_eq!(shown("presence-a", &client_event_of(None)), [nobody]);
        let private = r#"{"event":"client-x","channel":"private-a","data":1}"#;
        assert_eq!(shown("private-a", &client_event_of(Some("u1"))), [private]);
        let published = Record { id: None, kind: RecordKind::Messages, ..client_event_of(Some("u1")) };
        let expected = r#"{"event":"client-x","channel":"presence-a","data":"1"}"#;
        assert_eq!(shown("presence-a", &published), [expected]);
    }

    /// Spec §18, 10: the event that a cache channel keeps is one like any other, so it names its channel.
    #[test]
    fn where_it_stands() {
        let channel = ChannelName::new("cache-c").unwrap();
        let position = Position { epoch: channels::Epoch::new(0xff), sequence: 42 };
        let messages =
            vec![message(Some("a"), b"1", ""), message(Some("pusher:x"), b"", ""), message(Some("b"), b"", "")];
        assert_eq!(
            encode_record(&channel, &record(RecordKind::Messages, messages), Some(position)),
            [
                r#"{"event":"a","channel":"cache-c","data":"1","position":"00000000000000ff-41.1"}"#,
                r#"{"event":"b","channel":"cache-c","data":"","position":"00000000000000ff-42"}"#,
            ]
        );
    }

    #[test]
    fn a_change_of_presence_is_no_event() {
        let change = channels::PresenceChange {
            edge: channels::EdgeId::from_random(1),
            sequence: 1,
            action: channels::PresenceAction::Enter,
            quiet: false,
        };
        check(RecordKind::Presence(change), message(None, b"{}", "json"), &[]);
    }

    /// Spec §18, 33.
    #[test]
    fn any_event_name_will_do() {
        check(
            RecordKind::Messages,
            message(Some(r"App\Events\OrderShipped"), b"{}", ""),
            &[r#"{"event":"App\\Events\\OrderShipped","channel":"c","data":"{}"}"#],
        );
    }

    proptest! {
        #[test]
        fn text_arrives_exactly(name in "\\PC{0,20}", data in any::<String>()) {
            prop_assume!(!is_reserved(&name));
            let channel = ChannelName::new("名前").unwrap();
            let message = Message::text(&name, data.clone());
            let frames = encode_record(&channel, &record(RecordKind::Messages, vec![message]), None);
            let frame: Value = serde_json::from_str(&frames[0]).unwrap();
            prop_assert_eq!(&frame, &serde_json::json!({"event": name, "channel": "名前", "data": data}));
        }

        #[test]
        fn any_bytes_make_a_valid_frame(data in proptest::collection::vec(any::<u8>(), 0..40), encoding in "json|utf-8/base64||x") {
            let message = Message { id: None, client: None, name: None, data: data.into(), encoding, extras: Bytes::new() };
            let frames = encode_record(&ChannelName::new("c").unwrap(), &record(RecordKind::Messages, vec![message]), None);
            prop_assert!(serde_json::from_str::<Value>(&frames[0]).is_ok());
        }
    }
}
