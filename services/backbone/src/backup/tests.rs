use std::sync::Arc;
use std::time::Duration;

use channels::WebhookEvents;
use channels::{App, AppId, Capability, Key, KeyName, Limits, Namespaces, PusherSettings, Quota, Secret, Webhook};
use proptest::prelude::*;

use super::*;
use crate::Config;
use crate::access::{NewToken, Role, Scope};
use crate::audit::{AuditLog, AuditQuery, NewAudit, Outcome};
use crate::registry::{RegisteredApp, RegistryError};
use crate::sealing::ClusterKeys;

const NOW: u64 = 1_800_000_000_000;

fn keys(bytes: &str) -> Arc<ClusterKeys> {
    let keys: Vec<_> = bytes.split(' ').map(|byte| byte.repeat(32)).collect();
    Arc::new(keys.join(",").parse().unwrap())
}

struct World {
    backbone: Backbone,
    registry: Registry,
}

impl World {
    fn new(cluster_keys: &str) -> Self {
        let backbone = Backbone::memory(&Config::default());
        let registry = Registry::new(&backbone, keys(cluster_keys));
        Self { backbone, registry }
    }

    async fn add(&self, app: App) -> RegisteredApp {
        self.registry.create(app, 7).await.unwrap()
    }

    async fn apps(&self) -> Vec<App> {
        self.registry.list(None, 1_000).await.unwrap().apps.into_iter().map(|app| app.app).collect()
    }

    async fn backup(&self, optional: &[Part]) -> Backup {
        Backup::take(&self.backbone, &self.registry, optional, NOW).await.unwrap()
    }

    async fn restore(&self, backup: &Backup, overwrite: bool) -> Result<Restored, RestoreError> {
        let options = RestoreOptions { overwrite, ..RestoreOptions::default() };
        backup.restore(&self.backbone, &self.registry, &options, NOW).await
    }

    async fn everything(&self) -> Vec<(Bucket, String, Bytes)> {
        let mut all = Vec::new();
        for bucket in [Bucket::Apps, Bucket::Access, Bucket::Audit, Bucket::Usage, Bucket::DeadLetters] {
            let entries = self.backbone.kv(bucket).entries().await.unwrap();
            all.extend(entries.into_iter().map(|entry| (bucket, entry.key, entry.value)));
        }
        all
    }

    async fn token(&self, name: &str) -> Secret {
        let scope = Scope { role: Role::Admin, app: None };
        let new = NewToken { name: name.to_owned(), scope, created_by: "me".to_owned(), expires_ms: None };
        self.backbone.access().create(new, NOW).await.unwrap().1
    }
}

