//! A process that is killed while it writes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use backbone::{Bucket, WatchEvent};
use bytes::Bytes;
use tempfile::tempdir;

use crate::support::{DATA_DIR, Process, open, refusal};

/// Who write at the same time.
const WRITERS: usize = 8;

/// What is acknowledged, or was only seen by a watcher, is there after any number of kills.
#[tokio::test]
async fn what_was_acknowledged_or_seen_survives() {
    let dir = tempdir().unwrap();
    let mut told: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for round in 0..6 {
        let mut process = Process::start("kills::writes_until_killed", dir.path(), "");
        let mut tell = |line: String| {
            // The last may be torn.
            let Some(line) = line.strip_suffix('.') else { return };
            let mut words = line.split(' ');
            let key = words.next().unwrap().to_owned();
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            let (value, revision) = (number(), number());
            let newest = told.entry(key).or_default();
            *newest = (*newest).max((value, revision));
        };
        for line in 0..200 + round * 100 {
            tell(process.line("told ").expect("it writes until it is killed"));
            if line == 0 {
                assert!(refusal(dir.path()).ends_with("is in use by another process"));
            }
        }
        process.kill();
        while let Some(line) = process.line("told ") {
            tell(line);
        }
        let kv = open(dir.path()).kv(Bucket::Apps);
        let mut newest = 0;
        for (key, (value, revision)) in &told {
            let entry = kv.get(key).await.unwrap().unwrap_or_else(|| panic!("{key} is gone"));
            let found: u64 = String::from_utf8_lossy(&entry.value).parse().unwrap();
            assert!(found >= *value && entry.revision >= *revision, "{key} is {found}, not {value}");
            newest = newest.max(*revision);
        }
        assert!(kv.put("after", Bytes::new()).await.unwrap() > newest);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another test runs it as a process of its own, and kills it"]
async fn writes_until_killed() {
    let backbone = open(&PathBuf::from(std::env::var_os(DATA_DIR).unwrap()));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let kv = backbone.kv(Bucket::Apps);
        tasks.spawn(async move {
            let (counter, mut number) = (format!("counter.{writer}"), 0_u64);
            if let Some(entry) = kv.get(&counter).await.unwrap() {
                number = String::from_utf8_lossy(&entry.value).parse().unwrap();
            }
            loop {
                number += 1;
                for key in [counter.clone(), format!("new.{writer}.{number}")] {
                    let revision = kv.put(&key, number.to_string().into()).await.unwrap();
                    println!("told {key} {number} {revision}.");
                }
                kv.put("gone", Bytes::new()).await.unwrap();
                kv.remove("gone", None).await.unwrap();
            }
        });
    }
    let mut watch = backbone.kv(Bucket::Apps).watch().await.unwrap();
    loop {
        match watch.next().await.unwrap() {
            WatchEvent::Put(entry) if entry.key.starts_with("counter") => {
                println!("told {} {} {}.", entry.key, String::from_utf8_lossy(&entry.value), entry.revision);
            }
            WatchEvent::Put(_) | WatchEvent::Removed(_) | WatchEvent::Current => {}
        }
    }
}
