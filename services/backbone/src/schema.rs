//! The schema of what the registry stores: which version it is at, and bringing an older one up to date.
//!
//! The version is an entry of its own in [`Bucket::Cluster`](crate::Bucket::Cluster), beside the format in each value:
//! readers go by the format, and can read every one that there was; the schema says what the cluster as a whole has come
//! to, so that a process which is too old for it is told so before it changes anything.
//!
//! | version | what changed |
//! |---------|--------------|
//! | 1       | there is no such entry; secrets of apps are stored as they are |
//! | 2       | secrets of apps are sealed |

use channels::AppId;
use prost::Message as _;
use proto::backbone::Schema;

use crate::kv::KvError;
use crate::registry::{Registry, RegistryError, Unreadable};

/// The version that this process knows, and brings older ones to.
pub const SCHEMA: u32 = 2;

/// The key of the entry.
const KEY: &str = "schema";

/// How often a migration that another process was quicker with is looked at again.
const ATTEMPTS: u32 = 8;

/// What a migration has done.
#[derive(Debug)]
pub struct Migrated {
    /// The version that was found.
    pub from: u32,
    /// The version now.
    pub to: u32,
    /// Apps that were rewritten.
    pub rewritten: usize,
    /// Apps that this process cannot read, and why; they were left as they are.
    pub unreadable: Vec<(AppId, Unreadable)>,
}

/// Why the schema is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A newer version of Fanfare has been here.
    #[error("the registry is at schema {0}, and this process knows only those up to {SCHEMA}; use a newer fanfare")]
    Newer(u32),
    /// The entry cannot be read.
    #[error("the entry that tells the registry's schema is damaged")]
    Damaged,
    /// The registry failed. Trying again is safe.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

impl From<KvError> for SchemaError {
    fn from(error: KvError) -> Self {
        Self::Registry(error.into())
    }
}

impl Registry {
    /// The registry's schema, which this process can work with; of one that was never brought to a version, 1.
    pub async fn schema(&self) -> Result<u32, SchemaError> {
        Ok(self.schema_entry().await?.0)
    }

