//! Making a registry what a backup says.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use bytes::Bytes;
use clock::millis;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Backup, Part, Saved};
use crate::audit::{self, AuditId};
use crate::kv::{Entry, Kv, KvError};
use crate::registry::{RegisteredApp, Registry, Unreadable, claims, is_app};
use crate::schema::{SCHEMA, SchemaError};
use crate::sealing::ClusterKeyId;
use crate::usage::{self, Kept};
use crate::{Backbone, access};

/// Writes under way at one time.
const WRITES_AT_ONCE: usize = 32;

/// How to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Whether a registry with something in it is made what the backup says: what is not in the backup is removed.
    pub overwrite: bool,
    /// How long entries of the audit log are kept, counted from when they were written.
    pub audit_kept_for: Duration,
    /// How long usage is kept, counted from when it was.
    pub usage_kept: Kept,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self { overwrite: false, audit_kept_for: audit::DEFAULT_KEPT_FOR, usage_kept: Kept::default() }
    }
}

/// What a restore has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries written, by part. Entries that are too old to be kept are not.
    pub written: BTreeMap<Part, usize>,
    /// Apps and tokens removed because they are not in the backup.
    pub removed: usize,
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It needs cluster keys that this process was not given. Nothing was changed.
    #[error("this backup is sealed with cluster keys that this process was not given: {}", list(.0))]
    MissingKeys(Vec<ClusterKeyId>),
    /// It is of a newer version. Nothing was changed.
    #[error("this backup is at schema {0}, and this process knows only those up to {SCHEMA}; use a newer fanfare")]
    NewerSchema(u32),
    /// There is something in the registry. Nothing was changed.
    #[error("the registry has {apps} apps and {tokens} tokens; they are replaced only if that is asked for")]
    NotEmpty {
        /// Apps in it.
        apps: usize,
        /// Tokens of the control plane in it.
        tokens: usize,
    },
    /// An app in it cannot be read. Nothing was changed.
    #[error("app {app} in this backup cannot be read: {source}")]
    Unreadable {
        /// The app.
        app: String,
        /// Why not.
        source: Unreadable,
    },
    /// An entry of another kind in it cannot be read. Nothing was changed.
    #[error("the entry {0:?} in this backup cannot be read")]
    Entry(String),
    /// The registry's schema is not one that this process can work with.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The backbone failed; some of the backup may be restored. Restoring it again, with `overwrite`, is safe.
    #[error("the backbone did not answer; the backup is not restored in full")]
    Backbone(#[from] KvError),
}

fn list(ids: &[ClusterKeyId]) -> String {
    ids.iter().map(ClusterKeyId::to_string).collect::<Vec<_>>().join(", ")
}

/// An entry to be written, for a while if it goes by itself.
struct Write {
    key: String,
    value: Bytes,
    ttl: Option<Duration>,
}

impl Backup {
    /// Makes the registry what this backup says. Nothing is changed unless all of it can be used.
    ///
    /// To be done while nobody else changes the registry: what is changed meanwhile may be lost.
    pub async fn restore(
        &self,
        backbone: &Backbone,
        registry: &Registry,
        options: &RestoreOptions,
        now_ms: u64,
    ) -> Result<Restored, RestoreError> {
        let apps = self.check(registry).await?;
        let kept = backbone.kv(Part::Apps.bucket()).entries().await?;
        let tokens = backbone.kv(Part::Access.bucket()).entries().await?;
        let count = kept.iter().filter(|entry| is_app(&entry.key)).count();
        if !options.overwrite && (count > 0 || !tokens.is_empty()) {
            return Err(RestoreError::NotEmpty { apps: count, tokens: tokens.len() });
        }
        let mut restored = Restored::default();
        // Claims first: an app that is served before its key names are claimed could lose one to another.
        let claims: Vec<_> = claims(&apps).map(|(key, value)| Write { key, value, ttl: None }).collect();
        let staying: HashSet<String> =
            self.entries.iter().map(|entry| &entry.key).chain(claims.iter().map(|claim| &claim.key)).cloned().collect();
        write_all(&backbone.kv(Part::Apps.bucket()), claims).await?;
        for part in &self.head.parts {
            let kv = backbone.kv(part.bucket());
            let of_part = self.entries.iter().filter(|entry| entry.part == *part);
            let writes: Vec<_> = of_part.filter_map(|entry| write(entry, options, now_ms)).collect();
            restored.written.insert(*part, writes.len());
            write_all(&kv, writes).await?;
        }
        for (part, entries) in [(Part::Apps, kept), (Part::Access, tokens)] {
            let gone: Vec<_> = entries.into_iter().filter(|entry| !staying.contains(&entry.key)).collect();
            restored.removed += gone.iter().filter(|entry| part == Part::Access || is_app(&entry.key)).count();
            remove_all(&backbone.kv(part.bucket()), gone).await?;
        }
        // What an older version has backed up is brought up to date.
        registry.migrate().await?;
        Ok(restored)
    }