fn id(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

fn key(name: &str) -> Key {
    let secret = Secret::new(&format!("secret-of-{name}")).unwrap();
    let name = KeyName::new(name).unwrap();
    let capability = Capability::all();
    Key { name, secret, previous: None, capability, revocable_tokens: false, created_ms: 5 }
}

fn app(name: &str) -> App {
    let webhook = Webhook {
        id: "w".to_owned(),
        url: "https://example.com/".to_owned(),
        events: WebhookEvents::ALL,
        prefix: String::new(),
        batch: None,
        headers: vec![("X-Token".to_owned(), "secret-header".to_owned())],
    };
    App {
        id: id(name),
        name: name.to_owned(),
        enabled: true,
        keys: vec![key(&format!("k{name}")), key(&format!("r{name}"))],
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota { connections: Some(9), ..Quota::default() },
        namespaces: Namespaces::default(),
        webhooks: vec![webhook],
    }
}

fn file(backup: &Backup) -> String {
    backup.lines().collect()
}

async fn some_apps(world: &World) {
    for n in ["1", "2", "3"] {
        world.add(app(n)).await;
        world.registry.revoke_key(&id(n), &KeyName::new(&format!("r{n}")).unwrap(), 9).await.unwrap();
    }
}

#[tokio::test]
async fn a_restored_registry_is_the_same() {
    let old = World::new("ab");
    some_apps(&old).await;
    let token = old.token("ci").await;
    let file = file(&old.backup(&[]).await);
    assert!(!file.contains("secret-") && !file.contains(token.expose()));
    let backup = Backup::read(file.as_bytes()).unwrap();
    assert_eq!(backup.cluster_keys().collect::<Vec<_>>(), keys("ab").ids().collect::<Vec<_>>());
    assert_eq!(backup.counts(), BTreeMap::from([(Part::Apps, 3), (Part::Access, 1)]));

    let new = World::new("ab");
    let restored = new.restore(&backup, false).await.unwrap();
    assert_eq!((restored.written, restored.removed), (backup.counts(), 0));
    assert_eq!(new.apps().await, old.apps().await);
    assert_eq!(new.everything().await, old.everything().await, "claims included");
    assert_eq!(new.backbone.access().list().await.unwrap().len(), 1);
    // Key names are as taken as they were.
    for taken in ["k1", "r1"] {
        let refused = new.registry.add_key(&id("2"), key(taken)).await;
        assert!(matches!(refused, Err(RegistryError::KeyTaken { owner, .. }) if owner == id("1")));
    }
}

#[tokio::test]
async fn a_registry_with_something_in_it_is_replaced_only_if_asked() {
    let old = World::new("ab");
    some_apps(&old).await;
    let backup = old.backup(&[]).await;
    let new = World::new("ab");
    new.add(App { enabled: false, ..app("2") }).await;
    new.add(app("other")).await;
    new.token("other").await;
    let before = new.everything().await;
    let refused = new.restore(&backup, false).await;
    assert!(matches!(refused, Err(RestoreError::NotEmpty { apps: 2, tokens: 1 })), "{refused:?}");
    assert_eq!(new.everything().await, before);
    let restored = new.restore(&backup, true).await.unwrap();
    assert_eq!(restored.removed, 2);
    assert_eq!(new.everything().await, old.everything().await);
    assert_eq!(new.restore(&backup, true).await.unwrap().removed, 0, "again changes nothing");
    assert_eq!(new.everything().await, old.everything().await);
}

#[tokio::test]
async fn without_its_cluster_key_it_is_refused() {
    let old = World::new("ab");
    some_apps(&old).await;
    let backup = old.backup(&[]).await;
    let new = World::new("cd");
    let refused = new.restore(&backup, false).await.unwrap_err();
    assert!(refused.to_string().contains(&keys("ab").ids().next().unwrap().to_string()), "{refused}");
    assert!(matches!(refused, RestoreError::MissingKeys(_)));
    assert_eq!(new.everything().await, []);
    let both = World::new("cd ab");
    both.restore(&backup, false).await.unwrap();
    assert_eq!(both.apps().await, old.apps().await);
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_and_said() {
    let world = World::new("ab");
    some_apps(&world).await;
    world.backbone.kv(Bucket::Apps).put("app.bad", Bytes::from_static(b"rubbish")).await.unwrap();
    let backup = world.backup(&[]).await;
    assert_eq!(backup.counts()[&Part::Apps], 3);
    assert!(backup.left_out()[0].starts_with("app.bad: "), "{:?}", backup.left_out());
    // An app whose cluster key is not here may be read elsewhere.
    let elsewhere = Registry::new(&world.backbone, keys("cd"));
    let backup = Backup::take(&world.backbone, &elsewhere, &[], NOW).await.unwrap();
    assert_eq!((backup.counts()[&Part::Apps], backup.cluster_keys().next()), (3, keys("ab").ids().next()));
}

#[tokio::test]
async fn other_parts_come_along_if_wanted() {
    let old = World::new("ab");
    some_apps(&old).await;
    let log = AuditLog::new(&old.backbone, Duration::from_secs(3_600));
    for time_ms in [NOW - 1_000, NOW - 200 * 24 * 3_600 * 1_000] {
        let new = NewAudit { actor: "me".to_owned(), method: "CreateApp".to_owned(), ..NewAudit::default() };
        log.finish(log.begin(new, time_ms).await.unwrap(), Outcome::Done, 1).await.unwrap();
    }
    let hour = |ago_ms: u64| format!("hour.1.{}", (NOW - ago_ms) / 3_600_000 * 60);
    let (recent, old_one) = (hour(3_600_000), hour(100 * 24 * 3_600_000));
    for key in [&recent, &old_one, "folded"] {
        old.backbone.kv(Bucket::Usage).put(key, Bytes::from_static(b"u")).await.unwrap();
    }
    old.backbone.kv(Bucket::DeadLetters).put("1.x", Bytes::from_static(b"d")).await.unwrap();
    let backup = Backup::read(file(&old.backup(&Part::OPTIONAL).await).as_bytes()).unwrap();
    let new = World::new("ab");
    let written = new.restore(&backup, false).await.unwrap().written;
    let counts = [Part::Audit, Part::Usage, Part::DeadLetters].map(|part| (backup.counts()[&part], written[&part]));
    assert_eq!(counts, [(2, 1), (3, 2), (1, 1)], "what is too old to be kept is not written");
    let log = AuditLog::new(&new.backbone, Duration::from_secs(3_600));
    let page = log.list(&AuditQuery { most: 9, ..AuditQuery::default() }, NOW).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    let usage = new.backbone.kv(Bucket::Usage);
    assert_eq!(usage.get(&recent).await.unwrap().unwrap().value, "u");
    assert!(usage.get("folded").await.unwrap().is_some() && usage.get(&old_one).await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_that_is_not_whole_is_refused() {
    let world = World::new("ab");
    some_apps(&world).await;
    let file = file(&world.backup(&[]).await);
    let refused = |file: &str| Backup::read(file.as_bytes()).unwrap_err();
    assert_eq!(refused(""), InvalidBackup::Foreign);
    assert_eq!(refused("{\"a\":1}\n"), InvalidBackup::Foreign);
    assert_eq!(refused(&file.replacen("\"version\":1", "\"version\":2", 1)), InvalidBackup::Newer(2));
    let lines: Vec<&str> = file.split_inclusive('\n').collect();
    assert_eq!(refused(&lines[..3].concat()), InvalidBackup::Truncated);
    assert_eq!(refused(&file[..file.len() / 2]), InvalidBackup::Truncated);
    assert_eq!(refused(&[lines[0], lines[2], lines[3], lines[4]].concat()), InvalidBackup::Checksum);
    assert_eq!(refused(&[lines[0], lines[2], lines[1], lines[3], lines[4]].concat()), InvalidBackup::Checksum);
    assert_eq!(refused(&format!("{file}{}", lines[1])), InvalidBackup::Checksum);
    assert_eq!(refused(&file.replace("app.2", "app.4")), InvalidBackup::Checksum);
    assert_eq!(refused(&file.replacen("{\"part\"", "{\"trap\"", 1)), InvalidBackup::Line(2));
}

#[tokio::test]
async fn an_entry_that_does_not_belong_there_is_refused() {
    let world = World::new("ab");
    some_apps(&world).await;
    let good = world.backup(&[]).await;
    let new = World::new("ab");
    let refused = async |spoil: &dyn Fn(&mut Backup)| {
        let mut backup = good.clone();
        spoil(&mut backup);
        let backup = Backup::read(file(&backup).as_bytes()).unwrap();
        let refused = new.restore(&backup, true).await.unwrap_err();
        assert_eq!(new.everything().await, []);
        refused
    };
    let moved = refused(&|backup| backup.entries[0].key = "app.9".to_owned()).await;
    assert!(matches!(moved, RestoreError::Unreadable { .. }), "{moved:?}");
    let odd = refused(&|backup| backup.entries[0].part = Part::Access).await;
    assert!(matches!(odd, RestoreError::Entry(_)), "{odd:?}");
    let unannounced = refused(&|backup| backup.entries[0].part = Part::Usage).await;
    assert!(matches!(unannounced, RestoreError::Entry(_)), "{unannounced:?}");
    let newer = refused(&|backup| backup.head.schema = 3).await;
    assert!(matches!(newer, RestoreError::NewerSchema(3)), "{newer:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_a_backup_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Backup::read(&bytes).is_err());
    }
}
