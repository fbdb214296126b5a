//! Who a client is, and what it may do: keys, tokens of both kinds, token requests, revocation.
//!
//! Owns everything that is signed with a key's secret on this surface, and its checking. Deliberately knows nothing of
//! where apps, nonces and revocations are kept: what is to be looked up comes in as arguments, and so do the time and what
//! is random.
//!
//! The way of a request: [`Credentials::find`] what it presents, fetch the app that [`Credentials::issuer`] names,
//! [`Credentials::verify`], and see whether one of [`Granted::targets`] was revoked.

mod capability;
mod jwt;
mod presented;
mod request;
mod revocation;
mod token;

pub use capability::{capability_text, parse_capability};
pub use jwt::{Jwt, JwtClaims, Seconds};
pub use presented::{Credentials, Issuer, KeyText};
pub(crate) use request::whole_number;
pub use request::{Acceptable, TokenDetails, TokenRequest};
pub use revocation::{InvalidTarget, Target};
pub use token::{Opaque, TokenClaims};

use std::time::Duration;

use channels::{App, AppId, Capability, Key, KeyName};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::identity::Identity;
use crate::{Code, ErrorInfo};

/// Life of a token that says nothing of it.
pub const DEFAULT_TTL: Duration = Duration::from_secs(60 * 60);

/// Longest life of a token.
pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest life of a token that can be revoked. It bounds how long revocations have to be remembered.
pub const MAX_REVOCABLE_TTL: Duration = Duration::from_secs(60 * 60);

/// How far the timestamp of a token request may be from ours, either way, and for how long a nonce is remembered. Ably
/// documents two minutes; the clocks of app servers are often worse.
pub const REQUEST_WINDOW: Duration = Duration::from_secs(15 * 60);

/// What verified credentials allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The app.
    pub app: AppId,
    /// The key that was presented, or that signed the token.
    pub key: KeyName,
    /// What is allowed: of a token, what of it its key allows now.
    pub capability: Capability,
    /// Who its holder may act as; of a token, as it says itself, which is what revocations go by.
    pub identity: Identity,
    /// If it is a token.
    pub token: Option<TokenFacts>,
}

/// What is particular to tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// When it was issued, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// When it expires: then it is good no more.
    pub expires_ms: u64,
    /// Under which name it can be revoked together with others.
    pub revocation_key: Option<String>,
    /// Whether its key's tokens can be revoked.
    pub revocable: bool,
}

impl Granted {
    /// When it expires, milliseconds since the Unix epoch; a key does not.
    pub fn expires_ms(&self) -> Option<u64> {
        self.token.as_ref().map(|token| token.expires_ms)
    }

    /// Refuses what these credentials do not allow on `channel`, a name without qualifiers (40160).
    pub fn permit(&self, channel: &str, operation: channels::Operation) -> Result<(), ErrorInfo> {
        if self.capability.permits(channel, operation) {
            return Ok(());
        }
        Err(Code::Capability.says(format!("the credentials do not permit {operation} on channel {channel:?}")))
    }

    /// Refuses what is about the whole app, unless it is allowed on all channels (40160).
    pub fn permit_app_wide(&self, operation: channels::Operation) -> Result<(), ErrorInfo> {
        if self.capability.permits_app_wide(operation) {
            return Ok(());
        }
        Err(Code::Capability.says(format!("the credentials do not permit {operation} on all channels")))
    }
}

/// The longest life of a token of `key`.
pub fn max_ttl(key: &Key) -> Duration {
    if key.revocable_tokens { MAX_REVOCABLE_TTL } else { MAX_TTL }
}

/// What a token of `key` allows that was issued for `claimed`, or for all that the key allows.
fn effective(key: &Key, claimed: Option<&Capability>) -> Result<Capability, ErrorInfo> {
    let Some(claimed) = claimed else { return Ok(key.capability.clone()) };
    let both = key.capability.intersection(claimed);
    if both.is_empty() {
        return Err(Code::Capability.says("the key permits nothing of the requested capability"));
    }
    Ok(both)
}

/// That an app is disabled is told only to those who hold a secret of it.
fn enabled(app: &App) -> Result<(), ErrorInfo> {
    if app.enabled { Ok(()) } else { Err(Code::AppDisabled.info()) }
}

/// HMAC-SHA256 over the concatenation of `parts`.
fn hmac(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
