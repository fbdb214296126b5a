//! Buckets and leases.

use std::collections::BTreeMap;
use std::time::Duration;

use backbone::{Bucket, Kv, KvError, LeaseError, Watch, WatchEvent};
use bytes::Bytes;
use testkit::{eventually, within};

use crate::support::*;

pub async fn cases(nodes: &Nodes) {
    compare_and_swap(nodes).await;
    keys_are_checked(nodes).await;
    a_watch_tells_snapshot_then_changes(nodes).await;
    leases_are_exclusive_and_lapse(nodes).await;
}

async fn compare_and_swap(nodes: &Nodes) {
    let (a, b) = (nodes.a.kv(Bucket::Apps), nodes.b.kv(Bucket::Apps));
    let key = format!("cas.{}", app());
    let first = a.create(&key, Bytes::from_static(b"1")).await.unwrap();
    assert!(matches!(b.create(&key, Bytes::from_static(b"2")).await, Err(KvError::Exists)));
    let second = b.update(&key, Bytes::from_static(b"2"), first).await.unwrap();
    assert!(matches!(a.update(&key, Bytes::from_static(b"3"), first).await, Err(KvError::Conflict)));
    let entry = a.get(&key).await.unwrap().unwrap();
    assert_eq!((entry.value, entry.revision), (Bytes::from_static(b"2"), second));
    assert!(matches!(a.remove(&key, Some(first)).await, Err(KvError::Conflict)));
    a.remove(&key, Some(second)).await.unwrap();
    assert_eq!(b.get(&key).await.unwrap(), None);
    b.create(&key, Bytes::from_static(b"4")).await.unwrap();
    b.remove(&key, None).await.unwrap();
    b.remove(&key, None).await.unwrap();
    a.put(&key, Bytes::from_static(b"5")).await.unwrap();
    assert_eq!(b.get(&key).await.unwrap().unwrap().value, "5");
}

async fn keys_are_checked(nodes: &Nodes) {
    let kv = nodes.a.kv(Bucket::Apps);
    for key in ["", ".a", "a.", "a..b", "a b", "a*", "a>", "ä"] {
        assert!(matches!(kv.get(key).await, Err(KvError::InvalidKey)), "{key}");
        assert!(matches!(kv.put(key, Bytes::new()).await, Err(KvError::InvalidKey)), "{key}");
    }
}

async fn next(watch: &mut Watch) -> WatchEvent {
    within("a watch event", watch.next()).await.unwrap()
}

/// The entries under `prefix` at the time the watch began.
async fn snapshot(kv: &Kv, prefix: &str) -> (Watch, BTreeMap<String, Bytes>) {
    let mut watch = kv.watch().await.unwrap();
    let mut entries = BTreeMap::new();
    loop {
        match next(&mut watch).await {
            WatchEvent::Put(entry) if entry.key.starts_with(prefix) => {
                entries.insert(entry.key, entry.value);
            }
            WatchEvent::Put(_) | WatchEvent::Removed(_) => {}
            WatchEvent::Current => return (watch, entries),
        }
    }
}

async fn a_watch_tells_snapshot_then_changes(nodes: &Nodes) {
    let (a, b) = (nodes.a.kv(Bucket::Occupancy), nodes.b.kv(Bucket::Occupancy));
    let (mut from_empty, none) = snapshot(&b, "").await;
    assert!(none.is_empty(), "an empty bucket is told as current at once");
    a.put("w.1", Bytes::from_static(b"1")).await.unwrap();
    a.put("w.2", Bytes::from_static(b"2")).await.unwrap();
    assert!(matches!(next(&mut from_empty).await, WatchEvent::Put(entry) if entry.key == "w.1"));
    let (mut watch, entries) = snapshot(&b, "w.").await;
    assert_eq!(entries.keys().collect::<Vec<_>>(), ["w.1", "w.2"]);
    a.put("w.2", Bytes::from_static(b"3")).await.unwrap();
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(entry) if entry.key == "w.2" && entry.value == "3"));
    a.remove("w.1", None).await.unwrap();
    assert_eq!(next(&mut watch).await, WatchEvent::Removed("w.1".to_owned()));
    let keys: Vec<String> = b.entries().await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(keys, ["w.2"]);
}

async fn leases_are_exclusive_and_lapse(nodes: &Nodes) {
    let key = format!("lease.{}", app());
    let ttl = Duration::from_secs(2);
    let (mut watch, _) = snapshot(&nodes.b.kv(Bucket::Leases), "").await;
    let mut held = nodes.a.lease(&key, Bytes::from_static(b"a"), ttl).await.unwrap();
    assert!(matches!(nodes.b.lease(&key, Bytes::from_static(b"b"), ttl).await, Err(LeaseError::Held)));
    held.renew().await.unwrap();
    held.renew().await.unwrap();
    let told = async {
        loop {
            if matches!(next(&mut watch).await, WatchEvent::Removed(removed) if removed == key) {
                break;
            }
        }
    };
    within("the lease to lapse", told).await;
    assert!(matches!(held.renew().await, Err(LeaseError::Lost)));
    let taken = nodes.b.lease(&key, Bytes::from_static(b"b"), ttl).await.unwrap();
    assert!(matches!(held.renew().await, Err(LeaseError::Lost)));
    taken.release().await.unwrap();
    // Taken again after a release, and never renewed: it lapses like the first.
    drop(nodes.a.lease(&key, Bytes::from_static(b"c"), ttl).await.unwrap());
    let next_holder = eventually("the lease to lapse again", || async {
        nodes.b.lease(&key, Bytes::from_static(b"d"), ttl).await.ok()
    });
    next_holder.await.release().await.unwrap();
}
