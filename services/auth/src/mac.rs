//! HMAC-SHA256 in lower-case hex, and the holder of a key's secret that signs with it.

use channels::{Key, KeyName, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::hex;

/// An HMAC-SHA256 as it travels. It has no debug or display form: a log or an error text must never show the digest
/// that would have been right.
pub(crate) struct Signature([u8; 64]);

impl Signature {
    /// Signs the concatenation of `parts`.
    pub(crate) fn of(secret: &Secret, parts: &[impl AsRef<[u8]>]) -> Self {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(part.as_ref());
        }
        let mut hex = [0; 64];
        hex::encode_into(&mac.finalize().into_bytes(), &mut hex);
        Self(hex)
    }

    /// Whether `given` is this signature, in time that does not depend on where they differ.
    pub(crate) fn matches(&self, given: &str) -> bool {
        self.0.ct_eq(given.as_bytes()).into()
    }

    /// The text, for whoever holds the secret.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

/// Whether `given` signs `parts` with a secret of `key` that is good at `now_ms`, milliseconds since the Unix epoch. How
/// long it takes tells at most which of the key's own secrets signed.
pub(crate) fn is_signed(key: &Key, parts: &[impl AsRef<[u8]>], given: &str, now_ms: u64) -> bool {
    key.secrets(now_ms).any(|secret| Signature::of(secret, parts).matches(given))
}

/// The part of an application's server: holds a key and signs what clients and libraries have to present.
#[derive(Clone, Debug)]
pub struct Signer {
    pub(crate) name: KeyName,
    pub(crate) secret: Secret,
}

impl Signer {
    /// Signs as the key `name` with `secret`.
    pub fn new(name: KeyName, secret: Secret) -> Self {
        Self { name, secret }
    }

    /// The key's name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The signature over `text`, in lower-case hex: for whoever looks for what somebody else has signed instead.
    pub fn sign(&self, text: &str) -> String {
        Signature::of(&self.secret, &[text]).text().to_owned()
    }

    /// `KEY:HEX` over the concatenation of `parts`.
    pub(crate) fn auth(&self, parts: &[&str]) -> String {
        format!("{}:{}", self.name, Signature::of(&self.secret, parts).text())
    }
}

impl Signer {
    /// Signs what others check by the key's secret while they may still have the one before the last rotation: with that
    /// one until it ends at its time, then with the new one.
    pub fn for_receivers(key: &Key, now_ms: u64) -> Self {
        let oldest = key.secrets(now_ms).last().unwrap_or(&key.secret);
        Self::new(key.name.clone(), oldest.clone())
    }
}

impl From<&Key> for Signer {
    fn from(key: &Key) -> Self {
        Self::new(key.name.clone(), key.secret.clone())
    }
}
