//! How long a registry of 20,000 apps takes to load, and how much memory. A measurement, not a promise:
//! `cargo test --release -p backbone --test many_apps -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use backbone::registry::{AppChange, Apps, Registry};
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, Config, NatsConfig};
use channels::{App, AppId, Capability, Key, KeyName, Limits, Namespaces, PusherSettings, Quota, Secret};
use futures_util::{StreamExt as _, stream};
use testkit::Nats;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const APPS: usize = 20_000;

fn app(number: usize) -> App {
    let id = AppId::new(&format!("{:09}", 100_000_000 + number)).unwrap();
    let key = Key {
        name: KeyName::new(&format!("{id}.AbCdEfGh")).unwrap(),
        secret: Secret::new(&format!("{number:032}")).unwrap(),
        previous: None,
        capability: Capability::all(),
        revocable_tokens: false,
        created_ms: 5,
    };
    App {
        name: format!("tenant {number}"),
        id,
        enabled: true,
        keys: vec![key],
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota { connections: Some(100), ..Quota::default() },
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

/// Resident memory of this process, MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

async fn measure(name: &str, backbone: Backbone) {
    let registry = Registry::new(&backbone, Arc::new(ClusterKeys::generate()));
    let begun = Instant::now();
    stream::iter(0..APPS)
        .for_each_concurrent(64, async |number| drop(registry.create(app(number), 1).await.unwrap()))
        .await;
    println!("{name}: {APPS} apps created in {:?}", begun.elapsed());

    let before = resident();
    let apps = Apps::watch(registry.clone());
    let begun = Instant::now();
    let _driver = AbortOnDropHandle::new(tokio::spawn(apps.run(CancellationToken::new())));
    apps.ready().await;
    println!("{name}: loaded in {:?}, {} MiB more, {} MiB in all", begun.elapsed(), resident() - before, resident());
    assert_eq!((apps.snapshot().len(), apps.snapshot().unreadable()), (APPS, 0));

    let mut slowest = Duration::ZERO;
    let begun = Instant::now();
    for number in 0..100 {
        let id = app(number * 17).id;
        let change = AppChange { enabled: Some(false), ..AppChange::default() };
        registry.update(&id, None, &change).await.unwrap();
        let written = Instant::now();
        let mut changed = apps.changed();
        while apps.get(&id).unwrap().enabled {
            changed.changed().await.unwrap();
        }
        slowest = slowest.max(written.elapsed());
    }
    println!("{name}: a change written and seen in {:?}, at most {slowest:?} after the write", begun.elapsed() / 100);

    let begun = Instant::now();
    let page = registry.list(Some(&app(10_000).id), 100).await.unwrap();
    println!("{name}: a page of {} in {:?}", page.apps.len(), begun.elapsed());
    let begun = Instant::now();
    registry.reseal().await.unwrap();
    println!("{name}: looked for what is to be sealed anew in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn in_process() {
    measure("in process", Backbone::memory(&Config::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn on_nats() {
    let nats = Nats::start().await;
    let config = Config { shards: 1, replicas: 1, ..Config::default() };
    let to = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
    measure("NATS", Backbone::connect(&config, &to).await.unwrap()).await;
}
