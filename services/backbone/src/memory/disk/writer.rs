//! The thread that writes: decides each change, commits many at once, and then shows and answers them.

use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use redb::{ReadableTable as _, WriteTransaction};
use tokio::time::Instant;

use super::file::{self, DataFile};
use super::{Change, unavailable};
use crate::config::StartError;
use crate::kv::{Bucket, KvError};
use crate::memory::entries::Entries;
use crate::memory::kv::Shared;

/// Owns the file and, as their only writer, the buckets.
#[derive(Debug)]
pub(super) struct Writer {
    file: DataFile,
    buckets: Vec<(Bucket, Arc<Shared>)>,
    failure: Arc<OnceLock<String>>,
}

/// What one transaction does to one bucket.
struct Staged {
    bucket: usize,
    /// Markers of removals that have become old.
    markers: Vec<String>,
    applied: Vec<Applied>,
    /// To the changes asked of this bucket, in their order.
    answers: Vec<Result<u64, KvError>>,
}

/// A key's new state.
struct Applied {
    key: String,
    value: Option<Bytes>,
    ttl: Option<Duration>,
    revision: u64,
}

impl Writer {
    /// Opens `dir` and reads `buckets`.
    pub(super) fn open(dir: &Path, buckets: &[Bucket], failure: Arc<OnceLock<String>>) -> Result<Self, StartError> {
        let file = DataFile::open(dir)?;
        let read = |&bucket| Ok((bucket, Arc::new(Shared::new(read(&file, bucket)?))));
        let buckets: Result<_, redb::Error> = buckets.iter().map(read).collect();
        let buckets = buckets.map_err(|error| file.unreadable(&error))?;
        Ok(Self { file, buckets, failure })
    }

    /// The buckets' content.
    pub(super) fn content(&self) -> Vec<Arc<Shared>> {
        self.buckets.iter().map(|(_, shared)| Arc::clone(shared)).collect()
    }

    /// Writes until nobody can ask for a change any more.
    pub(super) fn run(self, changes: &mpsc::Receiver<Change>) {
        let _guard = PanicGuard(Arc::clone(&self.failure));
        loop {
            let first = match self.next_deadline() {
                None => changes.recv().map_err(mpsc::RecvTimeoutError::from),
                Some(at) => changes.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let first = match first {
                Ok(change) => Some(change),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            // All that wait: what bounds the queue bounds this, too.
            self.turn(first.into_iter().chain(changes.try_iter()).collect());
        }
    }

    /// When the next value lapses or the next marker goes; never, if that cannot be written down any more.
    fn next_deadline(&self) -> Option<Instant> {
        let deadlines = self.buckets.iter().filter_map(|(_, shared)| shared.with(|entries| entries.next_deadline()));
        if self.failure.get().is_some() { None } else { deadlines.min() }
    }

    /// Writes `changes`, and what has lapsed, down at once; then shows and answers them.
    pub(super) fn turn(&self, changes: Vec<Change>) {
        let mut asked: Vec<Vec<Change>> = self.buckets.iter().map(|_| Vec::new()).collect();
        for change in changes {
            asked[change.bucket].push(change);
        }
        let now = Instant::now();
        let committed = match self.failure.get() {
            Some(reason) => Err(reason),
            None => self.commit(&asked, now).map_err(|error| self.fail(&error)),
        };
        match committed {
            Ok(staged) => {
                for Staged { bucket, markers, applied, answers } in staged {
                    self.buckets[bucket].1.with(|entries| {
                        markers.iter().for_each(|key| entries.forget(key));
                        for Applied { key, value, ttl, revision } in applied {
                            entries.set(key, value, ttl, revision, now);
                        }
                    });
                    for (change, answer) in asked[bucket].drain(..).zip(answers) {
                        // Whoever asked may have stopped waiting.
                        change.answer.send(answer).ok();
                    }
                }
            }
            Err(reason) => {
                for change in asked.into_iter().flatten() {
                    change.answer.send(Err(unavailable(reason))).ok();
                }
            }
        }
    }

    /// Writes down what is `asked` of each bucket, and what has lapsed by `now`.
    fn commit(&self, asked: &[Vec<Change>], now: Instant) -> Result<Vec<Staged>, redb::Error> {
        let transaction = self.file.begin()?;
        let mut staged = Vec::new();
        for (bucket, changes) in asked.iter().enumerate() {
            let (due, revision) = self.buckets[bucket].1.with(|entries| (entries.due(now), entries.revision()));
            let mut stage = Staged { bucket, markers: due.markers, applied: Vec::new(), answers: Vec::new() };
            if !changes.is_empty() || !due.values.is_empty() {
                stage.write(&transaction, self.buckets[bucket].0, due.values, changes, revision)?;
            }
            staged.push(stage);
        }
        if staged.iter().any(|stage| !stage.applied.is_empty()) {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(staged)
    }

    /// Notes that nothing can be written from now on; gives the reason.
    fn fail(&self, error: &redb::Error) -> &String {
        let reason = format!(
            "data file {} cannot be written: {error}; nothing can be changed until a restart",
            self.file.path().display()
        );
        tracing::error!("{reason}");
        self.failure.get_or_init(|| reason)
    }
}

impl Staged {
    /// Writes `lapsed` and `changes` into the table of `bucket`, whose newest revision is `revision`.
    fn write(
        &mut self,
        transaction: &WriteTransaction,
        bucket: Bucket,
        lapsed: Vec<String>,
        changes: &[Change],
        mut revision: u64,
    ) -> Result<(), redb::Error> {
        let mut rows = transaction.open_table(file::table(bucket))?;
        for key in lapsed {
            rows.remove(key.as_str())?;
            revision += 1;
            self.applied.push(Applied { key, value: None, ttl: None, revision });
        }
        for Change { write, .. } in changes {
            let key = write.key.as_str();
            let current = rows.get(key)?.map(|row| row.value().0);
            let expected = write.expected.check(current);
            if expected.is_ok() && (write.value.is_some() || current.is_some()) {
                revision += 1;
                match &write.value {
                    Some(value) => {
                        let row = (revision, write.ttl.map(file::lapses_in), value.as_ref());
                        rows.insert(key, row)?;
                    }
                    None => {
                        rows.remove(key)?;
                    }
                }
                let (key, value, ttl) = (write.key.clone(), write.value.clone(), write.ttl);
                self.applied.push(Applied { key, value, ttl, revision });
            }
            self.answers.push(expected.map(|()| revision));
        }
        transaction.open_table(file::REVISIONS)?.insert(bucket.name(), revision)?;
        Ok(())
    }
}

/// What the file has of `bucket`.
fn read(file: &DataFile, bucket: Bucket) -> Result<Entries, redb::Error> {
    let now = Instant::now();
    let mut entries = Entries::new(bucket.marker_ttl());
    let revision = file.read(bucket, |key, (revision, lapses, value)| {
        let ttl = lapses.map(file::until);
        entries.set(key.to_owned(), Some(Bytes::copy_from_slice(value)), ttl, revision, now);
    })?;
    entries.advance(revision);
    Ok(entries)
}

/// Says, if the thread panics, that nothing can be written any more.
struct PanicGuard(Arc<OnceLock<String>>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.get_or_init(|| {
                "the data directory's writer has panicked; nothing can be changed until a restart".into()
            });
        }
    }
}
