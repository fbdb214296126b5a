//! `GET /channels` and `GET /channels/{name}`.

use auth::Query;
use channels::{Access, ChannelKind, ChannelName, Key, Operation};

use super::info::push_cached;
use super::{ApiError, Authenticated, Cached, Counts, Info};
use crate::json;

/// A checked `GET /channels`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelsQuery {
    /// Only channels whose names start so; empty for all.
    pub prefix: String,
    /// The counts to list.
    pub info: Info,
}

impl ChannelsQuery {
    /// Reads `filter_by_prefix` and `info`.
    pub fn parse(query: &Query<'_>) -> Result<Self, ApiError> {
        let prefix = query.get("filter_by_prefix").unwrap_or_default().to_owned();
        let info = Info::parse(query.get("info").unwrap_or_default());
        if info.user_count && !prefix.starts_with("presence-") {
            return Err(ApiError::UserCount);
        }
        Ok(Self { prefix, info })
    }

    /// The answer, from all channels known of: lists the occupied ones with the prefix that `key` may subscribe to.
    /// Server-to-user channels are nobody's business.
    pub fn answer<'a>(&self, key: &Key, channels: impl Iterator<Item = (&'a ChannelName, Counts)>) -> String {
        // An object also when empty: PHP casts it.
        let mut out = String::from(r#"{"channels":{"#);
        let mut separator = "";
        for (channel, counts) in channels {
            let name = channel.as_str();
            let listed = counts.subscriptions > 0 && name.starts_with(&self.prefix) && !name.starts_with('#');
            if listed && key.capability.permits(name, Operation::Subscribe) {
                out.push_str(separator);
                json::push_string(&mut out, name);
                out.push(':');
                self.info.push_object(&mut out, ChannelKind::of(name), counts);
                separator = ",";
            }
        }
        out.push_str("}}");
        out
    }
}

/// A checked `GET /channels/{name}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelQuery {
    /// The channel.
    pub channel: ChannelName,
    kind: ChannelKind,
    info: Info,
}

impl ChannelQuery {
    /// Checks the name from the path and reads `info`. The key must be allowed to subscribe: whoever may not listen may
    /// not watch either.
    pub fn parse(name: &str, signed: &Authenticated<'_>) -> Result<Self, ApiError> {
        let (channel, kind) = signed.channel(name, Operation::Subscribe)?;
        let info = Info::parse(signed.query.get("info").unwrap_or_default());
        if kind.access() == Access::User {
            return Err(ApiError::UserChannel);
        }
        if info.user_count && !kind.is_presence() {
            return Err(ApiError::UserCount);
        }
        Ok(Self { channel, kind, info })
    }

    /// Whether the answer tells what the channel holds: it is asked for, and the channel is a cache channel.
    pub fn wants_cached(&self) -> bool {
        self.info.cache && self.kind.is_cache()
    }

