//! The audit log: who asked the control plane to change what, and what came of it.
//!
//! Owns its storage in [`Bucket::Audit`]. An entry is written before the change is tried, so that nothing can happen
//! without one, and again when its outcome is known. Entries go by themselves when they are old enough. Deliberately
//! knows nothing of what a change is: its caller says it in short texts, and sees to it that no secret is in them.
//!
//! An entry is stored under `{app}.{day}.{id}`, with `=` for no app, and ids begin with the time: so a page is found by
//! listing a few days, and not the whole log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use channels::AppId;
use clock::millis;
use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use prost::Message as _;
use proto::backbone::AuditEntry as Stored;
use proto::backbone::audit_entry;

use crate::Backbone;
use crate::kv::{Bucket, Entry, Kv, KvError};

#[cfg(test)]
mod tests;

/// Format of an entry.
const VERSION: u32 = 1;

/// How long entries are kept unless somebody says otherwise.
pub const DEFAULT_KEPT_FOR: Duration = Duration::from_secs(90 * DAY_MS / 1_000);

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Stands for no app in keys: no app is called so.
const NO_APP: &str = "=";

/// Most entries that are looked at for one page, so that a rare actor does not have the whole log read at once: such a
/// page is short, or empty, and says where the next one begins.
const MAX_LOOKED_AT: usize = 2_000;

/// An entry's id: 13 digits of milliseconds since the Unix epoch, `-`, 16 hex digits. Of those the first four count the
/// entries that one log began in that millisecond, so that they are listed in their order, and the others are random.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuditId(String);

/// A text that is not an [`AuditId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit id must be 13 digits, '-' and 16 hex digits")]
pub struct InvalidAuditId;

impl AuditId {
    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidAuditId> {
        let (time, random) = id.split_once('-').ok_or(InvalidAuditId)?;
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let sound = time.len() == 13 && time.bytes().all(|b| b.is_ascii_digit());
        if sound && random.len() == 16 && random.bytes().all(hex) {
            Ok(Self(id.to_owned()))
        } else {
            Err(InvalidAuditId)
        }
    }

    fn given(time_ms: u64, nth: u16) -> Self {
        let random = rand::random::<u64>() >> u16::BITS;
        Self(format!("{time_ms:013}-{nth:04x}{random:012x}"))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was given, milliseconds since the Unix epoch.
    pub fn time_ms(&self) -> u64 {
        self.0.split('-').next().and_then(|time| time.parse().ok()).unwrap_or(0)
    }
}

/// Something that is about to be tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewAudit {
    /// Who asks: a token, a certificate, a node.
    pub actor: String,
    /// What is called.
    pub method: String,
    /// The app that it is about, if it is about one.
    pub app: Option<AppId>,
    /// What of it, for people.
    pub target: String,
    /// What is to change. Never holds a secret.
    pub changes: Vec<String>,
    /// Where the call comes from; empty for none.
    pub peer: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended, or whoever tried it has.
    Pending,
    /// Done.
    Done,
    /// Refused, and why.
    Refused(String),
    /// It was not answered, and may or may not have been done.
    Unknown,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its id, which tells the time.
    pub id: AuditId,
    /// Who asked.
    pub actor: String,
    /// What was called.
    pub method: String,
    /// The app that it was about, if it was about one.
    pub app: Option<AppId>,
    /// What of it, for people.
    pub target: String,
    /// What was to change.
    pub changes: Vec<String>,
    /// Where the call came from; empty for none.
    pub peer: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The revision of what was changed; 0 if there is none, or it is not known.
    pub revision: u64,
}

/// An entry whose outcome is still to be told.
#[derive(Debug)]
#[must_use = "the log should say what came of it"]
pub struct Begun(AuditEntry);

