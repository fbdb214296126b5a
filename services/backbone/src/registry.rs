//! Apps and their keys as the cluster keeps them.
//!
//! Owns the stored format ([`RegisteredApp`] to bytes and back), with secrets sealed, the rules that several writers share
//! (revisions, key names unique in the whole cluster), and [`Apps`], the live copy that edges serve from. It sits in the backbone
//! because the control plane, which writes, and the edges, which watch, must read one format and yet not know each
//! other. Deliberately knows nothing of gRPC, of who may change what, or of how ids and secrets are made up.
//!
//! Two kinds of entries share the bucket: `app.{id}` holds an app with its keys, `key.{name}` says which app a key name
//! belongs to. The second exists only for uniqueness; edges never read it. `names` tells how the two are kept
//! consistent without transactions.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use channels::{App, AppId, Capability, KeyName};
use clock::unix_ms;
use rand::Rng as _;

use crate::Backbone;
use crate::kv::{Bucket, Entry, Kv, KvError};
use crate::sealing::ClusterKeys;

mod apps;
mod change;
mod create;
mod keys;
mod maintenance;
mod names;
mod once;
mod pages;
mod snapshot;
mod stored;
#[cfg(test)]
mod tests;
mod whole;

pub use apps::Apps;
pub use change::{AppChange, PusherChange};
pub use create::AddedKey;
pub use maintenance::{Resealed, SealReport};
pub use once::Once;
pub(crate) use once::REMEMBERED_FOR;
pub use pages::Page;
pub use snapshot::{AppKey, Snapshot};
pub use stored::Unreadable;
pub(crate) use whole::{claims, is_app};

/// In front of an app's id in its entry's key.
const APP_PREFIX: &str = "app.";

/// Largest stored app. A NATS server takes messages of 1 MiB unless told otherwise; half of that leaves room for what
/// a later version adds.
const MAX_STORED_BYTES: usize = 512 * 1024;

/// How often a change that lost to another one is tried again. Each round somebody wins, so this many writers of one
/// app at one time still all succeed.
const ATTEMPTS: u32 = 32;

/// Longest pause before the second attempt; it grows with each one, so that writers of one app fall out of step.
const RETRY_PAUSE: Duration = Duration::from_millis(4);

/// How long a secret that was replaced is remembered after it signs no more, since clocks differ.
const FORGOTTEN_AFTER_MS: u64 = 5 * 60 * 1_000;

/// An app with what only its owners ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredApp {
    /// What edges serve.
    pub app: App,
    /// Keys that sign nothing any more.
    pub revoked: Vec<RevokedKey>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Changes with every change of the app.
    pub revision: u64,
    /// Which create with an idempotency id made it; empty for none.
    pub(crate) made_by: Bytes,
    /// Whether more is stored of it than this version knows: it is served, and not changed.
    pub(crate) is_partial: bool,
}

/// A key that was revoked. Its secret is forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedKey {
    /// Its public name, which is not given out again while the app exists.
    pub name: KeyName,
    /// What it allowed.
    pub capability: Capability,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it was revoked, milliseconds since the Unix epoch.
    pub revoked_ms: u64,
}

/// Why a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The id is taken.
    #[error("app {0} exists")]
    AppExists(AppId),
    /// There is no such app.
    #[error("there is no app {0}")]
    NoSuchApp(AppId),
    /// The app never had such a key.
    #[error("app {app} has no key {name}")]
    NoSuchKey {
        /// The app.
        app: AppId,
        /// The key that was asked for.
        name: KeyName,
    },
    /// The key name belongs to an app, maybe to the one that asked for it.
    #[error("key name {name} is taken")]
    KeyTaken {
        /// The name.
        name: KeyName,
        /// Who has it.
        owner: AppId,
    },
    /// The caller's idempotency id was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyReused,
    /// The app has changed since the revision that the change was made from.
    #[error("app {app} has changed: its revision is {current}")]
    Stale {
        /// The app.
        app: AppId,
        /// Its revision now.
        current: u64,
    },
    /// Too many others changed the same app at the same time. Nothing was changed.
    #[error("app {0} is being changed by too many at once")]
    Contended(AppId),
    /// The app would become larger than the backbone takes. Nothing was changed.
    #[error("app {0} has too many keys, capabilities, namespaces or webhooks to be stored")]
    TooLarge(AppId),
    /// The stored app cannot be read by this process, which therefore does not touch it.
    #[error("app {app} cannot be read")]
    Unreadable {
        /// The app.
        app: AppId,
        /// Why not.
        source: Unreadable,
    },
    /// The backbone failed; the change may or may not have happened.
    #[error("the registry did not answer")]
    Backbone(#[from] KvError),
}

/// The apps of the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) apps: Kv,
    /// For the schema, and what is remembered of creates.
    pub(crate) cluster: Kv,
    pub(crate) keys: Arc<ClusterKeys>,
}

impl Registry {
    /// The registry of the cluster, whose secrets `keys` seal.
    pub fn new(backbone: &Backbone, keys: Arc<ClusterKeys>) -> Self {
        Self { apps: backbone.kv(Bucket::Apps), cluster: backbone.kv(Bucket::Cluster), keys }
    }

