//! Who may use the control plane: tokens, what each is for, and the live copy that requests are checked against.
//!
//! Owns the form of tokens, their storage in [`Bucket::Access`] (hashed: what is stored lets nobody in), rotation and
//! revocation. Deliberately knows nothing of gRPC, and of which call needs which role.
//!
//! A token is `fat_{id}_{secret}`: the id of 12 letters and digits names it in lists and in the audit log, the secret has
//! 36 more, over 200 bits.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use channels::{AppId, Secret};
use clock::millis;
use prost::Message as _;
use proto::backbone::AccessToken as Stored;
use proto::backbone::access_token;
use rand::distr::{Alphanumeric, SampleString as _};
use ring::digest;
use subtle::ConstantTimeEq as _;

use crate::Backbone;
use crate::kv::{Bucket, Entry, Kv, KvError};
use crate::sealing::OpenError;

mod live;
mod once;
#[cfg(test)]
mod tests;

pub use live::AccessTokens;

/// Format of a stored token.
const VERSION: u32 = 1;

/// In front of every token, so that one that leaked is recognised.
const PREFIX: &str = "fat_";

/// Characters of an id and of a secret.
const ID_CHARS: usize = 12;
const SECRET_CHARS: usize = 36;

/// How often a change that lost to another one is tried again.
const ATTEMPTS: u32 = 16;

/// A token's id: 12 letters and digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(String);

/// A text that is not a [`TokenId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token id must be {ID_CHARS} letters and digits")]
pub struct InvalidTokenId;

impl TokenId {
    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidTokenId> {
        let sound = id.len() == ID_CHARS && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if sound { Ok(Self(id.to_owned())) } else { Err(InvalidTokenId) }
    }

    /// The id in a token, which may be any text. Says nothing of whether the token is good.
    pub fn of(token: &str) -> Option<Self> {
        let (id, _) = token.strip_prefix(PREFIX)?.split_once('_')?;
        Self::new(id).ok()
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// What its holder may do with what is in the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Look at it.
    Reader,
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// What may be done.
    pub role: Role,
    /// The one app with which it may be done; `None` is the whole cluster.
    pub app: Option<AppId>,
}

/// A token, without what lets its holder in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// Its id.
    pub id: TokenId,
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub scope: Scope,
    /// When it was made, milliseconds since the Unix epoch, as are all times here.
    pub created_ms: u64,
    /// Who made it.
    pub created_by: String,
    /// From when on it is not taken any more; `None` for never.
    pub expires_ms: Option<u64>,
    /// When its secret was last replaced; `None` if it never was.
    pub rotated_ms: Option<u64>,
    /// Until when the secret before that is still taken; `None` if it is not.
    pub previous_until_ms: Option<u64>,
    /// Changes with every change of the token.
    pub revision: u64,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub scope: Scope,
    /// Who makes it.
    pub created_by: String,
    /// From when on it is not taken any more, milliseconds since the Unix epoch; `None` for never.
    pub expires_ms: Option<u64>,
}

/// Whose token it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's id.
    pub id: TokenId,
    /// The token's name.
    pub name: String,
    /// What it is for.
    pub scope: Scope,
}

/// Why an operation on tokens failed.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// There is no such token.
    #[error("there is no token {0}")]
    NoSuchToken(TokenId),
    /// The caller's idempotency id was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyReused,
    /// What was remembered of an earlier create cannot be read by this process.
    #[error("what is remembered of this idempotency key cannot be read: {0}")]
    Forgotten(OpenError),
    /// Too many others changed the same token at the same time. Nothing was changed.
    #[error("token {0} is being changed by too many at once")]
    Contended(TokenId),
    /// The stored token cannot be read by this process, which therefore does not touch it.
    #[error("token {0} cannot be read; a newer fanfare wrote it, or it is damaged")]
    Unreadable(TokenId),
    /// The backbone failed; the change may or may not have happened.
    #[error("the backbone did not answer")]
    Backbone(#[from] KvError),
}

/// All tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    tokens: Kv,
}

impl Backbone {
    /// The tokens of the control plane.
    pub fn access(&self) -> Access {
        Access { tokens: self.kv(Bucket::Access) }
    }
}

