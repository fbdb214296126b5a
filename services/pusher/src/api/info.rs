//! The `info` attributes: what a request may ask to be told of a channel.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use channels::{Access, ChannelKind};

use super::text;
use crate::json;

/// The attributes a request asks for. Unknown ones are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `subscription_count`.
    pub subscription_count: bool,
    /// `user_count`: presence channels only.
    pub user_count: bool,
    /// `cache`: cache channels only, and only where one channel is asked for.
    pub cache: bool,
}

/// What is known of a channel across the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Subscribed connections. A channel with none is vacant.
    pub subscriptions: u64,
    /// Distinct users; counts on presence channels only.
    pub users: u64,
}

/// The event that a cache channel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Its data.
    pub data: Bytes,
    /// How long it will be there yet.
    pub ttl: Duration,
}

impl Info {
    /// Reads a comma-separated list.
    pub fn parse(list: &str) -> Self {
        let mut info = Self::default();
        for attribute in list.split(',').map(str::trim) {
            match attribute {
                "subscription_count" => info.subscription_count = true,
                "user_count" => info.user_count = true,
                "cache" => info.cache = true,
                _ => {}
            }
        }
        info
    }

    /// Appends the counts of a channel as members of an open JSON object; `separator` goes before the first.
    /// Server-to-user channels have none.
    pub(super) fn push_counts(self, out: &mut String, mut separator: &str, kind: ChannelKind, counts: Counts) {
        let subscriptions = self.subscription_count && kind.access() != Access::User;
        let users = self.user_count && kind.is_presence();
        for (wanted, name, count) in
            [(subscriptions, "subscription_count", counts.subscriptions), (users, "user_count", counts.users)]
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
        self.push_counts(out, "", kind, counts);
        out.push('}');
    }
}

/// Appends what a cache channel holds: the event's data without its frame, and whole seconds.
pub(super) fn push_cached(out: &mut String, cached: Option<&Cached>) {
    let Some(Cached { data, ttl }) = cached else { return out.push_str("null") };
    out.push_str(r#"{"data":"#);
    json::push_string(out, &text(data));
    write!(out, r#","ttl":{}}}"#, ttl.as_secs()).expect("a string takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let counts = Info { subscription_count: true, user_count: true, cache: false };
        assert_eq!(Info::parse("user_count,subscription_count"), counts);
        assert_eq!(Info::parse(" user_count , x,,subscription_count"), counts);
        assert_eq!(Info::parse("cache,user_count,subscription_count"), Info { cache: true, ..counts });
        for nothing in ["", "users", "Cache"] {
            assert_eq!(Info::parse(nothing), Info::default());
        }
    }

    #[test]
    fn counts_by_kind() {
        let shown = |info: &str, channel| {
            let mut out = String::new();
            let counts = Counts { subscriptions: 3, users: 2 };
            Info::parse(info).push_object(&mut out, ChannelKind::of(channel), counts);
            out
        };
        assert_eq!(shown("", "a"), "{}");
        assert_eq!(shown("user_count,cache", "cache-a"), "{}");
        assert_eq!(shown("user_count", "presence-a"), r#"{"user_count":2}"#);
        let both = "user_count,subscription_count";
        assert_eq!(shown(both, "private-a"), r#"{"subscription_count":3}"#);
        assert_eq!(shown(both, "presence-cache-a"), r#"{"subscription_count":3,"user_count":2}"#);
        assert_eq!(shown(both, "#server-to-user-u"), "{}");
    }

    #[test]
    fn what_is_cached() {
        let shown = |cached: Option<Cached>| {
            let mut out = String::new();
            push_cached(&mut out, cached.as_ref());
            out
        };
        let cached = |data: &'static [u8]| Some(Cached { data: data.into(), ttl: Duration::from_millis(59_900) });
        assert_eq!(shown(None), "null");
        assert_eq!(shown(cached(br#"{"a": 1}"#)), r#"{"data":"{\"a\": 1}","ttl":59}"#);
        assert_eq!(shown(cached(&[0xff])), r#"{"data":"/w==","ttl":59}"#, "bytes as base64, as they are delivered");
    }
}
