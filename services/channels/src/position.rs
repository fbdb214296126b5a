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