impl Access {
    /// Makes a token. Its text is in this answer and nowhere else.
    pub async fn create(&self, new: NewToken, now_ms: u64) -> Result<(AccessToken, Secret), AccessError> {
        let secret = made_up(&TokenId(Alphanumeric.sample_string(&mut rand::rng(), ID_CHARS)));
        Ok((self.create_as(&secret, new, now_ms).await?, secret))
    }

    /// Makes the token whose text is `secret`.
    pub(crate) async fn create_as(
        &self,
        secret: &Secret,
        new: NewToken,
        now_ms: u64,
    ) -> Result<AccessToken, AccessError> {
        let id = TokenId::of(secret.expose()).expect("made up with an id");
        let NewToken { name, scope, created_by, expires_ms } = new;
        let mut known = Known {
            token: AccessToken {
                id: id.clone(),
                name,
                scope,
                created_ms: now_ms,
                created_by,
                expires_ms,
                rotated_ms: None,
                previous_until_ms: None,
                revision: 0,
            },
            hash: hash(secret.expose()),
            previous_hash: None,
        };
        known.token.revision = self.tokens.create(&key(&id), encode(&known)).await?;
        Ok(known.token)
    }

    /// The tokens, oldest first; expired ones, too, until somebody revokes them.
    pub async fn list(&self) -> Result<Vec<AccessToken>, AccessError> {
        let entries = self.tokens.list(KIND).await?.entries;
        // What a newer version has written is left out rather than misread.
        let mut tokens: Vec<_> = entries.iter().filter_map(|entry| Some(decode(entry)?.token)).collect();
        tokens.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        Ok(tokens)
    }

    /// The token, if there is one.
    pub async fn get(&self, id: &TokenId) -> Result<Option<AccessToken>, AccessError> {
        Ok(self.read(id).await?.map(|(known, _)| known.token))
    }

    /// Replaces the secret of a token. The one before is taken for `overlap` from now; one that was replaced earlier is
    /// not taken any more.
    pub async fn rotate(
        &self,
        id: &TokenId,
        overlap: Duration,
        now_ms: u64,
    ) -> Result<(AccessToken, Secret), AccessError> {
        let secret = made_up(id);
        for _ in 0..ATTEMPTS {
            let (mut known, revision) = self.existing(id).await?;
            let until_ms = now_ms.saturating_add(millis(overlap));
            let before = std::mem::replace(&mut known.hash, hash(secret.expose()));
            (known.previous_hash, known.token.previous_until_ms) =
                if overlap.is_zero() { (None, None) } else { (Some(before), Some(until_ms)) };
            known.token.rotated_ms = Some(now_ms);
            match self.tokens.update(&key(id), encode(&known), revision).await {
                Ok(revision) => {
                    known.token.revision = revision;
                    return Ok((known.token, secret));
                }
                Err(KvError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AccessError::Contended(id.clone()))
    }

    /// Ends a token: nobody is let in with it any more.
    pub async fn revoke(&self, id: &TokenId) -> Result<(), AccessError> {
        self.tokens.get(&key(id)).await?.ok_or_else(|| AccessError::NoSuchToken(id.clone()))?;
        self.tokens.remove(&key(id), None).await?;
        Ok(())
    }

    /// Ends all tokens that are for one app, which is gone: another one of its id is not theirs. How many they were.
    pub async fn revoke_of_app(&self, app: &AppId) -> Result<usize, AccessError> {
        let of_app = |token: &AccessToken| token.scope.app.as_ref() == Some(app);
        let tokens: Vec<_> = self.list().await?.into_iter().filter(of_app).collect();
        for token in &tokens {
            self.tokens.remove(&key(&token.id), None).await?;
        }
        Ok(tokens.len())
    }

    async fn existing(&self, id: &TokenId) -> Result<(Known, u64), AccessError> {
        let (known, entry) = self.read(id).await?.ok_or_else(|| AccessError::NoSuchToken(id.clone()))?;
        // Fields that are not known would be lost, and with them maybe what the token must not do.
        let is_partial = encode(&known).len() < entry.value.len();
        if is_partial { Err(AccessError::Unreadable(id.clone())) } else { Ok((known, entry.revision)) }
    }

    async fn read(&self, id: &TokenId) -> Result<Option<(Known, Entry)>, AccessError> {
        let Some(entry) = self.tokens.get(&key(id)).await? else { return Ok(None) };
        let known = decode(&entry).ok_or_else(|| AccessError::Unreadable(id.clone()))?;
        Ok(Some((known, entry)))
    }
}

/// SHA-256 of a token.
type Hash = [u8; 32];

/// A token with what it is recognised by.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) token: AccessToken,
    hash: Hash,
    previous_hash: Option<Hash>,
}

impl Known {
    /// Whether `token` is this one, and taken at `now_ms`. Takes the same time for every wrong one.
    pub(crate) fn admits(&self, token: &str, now_ms: u64) -> bool {
        let shown = hash(token);
        let is_current = self.hash.ct_eq(&shown);
        let is_previous = self.previous_hash.unwrap_or(self.hash).ct_eq(&shown);
        let overlaps = self.token.previous_until_ms.is_some_and(|until_ms| now_ms < until_ms);
        let expired = self.token.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms);
        !expired && bool::from(is_current | (is_previous & u8::from(overlaps).into()))
    }

