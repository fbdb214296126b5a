//! Channel names as the publisher wrote them.

use std::fmt;
use std::sync::Arc;

use crate::SubjectToken;

/// Longest channel name in bytes, whatever the protocol. Protocol crates are stricter (Pusher: 200 characters); this
/// bound keeps records and subjects small on every path.
pub const MAX_CHANNEL_NAME_BYTES: usize = 1024;

/// A channel's name: non-empty UTF-8 of at most [`MAX_CHANNEL_NAME_BYTES`] without control characters.
///
/// Names are compared byte for byte; they are not normalised, so `é` as one or as two code points is two channels.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// Why a text is not a channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannelName {
    /// The empty text.
    #[error("channel name is empty")]
    Empty,
    /// More than [`MAX_CHANNEL_NAME_BYTES`].
    #[error("channel name is longer than {MAX_CHANNEL_NAME_BYTES} bytes")]
    TooLong,
    /// Holds a control character.
    #[error("channel name holds a control character")]
    Control,
}

impl ChannelName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidChannelName> {
        if name.is_empty() {
            return Err(InvalidChannelName::Empty);
        }
        if name.len() > MAX_CHANNEL_NAME_BYTES {
            return Err(InvalidChannelName::TooLong);
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidChannelName::Control);
        }
        Ok(Self(name.into()))
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subject token this name travels under; the only way a name gets into a subject.
    pub fn token(&self) -> SubjectToken {
        SubjectToken::escape(self.as_str())
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for ChannelName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_protocols_use() {
        for name in ["a", "private-orders.17", "#server-to-user-1", "[meta]log", "名前", &"x".repeat(1024)] {
            assert_eq!(ChannelName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn refuses_empty_long_and_control() {
        assert_eq!(ChannelName::new(""), Err(InvalidChannelName::Empty));
        assert_eq!(ChannelName::new(&"x".repeat(1025)), Err(InvalidChannelName::TooLong));
        assert_eq!(ChannelName::new("a\0b"), Err(InvalidChannelName::Control));
        assert_eq!(ChannelName::new("a\nb"), Err(InvalidChannelName::Control));
    }
}
