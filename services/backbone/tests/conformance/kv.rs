//! Buckets and leases.

use std::collections::BTreeMap;
use std::time::Duration;

use backbone::{Bucket, Kv, KvError, LeaseError, Listing, Watch, WatchEvent};
use bytes::Bytes;
use testkit::{eventually, within};
use tokio::task::JoinSet;

use crate::support::*;

pub async fn cases(nodes: &Nodes) {
    compare_and_swap(nodes, Bucket::Apps).await;
    keys_are_checked(nodes).await;
    a_watch_tells_snapshot_then_changes(nodes, Bucket::Occupancy).await;
    leases_are_exclusive_and_lapse(nodes).await;
    a_listing_is_never_stale(nodes, Bucket::Roster).await;
    a_listing_may_be_long(nodes, Bucket::Roster).await;
    an_expiring_value_goes_by_itself(nodes, Bucket::Commands).await;
}

/// The same with buckets that a data directory keeps.
pub async fn durable_cases(nodes: &Nodes) {
    compare_and_swap(nodes, Bucket::Meta).await;
    a_watch_tells_snapshot_then_changes(nodes, Bucket::Access).await;
    a_listing_is_never_stale(nodes, Bucket::Audit).await;
    a_listing_may_be_long(nodes, Bucket::Usage).await;
    an_expiring_value_goes_by_itself(nodes, Bucket::Cluster).await;
}

async fn compare_and_swap(nodes: &Nodes, bucket: Bucket) {
    let (a, b) = (nodes.a.kv(bucket), nodes.b.kv(bucket));
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

/// What the backbone answers, to a later question if not to the first one in time. For what may be done twice.
async fn sure<T, F: Future<Output = Result<T, KvError>>>(ask: impl Fn() -> F) -> Result<T, KvError> {
    let answered = || async {
        match ask().await {
            Err(KvError::Unavailable(_)) => None,
            answer => Some(answer),
        }
    };
    eventually("an answer", answered).await
}

/// A listing knows every write that was answered before it was asked for, from whatever node.
async fn a_listing_is_never_stale(nodes: &Nodes, bucket: Bucket) {
    let (a, b) = (nodes.a.kv(bucket), nodes.b.kv(bucket));
    let prefix = format!("{}.room", app());
    let keys = |listing: &Listing| {
        let mut keys: Vec<_> = listing.entries.iter().map(|entry| entry.key.clone()).collect();
        keys.sort();
        keys
    };
    let put = async |key: &str| sure(|| a.put(key, Bytes::from_static(b"1"))).await.unwrap();
    let list = async |prefix: &str| sure(|| b.list(prefix)).await.unwrap();
    assert_eq!(keys(&list(&prefix).await), [""; 0]);
    put(&format!("{prefix}2.x")).await;
    let any_room = format!("{}.*", prefix.split('.').next().unwrap());
    assert_eq!(keys(&list(&any_room).await), [format!("{prefix}2.x")]);
    assert!(matches!(b.list("a.>").await, Err(KvError::InvalidKey)));
    for round in 0..20 {
        let key = format!("{prefix}.e.{round}");
        let revision = put(&key).await;
        let listing = list(&prefix).await;
        assert_eq!(keys(&listing), std::slice::from_ref(&key));
        assert!(listing.as_of >= revision);
        let removal = sure(|| a.remove(&key, None)).await.unwrap();
        assert!(removal > revision);
        let listing = list(&prefix).await;
        assert_eq!(keys(&listing), [""; 0]);
        assert!(listing.as_of >= removal);
    }
}

/// More than a replica gives in one answer (1,024).
async fn a_listing_may_be_long(nodes: &Nodes, bucket: Bucket) {
    const ENTRIES: usize = 1_100;
    let kv = nodes.a.kv(bucket);
    let prefix = format!("{}.long", app());
    let mut writes = JoinSet::new();
    for number in 0..ENTRIES {
        let (kv, key) = (kv.clone(), format!("{prefix}.{number}"));
        writes.spawn(async move { sure(|| kv.put(&key, Bytes::from_static(b"1"))).await.unwrap() });
    }
    let revision = writes.join_all().await.into_iter().max().unwrap();
    let listing = sure(|| async { nodes.b.kv(bucket).list(&prefix).await }).await.unwrap();
    assert_eq!(listing.entries.len(), ENTRIES);
    assert!(listing.as_of >= revision);
    let mut removals = JoinSet::new();
    for number in 0..ENTRIES {
        let (kv, key) = (kv.clone(), format!("{prefix}.{number}"));
        removals.spawn(async move { sure(|| kv.remove(&key, None)).await.unwrap() });
    }
    removals.join_all().await;
    let listing = sure(|| async { nodes.b.kv(bucket).list(&prefix).await }).await.unwrap();
    assert_eq!(listing.entries, []);
}

async fn an_expiring_value_goes_by_itself(nodes: &Nodes, bucket: Bucket) {
    let kv = nodes.a.kv(bucket);
    let key = format!("order.{}", app());
    // Longer than a busy machine takes to look at it.
    sure(|| kv.put_expiring(&key, Bytes::from_static(b"1"), Duration::from_secs(5))).await.unwrap();
    let read = sure(|| async { nodes.b.kv(bucket).get(&key).await }).await.unwrap();
    assert_eq!(read.unwrap().value, "1");
    let gone = || async { kv.get(&key).await.ok()?.is_none().then_some(()) };
    eventually("the value to go", gone).await;
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

async fn a_watch_tells_snapshot_then_changes(nodes: &Nodes, bucket: Bucket) {
    let (a, b) = (nodes.a.kv(bucket), nodes.b.kv(bucket));
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
    let ttl = Duration::from_secs(6);
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
