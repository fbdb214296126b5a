//! What a capability can allow, and sets of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::InvalidCapability;

/// Something a capability can allow. The words are those of the Ably protocol, which has the richest set; the Pusher
/// surface uses `publish` and `subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is its wire word")]
pub enum Operation {
    AnnotationPublish,
    AnnotationSubscribe,
    ChannelMetadata,
    History,
    MessageDeleteAny,
    MessageDeleteOwn,
    MessageUpdateAny,
    MessageUpdateOwn,
    ObjectPublish,
    ObjectSubscribe,
    Presence,
    PrivilegedHeaders,
    Publish,
    PushAdmin,
    PushSubscribe,
    Stats,
    Subscribe,
}

impl Operation {
    /// Every operation with its wire word, sorted by word.
    const WORDS: [(&'static str, Self); 17] = [
        ("annotation-publish", Self::AnnotationPublish),
        ("annotation-subscribe", Self::AnnotationSubscribe),
        ("channel-metadata", Self::ChannelMetadata),
        ("history", Self::History),
        ("message-delete-any", Self::MessageDeleteAny),
        ("message-delete-own", Self::MessageDeleteOwn),
        ("message-update-any", Self::MessageUpdateAny),
        ("message-update-own", Self::MessageUpdateOwn),
        ("object-publish", Self::ObjectPublish),
        ("object-subscribe", Self::ObjectSubscribe),
        ("presence", Self::Presence),
        ("privileged-headers", Self::PrivilegedHeaders),
        ("publish", Self::Publish),
        ("push-admin", Self::PushAdmin),
        ("push-subscribe", Self::PushSubscribe),
        ("stats", Self::Stats),
        ("subscribe", Self::Subscribe),
    ];

    /// Every operation, sorted by word.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::WORDS.into_iter().map(|(_, operation)| operation)
    }

    /// The wire word.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, operation)| *operation == self).map(|(word, _)| *word).expect("the table is whole")
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Operation {
    type Err = InvalidCapability;

    fn from_str(word: &str) -> Result<Self, InvalidCapability> {
        let found = Self::WORDS.iter().find(|(name, _)| *name == word);
        found.map(|(_, operation)| *operation).ok_or_else(|| InvalidCapability::UnknownOperation(word.to_owned()))
    }
}

/// The operations allowed on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operations {
    /// Every one, those to come too.
    All,
    /// These.
    Only(BTreeSet<Operation>),
}

impl Operations {
    pub(super) fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Only(set) if set.is_empty())
    }

    pub(super) fn permits(&self, operation: Operation) -> bool {
        match self {
            Self::All => true,
            Self::Only(set) => set.contains(&operation),
        }
    }

    /// What either allows.
    pub(super) fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(one), Self::Only(other)) => Self::Only(one | other),
            (Self::All, _) | (_, Self::All) => Self::All,
        }
    }

    /// What both allow.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, rest) | (rest, Self::All) => rest.clone(),
            (Self::Only(one), Self::Only(other)) => Self::Only(one & other),
        }
    }

    /// The words, sorted; `*` for every one.
    pub(super) fn words(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(set) => set.iter().map(|operation| operation.word()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_as_their_operations_are_and_round_trip() {
        assert!(Operation::WORDS.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1));
        for (word, operation) in Operation::WORDS {
            assert_eq!(word.parse(), Ok(operation));
            assert_eq!(operation.word(), word);
        }
    }
}
