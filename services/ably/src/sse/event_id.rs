//! Event ids: where a reader stands in each of its channels, so that any node can go on from there.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channels::{Epoch, EventPosition, Position};
use sha2::{Digest as _, Sha256};

/// Most channels that one stream may have: each adds some twenty characters to every event's id, and ids come back in
/// a header.
pub const MOST_CHANNELS: usize = 200;

/// The form of the positions, first of their bytes.
const VERSION: u8 = 1;

/// A channel in an id: the beginning of its name's hash. Names can be a hundred times as long.
type Tag = [u8; 8];

/// Where a reader stands in each of its channels, called as it called them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<Tag, EventPosition>);

/// The id of an event: `connection@positions`, of characters that need no escape in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The connection that the event was sent to.
    pub connection: String,
    /// Where it stands behind the event.
    pub positions: Positions,
}

/// A text that is no [`EventId`] of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event id is not one of this server's")]
pub struct Unreadable;

impl Positions {
    /// Notes that the reader has got everything on `channel` up to `position`.
    pub fn set(&mut self, channel: &str, position: EventPosition) {
        self.0.insert(tag(channel), position);
    }

    /// Where it stands on `channel`; none if it had no position there.
    pub fn get(&self, channel: &str) -> Option<EventPosition> {
        self.0.get(&tag(channel)).copied()
    }

    /// Version, the epochs, and for each channel its tag, the number of its epoch, sequence and skip. Channels share
    /// epochs, since a channel's is that of its shard.
    fn to_bytes(&self) -> Vec<u8> {
        let mut epochs: Vec<_> = self.0.values().map(|at| at.position.epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let mut bytes = vec![VERSION];
        push_number(&mut bytes, epochs.len() as u64);
        for epoch in &epochs {
            bytes.extend_from_slice(&epoch.get().to_be_bytes());
        }
        for (tag, at) in &self.0 {
            bytes.extend_from_slice(tag);
            push_number(&mut bytes, epochs.partition_point(|epoch| *epoch < at.position.epoch) as u64);
            push_number(&mut bytes, at.position.sequence);
            push_number(&mut bytes, at.skip.into());
        }
        bytes
    }

    fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let [version] = take::<1>(&mut bytes)?;
        let epochs = usize::try_from(take_number(&mut bytes)?).ok()?;
        if version != VERSION || epochs > MOST_CHANNELS {
            return None;
        }
        let epochs: Vec<_> =
            (0..epochs).map(|_| Some(Epoch::new(u64::from_be_bytes(take(&mut bytes)?)))).collect::<Option<_>>()?;
        let mut positions = BTreeMap::new();
        while !bytes.is_empty() {
            let tag = take(&mut bytes)?;
            let epoch = *epochs.get(usize::try_from(take_number(&mut bytes)?).ok()?)?;
            let position = Position { epoch, sequence: take_number(&mut bytes)? };
            positions.insert(tag, EventPosition { position, skip: take_number(&mut bytes)?.try_into().ok()? });
        }
        (positions.len() <= MOST_CHANNELS).then_some(Self(positions))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.connection, URL_SAFE_NO_PAD.encode(self.positions.to_bytes()))
    }
}

impl FromStr for EventId {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (connection, positions) = text.split_once('@').ok_or(Unreadable)?;
        let bytes = URL_SAFE_NO_PAD.decode(positions).map_err(|_| Unreadable)?;
        let positions = Positions::from_bytes(&bytes).ok_or(Unreadable)?;
        Ok(Self { connection: connection.to_owned(), positions })
    }
}

fn tag(channel: &str) -> Tag {
    let hash: [u8; 32] = Sha256::digest(channel.as_bytes()).into();
    let mut tag = Tag::default();
    tag.copy_from_slice(&hash[..8]);
    tag
}

/// Seven bits a byte, the least significant first, all but the last with the upper bit set.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = take::<1>(bytes)?;
        let group = u64::from(byte & 0x7f);
        if group << shift >> shift != group {
            return None;
        }
        number |= group << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(epoch: u64, sequence: u64, skip: u32) -> EventPosition {
        EventPosition { position: Position { epoch: Epoch::new(epoch), sequence }, skip }
    }

    proptest! {
        #[test]
        fn positions_come_back(entries in proptest::collection::vec((".{1,20}", 0_u64..3, any::<u64>(), any::<u32>()), 0..8)) {
            let mut positions = Positions::default();
            for (channel, epoch, sequence, skip) in &entries {
                positions.set(channel, at(u64::MAX - epoch, *sequence, *skip));
            }
            let id = EventId { connection: "c0_n-n".to_owned(), positions };
            let text = id.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_@".contains(&b)));
            prop_assert_eq!(text.parse(), Ok(id));
        }

        #[test]
        fn any_text_is_answered(text in prop_oneof!["\\PC{0,40}", "c@AQ[A-Za-z0-9_-]{0,60}"]) {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
    }

    #[test]
    fn each_channel_has_its_own() {
        let mut positions = Positions::default();
        positions.set("a", at(7, 1, 0));
        positions.set("b", at(7, 2, 3));
        positions.set("a", at(7, 4, 0));
        assert_eq!((positions.get("a"), positions.get("b")), (Some(at(7, 4, 0)), Some(at(7, 2, 3))));
        assert_eq!(positions.get("c"), None);
    }

    #[test]
    fn ids_are_short() {
        let mut positions = Positions::default();
        positions.set("a", at(u64::MAX, 1_000_000, 0));
        let one = EventId { connection: "c".to_owned(), positions: positions.clone() }.to_string();
        assert!(one.len() < 40, "{one}");
        for channel in 1..MOST_CHANNELS {
            positions.set(&channel.to_string(), at(u64::MAX - channel as u64 % 16, 1_000_000, 0));
        }
        let many = EventId { connection: "c".to_owned(), positions }.to_string();
        assert!(many.len() < 4096, "{}", many.len());
        assert!(many.parse::<EventId>().is_ok());
    }

    #[test]
    fn what_is_not_ours() {
        for text in ["", "x", "c@", "c@*", "c@AA", "c@AgA", "108-1@e", "c@AQD_"] {
            assert_eq!(text.parse::<EventId>(), Err(Unreadable), "{text}");
        }
    }
}
