//! Apps and their keys as the cluster keeps them.
//!
//! Owns the stored format ([`RegisteredApp`] to bytes and back), the rules that several writers share (revisions, key
//! names unique in the whole cluster), and [`Apps`], the live copy that edges serve from. It sits in the backbone
//! because the control plane, which writes, and the edges, which watch, must read one format and yet not know each
//! other. Deliberately knows nothing of gRPC, of who may change what, or of how ids and secrets are made up.
//!
//! Two kinds of entries share the bucket: `app.{id}` holds an app with its keys, `key.{name}` says which app a key name
//! belongs to. The second exists only for uniqueness; edges never read it. `names` tells how the two are kept
//! consistent without transactions.

use std::time::Duration;

use bytes::Bytes;
use channels::{App, AppId, Capability, Key, KeyName};
use rand::Rng as _;

use crate::kv::{Entry, Kv, KvError};

mod apps;
mod change;
mod names;
mod stored;
#[cfg(test)]
mod tests;

pub use apps::{AppKey, Apps, Snapshot};
pub use change::{AppChange, PusherChange};
pub use stored::Unreadable;

/// In front of an app's id in its entry's key.
const APP_PREFIX: &str = "app.";

/// Largest stored app. A NATS server takes messages of 1 MiB unless told otherwise; half of that leaves room for what
/// a later version adds.
const MAX_STORED_BYTES: usize = 512 * 1024;

/// Most stored bytes in one page of a list, so that many large apps do not make an answer that nobody takes: a gRPC
/// message is refused above 4 MiB unless told otherwise. A page has at least one app.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// How often a change that lost to another one is tried again. Each round somebody wins, so this many writers of one
/// app at one time still all succeed.
const ATTEMPTS: u32 = 32;

/// Longest pause before the second attempt; it grows with each one, so that writers of one app fall out of step.
const RETRY_PAUSE: Duration = Duration::from_millis(4);

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

/// Some of the registered apps, ordered by id.
#[derive(Debug)]
pub struct Page {
    /// The apps.
    pub apps: Vec<RegisteredApp>,
    /// Entries between them that this process cannot read.
    pub unreadable: Vec<(AppId, Unreadable)>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<AppId>,
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
    apps: Kv,
}

impl Registry {
    /// The registry in the bucket [`Bucket::Apps`](crate::Bucket::Apps).
    pub fn new(apps: Kv) -> Self {
        Self { apps }
    }

    /// The app, if there is one.
    pub async fn get(&self, id: &AppId) -> Result<Option<RegisteredApp>, RegistryError> {
        self.apps.get(&app_entry(id)).await?.map(|entry| read(id, &entry)).transpose()
    }

    /// At most `most` apps, fewer if they are large (at least one is looked at), beginning behind `after`.
    pub async fn list(&self, after: Option<&AppId>, most: usize) -> Result<Page, RegistryError> {
        let entries = self.apps.entries().await?;
        let apps = entries.iter().filter_map(|entry| Some((app_of(&entry.key)?, entry)));
        let mut rest = apps.filter(|(id, _)| after.is_none_or(|after| id > after)).peekable();
        let mut page = Page { apps: Vec::new(), unreadable: Vec::new(), next: None };
        let mut room = MAX_PAGE_BYTES;
        let fits = |entry: &Entry, room: usize, looked_at: usize| {
            looked_at == 0 || (looked_at < most && entry.value.len() <= room)
        };
        let mut looked_at = 0;
        while let Some((id, entry)) = rest.next_if(|(_, entry)| fits(entry, room, looked_at)) {
            looked_at += 1;
            room = room.saturating_sub(entry.value.len());
            match stored::decode(&id, &entry.value, entry.revision) {
                Ok(app) => page.apps.push(app),
                Err(unreadable) => page.unreadable.push((id.clone(), unreadable)),
            }
            page.next = Some(id);
        }
        if rest.peek().is_none() {
            page.next = None;
        }
        Ok(page)
    }

