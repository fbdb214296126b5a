//! Tokens that we issue: they hold everything that there is to know of them, signed with their key's secret, so that any
//! node can check them with what it has at hand.
//!
//! ```text
//! token    = appId "." base64url(contents ‖ mac)
//! contents = version(1) salt(4) issued ttl flags(1) keyName [clientId] [capability]
//! ```
//!
//! Times are in milliseconds, as base-128 numbers with the least group first; texts have their length in front as such a
//! number. The mac is the first half of an HMAC-SHA256 over app id, a zero byte and the contents, under a secret derived
//! from the key's: what a key signs elsewhere (channel joins, requests, JWTs) can so never be taken for a token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channels::{App, AppId, KeyName, Secret};
use subtle::ConstantTimeEq as _;

use super::{Granted, TokenFacts, effective, enabled, hmac, parse_capability};
use crate::identity::Identity;
use crate::{Code, ErrorInfo};

const VERSION: u8 = 1;

/// Half of an HMAC-SHA256, which is as hard to guess as a key of 128 bits.
const MAC_BYTES: usize = 16;

/// What the secret is derived under. It holds no `:`, no newline and no `.` in the places where the other strings that are
/// signed with a key have one.
const PURPOSE: &[u8] = b"fanfare: secret of tokens";

const HAS_CLIENT: u8 = 1;
const HAS_CAPABILITY: u8 = 2;
/// The key's name begins with the app's id and a dot, which are left out.
const NAME_IN_APP: u8 = 4;
/// Whatever a flag says that is not known here, it says of what the token allows.
const KNOWN: u8 = HAS_CLIENT | HAS_CAPABILITY | NAME_IN_APP;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// So that two tokens for the same differ: random.
    pub salt: u32,
    /// When it was issued, milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// How long it lives, in milliseconds.
    pub ttl_ms: u64,
    /// The key that signs it.
    pub key: KeyName,
    /// Whom it is for; `*` for whoever its holder says.
    pub client_id: Option<String>,
    /// What it allows: canonical text; `None` for all that the key allows.
    pub capability: Option<String>,
}

/// A token as it came, not verified.
#[derive(Clone, Debug)]
pub struct Opaque {
    app: AppId,
    claims: TokenClaims,
    contents: Vec<u8>,
    mac: [u8; MAC_BYTES],
    /// When a token that wraps this one expires.
    pub(super) ends_ms: Option<u64>,
}

impl Opaque {
    /// Whether `text` has the form of one: an app's id, a dot, and base64url.
    pub(super) fn looks_like(text: &str) -> bool {
        let is_base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        text.split_once('.')
            .is_some_and(|(app, rest)| AppId::new(app).is_ok() && !rest.is_empty() && rest.bytes().all(is_base64url))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, ErrorInfo> {
        let invalid = || Code::InvalidToken.info();
        let (app, rest) = text.split_once('.').ok_or_else(invalid)?;
        let app = AppId::new(app).map_err(|_| invalid())?;
        let mut contents = URL_SAFE_NO_PAD.decode(rest).map_err(|_| invalid())?;
        let at = contents.len().checked_sub(MAC_BYTES).ok_or_else(invalid)?;
        let mac = contents.split_off(at).try_into().map_err(|_| invalid())?;
        let claims = TokenClaims::read(&app, &contents).ok_or_else(invalid)?;
        Ok(Self { app, claims, contents, mac, ends_ms: None })
    }

    /// What it says of itself, not verified.
    pub fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// The app that it says it is of.
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// When it expires, milliseconds since the Unix epoch, if nothing ends it earlier.
    pub fn expires_ms(&self) -> u64 {
        self.claims.issued_ms.saturating_add(self.claims.ttl_ms)
    }

    /// Whether `secret` has signed it.
    pub fn is_signed_by(&self, secret: &Secret) -> bool {
        mac(secret, &self.app, &self.contents).ct_eq(&self.mac).into()
    }

    pub(super) fn verify(&self, app: Option<&App>, now_ms: u64) -> Result<Granted, ErrorInfo> {
        let claims = &self.claims;
        let unknown = || Code::TokenUnknown.info();
        let app = app.filter(|app| app.id == self.app).ok_or_else(unknown)?;
        let key = app.key(claims.key.as_str()).ok_or_else(unknown)?;
        if !key.secrets(now_ms).any(|secret| self.is_signed_by(secret)) {
            return Err(Code::InvalidToken.info());
        }
        let expires_ms = self.expires_ms().min(self.ends_ms.unwrap_or(u64::MAX));
        if now_ms >= expires_ms {
            return Err(Code::TokenExpired.info());
        }
        enabled(app)?;
        let claimed = claims.capability.as_deref().map(parse_capability).transpose()?;
        Ok(Granted {
            app: app.id.clone(),
            key: key.name.clone(),
            capability: effective(key, claimed.as_ref())?,
            identity: Identity::of_token(claims.client_id.as_deref())?,
            token: Some(TokenFacts {
                issued_ms: claims.issued_ms,
                expires_ms,
                revocation_key: None,
                revocable: key.revocable_tokens,
            }),
        })
    }
}

impl TokenClaims {
    /// The token, for the app that has the key, signed with the key's secret.
    pub fn sign(&self, app: &AppId, secret: &Secret) -> String {
        let mut contents = self.write(app);
        let mac = mac(secret, app, &contents);
        contents.extend_from_slice(&mac);
        format!("{app}.{}", URL_SAFE_NO_PAD.encode(contents))
    }

    fn write(&self, app: &AppId) -> Vec<u8> {
        let short = self.key.as_str().strip_prefix(app.as_str()).and_then(|rest| rest.strip_prefix('.'));
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.salt.to_be_bytes());
        push_number(&mut out, self.issued_ms);
        push_number(&mut out, self.ttl_ms);
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        out.push(
            flag(self.client_id.is_some(), HAS_CLIENT)
                | flag(self.capability.is_some(), HAS_CAPABILITY)
                | flag(short.is_some(), NAME_IN_APP),
        );
        for text in [Some(short.unwrap_or(self.key.as_str())), self.client_id.as_deref(), self.capability.as_deref()] {
            let Some(text) = text else { continue };
            push_number(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    fn read(app: &AppId, contents: &[u8]) -> Option<Self> {
        let (&version, mut rest) = contents.split_first()?;
        let salt = u32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let issued_ms = take_number(&mut rest)?;
        let ttl_ms = take_number(&mut rest)?;
        let flags = take(&mut rest, 1)?[0];
        let name = take_text(&mut rest)?;
        let key = if flags & NAME_IN_APP == 0 { name } else { format!("{app}.{name}") };
        let key = KeyName::new(&key).ok()?;
        let client_id = if flags & HAS_CLIENT == 0 { None } else { Some(take_text(&mut rest)?) };
        let capability = if flags & HAS_CAPABILITY == 0 { None } else { Some(take_text(&mut rest)?) };
        let whole = version == VERSION && flags & !KNOWN == 0 && rest.is_empty();
        whole.then_some(Self { salt, issued_ms, ttl_ms, key, client_id, capability })
    }
}

fn mac(secret: &Secret, app: &AppId, contents: &[u8]) -> [u8; MAC_BYTES] {
    let derived = hmac(secret.expose().as_bytes(), &[PURPOSE]);
    let whole = hmac(&derived, &[app.as_str().as_bytes(), &[0], contents]);
    std::array::from_fn(|index| whole[index])
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let group = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            return out.push(group);
        }
        out.push(group | 0x80);
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    String::from_utf8(take(rest, length)?.to_vec()).ok()
}
