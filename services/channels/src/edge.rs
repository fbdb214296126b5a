//! Which edge a shared fact comes from.

use std::fmt;
use std::sync::Arc;

/// One life of an edge: 16 lower-case hex digits. An edge that has lost its lease begins a new one under another id, so
/// what is said of a dead one is final. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(Arc<str>);

/// A text that is not an [`EdgeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("edge id must be 16 lower-case hex digits")]
pub struct InvalidEdgeId;

impl EdgeId {
    /// The id that `random` makes; the caller has the randomness.
    pub fn from_random(random: u64) -> Self {
        Self(format!("{random:016x}").into())
    }

    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidEdgeId> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if id.len() == 16 && id.bytes().all(hex) { Ok(Self(id.into())) } else { Err(InvalidEdgeId) }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert_eq!(EdgeId::from_random(0xab).as_str(), "00000000000000ab");
        assert_eq!(EdgeId::new("00000000000000ab"), Ok(EdgeId::from_random(0xab)));
        for id in ["", "ab", "00000000000000AB", "00000000000000a.", "00000000000000abc"] {
            assert_eq!(EdgeId::new(id), Err(InvalidEdgeId), "{id}");
        }
    }
}
