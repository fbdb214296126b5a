//! What the control plane keeps: apps, tokens, the audit log.

use std::sync::Arc;
use std::time::Duration;

use backbone::access::{AccessTokens, NewToken, Role, Scope};
use backbone::audit::{AuditLog, AuditQuery, DEFAULT_KEPT_FOR, NewAudit, Outcome};
use backbone::backup::{Backup, Part, RestoreError, RestoreOptions};
use backbone::registry::{Apps, Once, Registry, RegistryError};
use backbone::sealing::ClusterKeys;
use channels::{App, AppId, Capability, Key, KeyName, Limits, Namespaces, PusherSettings, Quota, Secret};
use testkit::{Nats, eventually, within};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{self, Nodes};

pub async fn cases(nodes: &Nodes) {
    an_app_made_on_one_node_is_listed_on_another(nodes).await;
    a_create_that_is_repeated_elsewhere_makes_one_app(nodes).await;
    a_secret_is_rotated_everywhere(nodes).await;
    any_node_may_migrate(nodes).await;
    a_token_of_one_node_is_taken_on_another(nodes).await;
    the_log_is_one(nodes).await;
}

fn keys() -> Arc<ClusterKeys> {
    Arc::new("ab".repeat(32).parse().unwrap())
}

fn registries(nodes: &Nodes) -> (Registry, Registry) {
    (Registry::new(&nodes.a, keys()), Registry::new(&nodes.b, keys()))
}

fn key(name: &str) -> Key {
    let secret = Secret::new("secret-of-a-key").unwrap();
    let name = KeyName::new(name).unwrap();
    let capability = Capability::all();
    Key { name, secret, previous: None, capability, revocable_tokens: false, created_ms: 5 }
}

