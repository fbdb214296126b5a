//! Making apps and keys, at once or in steps that may be taken again.
//!
//! With an idempotency id, what is to be made is written down first, made-up names and secrets included (see `once`).
//! Whoever comes with the same id, because the first one died or was not answered, goes on from there: it makes what is
//! still missing of the same app or key, and gives the same answer.

use bytes::Bytes;
use channels::{App, AppId, Key};

use super::once::{Once, Plan};
use super::{ATTEMPTS, RegisteredApp, Registry, RegistryError, app_entry, pause};
use crate::kv::KvError;

/// A key that was added with an idempotency id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedKey {
    /// The key.
    pub key: Key,
    /// The app's revision with it.
    pub revision: u64,
}

impl Registry {
    /// Registers `app` with its keys.
    ///
    /// The app is written without its keys first: a key name is only ever claimed for an app that exists (see
    /// `names`). A process that dies in between leaves an app without keys, which serves nobody.
    pub async fn create(&self, app: App, created_ms: u64) -> Result<RegisteredApp, RegistryError> {
        self.make(RegisteredApp {
            app,
            revoked: Vec::new(),
            created_ms,
            revision: 0,
            made_by: Bytes::new(),
            is_partial: false,
        })
        .await
    }

    /// Registers `app`, or gives the answer that an earlier call with the same `once` got: the app as it was made then.
    pub async fn create_once(&self, app: App, created_ms: u64, once: &Once) -> Result<RegisteredApp, RegistryError> {
        let mark = Bytes::copy_from_slice(&rand::random::<[u8; 16]>());
        let id = app.id.clone();
        let plan =
            RegisteredApp { app, revoked: Vec::new(), created_ms, revision: 0, made_by: mark, is_partial: false };
        let begun = self.begin_once(once, &id, Plan::App(Box::new(plan))).await?;
        let Plan::App(plan) = &begun.plan else { return Err(RegistryError::IdempotencyReused) };
        let mut planned = (**plan).clone();
        planned.revision = match begun.done {
            Some(revision) => revision,
            None => self.end_once(&begun, self.make(planned.clone()).await.map(|made| made.revision)).await?,
        };
        Ok(planned)
    }

    /// Adds a key, or gives the answer that an earlier call with the same `once` got.
    pub async fn add_key_once(&self, id: &AppId, key: Key, once: &Once) -> Result<AddedKey, RegistryError> {
        let begun = self.begin_once(once, id, Plan::Key(Box::new(key))).await?;
        let Plan::Key(key) = &begun.plan else { return Err(RegistryError::IdempotencyReused) };
        let key = (**key).clone();
        let revision = match begun.done {
            Some(revision) => revision,
            None => self.end_once(&begun, self.add_planned(id, &key).await).await?,
        };
        Ok(AddedKey { key, revision })
    }

    /// The answer to an earlier [`create_once`](Self::create_once) with the same `once`, which made an app.
    pub async fn app_made(&self, once: &Once) -> Result<Option<RegisteredApp>, RegistryError> {
        match self.made(once).await? {
            Some((Plan::App(app), revision)) => Ok(Some(RegisteredApp { revision, ..*app })),
            Some((Plan::Key(_), _)) => Err(RegistryError::IdempotencyReused),
            None => Ok(None),
        }
    }

    /// The answer to an earlier [`add_key_once`](Self::add_key_once) with the same `once`, which added a key.
    pub async fn key_made(&self, once: &Once) -> Result<Option<AddedKey>, RegistryError> {
        match self.made(once).await? {
            Some((Plan::Key(key), revision)) => Ok(Some(AddedKey { key: *key, revision })),
            Some((Plan::App(_), _)) => Err(RegistryError::IdempotencyReused),
            None => Ok(None),
        }
    }

    /// Adds a key that may have been added already; gives a revision at which the app has it.
    async fn add_planned(&self, id: &AppId, key: &Key) -> Result<u64, RegistryError> {
        let taken = match self.add_key(id, key.clone()).await {
            Err(taken @ RegistryError::KeyTaken { .. }) => taken,
            other => return other.map(|app| app.revision),
        };
        // By us, if it has our secret. (Where callers choose names and secrets, another one's key may have the same.)
        let app = self.existing(id).await?;
        let is_ours = |found: &&Key| found.created_ms == key.created_ms && found.secret == key.secret;
        app.app.key(key.name.as_str()).filter(is_ours).map(|_| app.revision).ok_or(taken)
    }

    /// Makes an app, or what is missing of it if it was begun under the same mark.
    async fn make(&self, mut plan: RegisteredApp) -> Result<RegisteredApp, RegistryError> {
        let keys = std::mem::take(&mut plan.app.keys);
        let id = plan.app.id.clone();
        let found = match self.apps.create(&app_entry(&id), self.value(&plan)?).await {
            Ok(revision) => RegisteredApp { revision, ..plan },
            Err(KvError::Exists) => {
                let ours = self.get(&id).await?.filter(|app| !plan.made_by.is_empty() && app.made_by == plan.made_by);
                ours.ok_or_else(|| RegistryError::AppExists(id.clone()))?
            }
            Err(error) => return Err(error.into()),
        };
        let missing: Vec<_> = keys.into_iter().filter(|key| !found.has_key(&key.name)).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        match self.add_keys(&id, &missing).await {
            Ok(app) => Ok(app),
            // Somebody has come with the same idempotency id.
            Err(RegistryError::KeyTaken { owner, .. }) if owner == id && !found.made_by.is_empty() => {
                self.existing(&id).await
            }
            Err(refused) => {
                if found.app.keys.is_empty() && found.revoked.is_empty() {
                    self.withdraw(found).await?;
                }
                Err(refused)
            }
        }
    }

    /// Removes an app that was created just now and is of no use, unless somebody has made it theirs.
    pub(super) async fn withdraw(&self, mut created: RegisteredApp) -> Result<(), RegistryError> {
        let id = created.app.id.clone();
        for attempt in 1..=ATTEMPTS {
            match self.apps.remove(&app_entry(&id), Some(created.revision)).await {
                Ok(_) => return Ok(()),
                Err(KvError::Conflict) => pause(attempt).await,
                Err(error) => return Err(error.into()),
            }
            // A new revision may be no more than the touch of a writer that took a claim over.
            match self.get(&id).await? {
                Some(now) if RegisteredApp { revision: created.revision, ..now.clone() } == created => created = now,
                Some(_) | None => return Ok(()),
            }
        }
        Err(RegistryError::Contended(id))
    }
}
