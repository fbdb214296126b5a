//! What is there after an orderly restart.

use std::time::{Duration, SystemTime};

use backbone::{Backbone, Bucket, Config, KvError, Publish, WatchEvent};
use bytes::Bytes;
use channels::{AppId, ChannelName, Message, Record, RecordKind, Tier};
use tempfile::tempdir;
use testkit::within;

use crate::support::open;

const ONE: Bytes = Bytes::from_static(b"1");
const TWO: Bytes = Bytes::from_static(b"2");

#[tokio::test]
async fn what_users_created_is_there_and_what_processes_told_each_other_is_not() {
    let dir = tempdir().unwrap();
    let backbone = open(dir.path());
    for bucket in Bucket::ALL {
        backbone.kv(bucket).put("a.b", ONE).await.unwrap();
    }
    drop(backbone);
    let backbone = open(dir.path());
    let mut kept = Vec::new();
    for bucket in Bucket::ALL {
        kept.extend(backbone.kv(bucket).get("a.b").await.unwrap().map(|entry| (bucket, entry.value)));
    }
    let durable = [
        Bucket::Meta,
        Bucket::Apps,
        Bucket::DeadLetters,
        Bucket::Access,
        Bucket::Audit,
        Bucket::Usage,
        Bucket::Cluster,
        Bucket::Revoked,
    ];
    assert_eq!(kept, durable.map(|bucket| (bucket, ONE)));
}

#[tokio::test]
async fn revisions_go_on() {
    let dir = tempdir().unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let kv = open(dir.path()).kv(Bucket::Apps);
        let first = kv.put("a", ONE).await.unwrap();
        assert!(first > last);
        let second = kv.put("b", ONE).await.unwrap();
        // The highest revisions leave no entry behind.
        last = kv.remove("b", Some(second)).await.unwrap();
        assert!(first < second && second < last);
        drop(kv);
        let kv = open(dir.path()).kv(Bucket::Apps);
        assert_eq!(kv.get("a").await.unwrap().unwrap().revision, first);
        assert_eq!(kv.get("b").await.unwrap(), None);
        assert_eq!(kv.list("x").await.unwrap().as_of, last);
        // What was read before a restart can be swapped after it.
        assert!(matches!(kv.update("a", TWO, first - 1).await, Err(KvError::Conflict)));
        assert!(matches!(kv.create("a", TWO).await, Err(KvError::Exists)));
        assert_eq!(kv.update("a", TWO, first).await.unwrap(), last + 1);
        last += 1;
    }
}

#[tokio::test]
async fn a_watch_tells_what_was_there_and_then_what_changes() {
    let dir = tempdir().unwrap();
    let kv = open(dir.path()).kv(Bucket::Access);
    for key in ["c", "a", "b"] {
        kv.put(key, ONE).await.unwrap();
    }
    kv.remove("a", None).await.unwrap();
    drop(kv);
    let kv = open(dir.path()).kv(Bucket::Access);
    let mut watch = kv.watch().await.unwrap();
    let mut told = async || match within("a watch event", watch.next()).await.unwrap() {
        WatchEvent::Put(entry) => entry.key,
        WatchEvent::Removed(key) => format!("-{key}"),
        WatchEvent::Current => "current".to_owned(),
    };
    assert_eq!([told().await, told().await, told().await], ["c", "b", "current"]);
    kv.remove("c", None).await.unwrap();
    assert_eq!(told().await, "-c");
    kv.put("d", ONE).await.unwrap();
    assert_eq!(told().await, "d");
}

#[tokio::test]
async fn lifetimes_go_on_by_the_clock_on_the_wall() {
    let dir = tempdir().unwrap();
    let kv = open(dir.path()).kv(Bucket::Audit);
    let begun = SystemTime::now();
    kv.put_expiring("missed", ONE, Duration::from_secs(1)).await.unwrap();
    kv.put_expiring("seen", ONE, Duration::from_secs(10)).await.unwrap();
    let last = kv.put_expiring("far", ONE, Duration::from_secs(3600)).await.unwrap();
    drop(kv);
    while begun.elapsed().unwrap() < Duration::from_millis(1_100) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let kv = open(dir.path()).kv(Bucket::Audit);
    assert_eq!(kv.get("missed").await.unwrap(), None);
    assert!(kv.get("seen").await.unwrap().is_some(), "ten seconds have not passed");
    let mut watch = kv.watch().await.unwrap();
    let mut told = Vec::new();
    loop {
        match within("a watch event", watch.next()).await.unwrap() {
            WatchEvent::Put(entry) => told.push(entry.key),
            WatchEvent::Current => {}
            WatchEvent::Removed(key) if key == "seen" => break,
            WatchEvent::Removed(key) => assert_eq!(key, "missed"),
        }
    }
    assert_eq!(told, ["seen", "far"]);
    assert!(begun.elapsed().unwrap() >= Duration::from_secs(10));
    drop((watch, kv));
    let kv = open(dir.path()).kv(Bucket::Audit);
    assert_eq!(kv.entries().await.unwrap().len(), 1);
    // That two values lapsed were changes, too.
    assert_eq!(kv.list("x").await.unwrap().as_of, last + 2);
}

/// Dropping the backbone with changes under way leaves each of them whole or undone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_in_the_middle_of_writing_loses_nothing_acknowledged() {
    let dir = tempdir().unwrap();
    for round in 0..5 {
        let backbone = open(dir.path());
        let mut writes = tokio::task::JoinSet::new();
        for number in 0..200 {
            let kv = backbone.kv(Bucket::Usage);
            writes.spawn(async move { kv.put(&format!("{round}.{number}"), ONE).await.map(|_| number) });
        }
        drop(backbone);
        let mut acknowledged = Vec::new();
        for _ in 0..50 {
            acknowledged.push(writes.join_next().await.unwrap().unwrap().unwrap());
        }
        writes.shutdown().await;
        let listing = open(dir.path()).kv(Bucket::Usage).list(&round.to_string()).await.unwrap();
        for number in acknowledged {
            assert!(listing.entries.iter().any(|entry| entry.key == format!("{round}.{number}")), "{round}.{number}");
        }
    }
}

#[tokio::test]
async fn channels_begin_anew_under_another_epoch() {
    let dir = tempdir().unwrap();
    let (app, channel) = (AppId::new("app").unwrap(), ChannelName::new("room").unwrap());
    let publish = |backbone: Backbone| {
        let record = Record {
            id: None,
            kind: RecordKind::Messages,
            connection: None,
            client: None,
            timestamp_ms: 1,
            messages: vec![Message::text("event", "text".to_owned())],
            traceparent: None,
        };
        let (app, channel, tier) = (app.clone(), channel.clone(), Tier::Recoverable);
        async move {
            let published = backbone.publish(Publish { app, channel, tier, record, idempotency: None }).await;
            published.unwrap().position.unwrap()
        }
    };
    let before = publish(open(dir.path())).await;
    let backbone = open(dir.path());
    assert_ne!(backbone.head(&app, &channel, Tier::Recoverable).await.unwrap().epoch, before.epoch);
    assert_ne!(publish(backbone.clone()).await.epoch, before.epoch);
    let without = Backbone::memory(&Config::default());
    assert!(without.failure().is_none() && backbone.failure().is_none() && backbone.is_up());
}
