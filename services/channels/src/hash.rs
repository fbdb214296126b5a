//! What a channel goes by where its name must not stand.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{AppId, ChannelName};

/// Stands for a channel in logs and traces, which others read than those whose channel it is: names tend to hold the ids
/// of people. Shown as 16 hex digits, the first of SHA-256 over `{app}/{name}`, so that who knows a name finds its lines:
///
/// ```text
/// printf '%s' 'app-1/room-7' | sha256sum | cut -c1-16
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelHash(u64);

impl ChannelHash {
    /// What `name` of `app` goes by.
    pub fn of(app: &AppId, name: &ChannelName) -> Self {
        let digest = Sha256::new().chain_update(app.as_str()).chain_update("/").chain_update(name.as_str()).finalize();
        let first = digest.iter().take(8).fold(0, |first, byte| first << 8 | u64::from(*byte));
        Self(first)
    }
}

impl fmt::Display for ChannelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_finds_the_same() {
        let hash = ChannelHash::of(&AppId::new("app-1").unwrap(), &ChannelName::new("room-7").unwrap());
        assert_eq!(hash.to_string(), "4c9dbc2f9a5dd341");
    }
}
