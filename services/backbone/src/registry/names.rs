//! Key names unique in the whole cluster, without transactions.
//!
//! An entry per key name, the *claim*, says which app the name belongs to. A claim counts only while its app has a key
//! of that name, so a writer that dies half-way leaves nothing that anybody must clean up: an unused claim gives way.
//! The rules:
//!
//! 1. A writer for app A reads A, then writes the claim (also when the claim is A's already), then writes A over the
//!    revision it read.
//! 2. A writer for app B that finds a claim of A which A does not use first *touches* A (writes it unchanged, over the
//!    revision in which the key was missing), then takes the claim over the revision it found.
//!
//! Two apps cannot both get the name. Suppose B took A's claim. If A's writer wrote its claim after B had looked at it,
//! B's take-over fails, because the revision moved. If before, then A's writer had read A before B's touch, so after
//! the touch its write of A fails; and had it succeeded before the touch, B would have seen the key in use. A writer
//! that fails starts over and finds the claim gone. Apps are never written back to life by this: rule 1 needs an app
//! that exists, and an app that is created again has a new revision.

use bytes::Bytes;
use channels::{AppId, KeyName};
use prost::Message as _;
use proto::backbone::KeyOwner;

use super::{ATTEMPTS, Registry, RegistryError, app_entry, pause, stored};
use crate::kv::{Entry, KvError};

/// In front of a key name in its claim's key.
const KEY_PREFIX: &str = "key.";

/// The newest format of claims.
const VERSION: u32 = 1;

/// A claim as it was written or found.
#[derive(Debug)]
pub(super) struct Claim {
    key: String,
    revision: u64,
}

impl Registry {
    /// Claims `name` for the app `id`, which its caller has read before and has no such key.
    pub(super) async fn claim(&self, id: &AppId, name: &KeyName) -> Result<Claim, RegistryError> {
        let key = claim_entry(name);
        for attempt in 1..=ATTEMPTS {
            let outcome = match self.apps.create(&key, encode(id)).await {
                Err(KvError::Exists) => match self.apps.get(&key).await? {
                    Some(found) => self.take(id, name, &found).await?,
                    None => Err(KvError::Conflict),
                },
                other => other,
            };
            match outcome {
                Ok(revision) => return Ok(Claim { key, revision }),
                Err(KvError::Conflict) => pause(attempt).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(RegistryError::Contended(id.clone()))
    }

    /// Writes the claim of `id` over the one `found`, unless that one is in use.
    async fn take(&self, id: &AppId, name: &KeyName, found: &Entry) -> Result<Result<u64, KvError>, RegistryError> {
        let owner = decode(&found.value).map_err(|source| RegistryError::Unreadable { app: id.clone(), source })?;
        if owner != *id
            && let Err(conflict) = self.fence(&owner, name).await?
        {
            return Ok(Err(conflict));
        }
        Ok(self.apps.update(&found.key, encode(id), found.revision).await)
    }

    /// Makes sure that no key `name` is being added to `owner` by a writer that has read it already.
    async fn fence(&self, owner: &AppId, name: &KeyName) -> Result<Result<(), KvError>, RegistryError> {
        let Some(entry) = self.apps.get(&app_entry(owner)).await? else { return Ok(Ok(())) };
        // An app that cannot be read may well use the name.
        let in_use =
            stored::decode(owner, &entry.value, entry.revision, &self.keys).map_or(true, |app| app.has_key(name));
        if in_use {
            return Err(RegistryError::KeyTaken { name: name.clone(), owner: owner.clone() });
        }
        Ok(self.apps.update(&entry.key, entry.value.clone(), entry.revision).await.map(|_| ()))
    }

    /// The claim that `id` has on `name`, if it has it.
    pub(super) async fn claim_of(&self, id: &AppId, name: &KeyName) -> Result<Option<Claim>, RegistryError> {
        let entry = self.apps.get(&claim_entry(name)).await?;
        Ok(entry
            .filter(|entry| decode(&entry.value).is_ok_and(|owner| owner == *id))
            .map(|Entry { key, revision, .. }| Claim { key, revision }))
    }

    /// Gives up claims that nobody has touched since.
    pub(super) async fn release(&self, claims: Vec<Claim>) -> Result<(), RegistryError> {
        for Claim { key, revision } in claims {
            match self.apps.remove(&key, Some(revision)).await {
                Ok(_) | Err(KvError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The key of the entry for `name`: key names have characters that KV keys do not, so all but letters, digits, `-` and
/// `_` become `=XX`, which keeps different names different.
pub(super) fn claim_entry(name: &KeyName) -> String {
    let mut key = KEY_PREFIX.to_owned();
    for byte in name.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("={byte:02X}"));
        }
    }
    key
}

pub(super) fn encode(owner: &AppId) -> Bytes {
    KeyOwner { version: VERSION, app_id: owner.as_str().to_owned() }.encode_to_vec().into()
}

fn decode(value: &[u8]) -> Result<AppId, stored::Unreadable> {
    let owner = KeyOwner::decode(value)?;
    if owner.version != VERSION {
        return Err(stored::Unreadable::Format(owner.version));
    }
    Ok(AppId::new(&owner.app_id)?)
}
