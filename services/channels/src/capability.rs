//! Capabilities: which operations a key or token allows on which channels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

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

/// Why a capability was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCapability {
    /// A word that is no operation.
    #[error("unknown operation {0:?} in capability")]
    UnknownOperation(String),
    /// A resource without operations.
    #[error("capability allows nothing on {0:?}")]
    NoOperations(String),
    /// `*` beside other operations.
    #[error("capability mixes \"*\" with other operations on {0:?}")]
    MixedWildcard(String),
    /// A resource that is empty.
    #[error("capability names an empty resource")]
    EmptyResource,
}

/// The operations allowed on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Operations {
    All,
    Only(BTreeSet<Operation>),
}

impl Operations {
    fn permits(&self, operation: Operation) -> bool {
        match self {
            Self::All => true,
            Self::Only(set) => set.contains(&operation),
        }
    }
}

/// A map from channel patterns to the operations they allow.
///
/// Patterns match on `:`-separated segments: `*` alone matches every channel, a `*` segment in the middle exactly one
/// segment, a final `*` segment one or more, and a `*` glued to other characters is that character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability(BTreeMap<String, Operations>);

impl Capability {
    /// Everything on every channel.
    pub fn all() -> Self {
        Self(BTreeMap::from([("*".to_owned(), Operations::All)]))
    }

    /// Checks a capability given as resources and operation words (`*` for all of them).
    pub fn new<R, W, O>(resources: R) -> Result<Self, InvalidCapability>
    where
        R: IntoIterator<Item = (String, W)>,
        W: IntoIterator<Item = O>,
        O: AsRef<str>,
    {
        let mut map = BTreeMap::new();
        for (resource, words) in resources {
            if resource.is_empty() {
                return Err(InvalidCapability::EmptyResource);
            }
            let words: Vec<O> = words.into_iter().collect();
            let operations = match words.as_slice() {
                [] => return Err(InvalidCapability::NoOperations(resource)),
                [word] if word.as_ref() == "*" => Operations::All,
                words if words.iter().any(|word| word.as_ref() == "*") => {
                    return Err(InvalidCapability::MixedWildcard(resource));
                }
                words => Operations::Only(words.iter().map(|word| word.as_ref().parse()).collect::<Result<_, _>>()?),
            };
            map.insert(resource, operations);
        }
        Ok(Self(map))
    }

    /// Whether `operation` is allowed on `channel`.
    pub fn permits(&self, channel: &str, operation: Operation) -> bool {
        self.0.iter().any(|(pattern, operations)| operations.permits(operation) && matches(pattern, channel))
    }

    /// The resources, sorted, each with its sorted operation words.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Vec<&'static str>)> {
        self.0.iter().map(|(resource, operations)| {
            let words = match operations {
                Operations::All => vec!["*"],
                Operations::Only(set) => set.iter().map(|operation| operation.word()).collect(),
            };
            (resource.as_str(), words)
        })
    }
}

fn matches(pattern: &str, channel: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut channel = channel.split(':');
    let mut pattern = pattern.split(':').peekable();
    while let Some(expected) = pattern.next() {
        let Some(segment) = channel.next() else { return false };
        if expected == "*" {
            if pattern.peek().is_none() {
                return true;
            }
        } else if expected != segment {
            return false;
        }
    }
    channel.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(resources: &[(&str, &[&str])]) -> Result<Capability, InvalidCapability> {
        Capability::new(resources.iter().map(|(resource, words)| ((*resource).to_owned(), words.iter())))
    }

    #[test]
    fn patterns() {
        for (pattern, channel, expected) in [
            ("*", "anything:at:all", true),
            ("foo:*", "foo:a", true),
            ("foo:*", "foo:a:b", true),
            ("foo:*", "foo", false),
            ("foo:*:baz", "foo:bar:baz", true),
            ("foo:*:baz", "foo:bar:qux:baz", false),
            ("foo:*:baz", "foo:bar", false),
            ("foo*", "foobar", false),
            ("foo*", "foo*", true),
            ("foo", "foo", true),
            ("foo", "foo:bar", false),
        ] {
            assert_eq!(matches(pattern, channel), expected, "{pattern} on {channel}");
        }
    }

    #[test]
    fn permits_the_union_of_matching_resources() {
        let both = capability(&[("*", &["subscribe"]), ("chat:*", &["publish"])]).unwrap();
        assert!(both.permits("news", Operation::Subscribe));
        assert!(!both.permits("news", Operation::Publish));
        assert!(both.permits("chat:1", Operation::Publish));
        assert!(Capability::all().permits("x", Operation::Stats));
    }

    #[test]
    fn refuses_malformed() {
        use InvalidCapability::*;
        assert_eq!(capability(&[("a", &[])]), Err(NoOperations("a".to_owned())));
        assert_eq!(capability(&[("a", &["*", "publish"])]), Err(MixedWildcard("a".to_owned())));
        assert_eq!(capability(&[("a", &["fly"])]), Err(UnknownOperation("fly".to_owned())));
        assert_eq!(capability(&[("", &["*"])]), Err(EmptyResource));
    }

    #[test]
    fn words_are_sorted_and_round_trip() {
        assert!(Operation::WORDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (word, operation) in Operation::WORDS {
            assert_eq!(word.parse(), Ok(operation));
            assert_eq!(operation.word(), word);
        }
        let shown: Vec<_> = capability(&[("b", &["subscribe", "publish"]), ("a", &["*"])])
            .unwrap()
            .iter()
            .map(|(r, w)| (r.to_owned(), w))
            .collect();
        assert_eq!(shown, [("a".to_owned(), vec!["*"]), ("b".to_owned(), vec!["publish", "subscribe"])]);
    }
}
