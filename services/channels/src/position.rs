//! Positions: where in a channel's one order a record stands.

use std::fmt;
use std::str::FromStr;

/// The life of a channel's log. Sequences are comparable only inside one epoch.
///
/// A stream that was lost and made anew starts counting at 1 again; without the epoch a client that asks for
/// "everything after 40" would be told nothing is missing, and would silently skip the first forty new messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epoch {
    /// An epoch from its number; the backbone derives it from the stream's identity and time of creation.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A place in a channel's order: the record with this sequence, in this epoch. Sequence 0 is the place before the
/// first record. Sequences of one channel grow but have holes: they count a whole shard.
///
/// The text form is `{epoch in 16 hex digits}-{sequence}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the log.
    pub epoch: Epoch,
    /// Place in that life.
    pub sequence: u64,
}

/// A text that is not a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position must look like 00f1e2d3c4b5a697-42")]
pub struct InvalidPosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.epoch.0, self.sequence)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let (epoch, sequence) = text.split_once('-').ok_or(InvalidPosition)?;
        let canonical_hex = epoch.len() == 16 && epoch.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let digits = !sequence.is_empty() && sequence.bytes().all(|b| b.is_ascii_digit());
        if !canonical_hex || !digits {
            return Err(InvalidPosition);
        }
        let epoch = u64::from_str_radix(epoch, 16).map_err(|_| InvalidPosition)?;
        let sequence = sequence.parse().map_err(|_| InvalidPosition)?;
        Ok(Self { epoch: Epoch(epoch), sequence })
    }
}

/// Where an event stands: right behind it in a channel's order.
///
/// A record of several messages has one [`Position`], yet each of its messages needs a place of its own, behind which a
/// reader can go on. Reading on from here means to read what comes after `position`, and to leave out the first `skip`
/// messages of that. The last message of a record, often the only one, has the record's position.
///
/// The text form is that of the position, with `.{skip}` behind it unless that is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventPosition {
    /// Read after this.
    pub position: Position,
    /// Leave out so many messages.
    pub skip: u32,
}

impl EventPosition {
    /// The place of message `index`, counted from 0, of the `count` messages in the record at `record`.
    pub fn of_message(record: Position, index: usize, count: usize) -> Self {
        if index + 1 >= count {
            return record.into();
        }
        let before = Position { sequence: record.sequence.saturating_sub(1), ..record };
        Self { position: before, skip: u32::try_from(index + 1).unwrap_or(u32::MAX) }
    }
}

impl From<Position> for EventPosition {
    fn from(position: Position) -> Self {
        Self { position, skip: 0 }
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.skip {
            0 => self.position.fmt(f),
            skip => write!(f, "{}.{skip}", self.position),
        }
    }
}

impl FromStr for EventPosition {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let Some((position, skip)) = text.split_once('.') else { return text.parse().map(Position::into) };
        let canonical = skip.bytes().all(|b| b.is_ascii_digit()) && !skip.starts_with('0');
        if !canonical {
            return Err(InvalidPosition);
        }
        Ok(Self { position: position.parse()?, skip: skip.parse().map_err(|_| InvalidPosition)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_round_trips(epoch: u64, sequence: u64) {
            let position = Position { epoch: Epoch::new(epoch), sequence };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert!(position.to_string().starts_with(&text[..17]));
            }
        }

        #[test]
        fn text_of_events_round_trips(epoch: u64, sequence: u64, skip: u32) {
            let event = EventPosition { position: Position { epoch: Epoch::new(epoch), sequence }, skip };
            prop_assert_eq!(event.to_string().parse(), Ok(event));
            prop_assert_eq!(event.to_string().parse().ok(), (skip == 0).then_some(event.position));
        }

        #[test]
        fn any_text_of_an_event_is_answered(text in prop_oneof!["\\PC{0,40}", "[0-9a-f]{16}-[0-9]{1,21}[.]?[0-9]{0,11}"]) {
            if let Ok(event) = text.parse::<EventPosition>() {
                prop_assert_eq!(event.to_string().parse(), Ok(event));
            }
        }

        /// A reader who goes on behind any message gets exactly those that follow it.
        #[test]
        fn nothing_is_lost_or_repeated_behind_any_event(counts in proptest::collection::vec(1_usize..5, 1..6), holes in 1_u64..4) {
            let at = |sequence| Position { epoch: Epoch::new(7), sequence };
            let mut log = Vec::new();
            for (record, count) in counts.into_iter().enumerate() {
                let position = at(3 + record as u64 * holes);
                log.extend((0..count).map(|index| (position, EventPosition::of_message(position, index, count))));
            }
            for (index, (_, event)) in log.iter().enumerate() {
                let after = log.iter().filter(|(record, _)| record.sequence > event.position.sequence);
                let rest: Vec<_> = after.skip(event.skip as usize).collect();
                prop_assert_eq!(rest, log[index + 1..].iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn events_look_like_positions() {
        let record = Position { epoch: Epoch::new(0xff), sequence: 42 };
        let shown = |index, count| EventPosition::of_message(record, index, count).to_string();
        assert_eq!(shown(0, 1), "00000000000000ff-42");
        assert_eq!(
            [shown(0, 3), shown(1, 3), shown(2, 3)],
            ["00000000000000ff-41.1", "00000000000000ff-41.2", "00000000000000ff-42"]
        );
        for text in
            ["00000000000000ff-42.", "00000000000000ff-42.0", "00000000000000ff-42.01", "00000000000000ff-42.+1"]
        {
            assert_eq!(text.parse::<EventPosition>(), Err(InvalidPosition), "{text}");
        }
        let huge = "00000000000000ff-42.4294967296";
        assert_eq!(huge.parse::<EventPosition>(), Err(InvalidPosition));
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        for text in [
            "",
            "1",
            "1-1",
            "00000000000000FF-1",
            "00000000000000ff-",
            "00000000000000ff-+1",
            "00000000000000ff-99999999999999999999",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text}");
        }
    }
}
