//! Turns of the writer, one at a time.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::writer::Writer;
use super::{Change, Store};
use crate::kv::{Bucket, KvError};
use crate::memory::entries::{Expected, Write};

type Answered = oneshot::Receiver<Result<u64, KvError>>;

fn room() -> OwnedSemaphorePermit {
    Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap()
}

fn change(bucket: usize, key: &str, value: Option<&'static str>, expected: Expected) -> (Change, Answered) {
    let value = value.map(|value| Bytes::from_static(value.as_bytes()));
    let (answer, answered) = oneshot::channel();
    let write = Write { key: key.to_owned(), value, expected, ttl: None };
    (Change { bucket, write, answer, _room: room() }, answered)
}

/// Changes of one transaction build on each other, in their order, and are all answered by it.
#[test]
fn one_transaction_takes_many_changes() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::open(dir.path(), &[Bucket::Apps, Bucket::Access], Arc::new(OnceLock::new())).unwrap();
    let many = (0..500).map(|number| change(1, &number.to_string(), Some("1"), Expected::Anything));
    let asked = [
        change(0, "a", Some("1"), Expected::Nothing),
        change(0, "a", Some("2"), Expected::Nothing),
        change(0, "a", Some("3"), Expected::Revision(1)),
        change(0, "a", Some("4"), Expected::Revision(1)),
        change(0, "a", None, Expected::Revision(2)),
        change(0, "a", None, Expected::Anything),
        change(0, "a", Some("5"), Expected::Nothing),
    ];
    let (changes, answered): (Vec<_>, Vec<_>) = asked.into_iter().chain(many).unzip();
    writer.turn(changes);
    let answers: Vec<_> = answered.into_iter().map(|mut answered| answered.try_recv().unwrap()).collect();
    assert!(
        matches!(
            answers[..8],
            [Ok(1), Err(KvError::Exists), Ok(2), Err(KvError::Conflict), Ok(3), Ok(3), Ok(4), Ok(1)]
        ),
        "{answers:?}"
    );
    assert_eq!(answers.len(), 507);
    // What changes nothing writes nothing.
    let before = std::fs::read(dir.path().join(super::file::FILE)).unwrap();
    let (refused, mut answered) = change(0, "a", Some("6"), Expected::Nothing);
    writer.turn(vec![refused]);
    assert!(matches!(answered.try_recv().unwrap(), Err(KvError::Exists)));
    assert!(std::fs::read(dir.path().join(super::file::FILE)).unwrap() == before);
}

/// A change that is larger than the queue goes through alone; nobody waits for ever.
#[tokio::test]
async fn the_queue_is_bounded_and_takes_everything_in_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (store, content) = Store::open(dir.path(), &[Bucket::Apps]).unwrap();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..40_u8 {
        let value = Bytes::from(vec![number; if number == 20 { super::QUEUE_BYTES + 1 } else { 1 << 20 }]);
        let write = Write { key: number.to_string(), value: Some(value), expected: Expected::Nothing, ttl: None };
        let store = Arc::clone(&store);
        writes.spawn(async move { store.write(0, write).await.unwrap() });
    }
    let mut revisions = writes.join_all().await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=40).collect::<Vec<_>>());
    assert_eq!(content[0].with(|entries| entries.revision()), 40);
    let all_room = || async { (store.room.available_permits() == super::QUEUE_BYTES).then_some(()) };
    testkit::eventually("the queue to have room again", all_room).await;
}

/// A writer that panicked says so, and everybody is refused.
#[tokio::test]
async fn a_panic_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), &[Bucket::Apps]).unwrap();
    let write = |key: &str| Write { key: key.to_owned(), value: None, expected: Expected::Anything, ttl: None };
    // There is no bucket with this number.
    assert!(matches!(store.write(1, write("a")).await, Err(KvError::Unavailable(_))));
    testkit::eventually("the failure to be told", || async { store.failure() }).await;
    assert!(matches!(store.write(0, write("a")).await, Err(KvError::Unavailable(_))));
}
