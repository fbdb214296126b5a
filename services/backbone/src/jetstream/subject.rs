//! Subjects and stream names: the only place that writes them.

use channels::{AppId, ChannelName, Shard, Tier};

/// A kind of stream: which tier it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Store {
    /// Short streams of the recoverable tier.
    Recoverable,
    /// Long streams of the persistent tier.
    Persistent,
}

impl Store {
    /// The store of `tier`; none for the ephemeral one.
    pub(crate) fn of(tier: Tier) -> Option<Self> {
        match tier {
            Tier::Ephemeral => None,
            Tier::Recoverable => Some(Self::Recoverable),
            Tier::Persistent { .. } => Some(Self::Persistent),
        }
    }

    /// First token of stored subjects.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Recoverable => "ch",
            Self::Persistent => "cp",
        }
    }

    /// The stream that holds a shard.
    pub(crate) fn stream(self, shard: Shard) -> String {
        match self {
            Self::Recoverable => format!("fanfare-recoverable-{shard}"),
            Self::Persistent => format!("fanfare-persistent-{shard}"),
        }
    }
}

/// First token of delivery subjects, whatever the tier.
pub(crate) const DELIVERY_PREFIX: &str = "rt";

/// Where one channel's records are stored and delivered.
#[derive(Clone, Debug)]
pub(crate) struct ChannelSubjects {
    pub(crate) shard: Shard,
    /// `{shard}.{app}.{token}`: what follows the prefix.
    tail: String,
}

impl ChannelSubjects {
    pub(crate) fn new(shard: Shard, app: &AppId, channel: &ChannelName) -> Self {
        Self { shard, tail: format!("{shard}.{app}.{}", channel.token()) }
    }

    pub(crate) fn stored(&self, store: Store) -> String {
        format!("{}.{}", store.prefix(), self.tail)
    }

    pub(crate) fn delivery(&self) -> String {
        format!("{DELIVERY_PREFIX}.{}", self.tail)
    }
}