    /// Checks that everything in it can be used; gives the apps.
    async fn check(&self, registry: &Registry) -> Result<Vec<RegisteredApp>, RestoreError> {
        if self.head.schema > SCHEMA {
            return Err(RestoreError::NewerSchema(self.head.schema));
        }
        registry.schema().await?;
        let missing: BTreeSet<_> = self.cluster_keys().filter(|id| !registry.knows_key(*id)).collect();
        if !missing.is_empty() {
            return Err(RestoreError::MissingKeys(missing.into_iter().collect()));
        }
        let mut apps = Vec::new();
        for Saved { part, key, value } in &self.entries {
            let entry = Entry { key: key.clone(), value: value.clone(), revision: 0 };
            let sound = match part {
                Part::Apps => match registry.app_in(&entry) {
                    Some(Ok(app)) => {
                        apps.push(app);
                        true
                    }
                    Some(Err(source)) => return Err(RestoreError::Unreadable { app: key.clone(), source }),
                    None => false,
                },
                Part::Access => access::is_token(&entry),
                Part::Audit | Part::Usage | Part::DeadLetters => crate::kv::check(key).is_ok(),
            };
            if !sound || !self.head.parts.contains(part) {
                return Err(RestoreError::Entry(key.clone()));
            }
        }
        Ok(apps)
    }
}

/// What to write for an entry; `None` if it is too old to be kept.
fn write(Saved { part, key, value }: &Saved, options: &RestoreOptions, now_ms: u64) -> Option<Write> {
    let until_ms = match part {
        Part::Apps | Part::Access | Part::DeadLetters => None,
        Part::Usage => usage::kept_until_ms(key, options.usage_kept),
        Part::Audit => {
            let kept_ms = millis(options.audit_kept_for);
            let written_ms = AuditId::new(key.rsplit('.').next()?).ok()?.time_ms();
            Some(written_ms.saturating_add(kept_ms))
        }
    };
    let ttl = match until_ms {
        Some(until_ms) => {
            let rest = Duration::from_millis(until_ms.saturating_sub(now_ms));
            Some(rest).filter(|rest| *rest >= Duration::from_secs(1)).map(Some)?
        }
        None => None,
    };
    Some(Write { key: key.clone(), value: value.clone(), ttl })
}

async fn write_all(kv: &Kv, writes: Vec<Write>) -> Result<(), KvError> {
    let write = async |Write { key, value, ttl }: Write| match ttl {
        Some(ttl) => kv.put_expiring(&key, value, ttl).await,
        None => kv.put(&key, value).await,
    };
    stream::iter(writes).map(write).buffer_unordered(WRITES_AT_ONCE).try_for_each(|_| std::future::ready(Ok(()))).await
}

async fn remove_all(kv: &Kv, entries: Vec<Entry>) -> Result<(), KvError> {
    let remove = async |entry: Entry| kv.remove(&entry.key, None).await;
    stream::iter(entries)
        .map(remove)
        .buffer_unordered(WRITES_AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await
}
