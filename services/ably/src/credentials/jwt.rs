//! JSON web tokens that an app's server signs with a key's secret, and such as wrap another token.
//!
//! Only HS256 is accepted, whatever a header says: `none` would sign for anybody, and there are no public keys here that
//! could be taken for secrets.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use channels::{App, Key, KeyName, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::presented::Credentials;
use super::{Granted, TokenFacts, effective, enabled, hmac, max_ttl, millis, parse_capability};
use crate::identity::Identity;
use crate::{Code, ErrorInfo};

/// Where a JWT that wraps another token has it, in its header or its claims.
const WRAPPED: &str = "x-ably-token";

/// As JWTs are written; some libraries pad.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The claims that count, in the order in which [`JwtClaims::sign`] writes them; others are ignored.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct JwtClaims {
    /// When it was issued, seconds since the Unix epoch; fractions are allowed.
    #[serde(rename = "iat")]
    pub issued: Seconds,
    /// When it expires.
    #[serde(rename = "exp")]
    pub expires: Seconds,
    /// What it allows, as JSON text; absent for all that the key allows.
    #[serde(rename = "x-ably-capability", default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// Whom it is for.
    #[serde(rename = "x-ably-clientId", default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Under which name it can be revoked together with others.
    #[serde(rename = "x-ably-revocation-key", default, skip_serializing_if = "Option::is_none")]
    pub revocation_key: Option<String>,
}

/// Seconds since the Unix epoch, as JWTs have them.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
pub enum Seconds {
    /// Whole ones.
    Whole(u64),
    /// With a fraction.
    Fraction(f64),
}

impl Seconds {
    /// In milliseconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
    pub fn millis(self) -> u64 {
        match self {
            Self::Whole(seconds) => seconds.saturating_mul(1000),
            Self::Fraction(seconds) => (seconds * 1000.0) as u64,
        }
    }
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
}

impl JwtClaims {
    /// The token, as an app's server would make it.
    pub fn sign(&self, key: &KeyName, secret: &Secret) -> String {
        let part = |json: Result<Vec<u8>, _>| URL_SAFE_NO_PAD.encode(json.expect("claims are plain values"));
        let header = Header { typ: "JWT", alg: "HS256", kid: key.as_str() };
        let text = format!("{}.{}", part(serde_json::to_vec(&header)), part(serde_json::to_vec(self)));
        let signature = URL_SAFE_NO_PAD.encode(hmac(secret.expose().as_bytes(), &[text.as_bytes()]));
        format!("{text}.{signature}")
    }
}

/// A JWT as it came, not verified.
#[derive(Clone, Debug)]
pub struct Jwt {
    key: KeyName,
    claims: JwtClaims,
    /// Header and claims, which are signed.
    signed: String,
    signature: Vec<u8>,
    /// When a token that wraps this one expires.
    ends_ms: Option<u64>,
}

fn invalid(what: &'static str) -> ErrorInfo {
    Code::InvalidJwt.says(what)
}

/// A JSON object.
type Object = Map<String, Value>;

fn object(part: &str) -> Option<Object> {
    serde_json::from_slice(&BASE64_URL.decode(part).ok()?).ok()
}

/// Reads a JWT, or the token that it wraps.
///
/// What wraps need not be signed by us, nor be readable but for its header (an encrypted one has five parts): it is the
/// inner token that counts, until the outer one expires.
pub(super) fn read(text: &str) -> Result<Credentials, ErrorInfo> {
    let parts: Vec<&str> = text.split('.').collect();
    let (header, claims) = parts_of(&parts)?;
    let inner = [Some(&header), claims.as_ref()].into_iter().flatten().find_map(|map| map.get(WRAPPED));
    let Some(inner) = inner else { return Jwt::parse(&parts, &header, claims).map(Credentials::Jwt) };
    let inner = inner.as_str().ok_or_else(|| invalid("x-ably-token is no text"))?;
    let mut inner = if Jwt::looks_like(inner) {
        // No second wrapping: what would be the use, and how many?
        let parts: Vec<&str> = inner.split('.').collect();
        let (header, claims) = parts_of(&parts)?;
        Credentials::Jwt(Jwt::parse(&parts, &header, claims)?)
    } else {
        Credentials::from_token(inner)?
    };
    if let Some(exp) = claims.as_ref().and_then(|claims| claims.get("exp")) {
        let exp: Seconds = serde_json::from_value(exp.clone()).map_err(|_| invalid("exp is no time"))?;
        inner.end_at(exp.millis())?;
    }
    Ok(inner)
}

fn parts_of(parts: &[&str]) -> Result<(Object, Option<Object>), ErrorInfo> {
    let header = parts.first().and_then(|part| object(part)).ok_or_else(|| invalid("the JWT's header is no object"))?;
    let claims = if let [_, claims, _] = parts { object(claims) } else { None };
    Ok((header, claims))
}

