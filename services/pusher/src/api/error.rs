//! What is refused, and how it is said.

use auth::{InvalidRequest, MalformedQuery};

use crate::json;
use crate::{InvalidName, InvalidSocketId};

/// A refused request: a status, and a body `{"error":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The query string cannot be read, or not in one way only.
    #[error(transparent)]
    Query(#[from] MalformedQuery),
    /// The body is not JSON in UTF-8.
    #[error("body is not JSON")]
    NotJson,
    /// The body, or an event of it, is JSON of another shape; says which.
    #[error("{0}")]
    Shape(&'static str),
    /// An event's name is empty or too long.
    #[error("event name must have 1 to {limit} characters")]
    EventName {
        /// Most characters.
        limit: usize,
    },
    /// An event's name is one of the protocol's own.
    #[error("event names that start with pusher: or pusher_internal: are reserved")]
    ReservedEventName,
    /// A channel's name is none.
    #[error("invalid channel {channel:?}: {reason}")]
    ChannelName {
        /// The name, shortened.
        channel: String,
        /// Why.
        reason: InvalidName,
    },
    /// An event for no channel.
    #[error("event names no channel")]
    NoChannels,
    /// An event for more channels than the app allows.
    #[error("event names more than {limit} channels")]
    TooManyChannels {
        /// Most channels.
        limit: usize,
    },
    /// A batch with more events than the app allows.
    #[error("batch holds more than {limit} events")]
    TooManyEvents {
        /// Most events.
        limit: usize,
    },
    /// A `socket_id` that is none.
    #[error(transparent)]
    SocketId(#[from] InvalidSocketId),
    /// `user_count` where it does not exist.
    #[error("user_count is only available for presence channels")]
    UserCount,
    /// Asked for the users of a channel that has none.
    #[error("only presence channels have users")]
    NotPresence,
    /// Asked for the state of a server-to-user channel.
    #[error("server-to-user channels can be published to, not asked about")]
    UserChannel,
    /// A user's id is empty, too long or holds control characters.
    #[error("user id must have 1 to {limit} characters, none of them a control character")]
    UserId {
        /// Most characters.
        limit: usize,
    },
    /// A query parameter has a value that it cannot have; says which and what it can.
    #[error("{0}")]
    Parameter(&'static str),
    /// Asked for the past of a channel that stores nothing.
    #[error("the channel has no history: its namespace is ephemeral")]
    NoHistory,
    /// An event of a batch is wrong, and so nothing of the batch was sent.
    #[error("event {index} of the batch: {source}")]
    InBatch {
        /// Which, from 0.
        index: usize,
        /// Why.
        source: Box<ApiError>,
    },
    /// Not signed, or not by a key of the app.
    #[error(transparent)]
    Unauthorized(#[from] InvalidRequest),
    /// The app is disabled.
    #[error("the app is disabled")]
    AppDisabled,
    /// The key that signed has no such right on the channel.
    #[error("the key may not {operation} on channel {channel:?}")]
    Forbidden {
        /// What was asked for.
        operation: channels::Operation,
        /// Where.
        channel: String,
    },
    /// No such app.
    #[error("no such app")]
    UnknownApp,
    /// No such route.
    #[error("not found")]
    NotFound,
    /// The route exists, but not with this method.
    #[error("method not allowed, use {allowed}")]
    MethodNotAllowed {
        /// The methods that are; belongs in an `Allow` header.
        allowed: &'static str,
    },
    /// An event's data is over the app's limit.
    #[error("event data is larger than {limit} bytes")]
    DataTooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// The body is over the listener's limit.
    #[error("body is larger than {limit} bytes")]
    BodyTooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// The events of the request for one channel are together over what the backbone takes.
    #[error("the events of one channel are larger together than this server can store")]
    RecordTooLarge,
    /// Over a rate limit.
    #[error("too many requests")]
    TooManyRequests,
    /// The server cannot do it now. Nothing was done, so that it may be tried again; belongs with a `Retry-After` header.
    #[error("temporarily unavailable: nothing was done, try again")]
    Unavailable,
    /// The backbone did not confirm in time.
    #[error("outcome unknown: what was asked for may or may not have been done")]
    OutcomeUnknown,
}

impl ApiError {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Query(_)
            | Self::NotJson
            | Self::Shape(_)
            | Self::EventName { .. }
            | Self::ReservedEventName
            | Self::ChannelName { .. }
            | Self::NoChannels
            | Self::TooManyChannels { .. }
            | Self::TooManyEvents { .. }
            | Self::SocketId(_)
            | Self::UserCount
            | Self::NotPresence
            | Self::UserChannel
            | Self::UserId { .. }
            | Self::Parameter(_)
            | Self::NoHistory => 400,
            Self::InBatch { source, .. } => source.status(),
            Self::Unauthorized(_) => 401,
            Self::AppDisabled | Self::Forbidden { .. } => 403,
            Self::UnknownApp | Self::NotFound => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::DataTooLarge { .. } | Self::BodyTooLarge { .. } | Self::RecordTooLarge => 413,
            Self::TooManyRequests => 429,
            Self::Unavailable | Self::OutcomeUnknown => 503,
        }
    }

    /// The body.
    pub fn body(&self) -> String {
        format!(r#"{{"error":{}}}"#, json::string(&self.to_string()))
    }

    /// A bad channel name; shows no more of it than a log line bears.
    pub(super) fn channel_name(channel: &str, reason: InvalidName) -> Self {
        const SHOWN_CHARS: usize = 100;
        Self::ChannelName { channel: channel.chars().take(SHOWN_CHARS).collect(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_json() {
        let error = ApiError::channel_name("a\"b", InvalidName::Alphabet);
        let body: serde_json::Value = serde_json::from_str(&error.body()).unwrap();
        let expected = r#"invalid channel "a\"b": channel name may hold only A-Z a-z 0-9 _ - = @ , . ;"#;
        assert_eq!(body, serde_json::json!({ "error": expected }));
    }

    #[test]
    fn a_batch_has_the_status_of_its_event() {
        let source = Box::new(ApiError::DataTooLarge { limit: 10 });
        let error = ApiError::InBatch { index: 3, source };
        assert_eq!(error.status(), 413);
        assert_eq!(error.to_string(), "event 3 of the batch: event data is larger than 10 bytes");
    }
}