    /// The answer; a channel that nobody knows of is vacant. `cached` counts if it is [wanted](Self::wants_cached).
    pub fn answer(&self, counts: Counts, cached: Option<&Cached>) -> String {
        let mut out = format!(r#"{{"occupied":{}"#, counts.subscriptions > 0);
        self.info.push_counts(&mut out, ",", self.kind, counts);
        if self.wants_cached() {
            out.push_str(r#","cache":"#);
            push_cached(&mut out, cached);
        }
        out.push('}');
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use channels::App;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{self, KEY, capability, key};

    fn channels(query: &str) -> Result<ChannelsQuery, ApiError> {
        ChannelsQuery::parse(&Query::parse(query).unwrap())
    }

    fn channel(name: &str, query: &str) -> Result<ChannelQuery, ApiError> {
        let app = fixtures::app();
        parse(name, Query::parse(query).unwrap(), &app, &app.keys[0])
    }

    fn parse(name: &str, query: Query<'_>, app: &App, key: &Key) -> Result<ChannelQuery, ApiError> {
        ChannelQuery::parse(name, &Authenticated { app, key, query })
    }

    fn counts(subscriptions: u64, users: u64) -> Counts {
        Counts { subscriptions, users }
    }

    fn listed(query: &str, key: &Key) -> String {
        let known = [("a", 2, 0), ("presence-b", 3, 1), ("vacant", 0, 0), ("#server-to-user-u", 1, 0), ("ab", 1, 0)];
        let known =
            known.map(|(name, subscriptions, users)| (ChannelName::new(name).unwrap(), counts(subscriptions, users)));
        channels(query).unwrap().answer(key, known.iter().map(|(name, counts)| (name, *counts)))
    }

    /// Spec §18, 23: an object, also when empty.
    #[test]
    fn lists_what_is_occupied() {
        let all = &fixtures::app().keys[0];
        assert_eq!(listed("", all), r#"{"channels":{"a":{},"presence-b":{},"ab":{}}}"#);
        assert_eq!(listed("filter_by_prefix=a", all), r#"{"channels":{"a":{},"ab":{}}}"#);
        assert_eq!(
            listed("filter_by_prefix=presence-&info=user_count,subscription_count", all),
            r#"{"channels":{"presence-b":{"subscription_count":3,"user_count":1}}}"#
        );
        assert_eq!(
            listed("info=subscription_count,cache&filter_by_prefix=ab", all),
            r#"{"channels":{"ab":{"subscription_count":1}}}"#
        );
        assert_eq!(listed("filter_by_prefix=%23", all), r#"{"channels":{}}"#);
        assert_eq!(listed("", &key(KEY, capability("ab", "subscribe"))), r#"{"channels":{"ab":{}}}"#);
        assert_eq!(listed("", &key(KEY, capability("*", "publish"))), r#"{"channels":{}}"#);
    }

    #[test]
    fn user_count_is_for_presence() {
        for query in [
            "info=user_count",
            "info=user_count&filter_by_prefix=private-",
            "info=user_count&filter_by_prefix=presence",
        ] {
            assert_eq!(channels(query).unwrap_err().status(), 400, "{query}");
        }
        assert_eq!(channel("a", "info=user_count"), Err(ApiError::UserCount));
        assert!(channel("presence-a", "info=user_count").is_ok());
    }

    #[test]
    fn one_channel() {
        for (name, query, counts, expected) in [
            ("a", "", counts(0, 0), r#"{"occupied":false}"#),
            ("a", "", counts(1, 0), r#"{"occupied":true}"#),
            ("a", "info=subscription_count,cache,x", counts(2, 0), r#"{"occupied":true,"subscription_count":2}"#),
            ("presence-a", "info=user_count", counts(2, 1), r#"{"occupied":true,"user_count":1}"#),
            ("cache-a", "info=cache", counts(0, 0), r#"{"occupied":false,"cache":null}"#),
            ("cache-a", "", counts(0, 0), r#"{"occupied":false}"#),
        ] {
            assert_eq!(channel(name, query).unwrap().answer(counts, None), expected);
        }
        let cached = Cached { data: "{}".into(), ttl: Duration::from_secs(60) };
        assert_eq!(
            channel("presence-cache-a", "info=cache,user_count").unwrap().answer(counts(2, 1), Some(&cached)),
            r#"{"occupied":true,"user_count":1,"cache":{"data":"{}","ttl":60}}"#
        );
        assert_eq!(channel("not a name", "").unwrap_err().status(), 400);
        assert_eq!(channel("#x y", "").unwrap_err().status(), 400);
        assert_eq!(channel("#server-to-user-u", ""), Err(ApiError::UserChannel));
        let (app, publisher) = (fixtures::app(), key(KEY, capability("*", "publish")));
        let refused = parse("a", Query::parse("").unwrap(), &app, &publisher).unwrap_err();
        assert_eq!(refused.status(), 403);
    }

    proptest! {
        #[test]
        fn any_query_has_a_json_answer(
            name in "(presence-|cache-)?\\PC{0,20}",
            prefix in "(presence-)?\\PC{0,10}",
            info in "(cache|user_count|[a-z_, ]{0,10}){0,3}",
            cached in proptest::collection::vec(any::<u8>(), 0..10),
        ) {
            let prefix_encoded = percent_encoding::utf8_percent_encode(&prefix, percent_encoding::NON_ALPHANUMERIC);
            let text = format!("info={info}&filter_by_prefix={prefix_encoded}");
            let app = fixtures::app();
            let is_json = |answer: &str| serde_json::from_str::<serde_json::Value>(answer).is_ok();
            let cached = Cached { data: cached.into(), ttl: Duration::from_secs(1) };
            if let Ok(query) = Query::parse(&text) {
                if let Ok(checked) = ChannelsQuery::parse(&query) {
                    let known = ChannelName::new(&format!("{prefix}x"));
                    let answer = checked.answer(&app.keys[0], known.iter().map(|name| (name, counts(1, 1))));
                    prop_assert!(is_json(&answer));
                }
                match parse(&name, query, &app, &app.keys[0]) {
                    Ok(checked) => prop_assert!(is_json(&checked.answer(counts(1, 1), Some(&cached)))),
                    Err(error) => prop_assert_eq!(error.status(), 400),
                }
            }
        }
    }
}
