//! The data directory of a single node: what its users created outlives the process.
//!
//! Owns the directory, its lock, the file in it and the one thread that writes the file. Knows nothing of what the
//! buckets mean, nor of messages: those stay in memory, and after a restart channels begin anew under another epoch.
//!
//! **A change is seen when it is on disk, not before.** One thread decides and writes: it takes all changes that wait,
//! applies them in one transaction, waits until the disk has it, and only then shows them to readers and watchers and
//! answers. So nobody ever acts on, or is told of, a change that a crash could take back; a second writer who is refused
//! because of a first knows that the first will last. While the disk works, more changes gather for the next transaction.
//! Reads come from memory and never wait.
//!
//! **A write that fails ends all writing**, because what the disk has is then unknown: every change from then on is
//! refused, [`Store::failure`] says why, and a restart reads what is there. Reads go on.

mod file;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::entries::Write;
use super::kv::Shared;
use crate::config::StartError;
use crate::kv::{Bucket, KvError};
use writer::Writer;

/// Most bytes of changes that wait to be written. Who comes when it is full waits for room.
const QUEUE_BYTES: usize = 16 << 20;

/// What a change takes in the queue beside its key and value.
const CHANGE_BYTES: usize = 256;

/// The buckets of a data directory. Dropping it writes what was asked for, and waits until that is done.
#[derive(Debug)]
pub(super) struct Store {
    /// `None` once it is being dropped.
    changes: Option<mpsc::Sender<Change>>,
    /// Bounds `changes`.
    room: Arc<Semaphore>,
    failure: Arc<OnceLock<String>>,
    thread: Option<JoinHandle<()>>,
}

/// A change on its way to the disk.
#[derive(Debug)]
struct Change {
    /// Number of the bucket.
    bucket: usize,
    write: Write,
    answer: oneshot::Sender<Result<u64, KvError>>,
    /// Its room in the queue, until it is answered.
    _room: OwnedSemaphorePermit,
}

/// What every change meets after one could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl Store {
    /// Opens the directory, which is made if it is not there. Gives also the content of `buckets`, in their order, which
    /// is that of their numbers.
    pub(super) fn open(dir: &Path, buckets: &[Bucket]) -> Result<(Arc<Self>, Vec<Arc<Shared>>), StartError> {
        let refused = |reason: &dyn std::fmt::Display| {
            StartError::Refused(format!("data directory {} cannot be used: {reason}", dir.display()))
        };
        let failure = Arc::new(OnceLock::new());
        let (changes, received) = mpsc::channel();
        let (opened, content) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("data-dir".to_owned()).spawn({
            let (dir, buckets, failure) = (dir.to_owned(), buckets.to_owned(), Arc::clone(&failure));
            move || match Writer::open(&dir, &buckets, failure) {
                Ok(writer) => {
                    // Without a receiver there is no sender of changes either, and the writer ends at once.
                    opened.send(Ok(writer.content())).ok();
                    writer.run(&received);
                }
                Err(error) => {
                    opened.send(Err(error)).ok();
                }
            }
        });
        let thread = thread.map_err(|error| refused(&error))?;
        match content.recv() {
            Ok(Ok(content)) => {
                let room = Arc::new(Semaphore::new(QUEUE_BYTES));
                Ok((Arc::new(Self { changes: Some(changes), room, failure, thread: Some(thread) }), content))
            }
            Ok(Err(error)) => {
                // It has let go of the directory when it has ended.
                thread.join().map_err(|_| refused(&"closing it failed"))?;
                Err(error)
            }
            // A damaged file may trip the library's own checks.
            Err(mpsc::RecvError) => Err(refused(&"its file is damaged")),
        }
    }

    /// Makes a change in the bucket with the number `bucket`; returns when it is on disk and can be seen. If this future
    /// is dropped, the change may or may not happen.
    pub(super) async fn write(&self, bucket: usize, write: Write) -> Result<u64, KvError> {
        let bytes = CHANGE_BYTES + write.key.len() + write.value.as_ref().map_or(0, bytes::Bytes::len);
        let bytes = u32::try_from(bytes.min(QUEUE_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| self.failed())?;
        let (answer, answered) = oneshot::channel();
        let change = Change { bucket, write, answer, _room: room };
        let changes = self.changes.as_ref().ok_or_else(|| self.failed())?;
        changes.send(change).map_err(|_| self.failed())?;
        answered.await.unwrap_or_else(|_| Err(self.failed()))
    }

    /// Why nothing can be written any more, if that is so.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn failed(&self) -> KvError {
        unavailable(self.failure().unwrap_or("the data directory has been closed"))
    }
}

fn unavailable(reason: &str) -> KvError {
    KvError::Unavailable(Box::new(Failed(reason.to_owned())))
}

impl Drop for Store {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the data directory ended with a panic");
        }
    }
}
