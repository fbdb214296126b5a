//! Records as bytes: the versioned protobuf envelope of `proto/backbone.proto`.

use bytes::Bytes;
use channels::{
    ChannelName, ClientId, ConnectionId, EdgeId, InvalidEdgeId, Message, PresenceAction, PresenceChange, Record,
    RecordKind,
};
use prost::Message as _;
use proto::backbone as wire;

/// Version this code writes, and the newest it reads.
const VERSION: u32 = 1;

/// Why stored bytes are no record this code can deliver.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("not a record")]
    Malformed(#[from] prost::DecodeError),
    #[error("record of version {0}, newer than this server")]
    Version(u32),
    #[error("record without {0}")]
    Missing(&'static str),
    #[error("a presence record of no edge")]
    Edge(#[from] InvalidEdgeId),
}

/// Encodes `record` for `channel`, whose original name travels along since its subject token may be a hash.
pub(crate) fn encode(channel: &ChannelName, record: &Record) -> Bytes {
    let (kind, presence) = match &record.kind {
        RecordKind::Messages => (wire::record::Kind::Messages, None),
        RecordKind::ClientEvent => (wire::record::Kind::ClientEvent, None),
        RecordKind::Presence(change) => (wire::record::Kind::Presence, Some(encode_change(change))),
    };
    let message = |message: &Message| wire::Message {
        id: message.id.clone().unwrap_or_default(),
        client_id: message.client.as_ref().map(|client| client.as_str().to_owned()).unwrap_or_default(),
        name: message.name.clone(),
        data: message.data.clone(),
        encoding: message.encoding.clone(),
        extras: message.extras.clone(),
    };
    let record = wire::Record {
        version: VERSION,
        id: record.id.clone().unwrap_or_default(),
        kind: kind.into(),
        channel: channel.as_str().to_owned(),
        connection_id: record.connection.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        client_id: record.client.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default(),
        timestamp_ms: record.timestamp_ms,
        messages: record.messages.iter().map(message).collect(),
        presence,
        traceparent: record.traceparent.as_deref().unwrap_or_default().to_owned(),
    };
    record.encode_to_vec().into()
}

/// Decodes what [`encode`] made. Payloads share `bytes`.
pub(crate) fn decode(bytes: Bytes) -> Result<Record, Unreadable> {
    let wire = wire::Record::decode(bytes)?;
    if wire.version != VERSION {
        return Err(Unreadable::Version(wire.version));
    }
    let kind = match wire.kind() {
        wire::record::Kind::Messages => RecordKind::Messages,
        wire::record::Kind::ClientEvent => RecordKind::ClientEvent,
        wire::record::Kind::Presence => {
            RecordKind::Presence(decode_change(wire.presence.as_ref().ok_or(Unreadable::Missing("a change"))?)?)
        }
        wire::record::Kind::Unspecified => return Err(Unreadable::Missing("a kind")),
    };
    if wire.messages.is_empty() {
        return Err(Unreadable::Missing("messages"));
    }
    let message = |message: wire::Message| Message {
        id: given(message.id),
        client: ClientId::new(&message.client_id).ok(),
        name: message.name,
        data: message.data,
        encoding: message.encoding,
        extras: message.extras,
    };
    Ok(Record {
        id: given(wire.id),
        kind,
        connection: ConnectionId::new(&wire.connection_id).ok(),
        client: ClientId::new(&wire.client_id).ok(),
        timestamp_ms: wire.timestamp_ms,
        messages: wire.messages.into_iter().map(message).collect(),
        traceparent: (!wire.traceparent.is_empty()).then(|| wire.traceparent.into()),
    })
}

/// A text of which none is told by an empty one.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn encode_change(change: &PresenceChange) -> wire::PresenceChange {
    let action = match change.action {
        PresenceAction::Enter => wire::presence_change::Action::Enter,
        PresenceAction::Update => wire::presence_change::Action::Update,
        PresenceAction::Leave => wire::presence_change::Action::Leave,
    };
    let edge = change.edge.as_str().to_owned();
    wire::PresenceChange { edge, sequence: change.sequence, action: action.into(), quiet: change.quiet }
}

fn decode_change(wire: &wire::PresenceChange) -> Result<PresenceChange, Unreadable> {
    let action = match wire.action() {
        wire::presence_change::Action::Enter => PresenceAction::Enter,
        wire::presence_change::Action::Update => PresenceAction::Update,
        wire::presence_change::Action::Leave => PresenceAction::Leave,
        wire::presence_change::Action::Unspecified => return Err(Unreadable::Missing("an action")),
    };
    Ok(PresenceChange { edge: EdgeId::new(&wire.edge)?, sequence: wire.sequence, action, quiet: wire.quiet })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_round_trip(name: Option<String>, data: Vec<u8>, encoding: String, timestamp_ms: u64, traced: bool) {
            let id = name.as_ref().filter(|name| !name.is_empty()).cloned();
            let message = Message { id: id.clone(), client: ClientId::new("x").ok(), name, data: data.into(), encoding, extras: Bytes::new() };
            let record = Record {
                id,
                kind: RecordKind::Messages,
                connection: ConnectionId::new("1.2").ok(),
                client: None,
                timestamp_ms,
                messages: vec![message],
                traceparent: traced.then(|| "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
            };
            let bytes = encode(&ChannelName::new("room").unwrap(), &record);
            prop_assert_eq!(decode(bytes).unwrap(), record);
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let _answer = decode(bytes.into());
        }
    }

    #[test]
    fn presence_round_trips() {
        for (action, quiet) in
            [(PresenceAction::Enter, false), (PresenceAction::Update, false), (PresenceAction::Leave, true)]
        {
            let change = PresenceChange { edge: EdgeId::from_random(7), sequence: 42, action, quiet };
            let record = Record {
                id: None,
                kind: RecordKind::Presence(change),
                connection: ConnectionId::new("1.2").ok(),
                client: ClientId::new("ann").ok(),
                timestamp_ms: 7,
                messages: vec![Message::text("", r#"{"name":"Ann"}"#)],
                traceparent: None,
            };
            let bytes = encode(&ChannelName::new("presence-room").unwrap(), &record);
            assert_eq!(decode(bytes).unwrap(), record);
        }
    }

    #[test]
    fn a_newer_version_is_refused() {
        let newer = wire::Record { version: 2, ..wire::Record::default() };
        assert!(matches!(decode(newer.encode_to_vec().into()), Err(Unreadable::Version(2))));
    }
}