    /// Brings the registry to [`SCHEMA`]: rewrites whatever is of an older form. Any number of processes may do so at
    /// once, and again at any time; apps can be read and written meanwhile.
    pub async fn migrate(&self) -> Result<Migrated, SchemaError> {
        let mut rewritten = 0;
        for _ in 0..ATTEMPTS {
            let (from, revision) = self.schema_entry().await?;
            // Also at the present version: a process of an older one, started since, may have made apps.
            let modern = self.modernise().await?;
            rewritten += modern.apps;
            let migrated = Migrated { from, to: SCHEMA, rewritten, unreadable: modern.unreadable };
            if from == SCHEMA {
                return Ok(migrated);
            }
            let value = Schema { version: SCHEMA }.encode_to_vec().into();
            let written = match revision {
                None => self.cluster.create(KEY, value).await,
                Some(revision) => self.cluster.update(KEY, value, revision).await,
            };
            match written {
                Ok(_) => return Ok(migrated),
                // Another one was quicker.
                Err(KvError::Exists | KvError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(KvError::Conflict.into())
    }

    /// The version, and the entry's revision if there is one.
    async fn schema_entry(&self) -> Result<(u32, Option<u64>), SchemaError> {
        let Some(entry) = self.cluster.get(KEY).await? else { return Ok((1, None)) };
        let Schema { version } = Schema::decode(entry.value).map_err(|_| SchemaError::Damaged)?;
        match version {
            0 => Err(SchemaError::Damaged),
            1..=SCHEMA => Ok((version, Some(entry.revision))),
            newer => Err(SchemaError::Newer(newer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::sealing::ClusterKeys;
    use crate::{Backbone, Bucket, Config};

    /// An app with the key `k` and the secret `a-known-secret` as it was stored at schema 1.
    fn plain_app(id: &str) -> Bytes {
        let mut app = b"\x08\x01\x12\x01".to_vec();
        app.extend(id.as_bytes());
        app.extend(b"\x1a\x04demo\x20\x01\x2a\x1d\x0a\x01k\x12\x0ea-known-secret\x1a\x06\x0a\x01*\x12\x01*\x20\x05");
        app.into()
    }

    async fn old_registry(apps: &[&str]) -> (Backbone, Registry) {
        let backbone = Backbone::memory(&Config::default());
        for id in apps {
            backbone.kv(Bucket::Apps).put(&format!("app.{id}"), plain_app(id)).await.unwrap();
        }
        let registry = Registry::new(&backbone, Arc::new(ClusterKeys::generate()));
        (backbone, registry)
    }

    async fn is_plain(backbone: &Backbone, id: &str) -> bool {
        let stored = backbone.kv(Bucket::Apps).get(&format!("app.{id}")).await.unwrap().unwrap().value;
        stored.windows(14).any(|bytes| bytes == b"a-known-secret")
    }

    #[tokio::test]
    async fn an_old_registry_is_brought_up_to_date() {
        let (backbone, registry) = old_registry(&["1", "2"]).await;
        assert_eq!(registry.schema().await.unwrap(), 1);
        let before = registry.list(None, 9).await.unwrap().apps;
        assert_eq!(before[0].app.keys[0].secret.expose(), "a-known-secret");
        let migrated = registry.migrate().await.unwrap();
        assert_eq!((migrated.from, migrated.to, migrated.rewritten), (1, 2, 2));
        assert!(!is_plain(&backbone, "1").await && !is_plain(&backbone, "2").await);
        let after = registry.list(None, 9).await.unwrap().apps;
        assert!(before.iter().map(|app| &app.app).eq(after.iter().map(|app| &app.app)));
        assert_eq!(registry.schema().await.unwrap(), 2);
        let again = registry.migrate().await.unwrap();
        assert_eq!((again.from, again.rewritten), (2, 0));
        assert!(registry.list(None, 9).await.unwrap().apps.iter().eq(&after), "nothing may be written twice");
    }

    #[tokio::test]
    async fn an_app_that_cannot_be_read_is_left_alone() {
        let (backbone, registry) = old_registry(&["1"]).await;
        backbone.kv(Bucket::Apps).put("app.bad", Bytes::from_static(b"rubbish")).await.unwrap();
        let migrated = registry.migrate().await.unwrap();
        assert_eq!((migrated.rewritten, migrated.unreadable.len()), (1, 1));
        assert_eq!(backbone.kv(Bucket::Apps).get("app.bad").await.unwrap().unwrap().value, "rubbish");
    }

    #[tokio::test]
    async fn an_app_that_an_old_process_made_since_is_rewritten_too() {
        let (backbone, registry) = old_registry(&[]).await;
        registry.migrate().await.unwrap();
        backbone.kv(Bucket::Apps).put("app.1", plain_app("1")).await.unwrap();
        assert_eq!(registry.migrate().await.unwrap().rewritten, 1);
        assert!(!is_plain(&backbone, "1").await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn several_may_migrate_while_others_write() {
        let ids: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let (backbone, registry) = old_registry(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let migrations: Vec<_> = (0..4)
            .map(|_| {
                let registry = registry.clone();
                tokio::spawn(async move { registry.migrate().await.unwrap() })
            })
            .collect();
        for id in &ids {
            let change = crate::registry::AppChange { enabled: Some(false), ..Default::default() };
            registry.update(&AppId::new(id).unwrap(), None, &change).await.unwrap();
        }
        for migration in migrations {
            migration.await.unwrap();
        }
        let apps = registry.list(None, 99).await.unwrap();
        assert_eq!((apps.apps.len(), apps.unreadable.len()), (9, 0));
        assert!(apps.apps.iter().all(|app| !app.app.enabled && app.app.keys.len() == 1));
        for id in &ids {
            assert!(!is_plain(&backbone, id).await);
        }
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let (backbone, registry) = old_registry(&["1"]).await;
        let newer = Schema { version: SCHEMA + 1 }.encode_to_vec().into();
        backbone.kv(Bucket::Cluster).put(KEY, newer).await.unwrap();
        assert!(matches!(registry.schema().await, Err(SchemaError::Newer(3))));
        assert!(matches!(registry.migrate().await, Err(SchemaError::Newer(3))));
        assert!(is_plain(&backbone, "1").await, "nothing may be touched");
    }
}
