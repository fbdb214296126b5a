//! How much the streams hold, and how much they may: what somebody has to look at before a publish is refused for it.
//!
//! Asked for now and then by one process of a cluster. Says nothing about single channels or apps.

use crate::{Backbone, jetstream};

/// What kind of stream something is said of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamTier {
    /// Everything that the NATS account stores.
    Account,
    /// The buckets.
    Buckets,
    /// Messages of persistent channels.
    Persistent,
    /// Messages of recoverable channels.
    Recoverable,
    /// The queue of webhook events.
    Webhooks,
}

impl StreamTier {
    /// Every tier.
    pub const ALL: [Self; 5] = [Self::Account, Self::Buckets, Self::Persistent, Self::Recoverable, Self::Webhooks];

    /// Its name, in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Buckets => "buckets",
            Self::Persistent => "persistent",
            Self::Recoverable => "recoverable",
            Self::Webhooks => "webhooks",
        }
    }
}

/// What streams hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes. Of streams those of one copy; of the account those of all, which is what its limit is held against.
    pub bytes: u64,
    /// How many bytes they may hold; `None` without a limit, or if one of several streams has none.
    pub limit_bytes: Option<u64>,
    /// Messages; `None` of the account, which does not count them.
    pub messages: Option<u64>,
    /// Consumers.
    pub consumers: u64,
}

impl Holdings {
    /// Of two streams together.
    pub(crate) fn and(self, other: Self) -> Self {
        let both = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            limit_bytes: both(self.limit_bytes, other.limit_bytes),
            messages: both(self.messages, other.messages),
            consumers: self.consumers + other.consumers,
        }
    }
}

/// What was found out so far. Of a stream that does not answer, what it said before is taken to hold.
#[derive(Debug)]
pub enum Survey {
    /// Of a cluster.
    JetStream(Box<jetstream::Survey>),
    /// Of one process, which has no streams.
    Memory,
}

impl Backbone {
    /// A survey that knows nothing yet.
    pub fn survey(&self) -> Survey {
        match self {
            Self::JetStream(jetstream) => Survey::JetStream(Box::new(jetstream.survey())),
            Self::Memory(_) => Survey::Memory,
        }
    }
}

impl Survey {
    /// Asks every stream, a few at a time. Takes some seconds at most.
    pub async fn look(&mut self) {
        match self {
            Self::JetStream(survey) => survey.look().await,
            Self::Memory => {}
        }
    }

    /// What the streams of a tier hold together; `None` while that is not known of all of them.
    pub fn of(&self, tier: StreamTier) -> Option<Holdings> {
        match self {
            Self::JetStream(survey) => survey.of(tier),
            Self::Memory => None,
        }
    }
}
