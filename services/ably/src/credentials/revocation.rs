//! What tokens can be revoked by.

use std::fmt;
use std::str::FromStr;

use super::Granted;

/// What tokens that are revoked together have in common, besides the key that signed them and having been issued before
/// some time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The clientId that they were issued for.
    ClientId(String),
    /// Their claim `x-ably-revocation-key`.
    RevocationKey(String),
    /// A resource that their capability names, exactly so.
    Channel(String),
}

/// A text that is no [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a target is clientId:, revocationKey: or channel: with a value behind it")]
pub struct InvalidTarget;

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let (kind, value) = text.split_once(':').filter(|(_, value)| !value.is_empty()).ok_or(InvalidTarget)?;
        match kind {
            "clientId" => Ok(Self::ClientId(value.to_owned())),
            "revocationKey" => Ok(Self::RevocationKey(value.to_owned())),
            "channel" => Ok(Self::Channel(value.to_owned())),
            _ => Err(InvalidTarget),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientId(value) => write!(f, "clientId:{value}"),
            Self::RevocationKey(value) => write!(f, "revocationKey:{value}"),
            Self::Channel(value) => write!(f, "channel:{value}"),
        }
    }
}

impl Granted {
    /// Everything that these credentials can be revoked by: nothing, unless they are a token of a key whose tokens can be
    /// revoked.
    pub fn targets(&self) -> Vec<Target> {
        let Some(token) = self.token.as_ref().filter(|token| token.revocable) else { return Vec::new() };
        let client = self.identity.shown().map(|id| Target::ClientId(id.to_owned()));
        let name = token.revocation_key.clone().map(Target::RevocationKey);
        let channels = self.capability.iter().map(|(resource, _)| Target::Channel(resource.to_owned()));
        client.into_iter().chain(name).chain(channels).collect()
    }
}
