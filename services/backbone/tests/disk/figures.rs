//! How fast durable writes are.

use std::time::{Duration, Instant};

use backbone::Bucket;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::support::open;

const PERIOD: Duration = Duration::from_secs(3);

/// Prints writes a second, one after the other and many at once. The directory is made under the working directory: a
/// temporary one may be in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for people"]
async fn durable_writes() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let backbone = open(dir.path());
    for writers in [1, 16, 256] {
        let mut tasks = JoinSet::new();
        let begun = Instant::now();
        for writer in 0..writers {
            let kv = backbone.kv(Bucket::Usage);
            tasks.spawn(async move {
                let mut written = 0_u32;
                while begun.elapsed() < PERIOD {
                    kv.put(&format!("{writer}.{}", written % 100), Bytes::from_static(&[7; 200])).await.unwrap();
                    written += 1;
                }
                written
            });
        }
        let written: u32 = tasks.join_all().await.into_iter().sum();
        let rate = f64::from(written) / begun.elapsed().as_secs_f64();
        println!("{writers:4} writers: {rate:8.0} writes of 200 bytes a second");
    }
    let begun = Instant::now();
    drop(backbone);
    let entries = open(dir.path()).kv(Bucket::Usage).entries().await.unwrap().len();
    println!("closed, opened and read {entries} entries in {:?}", begun.elapsed());
}