impl Begun {
    /// The entry's id.
    pub fn id(&self) -> &AuditId {
        &self.0.id
    }
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only those about this app.
    pub app: Option<AppId>,
    /// Only what this one asked.
    pub actor: Option<String>,
    /// Not before this time, milliseconds since the Unix epoch.
    pub from_ms: Option<u64>,
    /// Before this time, milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// Older than this entry: where the previous page ended.
    pub before: Option<AuditId>,
    /// At most so many.
    pub most: usize,
}

/// Some of the log, newest first.
#[derive(Debug)]
pub struct AuditPage {
    /// The entries. May be none although there is a next page.
    pub entries: Vec<AuditEntry>,
    /// Before which the next page begins; `None` on the last one.
    pub next: Option<AuditId>,
}

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditLog {
    entries: Kv,
    kept_for: Duration,
    latest: Arc<Mutex<Latest>>,
}

/// The millisecond of the entry begun last, and how many were begun in it before.
#[derive(Debug, Default)]
struct Latest {
    time_ms: u64,
    nth: u16,
}

impl Latest {
    fn next(&mut self, time_ms: u64) -> AuditId {
        let nth = if self.time_ms == time_ms { self.nth.saturating_add(1) } else { 0 };
        *self = Self { time_ms, nth };
        AuditId::given(time_ms, nth)
    }
}

impl AuditLog {
    /// The cluster's log, whose new entries go after `kept_for` (whole seconds, at least one).
    pub fn new(backbone: &Backbone, kept_for: Duration) -> Self {
        Self { entries: backbone.kv(Bucket::Audit), kept_for, latest: Arc::default() }
    }

    /// Writes down what is about to be tried. If this fails it must not be.
    pub async fn begin(&self, new: NewAudit, now_ms: u64) -> Result<Begun, KvError> {
        let NewAudit { actor, method, app, target, changes, peer } = new;
        let id = self.latest.lock().next(now_ms);
        let outcome = Outcome::Pending;
        let entry = AuditEntry { id, actor, method, app, target, changes, peer, outcome, revision: 0 };
        self.write(&entry).await?;
        Ok(Begun(entry))
    }

    /// Writes down what came of it.
    pub async fn finish(&self, begun: Begun, outcome: Outcome, revision: u64) -> Result<(), KvError> {
        self.write(&AuditEntry { outcome, revision, ..begun.0 }).await
    }

