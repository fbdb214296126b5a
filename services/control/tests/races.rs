//! Several callers at once, on two replicas of the control plane, and what edges see of it: in process, and between two
//! processes' connections to a NATS server.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use std::time::Duration;

use backbone::registry::{Apps, Snapshot};
use backbone::{Backbone, Config, NatsConfig};
use channels::AppId;
use control::seed::{Applied, Seed};
use proto::control as wire;
use support::{Client, Plane, config, new_key};
use testkit::{Nats, eventually, within};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};

/// How often each race is run.
const ROUNDS: usize = 20;

/// Two replicas and a client of each.
struct Replicas {
    first: Plane,
    second: Plane,
    a: Client,
    b: Client,
}

/// All cases share the registry, so each has ids of its own.
async fn races(first: &Backbone, second: &Backbone) {
    let first = Plane::start_with(config(), first).await;
    let second = Plane::start_with(config(), second).await;
    let mut replicas = Replicas { a: first.client().await, b: second.client().await, first, second };
    of_two_updates_from_one_revision_one_wins(&mut replicas).await;
    of_two_creators_of_one_key_name_one_wins(&mut replicas).await;
    of_two_creators_of_one_app_one_wins(&mut replicas).await;
    Box::pin(a_name_wanders_between_apps_that_come_and_go(&mut replicas)).await;
    a_change_without_a_revision_always_lands(&replicas).await;
    many_may_seed_at_once(&replicas).await;
    edges_see_every_change(replicas).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process() {
    let backbone = Backbone::memory(&Config::default());
    Box::pin(races(&backbone, &backbone)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_nats_server() {
    let nats = Nats::start().await;
    let config = Config { shards: 1, replicas: 1, ..Config::default() };
    let connection = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
    let connect = || async { Backbone::connect(&config, &connection).await.ok() };
    let first = eventually("the backbone to start", connect).await;
    let second = eventually("the backbone to start", connect).await;
    Box::pin(races(&first, &second)).await;
}

/// How many succeeded; the others were refused with `code`.
fn winners<T>(results: impl IntoIterator<Item = Result<T, Status>>, code: Code) -> usize {
    let count = |result: Result<T, Status>| match result {
        Ok(_) => 1,
        Err(status) => {
            assert_eq!(status.code(), code, "{status:?}");
            0
        }
    };
    results.into_iter().map(count).sum()
}

/// Waits until the snapshot is as `expected`.
async fn until(apps: &Apps, what: &str, expected: impl Fn(&Snapshot) -> bool) {
    let mut changed = apps.changed();
    let seen = async {
        while !expected(&apps.snapshot()) {
            changed.changed().await.unwrap();
        }
    };
    within(what, seen).await;
}

async fn of_two_updates_from_one_revision_one_wins(Replicas { a, b, .. }: &mut Replicas) {
    let mut revision = a.create_plain("updated").await.revision;
    for round in 0..ROUNDS {
        let rename = |who: &str| {
            let app = wire::App { id: "updated".to_owned(), name: format!("{who}{round}"), ..Default::default() };
            wire::UpdateAppRequest { app: Some(app), revision, ..Default::default() }
        };
        let (one, two) = tokio::join!(a.update(rename("a")), b.update(rename("b")));
        let written = one.clone().or(two.clone()).unwrap();
        assert_eq!(winners([one, two], Code::Aborted), 1);
        assert_eq!(a.get("updated").await.unwrap(), written);
        revision = written.revision;
    }
}

async fn of_two_creators_of_one_key_name_one_wins(Replicas { a, b, .. }: &mut Replicas) {
    for app in ["left", "right"] {
        a.create_plain(app).await;
    }
    for round in 0..ROUNDS {
        let name = format!("contested-{round}");
        // In even rounds in two apps, in odd ones in one.
        let other = if round % 2 == 0 { "right" } else { "left" };
        let (one, two) = tokio::join!(a.create_key("left", new_key(&name)), b.create_key(other, new_key(&name)));
        assert_eq!(winners([one, two], Code::AlreadyExists), 1);
        let mut owners = 0;
        for app in ["left", "right"] {
            owners += a.get(app).await.unwrap().keys.iter().filter(|key| key.name == name).count();
        }
        assert_eq!(owners, 1);
    }
}

async fn of_two_creators_of_one_app_one_wins(Replicas { a, b, .. }: &mut Replicas) {
    for round in 0..ROUNDS {
        let request = || support::plain(&format!("new-{round}"));
        let (one, two) = tokio::join!(a.create(request()), b.create(request()));
        assert_eq!(winners([one, two], Code::AlreadyExists), 1);
        assert_eq!(a.get(&format!("new-{round}")).await.unwrap().keys.len(), 1);
    }
}

/// Apps that hold the wanted name are deleted while others reach for it: the claims that are left behind, half-made
/// and taken over must never let two apps have the name.
async fn a_name_wanders_between_apps_that_come_and_go(Replicas { a, b, .. }: &mut Replicas) {
    let wander = |mut client: Client, id: &'static str| async move {
        for _ in 0..ROUNDS {
            let request =
                wire::CreateAppRequest { id: id.to_owned(), key: Some(new_key("wanted")), ..Default::default() };
            let created = client.create(request).await;
            if winners([created], Code::AlreadyExists) == 1 {
                client.delete(id).await.unwrap();
            }
        }
    };
    let watch = |mut client: Client| async move {
        for _ in 0..ROUNDS {
            let apps = client.list(1_000, "").await.unwrap().apps;
            let owners = apps.iter().filter(|app| app.keys.iter().any(|key| key.name == "wanted")).count();
            // The list is no single moment, so an app that is just going and the next owner may both be in it.
            assert!(owners <= 2, "{apps:?}");
        }
    };
    tokio::join!(
        wander(a.clone(), "wander-1"),
        wander(b.clone(), "wander-2"),
        wander(a.clone(), "wander-3"),
        watch(b.clone())
    );
    let left = a.list(1_000, "").await.unwrap().apps;
    assert!(left.iter().all(|app| !app.id.starts_with("wander-")), "refused and deleted apps are gone: {left:?}");
    let request = wire::CreateAppRequest { key: Some(new_key("wanted")), ..Default::default() };
    let owner = a.create(request).await.unwrap().app.unwrap();
    let again = wire::CreateAppRequest { key: Some(new_key("wanted")), ..Default::default() };
    support::refused(b.create(again).await, Code::AlreadyExists, &format!("taken by app {}", owner.id));
}

async fn a_change_without_a_revision_always_lands(Replicas { a, b, .. }: &Replicas) {
    a.clone().create_plain("busy").await;
    let tasks = (0..ROUNDS).map(|n| {
        let mut client = if n % 2 == 0 { a.clone() } else { b.clone() };
        tokio::spawn(async move { client.create_key("busy", new_key(&format!("busy-{n}"))).await })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(a.clone().get("busy").await.unwrap().keys.len(), ROUNDS + 1);
}

async fn many_may_seed_at_once(Replicas { first, second, .. }: &Replicas) {
    let key = |n: usize| format!("[[app.key]]\nname = \"seeded-{n}\"\nsecret = \"app-secret\"\n");
    let text = format!("[[app]]\nid = \"seeded\"\n{}{}{}", key(1), key(2), key(3));
    let seed = Seed::parse(&text).unwrap();
    let tasks = (0..6).map(|n| {
        let plane = if n % 2 == 0 { first } else { second };
        let (registry, log) = (plane.registry.clone(), plane.log.clone());
        let seed = seed.clone();
        tokio::spawn(async move { seed.apply(&registry, &log).await })
    });
    let mut sum = Applied::default();
    for task in tasks.collect::<Vec<_>>() {
        let applied = task.await.unwrap().unwrap();
        sum = Applied { apps: sum.apps + applied.apps, keys: sum.keys + applied.keys };
    }
    assert_eq!(sum, Applied { apps: 1, keys: 3 });
    let app = first.registry.get(&AppId::new("seeded").unwrap()).await.unwrap().unwrap();
    assert_eq!(app.app.keys.len(), 3);
}

/// The edge watches through one replica's connection what the other one changes.
async fn edges_see_every_change(Replicas { first, second, mut b, .. }: Replicas) {
    let apps = Apps::watch(first.registry.clone());
    let _driver = AbortOnDropHandle::new(tokio::spawn(apps.run(CancellationToken::new())));
    within("the first snapshot", apps.ready()).await;
    let id = AppId::new("watched").unwrap();
    b.create_plain("watched").await;
    until(&apps, "the key", |apps| apps.by_key("watched-key").is_some_and(|key| key.app().id == id)).await;
    b.disable("watched").await.unwrap();
    until(&apps, "disabled", |apps| apps.get(&id).is_some_and(|app| !app.enabled)).await;
    b.enable("watched").await.unwrap();
    until(&apps, "enabled", |apps| apps.get(&id).is_some_and(|app| app.enabled)).await;
    let secret = b.create_key("watched", new_key("second")).await.unwrap().secret;
    let has_secret = |apps: &Snapshot| apps.by_key("second").is_some_and(|key| key.key().secret.expose() == secret);
    until(&apps, "the new key", has_secret).await;
    b.revoke("watched", "watched-key").await.unwrap();
    let revoked = |apps: &Snapshot| apps.by_key("watched-key").is_none() && apps.by_key("second").is_some();
    until(&apps, "revoked", revoked).await;
    first.stop().await;
    second.stop().await;
    assert!(apps.by_key("second").is_some(), "edges serve on without the control plane");
    assert!(apps.age().is_some_and(|age| age < Duration::from_secs(60)));
}
