//! Capabilities: which operations a key or token allows on which channels.

use std::collections::BTreeMap;

mod operation;
mod resource;

pub use operation::Operation;
use operation::Operations;
use resource::{EVERYTHING, ORDINARY, covers};

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

/// A map from channel patterns to the operations they allow.
///
/// Patterns match on `:`-separated segments: `*` alone matches every ordinary channel, a `*` segment in the middle exactly
/// one segment, a final `*` segment one or more, and a `*` glued to other characters is that character. Metachannels and
/// queues are matched by patterns that begin with `[meta]` and `[queue]`, of which `[meta]*` and `[queue]*` match all, and
/// by `[*]*`, which matches everything.
///
/// Channels are asked for by their names without qualifiers such as `[?rewind=1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability(BTreeMap<String, Operations>);

impl Capability {
    /// Everything on every ordinary channel.
    pub fn all() -> Self {
        Self(BTreeMap::from([(ORDINARY.to_owned(), Operations::All)]))
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
        self.on(channel).any(|operations| operations.permits(operation))
    }

    /// Whether anything at all is allowed on `channel`.
    pub fn permits_any(&self, channel: &str) -> bool {
        self.on(channel).next().is_some()
    }

    /// Whether `operation`, which is about the whole app (its statistics, the list of its channels), is allowed: that takes
    /// it on `*` or `[*]*`.
    pub fn permits_app_wide(&self, operation: Operation) -> bool {
        [ORDINARY, EVERYTHING].into_iter().filter_map(|all| self.0.get(all)).any(|allowed| allowed.permits(operation))
    }

    /// Whether it allows nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it names `resource`, exactly so.
    pub fn names(&self, resource: &str) -> bool {
        self.0.contains_key(resource)
    }

    /// What of `requested` this one allows: empty if nothing.
    ///
    /// On each resource that is requested, the operations that are requested there and allowed on resources that cover it.
    /// For one that reaches further than a resource of this capability, that one takes its place. Where neither of two
    /// patterns covers the other (`a:*:c` and `*:b:c`), what they have in common has no name, and nothing is allowed.
    #[must_use]
    pub fn intersection(&self, requested: &Self) -> Self {
        let mut both = BTreeMap::<&str, Operations>::new();
        for (wanted, operations) in &requested.0 {
            for (held, allowed) in &self.0 {
                let resource = if covers(held, wanted) {
                    wanted
                } else if covers(wanted, held) {
                    held
                } else {
                    continue;
                };
                let entry = both.entry(resource).or_insert_with(Operations::none);
                *entry = entry.union(&operations.intersection(allowed));
            }
        }
        both.retain(|_, operations| !operations.is_empty());
        Self(both.into_iter().map(|(resource, operations)| (resource.to_owned(), operations)).collect())
    }

    /// The resources, sorted, each with its sorted operation words.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Vec<&'static str>)> {
        self.0.iter().map(|(resource, operations)| (resource.as_str(), operations.words()))
    }

    fn on(&self, channel: &str) -> impl Iterator<Item = &Operations> {
        self.0.iter().filter(move |(pattern, _)| covers(pattern, channel)).map(|(_, operations)| operations)
    }
}

#[cfg(test)]
mod tests;
