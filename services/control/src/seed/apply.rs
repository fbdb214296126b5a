//! Creating what a seed names where it is absent.

use std::fmt;

use backbone::registry::{Registry, RegistryError};
use channels::{App, AppId, Key, KeyName};

use super::Seed;
use crate::now_ms;

/// What applying a seed has done. What it has not done was there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Apps created.
    pub apps: usize,
    /// Keys created, in new apps and in old ones.
    pub keys: usize,
}

/// A key of the seed whose name another app has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken {
    /// The app in the seed.
    pub app: AppId,
    /// The key's name.
    pub key: KeyName,
    /// The app that has it.
    pub owner: AppId,
}

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} of app {} belongs to app {}", self.key, self.app, self.owner)
    }
}

/// Why a seed could not be applied in full.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// Names that other apps have. Everything else has been applied.
    #[error("{}", .0.iter().map(NameTaken::to_string).collect::<Vec<_>>().join("; "))]
    NamesTaken(Vec<NameTaken>),
    /// The registry failed; applying the seed again is safe.
    #[error("cannot seed app {app}")]
    Registry {
        /// The app that was being seeded.
        app: AppId,
        /// Why not.
        source: RegistryError,
    },
}

impl Seed {
    /// Creates apps that are absent, and keys that are absent in apps that are there. Nothing that exists is changed,
    /// and a revoked key exists. Any number of processes may do this at once.
    pub async fn apply(&self, registry: &Registry) -> Result<Applied, SeedError> {
        let mut applied = Applied::default();
        let mut taken = Vec::new();
        for app in &self.apps {
            let failed = |source| SeedError::Registry { app: app.id.clone(), source };
            // Without its keys, which are then added one by one as to an app that was there: so it does not matter
            // which of several processes creates what.
            let bare = App { keys: Vec::new(), ..app.clone() };
            match registry.create(bare, now_ms()).await {
                Ok(_) => applied.apps += 1,
                Err(RegistryError::AppExists(_)) => {}
                Err(error) => return Err(failed(error)),
            }
            for key in &app.keys {
                match registry.add_key(&app.id, Key { created_ms: now_ms(), ..key.clone() }).await {
                    Ok(_) => applied.keys += 1,
                    Err(RegistryError::KeyTaken { owner, .. }) if owner == app.id => {}
                    Err(RegistryError::KeyTaken { name, owner }) => {
                        taken.push(NameTaken { app: app.id.clone(), key: name, owner });
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        if taken.is_empty() { Ok(applied) } else { Err(SeedError::NamesTaken(taken)) }
    }
}