    fn identity(&self) -> Identity {
        let AccessToken { id, name, scope, .. } = &self.token;
        Identity { id: id.clone(), name: name.clone(), scope: scope.clone() }
    }
}

fn made_up(id: &TokenId) -> Secret {
    let random = Alphanumeric.sample_string(&mut rand::rng(), SECRET_CHARS);
    Secret::new(&format!("{PREFIX}{id}_{random}")).expect("not empty")
}

/// What is stored of a token. It has too many possible values to be tried, so a slow hash would protect nothing.
fn hash(token: &str) -> Hash {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    *hash.as_ref().first_chunk().expect("a hash of 32 bytes")
}

/// The first part of all keys.
const KIND: &str = "token";

fn key(id: &TokenId) -> String {
    format!("{KIND}.{id}")
}

fn encode(known: &Known) -> Bytes {
    let Known { token, hash, previous_hash } = known;
    let role = match token.scope.role {
        Role::Admin => access_token::Role::Admin,
        Role::Reader => access_token::Role::Reader,
    };
    let stored = Stored {
        version: VERSION,
        id: token.id.as_str().to_owned(),
        name: token.name.clone(),
        role: role.into(),
        app_id: token.scope.app.as_ref().map(AppId::to_string).unwrap_or_default(),
        hash: Bytes::copy_from_slice(hash),
        previous_hash: previous_hash.map(|hash| Bytes::copy_from_slice(&hash)).unwrap_or_default(),
        previous_until_ms: token.previous_until_ms.unwrap_or(0),
        created_ms: token.created_ms,
        created_by: token.created_by.clone(),
        expires_ms: token.expires_ms.unwrap_or(0),
        rotated_ms: token.rotated_ms.unwrap_or(0),
    };
    stored.encode_to_vec().into()
}

/// Whether the entry holds a token that can be used here.
pub(crate) fn is_token(entry: &Entry) -> bool {
    decode(entry).is_some()
}

/// `None` for what is not fully understood: a half-understood token is one that lets somebody in.
pub(crate) fn decode(entry: &Entry) -> Option<Known> {
    let stored = Stored::decode(entry.value.clone()).ok().filter(|stored| stored.version == VERSION)?;
    let id = TokenId::new(&stored.id).ok().filter(|id| key(id) == entry.key)?;
    let role = match access_token::Role::try_from(stored.role).ok()? {
        access_token::Role::Admin => Role::Admin,
        access_token::Role::Reader => Role::Reader,
        access_token::Role::Unspecified => return None,
    };
    let app = if stored.app_id.is_empty() { None } else { Some(AppId::new(&stored.app_id).ok()?) };
    let unless_zero = |ms: u64| (ms > 0).then_some(ms);
    let previous_hash =
        if stored.previous_hash.is_empty() { None } else { Some(stored.previous_hash[..].try_into().ok()?) };
    let token = AccessToken {
        id,
        name: stored.name,
        scope: Scope { role, app },
        created_ms: stored.created_ms,
        created_by: stored.created_by,
        expires_ms: unless_zero(stored.expires_ms),
        rotated_ms: unless_zero(stored.rotated_ms),
        previous_until_ms: unless_zero(stored.previous_until_ms),
        revision: entry.revision,
    };
    Some(Known { token, hash: stored.hash[..].try_into().ok()?, previous_hash })
}
