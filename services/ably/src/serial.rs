//! What messages and places are called: `channelSerial`, `serial`, `id`.

use std::fmt;

use channels::{Position, Record};

/// A `channelSerial` that is no position: of another site, or of nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channelSerial is not one of this server's")]
pub struct Unreadable;

/// Reads the `channelSerial` of an ATTACH.
pub fn parse_channel_serial(text: &str) -> Result<Position, Unreadable> {
    text.parse().map_err(|_| Unreadable)
}

/// A message's `serial`: lexicographically in the channel's order within one epoch, and a function of where the message
/// stands, so that the acknowledgement, the delivery, the history and an acknowledged duplicate all say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial<'a> {
    stem: Stem<'a>,
    index: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stem<'a> {
    At(Position),
    /// Never stored: by when it was published, and its record's id.
    Passing(u64, &'a str),
}

impl<'a> Serial<'a> {
    /// Of message `index` of a record with this position, id and time. `None` if it has neither position nor id.
    pub fn new(at: Option<Position>, id: Option<&'a str>, timestamp_ms: u64, index: usize) -> Option<Self> {
        let stem = match (at, id) {
            (Some(at), _) => Stem::At(at),
            (None, Some(id)) => Stem::Passing(timestamp_ms, id),
            (None, None) => return None,
        };
        Some(Self { stem, index })
    }

    /// Of message `index` of `record`.
    pub fn of(record: &'a Record, at: Option<Position>, index: usize) -> Option<Self> {
        Self::new(at, record.id.as_deref(), record.timestamp_ms, index)
    }
}

impl fmt::Display for Serial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stem {
            Stem::At(at) => write!(f, "{:016x}-{:014}:{:03}", at.epoch.get(), at.sequence, self.index),
            Stem::Passing(timestamp_ms, id) => write!(f, "{timestamp_ms:014}-{id}:{:03}", self.index),
        }
    }
}

/// What message `index` of `record` is called: as its publisher called it, by its record's id, or by its position.
pub fn message_id(record: &Record, at: Option<Position>, index: usize) -> Option<String> {
    let given = record.messages.get(index).and_then(|message| message.id.clone());
    given.or_else(|| Some(format!("{}:{index}", frame_id(record, at)?)))
}

/// The `id` of a frame, from which its messages' ids follow.
pub fn frame_id(record: &Record, at: Option<Position>) -> Option<String> {
    record.id.clone().or_else(|| at.map(|at| at.to_string()))
}

/// What makes a publish that its client called `base` the same as another one, on one channel. It cannot be mistaken for
/// a connection's, [`connection_key`]: otherwise who knows a connection's id could have its messages taken for duplicates.
pub fn client_key(base: &str) -> String {
    format!("={base}")
}

/// What makes a resent frame of a connection the same.
pub fn connection_key(connection: &str, msg_serial: u64) -> String {
    format!("{connection}:{msg_serial}")
}

#[cfg(test)]
mod tests {
    use channels::Epoch;

    use super::*;

    #[test]
    fn serials() {
        let at = Position { epoch: Epoch::new(0xff), sequence: 42 };
        let shown = |at, id, index| Serial::new(at, id, 1_700_000_000_000, index).map(|serial| serial.to_string());
        assert_eq!(shown(Some(at), Some("c:0"), 1).unwrap(), "00000000000000ff-00000000000042:001");
        assert_eq!(shown(None, Some("c:0"), 0).unwrap(), "01700000000000-c:0:000");
        assert_eq!(shown(None, None, 0), None);
        assert_eq!(parse_channel_serial("00000000000000ff-42"), Ok(at));
        assert_eq!(parse_channel_serial("e1-42"), Err(Unreadable));
    }

    #[test]
    fn keys_of_clients_and_connections_never_meet() {
        assert_ne!(client_key("c0nn:5"), connection_key("c0nn", 5));
    }
}
