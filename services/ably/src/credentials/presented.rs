//! What a client presents: a key or a token, in a header or the query.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use channels::{App, AppId, KeyName, Secret};
use subtle::ConstantTimeEq as _;

use super::jwt::Jwt;
use super::token::Opaque;
use super::{Granted, enabled};
use crate::identity::Identity;
use crate::query::Query;
use crate::{Code, ErrorInfo};

/// Longest token that is looked at, in bytes. SDKs refuse longer ones, too.
const MAX_TOKEN_BYTES: usize = 128 * 1024;

/// Base64 as libraries write it: some leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials as they came, of the right form but not verified.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A key with its secret: basic authentication.
    Key(KeyText),
    /// A token that we issued.
    Opaque(Opaque),
    /// A token that an app's server has signed.
    Jwt(Jwt),
}

/// A key as its owner writes it: `appId.keyId:secret`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText {
    /// The key's name.
    pub name: KeyName,
    /// Its secret.
    pub secret: Secret,
}

impl KeyText {
    /// Reads `NAME:SECRET` (40005).
    pub fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let malformed = || Code::MalformedCredentials.says("a key has the form appId.keyId:secret");
        let (name, secret) = text.split_once(':').ok_or_else(malformed)?;
        let name = KeyName::new(name).map_err(|_| malformed())?;
        Ok(Self { name, secret: Secret::new(secret).ok_or_else(malformed)? })
    }
}

/// What says which app credentials are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// The app with this id.
    App(AppId),
    /// The app that has the key of this name.
    Key(KeyName),
}

impl Credentials {
    /// Reads what a request presents: its `Authorization` header, or else the query. 40101 if there is nothing.
    pub fn find(authorization: Option<&str>, query: &Query<'_>) -> Result<Self, ErrorInfo> {
        Self::find_any(authorization, query)?.ok_or_else(|| Code::Unauthorized.says("no credentials were given"))
    }

    /// The same where there need be none.
    pub fn find_any(authorization: Option<&str>, query: &Query<'_>) -> Result<Option<Self>, ErrorInfo> {
        if let Some(header) = authorization {
            return Self::from_header(header).map(Some);
        }
        if let Some(token) = query.any(&["access_token", "accessToken"]) {
            return Self::from_token(token).map(Some);
        }
        query.get("key").map(Self::from_key).transpose()
    }

    /// Reads `NAME:SECRET` (40005).
    pub fn from_key(text: &str) -> Result<Self, ErrorInfo> {
        KeyText::parse(text).map(Self::Key)
    }

    /// Reads a token of either kind (40143, 40144, 40145). One that wraps another gives the inner one, whose life the outer
    /// one ends at the latest.
    pub fn from_token(text: &str) -> Result<Self, ErrorInfo> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Code::TokenUnknown.says("the token is too long"));
        }
        if Jwt::looks_like(text) {
            return super::jwt::read(text);
        }
        if Opaque::looks_like(text) {
            return Opaque::parse(text).map(Self::Opaque);
        }
        Err(Code::TokenUnknown.info())
    }

    /// Reads an `Authorization` header: `Basic` with a key, `Bearer` with a token in base64 or as it is.
    fn from_header(header: &str) -> Result<Self, ErrorInfo> {
        let malformed = || Code::MalformedCredentials.says("the Authorization header is neither Basic nor Bearer");
        let (scheme, value) = header.trim().split_once(' ').ok_or_else(malformed)?;
        let value = value.trim();
        let decoded = BASE64.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if scheme.eq_ignore_ascii_case("basic") {
            let key = decoded.ok_or_else(|| Code::MalformedCredentials.says("the key is not in base64"))?;
            return Self::from_key(&key);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(malformed());
        }
        let is_token = |text: &String| Jwt::looks_like(text) || Opaque::looks_like(text);
        Self::from_token(decoded.filter(is_token).as_deref().unwrap_or(value))
    }

    /// What says which app they are of.
    pub fn issuer(&self) -> Issuer {
        match self {
            Self::Key(key) => Issuer::Key(key.name.clone()),
            Self::Opaque(token) => Issuer::App(token.app().clone()),
            Self::Jwt(jwt) => Issuer::Key(jwt.key().clone()),
        }
    }

    /// Whether they are a key, not a token.
    pub fn is_basic(&self) -> bool {
        matches!(self, Self::Key(_))
    }

    /// Checks them against `app`, the one that [`Self::issuer`] names, if there is one, at `now_ms` since the Unix epoch.
    ///
    /// Whether a token was revoked is another matter: see [`Granted::targets`].
    pub fn verify(&self, app: Option<&App>, now_ms: u64) -> Result<Granted, ErrorInfo> {
        match self {
            Self::Key(key) => key.verify(app, now_ms),
            Self::Opaque(token) => token.verify(app, now_ms),
            Self::Jwt(jwt) => jwt.verify(app, now_ms),
        }
    }
}

impl KeyText {
    fn verify(&self, app: Option<&App>, now_ms: u64) -> Result<Granted, ErrorInfo> {
        let wrong = || Code::Unauthorized.says("no such key, or not its secret");
        let app = app.ok_or_else(wrong)?;
        let key = app.key(self.name.as_str()).ok_or_else(wrong)?;
        let given = self.secret.expose().as_bytes();
        if !key.secrets(now_ms).any(|secret| secret.expose().as_bytes().ct_eq(given).into()) {
            return Err(wrong());
        }
        enabled(app)?;
        let (name, capability) = (key.name.clone(), key.capability.clone());
        Ok(Granted { app: app.id.clone(), key: name, capability, identity: Identity::Any, token: None })
    }
}
