//! How many are on a channel, as its subscribers (`occupancy=metrics`), REST and metachannels are told.

use serde::Serialize;

use crate::{Code, ErrorInfo};

/// The name of the messages that tell a channel's subscribers of its occupancy. They have no position and are in no
/// history.
pub const EVENT: &str = "[meta]occupancy";

/// Counts over all nodes. A connection counts once in each that applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Connections that are attached.
    pub connections: u64,
    /// Those that may publish.
    pub publishers: u64,
    /// Those that get messages.
    pub subscribers: u64,
    /// Those that may enter.
    pub presence_connections: u64,
    /// Members.
    pub presence_members: u64,
    /// Those that are told of members.
    pub presence_subscribers: u64,
    /// None: there are no LiveObjects.
    pub object_publishers: u64,
    /// None: there are no LiveObjects.
    pub object_subscribers: u64,
}

/// What a subscriber asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Selection {
    /// `metrics`: all of them.
    All,
    /// `metrics.publishers`: one.
    One(Metric),
}

macro_rules! metrics {
    ($($name:ident $field:ident $text:literal,)*) => {
        /// One of [`Metrics`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = concat!("`", $text, "`.")] $name,)*
        }

        impl Metric {
            fn named(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            fn of(self, metrics: &Metrics) -> (&'static str, u64) {
                match self {
                    $(Self::$name => ($text, metrics.$field),)*
                }
            }
        }
    };
}

metrics! {
    Connections connections "connections",
    Publishers publishers "publishers",
    Subscribers subscribers "subscribers",
    PresenceConnections presence_connections "presenceConnections",
    PresenceMembers presence_members "presenceMembers",
    PresenceSubscribers presence_subscribers "presenceSubscribers",
    ObjectPublishers object_publishers "objectPublishers",
    ObjectSubscribers object_subscribers "objectSubscribers",
}

impl Selection {
    /// Reads the value of the `occupancy` param.
    pub fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let bad = || Code::BadRequest.says("the occupancy param is metrics or metrics.NAME");
        match text.strip_prefix("metrics").ok_or_else(bad)? {
            "" => Ok(Self::All),
            name => name.strip_prefix('.').and_then(Metric::named).map(Self::One).ok_or_else(bad),
        }
    }

    /// Whether a subscriber with this is to be told that `before` became `now`.
    pub fn differ(self, before: &Metrics, now: &Metrics) -> bool {
        match self {
            Self::All => before != now,
            Self::One(metric) => metric.of(before) != metric.of(now),
        }
    }

    /// The data of the message that tells it: JSON text.
    pub fn data(self, metrics: &Metrics) -> String {
        match self {
            Self::All => serde_json::json!({ "metrics": metrics }),
            Self::One(metric) => {
                let (name, count) = metric.of(metrics);
                serde_json::json!({ "metrics": { name: count } })
            }
        }
        .to_string()
    }
}

/// What `GET /channels/{name}` answers, and what the events of `[meta]channel.lifecycle` hold.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelDetails<'a> {
    channel_id: &'a str,
    name: &'a str,
    status: Status,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    is_active: bool,
    occupancy: Occupancy,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Occupancy {
    metrics: Metrics,
}

impl<'a> ChannelDetails<'a> {
    /// Of the channel `name`, which is active while somebody is attached to it or was a moment ago.
    pub fn new(name: &'a str, is_active: bool, metrics: Metrics) -> Self {
        Self { channel_id: name, name, status: Status { is_active, occupancy: Occupancy { metrics } } }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn metrics() -> Metrics {
        Metrics { connections: 3, publishers: 2, subscribers: 1, ..Metrics::default() }
    }

    fn data(param: &str) -> Value {
        serde_json::from_str(&Selection::parse(param).unwrap().data(&metrics())).unwrap()
    }

    #[test]
    fn all_or_one() {
        let all = json!({
            "connections": 3, "publishers": 2, "subscribers": 1, "presenceConnections": 0, "presenceMembers": 0,
            "presenceSubscribers": 0, "objectPublishers": 0, "objectSubscribers": 0,
        });
        assert_eq!(data("metrics"), json!({ "metrics": all }));
        for (name, count) in all.as_object().unwrap() {
            assert_eq!(data(&format!("metrics.{name}")), json!({ "metrics": { name: count } }));
        }
        for text in ["", "all", "metrics.", "metrics.nothing", "metricsx", "metrics.publishers,x"] {
            assert_eq!(Selection::parse(text).unwrap_err().code, 40000, "{text}");
        }
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let before = Metrics { subscribers: 0, ..metrics() };
        let one = |name: &str| Selection::parse(name).unwrap().differ(&before, &metrics());
        assert_eq!((one("metrics"), one("metrics.subscribers"), one("metrics.publishers")), (true, true, false));
    }

    #[test]
    fn details() {
        let details = serde_json::to_value(ChannelDetails::new("a:b", true, metrics())).unwrap();
        assert_eq!((&details["channelId"], &details["name"]), (&json!("a:b"), &json!("a:b")));
        assert_eq!(details["status"]["isActive"], json!(true));
        assert_eq!(details["status"]["occupancy"]["metrics"]["connections"], json!(3));
    }
}