impl Credentials {
    /// A token that wraps this one expires at `ends_ms`, which may not be later than this one does.
    fn end_at(&mut self, ends_ms: u64) -> Result<(), ErrorInfo> {
        let (expires_ms, ends) = match self {
            Self::Key(_) => return Err(invalid("a JWT cannot wrap a key")),
            Self::Opaque(token) => (token.expires_ms(), &mut token.ends_ms),
            Self::Jwt(jwt) => (jwt.claims.expires.millis(), &mut jwt.ends_ms),
        };
        if ends_ms > expires_ms {
            return Err(invalid("the JWT expires later than the token that it wraps"));
        }
        *ends = Some(ends_ms);
        Ok(())
    }
}

impl Jwt {
    /// Whether `text` has the form of one: three parts, or five if it is encrypted, of which the first is an object.
    pub(super) fn looks_like(text: &str) -> bool {
        let parts = text.split('.').count();
        matches!(parts, 3 | 5) && text.split('.').next().and_then(object).is_some()
    }

    fn parse(parts: &[&str], header: &Object, claims: Option<Object>) -> Result<Self, ErrorInfo> {
        let [head, body, signature] = parts else { return Err(invalid("a JWT has three parts")) };
        if header.get("alg").and_then(Value::as_str) != Some("HS256") {
            return Err(invalid("the JWT's algorithm must be HS256"));
        }
        if header.contains_key("crit") {
            return Err(invalid("the JWT demands an extension"));
        }
        let kid = header.get("kid").and_then(Value::as_str).ok_or_else(|| invalid("the JWT has no kid"))?;
        // A name that no key can have is the name of no key.
        let key = KeyName::new(kid).map_err(|_| no_key())?;
        let claims = claims.ok_or_else(|| invalid("the JWT's claims are no object"))?;
        let claims = serde_json::from_value(Value::Object(claims))
            .map_err(|_| invalid("the JWT needs the times iat and exp, and the x-ably- claims are texts"))?;
        let signature = BASE64_URL.decode(signature).map_err(|_| invalid("the JWT's signature is not base64url"))?;
        Ok(Self { key, claims, signed: format!("{head}.{body}"), signature, ends_ms: None })
    }

    /// The key that it says has signed it.
    pub fn key(&self) -> &KeyName {
        &self.key
    }

    /// What it says of itself, not verified.
    pub fn claims(&self) -> &JwtClaims {
        &self.claims
    }

    /// Whether `secret` has signed it.
    pub fn is_signed_by(&self, secret: &Secret) -> bool {
        hmac(secret.expose().as_bytes(), &[self.signed.as_bytes()]).ct_eq(&self.signature).into()
    }

    pub(super) fn verify(&self, app: Option<&App>, now_ms: u64) -> Result<Granted, ErrorInfo> {
        let app = app.ok_or_else(no_key)?;
        let key = app.key(self.key.as_str()).ok_or_else(no_key)?;
        if !key.secrets(now_ms).any(|secret| self.is_signed_by(secret)) {
            return Err(invalid("the JWT's signature is not that of its key"));
        }
        let facts = self.facts(key, now_ms)?;
        enabled(app)?;
        let claimed = self.claims.capability.as_deref().map(parse_capability).transpose()?;
        Ok(Granted {
            app: app.id.clone(),
            key: key.name.clone(),
            capability: effective(key, claimed.as_ref())?,
            identity: Identity::of_token(self.claims.client_id.as_deref())?,
            token: Some(facts),
        })
    }

    fn facts(&self, key: &Key, now_ms: u64) -> Result<TokenFacts, ErrorInfo> {
        let (issued_ms, own_expires_ms) = (self.claims.issued.millis(), self.claims.expires.millis());
        let expires_ms = own_expires_ms.min(self.ends_ms.unwrap_or(u64::MAX));
        if now_ms >= expires_ms {
            return Err(Code::TokenExpired.info());
        }
        let longest = max_ttl(key);
        // Of one issued later than now, the life is counted from now: a clock may be ahead, but no token may outlast the
        // memory of its revocation.
        if own_expires_ms - issued_ms.min(now_ms) > millis(longest) {
            let hours = longest.as_secs() / 3600;
            return Err(Code::BadParam.says(format!("a JWT of this key may live for at most {hours} h")));
        }
        let revocation_key = self.claims.revocation_key.clone();
        Ok(TokenFacts { issued_ms, expires_ms, revocation_key, revocable: key.revocable_tokens })
    }
}

fn no_key() -> ErrorInfo {
    Code::NotFound.says("the JWT's kid names no key")
}
