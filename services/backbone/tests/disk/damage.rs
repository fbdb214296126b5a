//! A damaged file is refused, or has lost nothing; it is never read as less than it was.

use std::fs;
use std::path::Path;

use backbone::{Backbone, Bucket, Config, Entry};
use bytes::Bytes;
use tempfile::{TempDir, tempdir};

use crate::support::{FILE, open, refusal};

/// Bytes in which the file says what it is and which of its two last states is the newest.
const HEAD: usize = 320;

/// The byte and the bit that say which: no checksum covers it, so the file of a killed process is read as it was one
/// transaction before if just this bit is flipped.
const WHICH: (usize, usize) = (9, 0);

/// What is stored, and the file with it: as a killed process leaves it, and as one that ends in good order does.
async fn filled() -> (Vec<Entry>, [Vec<u8>; 2]) {
    let dir = tempdir().unwrap();
    let kv = open(dir.path()).kv(Bucket::Apps);
    for number in 0..60 {
        kv.put(&format!("app.{number}"), Bytes::from(number.to_string().repeat(number))).await.unwrap();
    }
    let entries = kv.entries().await.unwrap();
    let killed = content(dir.path());
    drop(kv);
    (entries, [killed, content(dir.path())])
}

/// A directory with `content` as its file.
fn directory(content: &[u8]) -> TempDir {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join(FILE), content).unwrap();
    dir
}

fn content(dir: &Path) -> Vec<u8> {
    fs::read(dir.join(FILE)).unwrap()
}

#[tokio::test]
async fn torn_files_and_rubbish() {
    let (_, [_, whole]) = filled().await;
    let rubbish = vec![0xa5; 8192];
    for damaged in [&whole[..0], &whole[..100], &whole[..whole.len() / 2], &whole[..whole.len() - 1], &rubbish] {
        let dir = directory(damaged);
        let sentence = refusal(dir.path());
        assert!(sentence.contains("cannot be read: ") && sentence.contains(FILE), "{sentence}");
        assert_eq!(content(dir.path()).len(), damaged.len(), "a damaged file is left as it is");
    }
}

/// Every byte of the file's head, and others that are in use.
#[tokio::test]
async fn flipped_bits() {
    let (entries, files) = filled().await;
    for whole in files {
        let used: Vec<usize> = (HEAD..whole.len()).filter(|at| whole[*at] != 0).collect();
        let step = used.len() / 300;
        let mut refused = 0;
        for (turn, at) in (0..HEAD).chain(used.into_iter().step_by(step)).enumerate() {
            let mut damaged = whole.clone();
            let bit = turn % 8;
            if (at, bit) == WHICH {
                continue;
            }
            damaged[at] ^= 1 << bit;
            let dir = directory(&damaged);
            match Backbone::open(&Config::default(), dir.path()) {
                Ok(backbone) => {
                    assert_eq!(backbone.kv(Bucket::Apps).entries().await.unwrap(), entries, "bit {bit} of byte {at}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 0);
    }
}
