//! Metachannels: where the server tells of the app itself. Clients may subscribe and read history, with a capability on
//! `[meta]…`, and never publish.
//!
//! Owns names, event names and data. Does not know whether anybody listens: whoever has events asks that first, since
//! nearly nobody does.

use channels::{ChannelName, ClientId, ConnectionId, Message};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ErrorInfo;
use crate::occupancy::ChannelDetails;

macro_rules! metachannels {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A metachannel that there is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metachannel {
            $($(#[$doc])* $name,)*
        }

        impl Metachannel {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name without `[meta]`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

metachannels! {
    /// Connections come and go.
    ConnectionLifecycle = "connection.lifecycle";
    /// Channels get their first attachment and lose their last.
    ChannelLifecycle = "channel.lifecycle";
    /// The statistics of the minute that is over.
    StatsMinute = "stats:minute";
    /// What went wrong for clients.
    Log = "log";
    /// The same for push, which there is none of: always silent.
    LogPush = "log:push";
    /// As [`Self::ConnectionLifecycle`], for tools that watch clients.
    ClientConnections = "clientEvents:connections";
    /// Requests to the REST API.
    ClientRequests = "clientEvents:apiRequests";
}

impl Metachannel {
    /// The metachannel called `[meta]` and `name`.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|each| each.name() == name)
    }

    /// The channel it is.
    ///
    /// # Panics
    ///
    /// Never: all names are checked by a test.
    pub fn channel(self) -> ChannelName {
        match ChannelName::new(&format!("[meta]{}", self.name())) {
            Ok(channel) => channel,
            Err(invalid) => unreachable!("{self:?}: {invalid}"),
        }
    }
}

/// Something that metachannels tell.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A client has connected.
    ConnectionOpened(Connection<'a>),
    /// A client has closed its connection, or its time to resume is over. With the error that ended it, if one did.
    ConnectionClosed(Connection<'a>, Option<&'a ErrorInfo>),
    /// A channel got its first attachment.
    ChannelOpened(ChannelDetails<'a>),
    /// A channel lost its last.
    ChannelClosed(ChannelDetails<'a>),
    /// A minute is over: an item of `GET /stats` as JSON text.
    Stats(&'a str),
    /// A client was refused something, on a channel or altogether.
    Error(&'a ErrorInfo, Option<Connection<'a>>, Option<&'a ChannelName>),
    /// A REST request was answered.
    Request(Request<'a>),
}

/// A connection as metachannels tell it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection<'a> {
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub connection_id: &'a ConnectionId,
    /// Who it is, if it is identified.
    #[serde(serialize_with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a ClientId>,
    /// `websocket` or `sse`.
    pub transport: &'static str,
}

/// A request as metachannels tell it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Without the query, which may hold credentials.
    pub path: &'a str,
    /// Of the answer.
    pub status_code: u16,
    /// Who asked, if it is identified.
    #[serde(serialize_with = "as_optional_text", skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a ClientId>,
}

impl Event<'_> {
    /// Where it is told.
    pub fn channels(&self) -> &'static [Metachannel] {
        match self {
            Event::ConnectionOpened(_) | Event::ConnectionClosed(..) => {
                &[Metachannel::ConnectionLifecycle, Metachannel::ClientConnections]
            }
            Event::ChannelOpened(_) | Event::ChannelClosed(_) => &[Metachannel::ChannelLifecycle],
            Event::Stats(_) => &[Metachannel::StatsMinute],
            Event::Error(..) => &[Metachannel::Log],
            Event::Request(_) => &[Metachannel::ClientRequests],
        }
    }

    /// The message that tells it.
    pub fn message(&self) -> Message {
        let (name, data) = match self {
            Event::ConnectionOpened(connection) => ("connection.opened", json!(connection).to_string()),
            Event::ConnectionClosed(connection, reason) => {
                let mut data = json!(connection);
                if let Some(reason) = reason {
                    data["reason"] = told(reason);
                }
                ("connection.closed", data.to_string())
            }
            Event::ChannelOpened(details) => ("channel.opened", json!(details).to_string()),
            Event::ChannelClosed(details) => ("channel.closed", json!(details).to_string()),
            Event::Stats(item) => ("update", (*item).to_owned()),
            Event::Error(error, connection, channel) => {
                let mut data = json!({ "error": told(error) });
                if let Some(connection) = connection {
                    data["connection"] = json!(connection);
                }
                if let Some(channel) = channel {
                    data["channel"] = json!(channel.as_str());
                }
                ("error", data.to_string())
            }
            Event::Request(request) => ("apiRequest", json!(request).to_string()),
        };
        Message { encoding: "json".to_owned(), ..Message::text(name, data) }
    }
}

fn told(error: &ErrorInfo) -> Value {
    json!({ "code": error.code, "statusCode": error.status, "message": error.message, "href": error.href() })
}

fn as_text<S: serde::Serializer>(id: &ConnectionId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

fn as_optional_text<S: serde::Serializer>(id: &Option<&ClientId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.map_or("", ClientId::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;
    use crate::occupancy::Metrics;

    #[test]
    fn every_metachannel_is_found_by_its_name() {
        for meta in Metachannel::ALL {
            assert_eq!(Metachannel::of(meta.name()), Some(*meta));
            assert_eq!(meta.channel().as_str(), format!("[meta]{}", meta.name()));
        }
        assert_eq!(Metachannel::of("nothing"), None);
    }

    fn check(event: Event<'_>, name: &str, expected: Value) {
        let message = event.message();
        assert_eq!((message.name.as_deref(), message.encoding.as_str()), (Some(name), "json"));
        assert_eq!(serde_json::from_slice::<Value>(&message.data).unwrap(), expected);
        assert!(!event.channels().is_empty());
    }

    #[test]
    fn what_is_told() {
        let (id, bob) = (ConnectionId::new("c0nn").unwrap(), ClientId::new("bob").unwrap());
        let known = Connection { connection_id: &id, client_id: Some(&bob), transport: "websocket" };
        let anonymous = Connection { client_id: None, ..known };
        let expected = json!({ "connectionId": "c0nn", "clientId": "bob", "transport": "websocket" });
        check(Event::ConnectionOpened(known), "connection.opened", expected.clone());
        let expired = Code::TokenExpired.info();
        let reason = json!({
            "code": 40142, "statusCode": 401, "message": "token expired", "href": "https://help.ably.io/error/40142",
        });
        check(
            Event::ConnectionClosed(anonymous, Some(&expired)),
            "connection.closed",
            json!({ "connectionId": "c0nn", "transport": "websocket", "reason": reason }),
        );
        let details = ChannelDetails::new("room", true, Metrics::default());
        check(Event::ChannelOpened(details), "channel.opened", json!(details));
        check(Event::Stats("{\"intervalId\":\"x\"}"), "update", json!({ "intervalId": "x" }));
        let room = ChannelName::new("room").unwrap();
        check(
            Event::Error(&expired, Some(known), Some(&room)),
            "error",
            json!({ "error": reason, "connection": expected, "channel": "room" }),
        );
        let request = Request { method: "GET", path: "/time", status_code: 200, client_id: None };
        check(Event::Request(request), "apiRequest", json!({ "method": "GET", "path": "/time", "statusCode": 200 }));
    }
}
