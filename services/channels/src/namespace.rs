//! Namespaces: rules for the channels whose names start with a prefix.

use std::time::Duration;

use crate::{WebhookEvent, WebhookEvents};

/// How long a persistent channel's history is kept when its rule names no retention.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Shortest and longest retention of a persistent namespace. The backbone counts message lifetimes in whole seconds,
/// and sizes its long streams for the longest.
const RETENTION: std::ops::RangeInclusive<Duration> =
    Namespaces::SHORTEST_RETENTION..=Duration::from_secs(30 * 24 * 60 * 60);

/// What the backbone promises for a channel's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tier {
    /// At most once, not stored; for cursors and ticks, at about a sixth of a stored message's cost.
    Ephemeral,
    /// Acknowledged means replicated; a short history serves reconnects and repairs.
    #[default]
    Recoverable,
    /// The same, with a history this long.
    Persistent {
        /// How long messages are kept.
        retention: Duration,
    },
}

/// Rules for the channels whose names start with `prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// The prefix; the empty one makes a rule for all other channels.
    pub prefix: String,
    /// What the backbone promises.
    pub tier: Tier,
    /// Whether clients may send client events; `None` for what the app says.
    pub client_events: Option<bool>,
    /// Most distinct users in one presence channel; `None` for what the app's limits say.
    pub presence_members: Option<usize>,
    /// What becomes of a subscriber that does not read fast enough.
    pub slow_consumers: SlowConsumers,
    /// Of what webhooks are told; `None` for whatever they ask for.
    pub webhook_events: Option<WebhookEvents>,
}

/// What becomes of a connection whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SlowConsumers {
    /// It is closed, and catches up when it comes back.
    #[default]
    Disconnect,
    /// Of each channel under the rule it keeps only what is newest, and is told of the gap.
    KeepLatest,
}

impl Namespace {
    /// A rule that says nothing but the tier.
    pub fn new(prefix: &str, tier: Tier) -> Self {
        Self {
            prefix: prefix.to_owned(),
            tier,
            client_events: None,
            presence_members: None,
            slow_consumers: SlowConsumers::default(),
            webhook_events: None,
        }
    }
}

/// An app's namespaces. The longest matching prefix decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(Vec<Namespace>);

/// Why a set of namespaces was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNamespaces {
    /// Two rules for one prefix.
    #[error("two namespaces have the prefix {0:?}")]
    DuplicatePrefix(String),
    /// A retention that is too short or too long.
    #[error("retention of namespace {0:?} must be between 1 minute and 30 days")]
    Retention(String),
}

impl Namespaces {
    /// Shortest retention of a persistent namespace.
    pub const SHORTEST_RETENTION: Duration = Duration::from_secs(60);

    /// Checks `namespaces`.
    pub fn new(mut namespaces: Vec<Namespace>) -> Result<Self, InvalidNamespaces> {
        namespaces.sort_by(|a, b| b.prefix.len().cmp(&a.prefix.len()).then_with(|| a.prefix.cmp(&b.prefix)));
        if let Some(pair) = namespaces.windows(2).find(|pair| pair[0].prefix == pair[1].prefix) {
            return Err(InvalidNamespaces::DuplicatePrefix(pair[0].prefix.clone()));
        }
        for namespace in &namespaces {
            if let Tier::Persistent { retention } = namespace.tier
                && !RETENTION.contains(&retention)
            {
                return Err(InvalidNamespaces::Retention(namespace.prefix.clone()));
            }
        }
        Ok(Self(namespaces))
    }

    /// The rule for `channel`, if there is one.
    pub fn rule(&self, channel: &str) -> Option<&Namespace> {
        self.0.iter().find(|rule| channel.starts_with(&rule.prefix))
    }

    /// Whether webhooks that ask for it are told of `event` in `channel`.
    pub fn tells_webhooks(&self, channel: &str, event: WebhookEvent) -> bool {
        self.rule(channel).and_then(|rule| rule.webhook_events).is_none_or(|events| events.contains(event))
    }

    /// The tier of `channel`.
    pub fn tier(&self, channel: &str) -> Tier {
        self.rule(channel).map(|rule| rule.tier).unwrap_or_default()
    }

    /// The rules, longest prefix first.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, tier: Tier) -> Namespace {
        Namespace::new(prefix, tier)
    }

    #[test]
    fn the_longest_prefix_decides() {
        let day = Tier::Persistent { retention: DEFAULT_RETENTION };
        let rules = Namespaces::new(vec![rule("tick-", Tier::Ephemeral), rule("tick-audit-", day)]).unwrap();
        assert_eq!(rules.tier("tick-1"), Tier::Ephemeral);
        assert_eq!(rules.tier("tick-audit-1"), day);
        assert_eq!(rules.tier("room"), Tier::Recoverable);
        assert_eq!(Namespaces::new(vec![rule("", Tier::Ephemeral)]).unwrap().tier("room"), Tier::Ephemeral);
    }

    #[test]
    fn refuses_doubles_and_odd_retentions() {
        let double = Namespaces::new(vec![rule("a", Tier::Ephemeral), rule("a", Tier::Recoverable)]);
        assert_eq!(double, Err(InvalidNamespaces::DuplicatePrefix("a".to_owned())));
        let short = Tier::Persistent { retention: Duration::from_secs(1) };
        assert_eq!(Namespaces::new(vec![rule("b", short)]), Err(InvalidNamespaces::Retention("b".to_owned())));
    }
}
