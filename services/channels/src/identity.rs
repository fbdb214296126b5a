//! Who a record comes from.

use std::fmt;
use std::sync::Arc;

use crate::SubjectToken;

/// Longest connection or client id, in bytes. Protocols are stricter, in characters (Pusher: 128).
const MAX_BYTES: usize = 1024;

/// Why a text is not a connection or client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("identifier must be 1 to {MAX_BYTES} bytes without control characters")]
pub struct InvalidIdentity;

fn check(text: &str) -> Result<Arc<str>, InvalidIdentity> {
    if text.is_empty() || text.len() > MAX_BYTES || text.chars().any(char::is_control) {
        return Err(InvalidIdentity);
    }
    Ok(text.into())
}

/// A connection's public id, unique in the cluster (Pusher: the socket id). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Arc<str>);

impl ConnectionId {
    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidIdentity> {
        check(id).map(Self)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token this id travels under in subjects and keys.
    pub fn token(&self) -> SubjectToken {
        SubjectToken::escape(self.as_str())
    }
}

/// An identified user's id, as a signed token or a signed-in user gave it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidIdentity> {
        check(id).map(Self)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The token this id travels under in subjects and keys.
    pub fn token(&self) -> SubjectToken {
        SubjectToken::escape(self.as_str())
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_bounds() {
        assert_eq!(ConnectionId::new("418372.90513377").unwrap().as_str(), "418372.90513377");
        assert_eq!(ClientId::new("Jürgen ☃").unwrap().as_str(), "Jürgen ☃");
        assert_eq!(ConnectionId::new(""), Err(InvalidIdentity));
        assert_eq!(ClientId::new("a\nb"), Err(InvalidIdentity));
        assert_eq!(ClientId::new(&"x".repeat(1025)), Err(InvalidIdentity));
    }
}
