//! What a server says after a crash of keys that were removed before. On a real server; there is nothing to see elsewhere.

use std::collections::HashSet;

use testkit::{Nats, Signal, eventually, within};

use super::*;
use crate::{Backbone, NatsConfig};

/// Less would be raised to the stream's own.
const MARKER_TTL: Duration = Duration::from_secs(1);

async fn connect(nats: &Nats) -> Kv {
    let config = Config { shards: 1, replicas: 1, ..Config::default() };
    let to = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
    let connect = || async { Backbone::connect(&config, &to).await.ok() };
    let Backbone::JetStream(backbone) = eventually("the backbone to start", connect).await else { unreachable!() };
    Kv { marker_ttl: MARKER_TTL, ..backbone.kv(Bucket::Roster) }
}

async fn watched(kv: &Kv) -> Vec<String> {
    let mut watch = kv.watch().await.unwrap();
    let mut keys = Vec::new();
    loop {
        match watch.next().await.unwrap() {
            WatchEvent::Put(entry) => keys.push(entry.key),
            WatchEvent::Removed(_) => {}
            WatchEvent::Current => return keys,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_removed_stays_so_after_a_crash_that_comes_later_than_the_end_of_its_marker() {
    let mut nats = Nats::start().await;
    let kv = connect(&nats).await;
    let config = kv.store.stream.get_info().await.unwrap().config;
    let hasty = jetstream::stream::Config { subject_delete_marker_ttl: Some(MARKER_TTL), ..config };
    kv.context.update_stream(hasty).await.unwrap();
    for key in ["app.once", "app.changed", "app.back"] {
        kv.put(key, "a".into()).await.unwrap();
    }
    for value in ["b", "c", "d"] {
        kv.put("app.changed", value.into()).await.unwrap();
    }
    kv.remove("app.back", None).await.unwrap();
    kv.create("app.back", "b".into()).await.unwrap();
    for key in ["app.once", "app.changed", "app.back"] {
        kv.remove(key, None).await.unwrap();
    }
    // What comes last stays.
    kv.put("app.stays", "a".into()).await.unwrap();
    eventually("the markers to go", || async {
        (kv.store.stream.get_info().await.ok()?.state.messages == 1).then_some(())
    })
    .await;
    nats.stop(Signal::Kill).await;
    nats.restart().await;
    eventually("the backbone to be back", || async { kv.get("app.stays").await.ok().flatten() }).await;
    assert_eq!(watched(&kv).await, ["app.stays"]);
    let listed: Vec<_> = kv.list("app").await.unwrap().entries.into_iter().map(|entry| entry.key).collect();
    assert_eq!(listed, ["app.stays"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_begins_while_keys_change_becomes_current() {
    let nats = Nats::start().await;
    let kv = connect(&nats).await;
    for number in 0..500 {
        kv.put(&format!("app.{number}"), "a".into()).await.unwrap();
    }
    let changing = {
        let kv = kv.clone();
        async move {
            for number in (0..500).rev().cycle() {
                kv.put(&format!("app.{number}"), "b".into()).await.unwrap();
            }
        }
    };
    let watching = async {
        for _ in 0..30 {
            let mut watch = kv.watch().await.unwrap();
            let (mut keys, mut is_current) = (HashSet::new(), false);
            let all = async {
                // One that changes just then comes right after the others.
                while !is_current || keys.len() < 500 {
                    match watch.next().await.unwrap() {
                        WatchEvent::Put(entry) => drop(keys.insert(entry.key)),
                        WatchEvent::Current => is_current = true,
                        WatchEvent::Removed(key) => panic!("nobody removed {key}"),
                    }
                }
            };
            within("everything that is there", all).await;
        }
    };
    tokio::select! {
        () = changing => {}
        () = watching => {}
    }
}
