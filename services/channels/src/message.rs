//! What is published and what the backbone stores.

use bytes::Bytes;

use crate::{ClientId, ConnectionId, PresenceChange};

/// One message: a name and data that nobody between publisher and subscriber reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id that its publisher gave it. `None`: it goes by the record's id and its place in the record.
    pub id: Option<String>,
    /// Whom it comes from, if not from the record's client.
    pub client: Option<ClientId>,
    /// Event name (Pusher) or message name (Ably); Ably messages may have none.
    pub name: Option<String>,
    /// The payload, untouched.
    pub data: Bytes,
    /// How `data` is to be read: a `/`-separated chain as in the Ably protocol; empty for a plain string.
    /// `json` is JSON text.
    pub encoding: String,
    /// Protocol-specific additions as JSON text; empty for none.
    pub extras: Bytes,
}

impl Message {
    /// A message whose payload is a plain string, as every Pusher event's is.
    pub fn text(name: &str, data: impl Into<Bytes>) -> Self {
        Self {
            id: None,
            client: None,
            name: Some(name.to_owned()),
            data: data.into(),
            encoding: String::new(),
            extras: Bytes::new(),
        }
    }
}

/// What a record tells its subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Messages published by a backend or a client with the right to publish.
    Messages,
    /// A Pusher client event: relayed between subscribers, never stored.
    ClientEvent,
    /// A member came, changed or went: `connection` of the user `client`, with the member's data as the only message.
    Presence(PresenceChange),
}

/// The unit of order and atomicity: what one publish to one channel stores and every subscriber gets whole.
///
/// A publish of several messages to one channel is one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What its messages are called by, each with its place behind a colon: at Ably, `connectionId:msgSerial` or the id
    /// of a publish over HTTP. `None`: by the record's position.
    pub id: Option<String>,
    /// What it tells.
    pub kind: RecordKind,
    /// The publishing connection, or the one a backend wants left out. Whether it gets an echo is the subscriber's
    /// protocol's decision.
    pub connection: Option<ConnectionId>,
    /// The publishing client.
    pub client: Option<ClientId>,
    /// When the edge accepted it, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// At least one message.
    pub messages: Vec<Message>,
    /// Of a publish that is traced: the W3C `traceparent` that spans of its delivery hang on. Whoever subscribes is not
    /// told.
    pub traceparent: Option<Box<str>>,
}
