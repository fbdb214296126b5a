//! Keys of apps that are there.

use std::time::Duration;

use channels::{AppId, Key, KeyName, PreviousSecret, Secret};
use clock::millis;

use super::{ATTEMPTS, RegisteredApp, Registry, RegistryError, RevokedKey, pause};

impl Registry {
    /// Adds a key. Of several at once that want the same name, in one app or in several, one succeeds.
    pub async fn add_key(&self, id: &AppId, key: Key) -> Result<RegisteredApp, RegistryError> {
        self.add_keys(id, &[key]).await
    }

    /// Replaces the secret of a key. The one before signs for `overlap` from `now_ms`, milliseconds since the Unix epoch;
    /// one that was replaced earlier signs no more.
    pub async fn rotate_key(
        &self,
        id: &AppId,
        name: &KeyName,
        secret: Secret,
        overlap: Duration,
        now_ms: u64,
    ) -> Result<RegisteredApp, RegistryError> {
        let until_ms = now_ms.saturating_add(millis(overlap));
        let rotate = |app: &mut RegisteredApp| {
            let key = app.app.keys.iter_mut().find(|key| key.name == *name);
            let key = key.ok_or_else(|| RegistryError::NoSuchKey { app: id.clone(), name: name.clone() })?;
            let before = std::mem::replace(&mut key.secret, secret.clone());
            key.previous = (!overlap.is_zero()).then_some(PreviousSecret { secret: before, until_ms });
            Ok(())
        };
        self.modify(id, None, rotate).await
    }

    /// Ends a key. Revoking a revoked key changes nothing.
    pub async fn revoke_key(
        &self,
        id: &AppId,
        name: &KeyName,
        revoked_ms: u64,
    ) -> Result<RegisteredApp, RegistryError> {
        let revoke = |app: &mut RegisteredApp| {
            let Some(index) = app.app.keys.iter().position(|key| key.name == *name) else {
                let revoked_before = app.revoked.iter().any(|key| key.name == *name);
                let missing = RegistryError::NoSuchKey { app: id.clone(), name: name.clone() };
                return if revoked_before { Ok(()) } else { Err(missing) };
            };
            let Key { name, capability, created_ms, .. } = app.app.keys.remove(index);
            app.revoked.push(RevokedKey { name, capability, created_ms, revoked_ms });
            Ok(())
        };
        self.modify(id, None, revoke).await
    }

    /// Adds keys, all or none.
    pub(super) async fn add_keys(&self, id: &AppId, keys: &[Key]) -> Result<RegisteredApp, RegistryError> {
        for attempt in 1..=ATTEMPTS {
            // Must be read before the names are claimed; see `names`.
            let mut app = self.existing(id).await?;
            if let Some(key) = keys.iter().find(|key| app.has_key(&key.name)) {
                return Err(RegistryError::KeyTaken { name: key.name.clone(), owner: id.clone() });
            }
            let mut claims = Vec::new();
            let mut refused = None;
            for key in keys {
                match self.claim(id, &key.name).await {
                    Ok(claim) => claims.push(claim),
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
            }
            if let Some(refused) = refused {
                // Not more than a courtesy: a claim that its app does not use gives way to the next who wants it.
                self.release(claims).await.ok();
                return Err(refused);
            }
            app.app.keys.extend(keys.iter().cloned());
            if let Some(written) = self.replace(app).await? {
                return Ok(written);
            }
            pause(attempt).await;
        }
        Err(RegistryError::Contended(id.clone()))
    }
}
