//! `POST /keys/{keyName}/requestToken`: requests for tokens, which an app's server signs for its clients, and the tokens
//! that they get.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use channels::{App, Capability, Key, Secret};
use serde::Serialize;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::token::TokenClaims;
use super::{
    DEFAULT_TTL, Granted, REQUEST_WINDOW, capability_text, effective, enabled, hmac, max_ttl, millis, parse_capability,
};
use crate::wire::{Format, from_slice};
use crate::{Code, ErrorInfo, Identity};

/// Shortest nonce, in characters.
const MIN_NONCE_CHARS: usize = 16;

/// Longest one, in bytes: it is remembered.
const MAX_NONCE_BYTES: usize = 1024;

/// A request for a token. Texts are kept as they came, since they are what was signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRequest {
    /// The key that is to sign the token.
    pub key_name: String,
    /// Its life, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// What it is to allow, as JSON text; absent for all that the key allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Whom it is for; `*` for whoever its holder says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// When it was signed, milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// What makes it one of a kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// What it is signed with, in base64; absent if the request that brings it has a key of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// A token request that will be answered with a token, once its nonce is known to be new.
#[derive(Clone, Debug)]
pub struct Acceptable<'a> {
    app: &'a App,
    key: &'a Key,
    claimed: Option<Capability>,
    granted: Capability,
    client_id: Option<&'a str>,
    ttl_ms: u64,
    /// What must not have been used before within [`REQUEST_WINDOW`] of now, by requests of this app: holds the timestamp, too.
    /// `None` if the request was not signed, and hence cannot have been overheard.
    pub nonce: Option<String>,
}

/// A token and what it is for, as who requested it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenDetails {
    /// The token.
    pub token: String,
    /// The key that signed it.
    pub key_name: String,
    /// When it was issued, milliseconds since the Unix epoch.
    pub issued: u64,
    /// When it expires.
    pub expires: u64,
    /// What it allows: canonical JSON text.
    pub capability: String,
    /// Whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl TokenRequest {
    /// Reads a body: 40001 if it cannot be read, 40003, 40000 or 40012 for what a field may not be.
    pub fn parse(format: Format, body: &[u8]) -> Result<Self, ErrorInfo> {
        let fields: Map<String, Value> =
            from_slice(format, body).map_err(|error| Code::Unparsable.says(error.to_string()))?;
        let fields = Fields(fields);
        let key_name = fields.text("keyName")?.ok_or_else(|| wrong_key("the token request has no keyName"))?;
        let timestamp = fields.number("timestamp")?;
        Ok(Self {
            key_name,
            // No time at all is what some libraries send for none given, and sign as that.
            ttl: fields.number("ttl")?.filter(|ttl| *ttl > 0),
            capability: fields.text("capability")?.filter(|text| !text.is_empty()),
            client_id: fields.text("clientId")?,
            timestamp: timestamp.ok_or_else(|| Code::BadParam.says("the token request has no timestamp"))?,
            nonce: fields.text("nonce")?,
            mac: fields.text("mac")?.filter(|text| !text.is_empty()),
        })
    }

    /// What is signed: six values, each with a newline behind it.
    pub fn text(&self) -> String {
        let ttl = self.ttl.map(|ttl| ttl.to_string()).unwrap_or_default();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (capability, client_id, nonce) = (text(&self.capability), text(&self.client_id), text(&self.nonce));
        format!("{}\n{ttl}\n{capability}\n{client_id}\n{}\n{nonce}\n", self.key_name, self.timestamp)
    }

    /// The `mac` that `secret` makes of it.
    pub fn mac_of(&self, secret: &Secret) -> String {
        STANDARD.encode(self.digest(secret))
    }

    /// Signed with `secret`, as an app's server does it.
    #[must_use]
    pub fn signed(self, secret: &Secret) -> Self {
        let mac = self.mac_of(secret);
        Self { mac: Some(mac), ..self }
    }

    fn digest(&self, secret: &Secret) -> [u8; 32] {
        hmac(secret.expose().as_bytes(), &[self.text().as_bytes()])
    }

    /// Whether it was signed: then whoever brings it needs no other credentials, and such as there are do not count.
    pub fn is_signed(&self) -> bool {
        self.mac.is_some()
    }

    /// Checks it against `app`, which has the key called `key_name` of the path if there is one. One that is not signed has to
    /// be brought with `caller`, the verified credentials of the request: that key itself.
    pub fn accept<'a>(
        &'a self,
        key_name: &str,
        app: Option<&'a App>,
        caller: Option<&Granted>,
        now_ms: u64,
    ) -> Result<Acceptable<'a>, ErrorInfo> {
        if self.key_name != key_name {
            return Err(wrong_key("the token request is for another key than the path names"));
        }
        let key = app.and_then(|app| app.key(key_name));
        let (app, key) = app.zip(key).ok_or_else(|| wrong_key("no such key"))?;
        let nonce = self.authenticate(key, caller, now_ms)?;
        enabled(app)?;
        let longest = max_ttl(key);
        let ttl_ms = self.ttl.unwrap_or_else(|| millis(DEFAULT_TTL.min(longest)));
        if ttl_ms > millis(longest) {
            let hours = longest.as_secs() / 3600;
            return Err(Code::BadParam.says(format!("the ttl of this key's tokens is at most {hours} h")));
        }
        if self.client_id.as_deref() == Some("") {
            return Err(Code::ClientId.says("the clientId is empty"));
        }
        Identity::of_token(self.client_id.as_deref())?;
        let claimed = self.capability.as_deref().map(parse_capability).transpose()?;
        let granted = effective(key, claimed.as_ref())?;
        let claimed = claimed.map(|_| granted.clone());
        Ok(Acceptable { app, key, claimed, granted, client_id: self.client_id.as_deref(), ttl_ms, nonce })
    }

    /// Who asks? Answers the nonce to be checked.
    fn authenticate(&self, key: &Key, caller: Option<&Granted>, now_ms: u64) -> Result<Option<String>, ErrorInfo> {
        let Some(mac) = &self.mac else {
            let caller = caller.ok_or_else(|| wrong_key("the token request is not signed"))?;
            if caller.token.is_some() {
                return Err(Code::BasicAuthRequired.says("a token cannot be had for a token"));
            }
            if caller.key != key.name {
                return Err(wrong_key("the token request is for another key than it is brought with"));
            }
            return self.check_time(now_ms).map(|()| None);
        };
        let given = STANDARD.decode(mac).unwrap_or_default();
        if !key.secrets(now_ms).any(|secret| self.digest(secret).ct_eq(&given).into()) {
            return Err(wrong_key("the mac is not that of the key over this token request"));
        }
        self.check_time(now_ms)?;
        let nonce = self.nonce.as_deref().unwrap_or_default();
        if nonce.chars().count() < MIN_NONCE_CHARS || nonce.len() > MAX_NONCE_BYTES {
            return Err(Code::BadParam.says(format!("the nonce must have at least {MIN_NONCE_CHARS} characters")));
        }
        Ok(Some(format!("{}:{nonce}", self.timestamp)))
    }

    fn check_time(&self, now_ms: u64) -> Result<(), ErrorInfo> {
        if now_ms.abs_diff(self.timestamp) > millis(REQUEST_WINDOW) {
            return Err(Code::Timestamp.says("the timestamp of the token request is too far from this server's clock"));
        }
        Ok(())
    }
}

