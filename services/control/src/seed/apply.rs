//! Creating what a seed names where it is absent.

use std::fmt;

use backbone::audit::{AuditLog, NewAudit, Outcome};
use backbone::registry::{RegisteredApp, Registry, RegistryError};
use channels::{App, AppId, Key, KeyName};
use clock::unix_ms;
use tonic::Code;

use super::Seed;
use crate::status::name;

/// Who seeds, and what it does, in the audit log.
const ACTOR: &str = "seed";

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
    /// Creates apps that are absent, and keys that are absent in apps that are there, each with an entry in the audit
    /// log. Nothing that exists is changed, and a revoked key exists. Any number of processes may do this at once.
    pub async fn apply(&self, registry: &Registry, log: &AuditLog) -> Result<Applied, SeedError> {
        let mut applied = Applied::default();
        let mut taken = Vec::new();
        for app in &self.apps {
            let failed = |source| SeedError::Registry { app: app.id.clone(), source };
            let found = registry.get(&app.id).await.map_err(failed)?;
            if found.is_none() {
                // Without its keys, which are then added one by one as to an app that was there: so it does not matter
                // which of several processes creates what.
                let bare = App { keys: Vec::new(), ..app.clone() };
                let create = registry.create(bare, unix_ms());
                match recorded(log, &app.id, format!("app {}", app.id), create).await {
                    Ok(_) => applied.apps += 1,
                    Err(RegistryError::AppExists(_)) => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            for key in &app.keys {
                if found.as_ref().is_some_and(|found| has_key(found, &key.name)) {
                    continue;
                }
                let add = registry.add_key(&app.id, Key { created_ms: unix_ms(), ..key.clone() });
                match recorded(log, &app.id, format!("key {}", key.name), add).await {
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

/// Whether the app has, or had, a key called `name`.
fn has_key(app: &RegisteredApp, name: &KeyName) -> bool {
    app.app.keys.iter().any(|key| key.name == *name) || app.revoked.iter().any(|key| key.name == *name)
}

/// Does `work` with an entry in the audit log.
async fn recorded(
    log: &AuditLog,
    app: &AppId,
    target: String,
    work: impl Future<Output = Result<RegisteredApp, RegistryError>>,
) -> Result<RegisteredApp, RegistryError> {
    let (actor, method) = (ACTOR.to_owned(), ACTOR.to_owned());
    let entry = NewAudit { actor, method, app: Some(app.clone()), target, ..NewAudit::default() };
    let begun = log.begin(entry, unix_ms()).await?;
    let result = work.await;
    let (outcome, revision) = match &result {
        Ok(app) => (Outcome::Done, app.revision),
        Err(RegistryError::Backbone(_)) => (Outcome::Unknown, 0),
        Err(RegistryError::AppExists(_) | RegistryError::KeyTaken { .. }) => {
            (Outcome::Refused(name(Code::AlreadyExists).to_owned()), 0)
        }
        Err(_) => (Outcome::Refused(name(Code::FailedPrecondition).to_owned()), 0),
    };
    // Like the change itself, this can be made again; that it was made is in the log already.
    if let Err(error) = log.finish(begun, outcome, revision).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the audit log does not say what came of a seed");
    }
    result
}
