//! The protocol's version, as clients say it.

use crate::{Code, ErrorInfo};

/// Which version a client speaks: what is before the point of `v` or `X-Ably-Version`, since nothing depends on the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u16);

impl Version {
    /// What who says nothing speaks: requests by hand follow today's documentation.
    pub const LATEST: Self = Self(6);

    /// The first in which batches are answered with counts, statistics are flat, and channels are listed by name.
    pub const COUNTED_BATCHES: Self = Self(3);

    /// Reads `6`, `1.2` and the like; newer ones than we know, too. 40017 for anything else.
    pub fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let invalid = || Code::ProtocolVersion.info();
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(major) || !minor.split('.').all(digits) {
            return Err(invalid());
        }
        major.parse().map(Self).map_err(|_| invalid())
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::LATEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, expected) in [("6", 6), ("2", 2), ("1.2", 1), ("0.8", 0), ("1.2.3", 1), ("17", 17)] {
            assert_eq!(Version::parse(text), Ok(Version(expected)), "{text}");
        }
        for text in ["", "v6", "6.", ".1", "-1", "1,2", "99999", "6 "] {
            assert_eq!(Version::parse(text).map_err(|error| error.code), Err(40017), "{text}");
        }
    }
}
