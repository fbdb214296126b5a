//! The `info` attributes: counts that a request may ask for.

use std::fmt::Write as _;

use crate::ChannelKind;

/// The attributes a request asks for. Unknown ones are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `subscription_count`.
    pub subscription_count: bool,
    /// `user_count`: presence channels only.
    pub user_count: bool,
}

/// What is known of a channel across the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Subscribed connections. A channel with none is vacant.
    pub subscriptions: u64,
    /// Distinct users; counts on presence channels only.
    pub users: u64,
}

impl Info {
    /// Reads a comma-separated list.
    pub fn parse(list: &str) -> Self {
        let mut info = Self::default();
        for attribute in list.split(',').map(str::trim) {
            match attribute {
                "subscription_count" => info.subscription_count = true,
                "user_count" => info.user_count = true,
                _ => {}
            }
        }
        info
    }

    /// Appends the attributes of a channel as members of an open JSON object; `separator` goes before the first.
    pub(super) fn push_members(self, out: &mut String, mut separator: &str, kind: ChannelKind, counts: Counts) {
        let users = self.user_count && is_presence(kind);
        for (wanted, name, count) in
            [(self.subscription_count, "subscription_count", counts.subscriptions), (users, "user_count", counts.users)]
        {
            if wanted {
                write!(out, r#"{separator}"{name}":{count}"#).expect("a string takes all text");
                separator = ",";
            }
        }
    }

    /// The same as an object.
    pub(super) fn push_object(self, out: &mut String, kind: ChannelKind, counts: Counts) {
        out.push('{');
        self.push_members(out, "", kind, counts);
        out.push('}');
    }
}

/// Whether a channel of this kind has users.
pub(super) fn is_presence(kind: ChannelKind) -> bool {
    match kind {
        ChannelKind::Presence => true,
        ChannelKind::Public | ChannelKind::Private | ChannelKind::Cache | ChannelKind::User => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let both = Info { subscription_count: true, user_count: true };
        assert_eq!(Info::parse("user_count,subscription_count"), both);
        assert_eq!(Info::parse(" user_count , x,,subscription_count"), both);
        assert_eq!(Info::parse(""), Info::default());
        assert_eq!(Info::parse("cache,users"), Info::default());
    }

    #[test]
    fn members_by_kind() {
        let shown = |info: &str, kind| {
            let mut out = String::new();
            Info::parse(info).push_object(&mut out, kind, Counts { subscriptions: 3, users: 2 });
            out
        };
        assert_eq!(shown("", ChannelKind::Public), "{}");
        assert_eq!(shown("user_count", ChannelKind::Public), "{}");
        assert_eq!(shown("user_count", ChannelKind::Presence), r#"{"user_count":2}"#);
        let both = "user_count,subscription_count";
        assert_eq!(shown(both, ChannelKind::Private), r#"{"subscription_count":3}"#);
        assert_eq!(shown(both, ChannelKind::Presence), r#"{"subscription_count":3,"user_count":2}"#);
    }
}
