//! What is refused, and how it is said.

use std::fmt::Write as _;
use std::time::Duration;

use auth::{InvalidRequest, MalformedQuery};
use channels::QuotaKind;

use crate::json;
use crate::{InvalidName, InvalidSocketId};

/// A refused request: a status, and a body `{"error":"…"}`; if a quota is in the way, with its name.
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
    /// A quota of the app is used up. Nothing was done.
    #[error("{text}")]
    OverQuota {
        /// Which quota, and when to try again.
        text: String,
        /// Which.
        quota: QuotaKind,
        /// When the same may succeed; belongs in a `Retry-After` header.
        retry_after: Duration,
    },
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
            Self::OverQuota { .. } => 429,
            Self::Unavailable | Self::OutcomeUnknown => 503,
        }
    }

    /// The body.
    pub fn body(&self) -> String {
        let mut body = format!(r#"{{"error":{}"#, json::string(&self.to_string()));
        if let Some(quota) = self.quota() {
            write!(body, r#","quota":"{}""#, quota.name()).expect("a string takes all text");
        }
        if let Some(retry_after) = self.retry_after() {
            let ms = retry_after.as_micros().div_ceil(1_000);
            write!(body, r#","retry_after_ms":{ms}"#).expect("a string takes all text");
        }
        body.push('}');
        body
    }

    /// The quota that stands in the way.
    pub fn quota(&self) -> Option<QuotaKind> {
        if let Self::InBatch { source, .. } = self {
            return source.quota();
        }
        if let Self::OverQuota { quota, .. } = self {
            return Some(*quota);
        }
        matches!(self, Self::DataTooLarge { .. }).then_some(QuotaKind::MessageSize)
    }

    /// When the same may succeed, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::OverQuota { retry_after, .. } = self { Some(*retry_after) } else { None }
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
    fn a_refusal_by_quota_says_which_and_for_how_long() {
        let text = "quota messages_in exceeded, retry in 0.4 s".to_owned();
        let retry_after = Duration::from_micros(399_001);
        let error = ApiError::OverQuota { text, quota: QuotaKind::MessagesIn, retry_after };
        let body =
            r#"{"error":"quota messages_in exceeded, retry in 0.4 s","quota":"messages_in","retry_after_ms":400}"#;
        assert_eq!((error.status(), error.body().as_str()), (429, body));
        let error = ApiError::DataTooLarge { limit: 10 };
        let body = r#"{"error":"event data is larger than 10 bytes","quota":"message_size"}"#;
        assert_eq!((error.status(), error.body().as_str()), (413, body));
    }

    #[test]
    fn a_batch_has_the_status_of_its_event() {
        let source = Box::new(ApiError::DataTooLarge { limit: 10 });
        let error = ApiError::InBatch { index: 3, source };
        assert_eq!((error.status(), error.quota()), (413, Some(QuotaKind::MessageSize)));
        assert_eq!(error.to_string(), "event 3 of the batch: event data is larger than 10 bytes");
    }
}