    /// The app, if there is one.
    pub async fn get(&self, id: &AppId) -> Result<Option<RegisteredApp>, RegistryError> {
        self.apps.get(&app_entry(id)).await?.map(|entry| self.read(id, &entry)).transpose()
    }

    /// Changes settings; with a `revision`, only if that is the app's current one.
    pub async fn update(
        &self,
        id: &AppId,
        revision: Option<u64>,
        change: &AppChange,
    ) -> Result<RegisteredApp, RegistryError> {
        let change = |app: &mut RegisteredApp| {
            change.apply(&mut app.app);
            Ok(())
        };
        self.modify(id, revision, change).await
    }

    /// Removes the app and frees the names of its keys.
    pub async fn delete(&self, id: &AppId) -> Result<(), RegistryError> {
        for attempt in 1..=ATTEMPTS {
            let app = self.existing(id).await?;
            // Read before the app goes: what claims these names afterwards is somebody else's, and has a new revision.
            let names = app.app.keys.iter().map(|key| &key.name).chain(app.revoked.iter().map(|key| &key.name));
            let mut claims = Vec::new();
            for name in names {
                claims.extend(self.claim_of(id, name).await?);
            }
            match self.apps.remove(&app_entry(id), Some(app.revision)).await {
                Ok(_) => return self.release(claims).await,
                Err(KvError::Conflict) => pause(attempt).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(RegistryError::Contended(id.clone()))
    }

    /// Makes a change that may have to be made again, to what others have made of the app meanwhile. Nothing is written
    /// if it changes nothing.
    async fn modify(
        &self,
        id: &AppId,
        revision: Option<u64>,
        change: impl Fn(&mut RegisteredApp) -> Result<(), RegistryError>,
    ) -> Result<RegisteredApp, RegistryError> {
        for attempt in 1..=ATTEMPTS {
            let current = self.existing(id).await?;
            if revision.is_some_and(|revision| revision != current.revision) {
                return Err(RegistryError::Stale { app: id.clone(), current: current.revision });
            }
            let mut changed = current.clone();
            change(&mut changed)?;
            if changed == current {
                return Ok(current);
            }
            if let Some(written) = self.replace(changed).await? {
                return Ok(written);
            }
            pause(attempt).await;
        }
        Err(RegistryError::Contended(id.clone()))
    }

    async fn existing(&self, id: &AppId) -> Result<RegisteredApp, RegistryError> {
        self.get(id).await?.ok_or_else(|| RegistryError::NoSuchApp(id.clone()))
    }

    /// Writes `app` over its revision, without secrets that have expired; `None` if that is no longer the current one.
    async fn replace(&self, mut app: RegisteredApp) -> Result<Option<RegisteredApp>, RegistryError> {
        if app.is_partial {
            return Err(RegistryError::Unreadable { app: app.app.id, source: Unreadable::MoreThanKnown });
        }
        app.forget_expired(unix_ms());
        match self.apps.update(&app_entry(&app.app.id), self.value(&app)?, app.revision).await {
            Ok(revision) => {
                app.revision = revision;
                Ok(Some(app))
            }
            Err(KvError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What to store for `app`.
    fn value(&self, app: &RegisteredApp) -> Result<Bytes, RegistryError> {
        let value = stored::encode(app, &self.keys);
        if value.len() > MAX_STORED_BYTES { Err(RegistryError::TooLarge(app.app.id.clone())) } else { Ok(value) }
    }

    fn read(&self, id: &AppId, entry: &Entry) -> Result<RegisteredApp, RegistryError> {
        stored::decode(id, &entry.value, entry.revision, &self.keys)
            .map_err(|source| RegistryError::Unreadable { app: id.clone(), source })
    }
}

impl RegisteredApp {
    /// Whether the app has, or had, a key called `name`.
    fn has_key(&self, name: &KeyName) -> bool {
        self.app.keys.iter().any(|key| key.name == *name) || self.revoked.iter().any(|key| key.name == *name)
    }

    /// Forgets secrets that were replaced and do not sign any more, wherever clocks are a little behind.
    fn forget_expired(&mut self, now_ms: u64) {
        for key in &mut self.app.keys {
            key.previous.take_if(|previous| previous.until_ms.saturating_add(FORGOTTEN_AFTER_MS) < now_ms);
        }
    }
}

/// The key of an app's entry.
fn app_entry(id: &AppId) -> String {
    format!("{APP_PREFIX}{id}")
}

/// The app whose entry has this key; `None` for entries of other kinds.
fn app_of(key: &str) -> Option<AppId> {
    key.strip_prefix(APP_PREFIX).and_then(|id| AppId::new(id).ok())
}

/// Waits a little, longer with each attempt.
async fn pause(attempt: u32) {
    let longest = RETRY_PAUSE * attempt;
    let pause = rand::rng().random_range(Duration::ZERO..=longest);
    tokio::time::sleep(pause).await;
}
