//! The bits of `flags`: what is true of an attachment, and its modes.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};

use channels::{Capability, Operation};

use crate::{Code, ErrorInfo};

/// Bits of `flags` that are no modes (spec §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// The channel has members; a SYNC follows.
    pub const HAS_PRESENCE: Self = Self(1);
    /// Stored messages follow.
    pub const HAS_BACKLOG: Self = Self(1 << 1);
    /// Nothing was missed since the client's serial.
    pub const RESUMED: Self = Self(1 << 2);
    /// Of a client: it was attached before, so that no rewind is wanted.
    pub const ATTACH_RESUME: Self = Self(1 << 5);

    /// The bits that a client set.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default())
    }

    /// The number.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// `other` too, if `condition`.
    #[must_use]
    pub fn with(self, other: Self, condition: bool) -> Self {
        if condition { self | other } else { self }
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What an attachment is for: a set of channel modes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Modes(u32);

/// Every mode with its word in `params.modes`, in bit order, which is the order SDKs compare.
const WORDS: [(&str, Modes); 8] = [
    ("presence", Modes::PRESENCE),
    ("publish", Modes::PUBLISH),
    ("subscribe", Modes::SUBSCRIBE),
    ("presence_subscribe", Modes::PRESENCE_SUBSCRIBE),
    ("annotation_publish", Modes::ANNOTATION_PUBLISH),
    ("annotation_subscribe", Modes::ANNOTATION_SUBSCRIBE),
    ("object_subscribe", Modes::OBJECT_SUBSCRIBE),
    ("object_publish", Modes::OBJECT_PUBLISH),
];

impl Modes {
    /// None.
    pub const NONE: Self = Self(0);
    /// Enter, update and leave.
    pub const PRESENCE: Self = Self(1 << 16);
    /// Publish.
    pub const PUBLISH: Self = Self(1 << 17);
    /// Be sent messages.
    pub const SUBSCRIBE: Self = Self(1 << 18);
    /// Be sent presence.
    pub const PRESENCE_SUBSCRIBE: Self = Self(1 << 19);
    /// Annotate.
    pub const ANNOTATION_PUBLISH: Self = Self(1 << 21);
    /// Be sent single annotations.
    pub const ANNOTATION_SUBSCRIBE: Self = Self(1 << 22);
    /// Be sent changes of objects.
    pub const OBJECT_SUBSCRIBE: Self = Self(1 << 24);
    /// Change objects.
    pub const OBJECT_PUBLISH: Self = Self(1 << 25);
    /// What a client gets that asks for nothing in particular (spec §5.2).
    pub const DEFAULT: Self = Self(
        Self::PRESENCE.0
            | Self::PUBLISH.0
            | Self::SUBSCRIBE.0
            | Self::PRESENCE_SUBSCRIBE.0
            | Self::ANNOTATION_PUBLISH.0,
    );
    /// What this server has. Annotations may be asked for by default, so their bit is granted, and each one is refused.
    pub const SUPPORTED: Self = Self::DEFAULT;

    const ALL: Self =
        Self(Self::DEFAULT.0 | Self::ANNOTATION_SUBSCRIBE.0 | Self::OBJECT_SUBSCRIBE.0 | Self::OBJECT_PUBLISH.0);

    /// The modes among the bits of `flags`; none if it asks for none.
    pub fn from_flags(flags: u64) -> Self {
        Self(Flags::from_bits(flags).bits() & Self::ALL.0)
    }

    /// Reads `params.modes`, words with commas between them. 40000 for a word that is no mode.
    pub fn parse(words: &str) -> Result<Self, ErrorInfo> {
        words.split(',').try_fold(Self::NONE, |modes, word| {
            let word = word.trim();
            let known = WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word));
            let (_, mode) = known.ok_or_else(|| Code::BadRequest.says("unknown channel mode"))?;
            Ok(modes | *mode)
        })
    }

    /// The words, in bit order.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.iter().filter(move |(_, mode)| self.contains(*mode)).map(|(word, _)| *word)
    }

    /// The modes that `capability` allows on the channel whose base name is `channel`.
    pub fn permitted(capability: &Capability, channel: &str) -> Self {
        let any = |operations: &[Operation], modes| {
            let permitted = operations.iter().any(|operation| capability.permits(channel, *operation));
            if permitted { modes } else { Self::NONE }
        };
        any(&[Operation::Presence], Self::PRESENCE)
            | any(&[Operation::Publish], Self::PUBLISH)
            | any(&[Operation::Subscribe], Self::SUBSCRIBE | Self::PRESENCE_SUBSCRIBE)
            | any(&[Operation::AnnotationPublish, Operation::Publish], Self::ANNOTATION_PUBLISH)
            | any(&[Operation::AnnotationSubscribe], Self::ANNOTATION_SUBSCRIBE)
            | any(&[Operation::ObjectSubscribe], Self::OBJECT_SUBSCRIBE)
            | any(&[Operation::ObjectPublish], Self::OBJECT_PUBLISH)
    }

    /// Their bits in `flags`.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether it holds none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are among them.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Modes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Modes {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Modes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for Modes {
    /// As in `params.modes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words().enumerate() {
            write!(f, "{}{word}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Modes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(words: &[&str]) -> Capability {
        Capability::new([("room".to_owned(), words.iter())]).unwrap()
    }

    #[test]
    fn the_default_five_are_the_number_in_the_transcripts() {
        assert_eq!(Modes::DEFAULT.bits(), 3_080_192);
        assert_eq!((Flags::RESUMED | Flags::HAS_PRESENCE).bits() | Modes::DEFAULT.bits(), 3_080_197);
    }

    #[test]
    fn words_go_both_ways_in_bit_order() {
        let modes = Modes::parse("subscribe,PRESENCE, object_publish").unwrap();
        assert_eq!(modes.to_string(), "presence,subscribe,object_publish");
        assert_eq!(Modes::from_flags(u64::from(modes.bits()) | 0b111 | 1 << 40), modes);
        assert_eq!(Modes::parse("subscribe,fly").unwrap_err().code, 40000);
        assert_eq!(Modes::parse("").unwrap_err().code, 40000);
        assert!(WORDS.windows(2).all(|pair| pair[0].1.bits() < pair[1].1.bits()));
        assert_eq!(WORDS.iter().fold(Modes::NONE, |all, (_, mode)| all | *mode), Modes::ALL);
    }

    #[test]
    fn what_a_capability_permits() {
        let permitted = |words: &[&str]| Modes::permitted(&capability(words), "room").to_string();
        assert_eq!(permitted(&["subscribe"]), "subscribe,presence_subscribe");
        assert_eq!(permitted(&["publish"]), "publish,annotation_publish");
        assert_eq!(permitted(&["presence"]), "presence");
        assert_eq!(permitted(&["history"]), "");
        assert_eq!(Modes::permitted(&Capability::all(), "room"), Modes::ALL);
        assert_eq!(Modes::permitted(&capability(&["subscribe"]), "other"), Modes::NONE);
    }
}