impl Acceptable<'_> {
    /// The token, issued at `now_ms`; `salt` is random, so that two tokens for the same differ.
    pub fn issue(&self, now_ms: u64, salt: u32) -> TokenDetails {
        let Self { app, key, client_id, ttl_ms, .. } = self;
        let claims = TokenClaims {
            salt,
            issued_ms: now_ms,
            ttl_ms: *ttl_ms,
            key: key.name.clone(),
            client_id: client_id.map(str::to_owned),
            capability: self.claimed.as_ref().map(capability_text),
        };
        TokenDetails {
            token: claims.sign(&app.id, &key.secret),
            key_name: key.name.as_str().to_owned(),
            issued: now_ms,
            expires: now_ms.saturating_add(*ttl_ms),
            capability: capability_text(&self.granted),
            client_id: client_id.map(str::to_owned),
        }
    }
}

fn wrong_key(what: &'static str) -> ErrorInfo {
    Code::Unauthorized.says(what)
}

/// The fields of a body.
struct Fields(Map<String, Value>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, ErrorInfo> {
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(Code::BadRequest.says(format!("{name} must be a text"))),
        };
        self.get(name).map(text).transpose()
    }

    /// A whole number from 0 on; also as the text of one, which the documented requests by hand have.
    fn number(&self, name: &str) -> Result<Option<u64>, ErrorInfo> {
        let number = |value: &Value| match value {
            Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            other => whole_number(other),
        };
        let wrong = || Code::BadParam.says(format!("{name} must be a whole number of milliseconds"));
        self.get(name).map(|value| number(value).ok_or_else(wrong)).transpose()
    }
}

/// A whole number from 0 on; also as a float, which is how JavaScript writes large integers in MessagePack.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and in range")]
pub(crate) fn whole_number(value: &Value) -> Option<u64> {
    /// 2^53: above, a float stands for several integers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = value.as_number()?;
    let whole = |float: f64| ((0.0..=EXACT).contains(&float) && float.fract() == 0.0).then_some(float as u64);
    number.as_u64().or_else(|| whole(number.as_f64()?))
}