    /// The entries that are wanted, newest first.
    pub async fn list(&self, query: &AuditQuery, now_ms: u64) -> Result<AuditPage, KvError> {
        let mut page = AuditPage { entries: Vec::new(), next: None };
        let mut looked_at = 0;
        for day in query.days(now_ms, self.kept_for) {
            let app = query.app.as_ref().map_or("*", AppId::as_str);
            let mut found = self.wanted_of(query, &format!("{app}.{day}")).await?;
            // Newest first.
            found.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
            for chunk in found.chunks(query.most.clamp(1, 100)) {
                let keys: Vec<String> = chunk.iter().map(|(_, key)| key.clone()).collect();
                let entries: Vec<Entry> = self.entries.read(&keys).try_collect().await?;
                // What a newer version has written is left out rather than misread.
                let wanted = entries.iter().filter_map(decode).filter(|entry| query.wants_actor(&entry.actor));
                for entry in wanted {
                    if page.entries.len() == query.most {
                        page.next = page.entries.last().map(|entry| entry.id.clone());
                        return Ok(page);
                    }
                    page.entries.push(entry);
                }
                looked_at += chunk.len();
                if looked_at >= MAX_LOOKED_AT {
                    page.next = chunk.last().map(|(id, _)| id.clone());
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Ids and keys of the entries under `prefix` that are of the right time.
    async fn wanted_of(&self, query: &AuditQuery, prefix: &str) -> Result<Vec<(AuditId, String)>, KvError> {
        let keys = self.entries.keys(prefix).await?;
        let wanted = keys.into_iter().filter_map(|key| {
            let id = AuditId::new(key.rsplit('.').next()?).ok()?;
            query.wants_id(&id).then_some((id, key))
        });
        Ok(wanted.collect())
    }

    async fn write(&self, entry: &AuditEntry) -> Result<(), KvError> {
        self.entries.put_expiring(&key(entry), encode(entry), self.kept_for).await?;
        Ok(())
    }
}

impl AuditQuery {
    /// The days in which there may be entries, newest first. One more on either side, since clocks differ.
    fn days(&self, now_ms: u64, kept_for: Duration) -> impl Iterator<Item = u64> + use<> {
        let kept_ms = millis(kept_for);
        let first = (now_ms.saturating_sub(kept_ms) / DAY_MS).saturating_sub(1);
        let first = first.max(self.from_ms.map_or(0, |ms| ms / DAY_MS));
        let last = [self.until_ms, self.before.as_ref().map(AuditId::time_ms)].into_iter().flatten();
        let last = last.map(|ms| ms / DAY_MS).fold(now_ms / DAY_MS + 1, u64::min);
        (first..=last).rev()
    }

    fn wants_id(&self, id: &AuditId) -> bool {
        self.before.as_ref().is_none_or(|before| id < before)
            && self.from_ms.is_none_or(|from_ms| id.time_ms() >= from_ms)
            && self.until_ms.is_none_or(|until_ms| id.time_ms() < until_ms)
    }

    fn wants_actor(&self, actor: &str) -> bool {
        self.actor.as_ref().is_none_or(|wanted| wanted == actor)
    }
}

pub(crate) fn key(entry: &AuditEntry) -> String {
    let app = entry.app.as_ref().map_or(NO_APP, AppId::as_str);
    format!("{app}.{}.{}", entry.id.time_ms() / DAY_MS, entry.id.as_str())
}

pub(crate) fn encode(entry: &AuditEntry) -> Bytes {
    let AuditEntry { id, actor, method, app, target, changes, peer, outcome, revision } = entry;
    let (outcome, refusal) = match outcome {
        Outcome::Pending => (audit_entry::Outcome::Pending, ""),
        Outcome::Done => (audit_entry::Outcome::Done, ""),
        Outcome::Refused(why) => (audit_entry::Outcome::Refused, why.as_str()),
        Outcome::Unknown => (audit_entry::Outcome::Unknown, ""),
    };
    let stored = Stored {
        version: VERSION,
        id: id.as_str().to_owned(),
        actor: actor.clone(),
        method: method.clone(),
        app_id: app.as_ref().map(AppId::to_string).unwrap_or_default(),
        target: target.clone(),
        changes: changes.clone(),
        outcome: outcome.into(),
        refusal: refusal.to_owned(),
        revision: *revision,
        peer: peer.clone(),
    };
    stored.encode_to_vec().into()
}

pub(crate) fn decode(entry: &Entry) -> Option<AuditEntry> {
    let stored = Stored::decode(entry.value.clone()).ok().filter(|stored| stored.version == VERSION)?;
    let outcome = match audit_entry::Outcome::try_from(stored.outcome).ok()? {
        audit_entry::Outcome::Pending => Outcome::Pending,
        audit_entry::Outcome::Done => Outcome::Done,
        audit_entry::Outcome::Refused => Outcome::Refused(stored.refusal),
        audit_entry::Outcome::Unknown => Outcome::Unknown,
    };
    Some(AuditEntry {
        id: AuditId::new(&stored.id).ok()?,
        actor: stored.actor,
        method: stored.method,
        app: if stored.app_id.is_empty() { None } else { Some(AppId::new(&stored.app_id).ok()?) },
        target: stored.target,
        changes: stored.changes,
        peer: stored.peer,
        outcome,
        revision: stored.revision,
    })
}

/// Whether what came of a change is still to be written.
pub(crate) fn is_pending(entry: &Entry) -> bool {
    let stored = Stored::decode(entry.value.clone());
    stored.is_ok_and(|stored| stored.outcome() == audit_entry::Outcome::Pending)
}
