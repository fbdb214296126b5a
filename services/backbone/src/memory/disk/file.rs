//! The file in a data directory: one table for each bucket, by key.
//!
//! Kept with redb: copy-on-write trees with a checksum of every page. A transaction is committed in two phases, so that
//! the newest committed state is whole whatever happens; a newest state that is not whole is damage, and is refused
//! rather than replaced by an older one. Every page is checked at every start, when all are read anyway.

use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clock::{millis, since_epoch};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError, WriteTransaction,
};

use crate::FORMAT;
use crate::config::StartError;
use crate::kv::Bucket;

/// The file, and its name while it is being made.
pub(super) const FILE: &str = "fanfare.redb";
const NEW_FILE: &str = "fanfare.redb.new";

/// Locked by the one process that uses the directory.
const LOCK: &str = "lock";

/// Memory for pages of the file: little, since everything is in memory already.
const CACHE_BYTES: usize = 8 << 20;

/// With what errors a file is read that is shorter than it should be, or something else. Others are the disk's: it may be
/// full, since even a start writes.
const DAMAGE: [io::ErrorKind; 2] = [io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];

/// A bucket's entries: by key the revision, the milliseconds of the Unix epoch at which the value lapses if it does, and
/// the value.
pub(super) type Row = (u64, Option<u64>, &'static [u8]);

/// What the file is.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// In [`ABOUT`], the format of everything in the file.
const ABOUT_FORMAT: &str = "format";

/// The newest revision of each bucket, by its name. Goes on after a restart, so that none is ever used twice.
pub(super) const REVISIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("revisions");

/// The table of a bucket's entries.
pub(super) fn table(bucket: Bucket) -> TableDefinition<'static, &'static str, Row> {
    TableDefinition::new(bucket.name())
}

/// When what has `ttl` left from now lapses, for a [`Row`]: by the wall clock, which goes on between processes.
pub(super) fn lapses_in(ttl: Duration) -> u64 {
    millis(since_epoch().saturating_add(ttl))
}

/// What is left from now of what a [`Row`] says lapses at `lapses`.
pub(super) fn until(lapses: u64) -> Duration {
    Duration::from_millis(lapses).saturating_sub(since_epoch())
}

/// An open data directory, which is this process's until this is dropped.
#[derive(Debug)]
pub(super) struct DataFile {
    database: Database,
    path: PathBuf,
    /// After `database`, so that it is let go of last.
    _lock: File,
}

impl DataFile {
    /// Opens the file in `dir`; makes both if they are not there.
    pub(super) fn open(dir: &Path) -> Result<Self, StartError> {
        let unusable = |reason: &dyn Display| {
            StartError::Refused(format!("data directory {} cannot be used: {reason}", dir.display()))
        };
        let in_use = || StartError::Refused(format!("data directory {} is in use by another process", dir.display()));
        let create = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        create.map_err(|error| unusable(&error))?;
        let lock = private().create(true).truncate(false).open(dir.join(LOCK)).map_err(|error| unusable(&error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => in_use(),
            TryLockError::Error(error) => unusable(&error),
        })?;
        let path = dir.join(FILE);
        if !path.try_exists().map_err(|error| unusable(&error))? {
            make(dir, &path).map_err(|error| unusable(&error))?;
        }
        let open = || -> Result<(Database, Option<u64>), redb::Error> {
            let database = builder().open(&path)?;
            let format = {
                let table = database.begin_read()?.open_table(ABOUT)?;
                table.get(ABOUT_FORMAT)?.map(|format| format.value())
            };
            Ok((database, format))
        };
        let (database, format) = open().map_err(|error| match error {
            redb::Error::Io(error) if !DAMAGE.contains(&error.kind()) => unusable(&error),
            redb::Error::DatabaseAlreadyOpen => in_use(),
            error => unreadable(&path, &error),
        })?;
        match format {
            Some(format) if format == u64::from(FORMAT) => Ok(Self { database, path, _lock: lock }),
            Some(format) if format > u64::from(FORMAT) => Err(StartError::Refused(format!(
                "data directory {} has format {format}, written by a newer version of Fanfare; this one reads format {FORMAT}",
                dir.display()
            ))),
            Some(format) => Err(unreadable(&path, &format!("it has format {format}, not {FORMAT}"))),
            None => Err(unreadable(&path, &"it does not say its format")),
        }
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives every row of `bucket` to `each`; returns the bucket's newest revision.
    pub(super) fn read(
        &self,
        bucket: Bucket,
        mut each: impl FnMut(&str, (u64, Option<u64>, &[u8])),
    ) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_read()?;
        if let Some(rows) = if_there(transaction.open_table(table(bucket)))? {
            for row in rows.iter()? {
                let (key, row) = row?;
                each(key.value(), row.value());
            }
        }
        let Some(revisions) = if_there(transaction.open_table(REVISIONS))? else { return Ok(0) };
        Ok(revisions.get(bucket.name())?.map_or(0, |revision| revision.value()))
    }

    /// That the file's content is not what it should be.
    pub(super) fn unreadable(&self, error: &dyn Display) -> StartError {
        unreadable(&self.path, error)
    }

    /// Begins the only transaction there is at a time.
    pub(super) fn begin(&self) -> Result<WriteTransaction, redb::Error> {
        begin(&self.database)
    }
}

fn unreadable(path: &Path, error: &dyn Display) -> StartError {
    StartError::Refused(format!(
        "data file {} cannot be read: {error}; restore it from a copy, or move it away to begin with nothing",
        path.display()
    ))
}

/// Tables are made when something is first written into them.
fn if_there<T>(opened: Result<T, TableError>) -> Result<Option<T>, TableError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Files that only their owner reads: they hold secrets, sealed or not.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Makes an empty file, which gets its name only when it is whole: one without content is damage.
fn make(dir: &Path, path: &Path) -> Result<(), redb::Error> {
    let new = dir.join(NEW_FILE);
    let file = private().create(true).truncate(true).open(&new)?;
    let database = builder().create_with_backend(FileBackend::new(file)?)?;
    let transaction = begin(&database)?;
    transaction.open_table(ABOUT)?.insert(ABOUT_FORMAT, u64::from(FORMAT))?;
    transaction.commit()?;
    drop(database);
    fs::rename(&new, path)?;
    // The names must be on disk like the content.
    sync(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync(parent)?;
    }
    Ok(())
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
