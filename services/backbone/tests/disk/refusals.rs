//! Directories that are refused, and how they are made.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use backbone::Bucket;
use bytes::Bytes;
use redb::{Database, TableDefinition};
use tempfile::tempdir;

use crate::support::{FILE, open, refusal};

#[tokio::test]
async fn a_directory_serves_one_process() {
    let dir = tempdir().unwrap();
    let backbone = open(dir.path());
    let sentence = format!("data directory {} is in use by another process", dir.path().display());
    assert_eq!(refusal(dir.path()), sentence);
    // Whatever was got from the backbone holds on to the directory.
    let kv = backbone.kv(Bucket::Apps);
    drop(backbone);
    assert_eq!(refusal(dir.path()), sentence);
    kv.put("a", Bytes::new()).await.unwrap();
    drop(kv);
    open(dir.path());
}

#[test]
fn only_the_owner_can_read_it() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("not/there/yet");
    drop(open(&data));
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(data.clone()), 0o700);
    let files: Vec<_> = fs::read_dir(&data).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.into_iter().all(|file| mode(file) == 0o600));
}

#[test]
fn a_place_that_is_no_directory() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("file");
    fs::write(&place, "").unwrap();
    assert!(refusal(&place).starts_with(&format!("data directory {} cannot be used: ", place.display())));
}

#[test]
fn a_newer_format() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let file = Database::open(dir.path().join(FILE)).unwrap();
    let write = file.begin_write().unwrap();
    write.open_table(TableDefinition::<&str, u64>::new("about")).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(file);
    assert_eq!(
        refusal(dir.path()),
        format!(
            "data directory {} has format 2, written by a newer version of Fanfare; this one reads format 1",
            dir.path().display()
        )
    );
}

#[test]
fn a_file_of_somebody_else() {
    let dir = tempdir().unwrap();
    let file = Database::create(dir.path().join(FILE)).unwrap();
    drop(file);
    let sentence = refusal(dir.path());
    assert!(sentence.contains("cannot be read: ") && sentence.contains(FILE), "{sentence}");
}

/// What is no fault of the file is not said to be one.
#[test]
fn a_file_that_cannot_be_opened() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join(FILE)).unwrap();
    let sentence = refusal(dir.path());
    assert!(sentence.starts_with(&format!("data directory {} cannot be used: ", dir.path().display())), "{sentence}");
    assert!(!sentence.contains("begin with nothing"), "{sentence}");
}

/// A process that ended while it made the file leaves no obstacle.
#[test]
fn an_unfinished_file_is_made_anew() {
    let dir = tempdir().unwrap();
    fs::write(dir.path().join(format!("{FILE}.new")), "half").unwrap();
    open(dir.path());
}
