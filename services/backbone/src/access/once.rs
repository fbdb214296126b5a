//! Making a token once, however often its maker asks.
//!
//! As with apps and keys (see `registry::Once`): the text is made up and written down, sealed, before the token is made, so
//! that whoever asks again is given the same one.

use channels::Secret;
use prost::Message as _;
use proto::backbone::Remembered;

use super::{ATTEMPTS, Access, AccessError, AccessToken, ID_CHARS, NewToken, TokenId, made_up};
use crate::kv::KvError;
use crate::registry::{Once, REMEMBERED_FOR, Registry};
use crate::sealing::OpenError;

/// Format of what is remembered.
const VERSION: u32 = 1;

/// What is written down.
struct Noted {
    secret: Secret,
    /// Whether the token was made, maybe to be revoked since.
    made: bool,
    revision: u64,
}

impl Access {
    /// Makes a token, or gives the answer that an earlier call with the same `once` got. One that was revoked since is not
    /// made again.
    pub async fn create_once(
        &self,
        new: NewToken,
        now_ms: u64,
        once: &Once,
        registry: &Registry,
    ) -> Result<(AccessToken, Secret), AccessError> {
        let Noted { secret, made, revision } = note(once, registry).await?;
        let id = TokenId::of(secret.expose()).ok_or(AccessError::Forgotten(OpenError::Broken))?;
        if !made {
            let created = match self.create_as(&secret, new, now_ms).await {
                Ok(token) => token.revision,
                // By somebody who came with the same `once`.
                Err(AccessError::Backbone(KvError::Exists)) => 1,
                Err(error) => return Err(error),
            };
            let value = encode(once, registry, &secret, created.max(1));
            match registry.cluster.update_expiring(once.key(), value, revision, REMEMBERED_FOR).await {
                Ok(_) | Err(KvError::Conflict) => {}
                // The next one finds it made.
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "cannot note a new token"),
            }
        }
        let token = self.get(&id).await?.ok_or(AccessError::NoSuchToken(id))?;
        Ok((token, secret))
    }

    /// The token that an earlier [`create_once`](Self::create_once) with the same `once` has made, if it did.
    pub async fn made(&self, once: &Once, registry: &Registry) -> Result<Option<(AccessToken, Secret)>, AccessError> {
        let Some(entry) = registry.cluster.get(once.key()).await? else { return Ok(None) };
        let Noted { secret, made, .. } = decode(once, registry, &entry.value, entry.revision)?;
        let id = TokenId::of(secret.expose()).ok_or(AccessError::Forgotten(OpenError::Broken))?;
        if !made {
            return Ok(None);
        }
        let token = self.get(&id).await?.ok_or(AccessError::NoSuchToken(id))?;
        Ok(Some((token, secret)))
    }
}

/// Writes a new text down, unless there is one already: then that is it.
async fn note(once: &Once, registry: &Registry) -> Result<Noted, AccessError> {
    use rand::distr::{Alphanumeric, SampleString as _};
    let id = TokenId(Alphanumeric.sample_string(&mut rand::rng(), ID_CHARS));
    let secret = made_up(&id);
    for _ in 0..ATTEMPTS {
        let value = encode(once, registry, &secret, 0);
        match registry.cluster.create_expiring(once.key(), value, REMEMBERED_FOR).await {
            Ok(revision) => return Ok(Noted { secret, made: false, revision }),
            Err(KvError::Exists) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(entry) = registry.cluster.get(once.key()).await? {
            return decode(once, registry, &entry.value, entry.revision);
        }
    }
    Err(AccessError::Contended(id))
}

fn encode(once: &Once, registry: &Registry, secret: &Secret, made: u64) -> bytes::Bytes {
    let remembered = Remembered {
        version: VERSION,
        sealed_request: once.seal(&registry.keys).into(),
        revision: made,
        sealed_token: registry.keys.seal(&once.token_context(), secret.expose().as_bytes()).into(),
        ..Remembered::default()
    };
    remembered.encode_to_vec().into()
}

fn decode(once: &Once, registry: &Registry, value: &[u8], revision: u64) -> Result<Noted, AccessError> {
    let broken = || AccessError::Forgotten(OpenError::Broken);
    let Remembered { sealed_request, sealed_token, revision: made, .. } = Remembered::decode(value)
        .ok()
        .filter(|remembered| remembered.version == VERSION)
        .ok_or(AccessError::Forgotten(OpenError::UnknownForm))?;
    if !once.is_same(&registry.keys, &sealed_request).map_err(AccessError::Forgotten)? {
        return Err(AccessError::IdempotencyReused);
    }
    let text = registry.keys.open(&once.token_context(), &sealed_token).map_err(AccessError::Forgotten)?;
    let secret = String::from_utf8(text).ok().and_then(|text| Secret::new(&text)).ok_or_else(broken)?;
    Ok(Noted { secret, made: made > 0, revision })
}
