//! Backup and restore of what somebody made: apps, tokens of the control plane, and if wanted the audit log, usage and
//! dead letters.
//!
//! Owns the form of a backup: lines of JSON, one per entry, with a head that says what is needed to use it and an end that
//! proves that it is whole. Values are as they are stored, so **secrets stay sealed**: whoever restores needs the cluster
//! keys that the head names, and whoever has only the backup has no secrets.
//!
//! ```text
//! {"fanfare":"backup","version":1,"created_ms":…,"schema":2,"cluster_keys":["9f2c4be1"],"parts":["apps","access"]}
//! {"part":"apps","key":"app.1001","value":"<base64>"}
//! …
//! {"end":{"entries":1,"sha256":"<hex, of all bytes above>"}}
//! ```
//!
//! Claims of key names are not in it: they follow from the apps and are made anew, so that the two agree even if apps were
//! changed while the backup was taken. Of each app it has one state; of several apps not always of the same moment.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::digest;
use serde::{Deserialize, Serialize};

use crate::kv::{Bucket, KvError};
use crate::registry::Registry;
use crate::schema::SchemaError;
use crate::sealing::ClusterKeyId;
use crate::{Backbone, access, audit, hex};

mod restore;
#[cfg(test)]
mod tests;

pub use restore::{RestoreError, RestoreOptions, Restored};

/// The newest form of backups.
const VERSION: u32 = 1;

/// What a backup is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Apps with their keys. Always in it.
    Apps,
    /// Tokens of the control plane. Always in it.
    Access,
    /// The audit log.
    Audit,
    /// Usage of apps.
    Usage,
    /// Webhook events that could not be delivered.
    DeadLetters,
}

impl Part {
    /// Those that somebody may do without.
    pub const OPTIONAL: [Self; 3] = [Self::Audit, Self::Usage, Self::DeadLetters];

    fn bucket(self) -> Bucket {
        match self {
            Self::Apps => Bucket::Apps,
            Self::Access => Bucket::Access,
            Self::Audit => Bucket::Audit,
            Self::Usage => Bucket::Usage,
            Self::DeadLetters => Bucket::DeadLetters,
        }
    }
}

/// A whole backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    head: Head,
    entries: Vec<Saved>,
    left_out: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Saved {
    part: Part,
    key: String,
    value: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    fanfare: String,
    version: u32,
    created_ms: u64,
    schema: u32,
    cluster_keys: Vec<String>,
    parts: BTreeSet<Part>,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    part: Part,
    key: &'a str,
    value: String,
}

#[derive(Serialize, Deserialize)]
struct LastLine {
    end: End,
}

#[derive(Serialize, Deserialize)]
struct End {
    entries: usize,
    sha256: String,
}

/// Why something is not a backup that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackup {
    /// It does not begin as one.
    #[error("this is not a backup of fanfare")]
    Foreign,
    /// Made by a newer version.
    #[error("this backup has form {0}, and this process knows only {VERSION}; use a newer fanfare")]
    Newer(u32),
    /// It stops before its end.
    #[error("this backup is not whole: its last line is missing")]
    Truncated,
    /// A line, counted from 1, is not one of a backup.
    #[error("line {0} of this backup is damaged")]
    Line(usize),
    /// Something was changed, left out or added.
    #[error("this backup was changed or damaged: its checksum is wrong")]
    Checksum,
}

/// Why a backup could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The registry is not one that this process can back up.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The backbone failed.
    #[error("the backbone did not answer")]
    Backbone(#[from] KvError),
}

impl Backup {
    /// Takes a backup at `now_ms`, milliseconds since the Unix epoch, with these `optional` parts.
    pub async fn take(
        backbone: &Backbone,
        registry: &Registry,
        optional: &[Part],
        now_ms: u64,
    ) -> Result<Self, BackupError> {
        let schema = registry.schema().await?;
        let parts: BTreeSet<Part> = [Part::Apps, Part::Access].into_iter().chain(optional.iter().copied()).collect();
        let (mut entries, mut left_out) = (Vec::new(), Vec::new());
        let mut cluster_keys = BTreeSet::new();
        for part in &parts {
            for entry in backbone.kv(part.bucket()).entries().await? {
                if *part == Part::Apps {
                    match registry.keys_needed(&entry) {
                        Some(Ok(needed)) => cluster_keys.extend(needed),
                        Some(Err(unreadable)) => {
                            left_out.push(format!("{}: {unreadable}", entry.key));
                            continue;
                        }
                        // A claim, which follows from the apps.
                        None => continue,
                    }
                }
                if *part == Part::Access && !access::is_token(&entry) {
                    left_out.push(format!("{}: it cannot be read", entry.key));
                    continue;
                }
                // Such as this backup's own: restored, it would undo what came of it.
                if *part == Part::Audit && audit::is_pending(&entry) {
                    continue;
                }
                entries.push(Saved { part: *part, key: entry.key, value: entry.value });
            }
        }
        let head = Head {
            fanfare: "backup".to_owned(),
            version: VERSION,
            created_ms: now_ms,
            schema,
            cluster_keys: cluster_keys.iter().map(ClusterKeyId::to_string).collect(),
            parts,
        };
        Ok(Self { head, entries, left_out })
    }

