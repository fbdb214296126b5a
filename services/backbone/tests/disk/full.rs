//! A disk that takes no more.

use std::path::PathBuf;
use std::time::Duration;

use backbone::{Bucket, KvError};
use bytes::Bytes;
use tempfile::tempdir;

use crate::support::{DATA_DIR, Process, open};

/// What was acknowledged before the disk was full is there, the rest was refused, and a restart with room goes on.
#[tokio::test]
async fn a_full_disk_ends_writing_and_loses_nothing() {
    let dir = tempdir().unwrap();
    // No file may be larger than some megabytes, and whoever tries gets an error rather than a signal.
    let mut process = Process::start("full::writes_until_refused", dir.path(), "trap '' XFSZ; ulimit -f 16384;");
    let mut acknowledged = Vec::new();
    while let Some(line) = process.line("acknowledged ") {
        acknowledged.push(line);
    }
    let kv = open(dir.path()).kv(Bucket::Apps);
    assert!(acknowledged.len() > 10, "{acknowledged:?}");
    assert_eq!(acknowledged.pop().unwrap(), "all", "the process has seen what it should");
    for key in &acknowledged {
        assert!(kv.get(key).await.unwrap().is_some(), "{key} is gone");
    }
    kv.put("after", Bytes::new()).await.unwrap();
}

#[tokio::test]
#[ignore = "another test runs it as a process of its own, with too little room"]
async fn writes_until_refused() {
    let backbone = open(&PathBuf::from(std::env::var_os(DATA_DIR).unwrap()));
    let kv = backbone.kv(Bucket::Apps);
    let big = Bytes::from(vec![7; 100_000]);
    let mut number = 0;
    let error = loop {
        number += 1;
        match kv.put(&number.to_string(), big.clone()).await {
            Ok(_) => println!("acknowledged {number}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, KvError::Unavailable(_)));
    assert!(!backbone.is_up());
    let reason = backbone.failure().unwrap();
    assert!(reason.contains("cannot be written: ") && reason.ends_with("until a restart"), "{reason}");
    // Refused, even what would fit; and not to be seen.
    assert_eq!(kv.get(&number.to_string()).await.unwrap(), None);
    assert!(matches!(kv.put("small", Bytes::new()).await, Err(KvError::Unavailable(_))));
    assert!(matches!(kv.remove("1", None).await, Err(KvError::Unavailable(_))));
    let other = backbone.kv(Bucket::Cluster);
    assert!(matches!(
        other.put_expiring("small", Bytes::new(), Duration::from_secs(1)).await,
        Err(KvError::Unavailable(_))
    ));
    assert_eq!(kv.entries().await.unwrap().len(), number - 1);
    // What no directory keeps goes on.
    backbone.kv(Bucket::Occupancy).put("small", Bytes::new()).await.unwrap();
    println!("acknowledged all");
}
