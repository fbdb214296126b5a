//! Keys in stored form.

use channels::{Capability, Key, KeyName, PreviousSecret, Secret};
use proto::backbone::stored_app::{Grant, StoredKey};

use super::{Seal, Unreadable};
use crate::registry::RevokedKey;

/// What secrets of keys are sealed as.
const SECRET: &str = "key";
const PREVIOUS: &str = "previous key";

pub(in crate::registry) fn key(key: &Key, seal: &Seal<'_>) -> StoredKey {
    let name = key.name.as_str();
    let previous = key.previous.as_ref();
    StoredKey {
        name: name.to_owned(),
        secret: String::new(),
        capability: grants(&key.capability),
        created_ms: key.created_ms,
        revoked_ms: 0,
        sealed_secret: seal.seal(SECRET, &[name], key.secret.expose()),
        sealed_previous: previous
            .map(|previous| seal.seal(PREVIOUS, &[name], previous.secret.expose()))
            .unwrap_or_default(),
        previous_until_ms: previous.map_or(0, |previous| previous.until_ms),
        revocable_tokens: key.revocable_tokens,
    }
}

pub(super) fn revoked(key: &RevokedKey) -> StoredKey {
    StoredKey {
        name: key.name.as_str().to_owned(),
        capability: grants(&key.capability),
        created_ms: key.created_ms,
        // 0 means active.
        revoked_ms: key.revoked_ms.max(1),
        ..StoredKey::default()
    }
}

/// Reads an active key.
pub(in crate::registry) fn read_key(name: KeyName, stored: StoredKey, seal: &Seal<'_>) -> Result<Key, Unreadable> {
    let open = |kind, plain, sealed: &[u8]| -> Result<Secret, Unreadable> {
        let opened = seal.open(kind, &[name.as_str()], plain, sealed);
        let text = opened.map_err(|source| Unreadable::Secret { key: name.clone(), source })?;
        Secret::new(&text).ok_or_else(|| Unreadable::NoSecret(name.clone()))
    };
    let previous = if stored.sealed_previous.is_empty() {
        None
    } else {
        let secret = open(PREVIOUS, String::new(), &stored.sealed_previous)?;
        Some(PreviousSecret { secret, until_ms: stored.previous_until_ms })
    };
    let secret = open(SECRET, stored.secret, &stored.sealed_secret)?;
    let capability = read_capability(stored.capability)?;
    let StoredKey { created_ms, revocable_tokens, .. } = stored;
    Ok(Key { secret, previous, capability, revocable_tokens, created_ms, name })
}

pub(super) fn read_capability(grants: Vec<Grant>) -> Result<Capability, Unreadable> {
    Ok(Capability::new(grants.into_iter().map(|grant| (grant.resource, grant.operations)))?)
}

fn grants(capability: &Capability) -> Vec<Grant> {
    let grant = |(resource, operations): (&str, Vec<&str>)| Grant {
        resource: resource.to_owned(),
        operations: operations.into_iter().map(str::to_owned).collect(),
    };
    capability.iter().map(grant).collect()
}