    /// What could not be backed up, because it cannot be read, and why. Empty for a backup that was read.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// When it was taken, milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> u64 {
        self.head.created_ms
    }

    /// The cluster keys that are needed to restore it.
    pub fn cluster_keys(&self) -> impl Iterator<Item = ClusterKeyId> {
        self.head.cluster_keys.iter().filter_map(|id| ClusterKeyId::parse(id))
    }

    /// How many entries it has of each part.
    pub fn counts(&self) -> BTreeMap<Part, usize> {
        let mut counts: BTreeMap<_, _> = self.head.parts.iter().map(|part| (*part, 0)).collect();
        for entry in &self.entries {
            *counts.entry(entry.part).or_default() += 1;
        }
        counts
    }

    /// The lines of the file, each with its line feed.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let mut sum = digest::Context::new(&digest::SHA256);
        let head = std::iter::once_with(|| json(&self.head));
        let entries = self
            .entries
            .iter()
            .map(|Saved { part, key, value }| json(&Line { part: *part, key, value: STANDARD.encode(value) }));
        let mut above = head.chain(entries);
        let mut ended = false;
        std::iter::from_fn(move || match above.next() {
            Some(line) => {
                sum.update(line.as_bytes());
                Some(line)
            }
            None if ended => None,
            None => {
                ended = true;
                let sha256 = hex::encode(sum.clone().finish().as_ref());
                Some(json(&LastLine { end: End { entries: self.entries.len(), sha256 } }))
            }
        })
    }

    /// Reads a file, and checks that it is whole.
    pub fn read(file: &[u8]) -> Result<Self, InvalidBackup> {
        let mut lines = file.split_inclusive(|byte| *byte == b'\n').enumerate().peekable();
        let first = lines.next().map(|(_, line)| line).unwrap_or_default();
        let head: Head = serde_json::from_slice(first).map_err(|_| version_of(first))?;
        if head.fanfare != "backup" || head.version != VERSION {
            return Err(version_of(first));
        }
        let mut sum = digest::Context::new(&digest::SHA256);
        sum.update(first);
        let mut entries = Vec::new();
        while let Some((index, line)) = lines.next() {
            if let Ok(LastLine { end }) = serde_json::from_slice(line) {
                let whole = end.entries == entries.len() && end.sha256 == hex::encode(sum.finish().as_ref());
                let is_last = lines.peek().is_none();
                let backup = Self { head, entries, left_out: Vec::new() };
                return if is_last && whole { Ok(backup) } else { Err(InvalidBackup::Checksum) };
            }
            let damaged = InvalidBackup::Line(index + 1);
            let Ok(Line { part, key, value }) = serde_json::from_slice(line) else {
                return Err(if line.ends_with(b"\n") { damaged } else { InvalidBackup::Truncated });
            };
            let value = STANDARD.decode(value).map_err(|_| damaged)?.into();
            sum.update(line);
            entries.push(Saved { part, key: key.to_owned(), value });
        }
        Err(InvalidBackup::Truncated)
    }
}

fn json(line: &impl Serialize) -> String {
    let mut json = serde_json::to_string(line).expect("strings and numbers are always JSON");
    json.push('\n');
    json
}

/// What to say of a first line that is not understood.
fn version_of(line: &[u8]) -> InvalidBackup {
    #[derive(Deserialize)]
    struct Marked {
        fanfare: String,
        version: u32,
    }
    match serde_json::from_slice(line) {
        Ok(Marked { fanfare, version }) if fanfare == "backup" && version > VERSION => InvalidBackup::Newer(version),
        Ok(_) | Err(_) => InvalidBackup::Foreign,
    }
}