    /// Registers `app` with its keys.
    ///
    /// The app is written without its keys first: a key name is only ever claimed for an app that exists (see
    /// `names`). A process that dies in between leaves an app without keys, which serves nobody.
    pub async fn create(&self, app: App, created_ms: u64) -> Result<RegisteredApp, RegistryError> {
        let keys = app.keys;
        let app = App { keys: Vec::new(), ..app };
        let mut created = RegisteredApp { app, revoked: Vec::new(), created_ms, revision: 0 };
        let id = created.app.id.clone();
        created.revision = match self.apps.create(&app_entry(&id), value(&created)?).await {
            Ok(revision) => revision,
            Err(KvError::Exists) => return Err(RegistryError::AppExists(id)),
            Err(error) => return Err(error.into()),
        };
        if keys.is_empty() {
            return Ok(created);
        }
        match self.add_keys(&id, &keys).await {
            Ok(app) => Ok(app),
            Err(refused) => {
                self.withdraw(created).await?;
                Err(refused)
            }
        }
    }

    /// Removes an app that was created just now and is of no use, unless somebody has made it theirs.
    async fn withdraw(&self, mut created: RegisteredApp) -> Result<(), RegistryError> {
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

    /// Changes settings; with a `revision`, only if that is the app's current one.
    pub async fn update(
        &self,
        id: &AppId,
        revision: Option<u64>,
        change: &AppChange,
    ) -> Result<RegisteredApp, RegistryError> {
        for attempt in 1..=ATTEMPTS {
            let current = self.existing(id).await?;
            if revision.is_some_and(|revision| revision != current.revision) {
                return Err(RegistryError::Stale { app: id.clone(), current: current.revision });
            }
            let mut changed = current.clone();
            change.apply(&mut changed.app);
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

    /// Adds a key. Of several at once that want the same name, in one app or in several, one succeeds.
    pub async fn add_key(&self, id: &AppId, key: Key) -> Result<RegisteredApp, RegistryError> {
        self.add_keys(id, &[key]).await
    }

    /// Ends a key. Revoking a revoked key changes nothing.
    pub async fn revoke_key(
        &self,
        id: &AppId,
        name: &KeyName,
        revoked_ms: u64,
    ) -> Result<RegisteredApp, RegistryError> {
        for attempt in 1..=ATTEMPTS {
            let mut app = self.existing(id).await?;
            let Some(index) = app.app.keys.iter().position(|key| key.name == *name) else {
                let revoked_before = app.revoked.iter().any(|key| key.name == *name);
                let missing = RegistryError::NoSuchKey { app: id.clone(), name: name.clone() };
                return if revoked_before { Ok(app) } else { Err(missing) };
            };
            let Key { name, capability, created_ms, .. } = app.app.keys.remove(index);
            app.revoked.push(RevokedKey { name, capability, created_ms, revoked_ms });
            if let Some(written) = self.replace(app).await? {
                return Ok(written);
            }
            pause(attempt).await;
        }
        Err(RegistryError::Contended(id.clone()))
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

    /// Adds keys, all or none.
    async fn add_keys(&self, id: &AppId, keys: &[Key]) -> Result<RegisteredApp, RegistryError> {
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

    async fn existing(&self, id: &AppId) -> Result<RegisteredApp, RegistryError> {
        self.get(id).await?.ok_or_else(|| RegistryError::NoSuchApp(id.clone()))
    }

    /// Writes `app` over its revision; `None` if that is no longer the current one.
    async fn replace(&self, mut app: RegisteredApp) -> Result<Option<RegisteredApp>, RegistryError> {
        match self.apps.update(&app_entry(&app.app.id), value(&app)?, app.revision).await {
            Ok(revision) => {
                app.revision = revision;
                Ok(Some(app))
            }
            Err(KvError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl RegisteredApp {
    /// Whether the app has, or had, a key called `name`.
    fn has_key(&self, name: &KeyName) -> bool {
        self.app.keys.iter().any(|key| key.name == *name) || self.revoked.iter().any(|key| key.name == *name)
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

/// What to store for `app`.
fn value(app: &RegisteredApp) -> Result<Bytes, RegistryError> {
    let value = stored::encode(app);
    if value.len() > MAX_STORED_BYTES { Err(RegistryError::TooLarge(app.app.id.clone())) } else { Ok(value) }
}

fn read(id: &AppId, entry: &Entry) -> Result<RegisteredApp, RegistryError> {
    stored::decode(id, &entry.value, entry.revision)
        .map_err(|source| RegistryError::Unreadable { app: id.clone(), source })
}

/// Waits a little, longer with each attempt.
async fn pause(attempt: u32) {
    let longest = RETRY_PAUSE * attempt;
    let pause = rand::rng().random_range(Duration::ZERO..=longest);
    tokio::time::sleep(pause).await;
}