fn app_called(id: AppId) -> App {
    App {
        keys: vec![key(&format!("{id}.k"))],
        name: id.to_string(),
        id,
        enabled: true,
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

fn app() -> App {
    app_called(support::app())
}

async fn ids(registry: &Registry, page: usize) -> Vec<AppId> {
    let (mut after, mut ids) = (None, Vec::new());
    loop {
        let page = registry.list(after.as_ref(), page).await.unwrap();
        ids.extend(page.apps.into_iter().map(|app| app.app.id));
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}

async fn an_app_made_on_one_node_is_listed_on_another(nodes: &Nodes) {
    let (a, b) = registries(nodes);
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(a.create(app(), 1).await.unwrap().app.id);
    }
    made.sort();
    let listed = async |page| ids(&b, page).await.into_iter().filter(|id| made.contains(id)).collect::<Vec<_>>();
    assert_eq!(listed(3).await, made);
    a.delete(&made[2]).await.unwrap();
    a.delete(&made[6]).await.unwrap();
    let left: Vec<_> = [0, 1, 3, 4, 5].map(|index| made[index].clone()).to_vec();
    assert_eq!(listed(1).await, left);
    assert_eq!(listed(100).await, left);
}

async fn a_create_that_is_repeated_elsewhere_makes_one_app(nodes: &Nodes) {
    let (a, b) = registries(nodes);
    let id_of_call = support::app().to_string();
    let once = Once::new("token", "CreateApp", &id_of_call, b"request");
    let (first, second) = tokio::join!(a.create_once(app(), 1, &once), b.create_once(app(), 2, &once));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((&first.app, first.created_ms), (&second.app, second.created_ms));
    assert_eq!(b.create_once(app(), 3, &once).await.unwrap().app, first.app);
    let other = Once::new("token", "CreateApp", &id_of_call, b"another");
    let reused = a.create_once(app(), 4, &other).await;
    assert!(matches!(reused, Err(RegistryError::IdempotencyReused)), "{reused:?}");
}

async fn a_secret_is_rotated_everywhere(nodes: &Nodes) {
    let (a, b) = registries(nodes);
    let apps = Apps::watch(b);
    let _driver = AbortOnDropHandle::new(tokio::spawn(apps.run(CancellationToken::new())));
    within("the first snapshot", apps.ready()).await;
    let created = a.create(app(), 1).await.unwrap().app;
    let name = &created.keys[0].name;
    let secret = Secret::new("another-secret").unwrap();
    a.rotate_key(&created.id, name, secret.clone(), Duration::from_secs(3600), u64::MAX / 2).await.unwrap();
    let both = || async {
        let key = apps.by_key(name.as_str())?;
        let secrets: Vec<_> = key.key().secrets(0).cloned().collect();
        (secrets == [secret.clone(), created.keys[0].secret.clone()]).then_some(())
    };
    eventually("both secrets", both).await;
}

async fn any_node_may_migrate(nodes: &Nodes) {
    let (a, b) = registries(nodes);
    let (first, second) = tokio::join!(a.migrate(), b.migrate());
    assert_eq!((first.unwrap().to, second.unwrap().to), (2, 2));
    assert_eq!(b.schema().await.unwrap(), 2);
    assert_eq!(a.seal_report().await.unwrap().plain, 0);
}

async fn a_token_of_one_node_is_taken_on_another(nodes: &Nodes) {
    let tokens = AccessTokens::watch(nodes.b.access());
    let _driver = AbortOnDropHandle::new(tokio::spawn(tokens.run(CancellationToken::new())));
    within("the tokens", tokens.ready()).await;
    let scope = Scope { role: Role::Admin, app: None };
    let new = NewToken { name: "ci".to_owned(), scope, created_by: "me".to_owned(), expires_ms: None };
    let (token, secret) = nodes.a.access().create(new, 1).await.unwrap();
    eventually("the token", || async { tokens.verify(secret.expose(), 1) }).await;
    assert!(nodes.b.access().list().await.unwrap().contains(&token));
    nodes.b.access().revoke(&token.id).await.unwrap();
    eventually("it gone", || async { tokens.verify(secret.expose(), 1).is_none().then_some(()) }).await;
}

async fn the_log_is_one(nodes: &Nodes) {
    const NOW: u64 = 1_800_000_000_000;
    let app = support::app();
    let (a, b) = (AuditLog::new(&nodes.a, DEFAULT_KEPT_FOR), AuditLog::new(&nodes.b, DEFAULT_KEPT_FOR));
    for n in 0..5 {
        let new =
            NewAudit { actor: "me".to_owned(), app: Some(app.clone()), target: n.to_string(), ..Default::default() };
        let begun = a.begin(new, NOW + n * 40_000_000).await.unwrap();
        a.finish(begun, Outcome::Done, n).await.unwrap();
    }
    let query = AuditQuery { app: Some(app), most: 3, ..AuditQuery::default() };
    let targets = |page: &backbone::audit::AuditPage| -> Vec<_> {
        page.entries.iter().map(|entry| (entry.target.clone(), entry.outcome.clone())).collect()
    };
    let page = |texts: &[&str]| -> Vec<_> { texts.iter().map(|text| ((*text).to_owned(), Outcome::Done)).collect() };
    let first = b.list(&query, NOW + 200_000_000).await.unwrap();
    assert_eq!(targets(&first), page(&["4", "3", "2"]));
    let second = b.list(&AuditQuery { before: first.next, ..query }, NOW + 200_000_000).await.unwrap();
    assert_eq!((targets(&second), second.next), (page(&["1", "0"]), None));
}

/// A whole cluster is lost, and another one takes its place.
pub async fn a_registry_moves_to_an_empty_cluster() {
    let (old, new) = (Nats::start().await, Nats::start().await);
    let connect = async |nats: &Nats| support::connect(&support::config(1), vec![nats.url()]).await;
    let (from, to) = (connect(&old).await, connect(&new).await);
    let (source, target) = (Registry::new(&from, keys()), Registry::new(&to, keys()));
    for n in 0..50 {
        source.create(app_called(AppId::new(&n.to_string()).unwrap()), n).await.unwrap();
    }
    let revoked = KeyName::new("7.k").unwrap();
    source.revoke_key(&AppId::new("7").unwrap(), &revoked, 9).await.unwrap();
    let scope = Scope { role: Role::Reader, app: Some(AppId::new("7").unwrap()) };
    let new_token = NewToken { name: "ci".to_owned(), scope, created_by: "me".to_owned(), expires_ms: None };
    let (_, secret) = from.access().create(new_token, 1).await.unwrap();
    let log = AuditLog::new(&from, DEFAULT_KEPT_FOR);
    let begun = log.begin(NewAudit { actor: "me".to_owned(), ..NewAudit::default() }, 1_000).await.unwrap();
    log.finish(begun, Outcome::Done, 1).await.unwrap();
    let file: String = Backup::take(&from, &source, &[Part::Audit], 2_000).await.unwrap().lines().collect();
    drop(old);

    let backup = Backup::read(file.as_bytes()).unwrap();
    let restored = backup.restore(&to, &target, &RestoreOptions::default(), 2_000).await.unwrap();
    assert_eq!(restored.written.values().copied().collect::<Vec<_>>(), [50, 1, 1]);
    let apps = Apps::watch(target.clone());
    let tokens = AccessTokens::watch(to.access());
    let stop = CancellationToken::new();
    let _drivers = [
        AbortOnDropHandle::new(tokio::spawn(apps.run(stop.clone()))),
        AbortOnDropHandle::new(tokio::spawn(tokens.run(stop.clone()))),
    ];
    within("the apps and tokens", async { tokio::join!(apps.ready(), tokens.ready()) }).await;
    assert_eq!((apps.snapshot().len(), apps.snapshot().unreadable()), (50, 0));
    assert_eq!(apps.by_key("8.k").unwrap().key(), &key("8.k"));
    assert!(apps.by_key("7.k").is_none() && tokens.verify(secret.expose(), 1).is_some());
    let page = AuditLog::new(&to, DEFAULT_KEPT_FOR).list(&AuditQuery { most: 9, ..Default::default() }, 2_000).await;
    assert_eq!(page.unwrap().entries.len(), 1);
    let taken = target.add_key(&AppId::new("1").unwrap(), key("7.k")).await;
    assert!(matches!(taken, Err(RegistryError::KeyTaken { .. })), "{taken:?}");
    let again = backup.restore(&to, &target, &RestoreOptions::default(), 2_000).await;
    assert!(matches!(again, Err(RestoreError::NotEmpty { apps: 50, tokens: 1 })), "{again:?}");
}
