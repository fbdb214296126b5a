//! Webhook events that could not be delivered: kept for a while for their app's owners, who can have them delivered after
//! all.
//!
//! Stored in [`Bucket::DeadLetters`] under app and id. Ids begin with the time, so they are in the order in which events
//! were given up. How many an app may have, and for how long, is enforced by the one that adds them ([`Keeper`]).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use channels::AppId;
use clock::{millis, unix_ms};
use prost::Message as _;
use proto::backbone::{DeadLetter, WebhookEvent};

use crate::kv::{Bucket, Entry, Kv, KvError};
use crate::{Backbone, IdempotencyId, Queue, QueueError};

/// Format of a dead letter, and of the event in it.
const VERSION: u32 = 1;

/// Most dead letters of one app; the oldest go first.
pub const MAX_PER_APP: usize = 1_000;

/// How long a dead letter is kept.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Most bytes of events in one page of a list, so that it fits into a gRPC message. A page has at least one letter.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// A dead letter's id: 13 digits of milliseconds since the Unix epoch, `-`, 16 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId(String);

/// A text that is not a [`DeadLetterId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dead letter id must be 13 digits, '-' and 16 hex digits")]
pub struct InvalidDeadLetterId;

impl DeadLetterId {
    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidDeadLetterId> {
        let (time, random) = id.split_once('-').ok_or(InvalidDeadLetterId)?;
        let sound = time.len() == 13 && time.bytes().all(|b| b.is_ascii_digit());
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if sound && random.len() == 16 && random.bytes().all(hex) {
            Ok(Self(id.to_owned()))
        } else {
            Err(InvalidDeadLetterId)
        }
    }

    fn random(failed_ms: u64) -> Self {
        Self(format!("{failed_ms:013}-{:016x}", rand::random::<u64>()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn failed_ms(&self) -> u64 {
        self.0.split('-').next().and_then(|time| time.parse().ok()).unwrap_or(0)
    }
}

/// Some of an app's dead letters, oldest first.
#[derive(Debug)]
pub struct DeadLetterPage {
    /// The letters.
    pub letters: Vec<(DeadLetterId, DeadLetter)>,
    /// Behind which the next page begins; `None` on the last one.
    pub next: Option<DeadLetterId>,
}

/// Why a dead letter operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// There is no such letter (any more).
    #[error("there is no such dead letter")]
    Missing,
    /// Too much waits to be delivered already. The letter is still there.
    #[error("too many webhook events wait for their delivery")]
    QueueFull,
    /// The backbone failed; it may or may not have happened. Trying again is safe.
    #[error("the backbone did not answer")]
    Unavailable,
}

impl From<KvError> for DeadLetterError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::Exists | KvError::Conflict | KvError::InvalidKey | KvError::Unavailable(_) => Self::Unavailable,
        }
    }
}

impl From<QueueError> for DeadLetterError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Full => Self::QueueFull,
            QueueError::TooLarge | QueueError::Unavailable => Self::Unavailable,
        }
    }
}

/// The dead letters of all apps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    letters: Kv,
    queue: Queue,
}

impl Backbone {
    /// The dead letters of webhooks.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters { letters: self.kv(Bucket::DeadLetters), queue: self.webhook_queue() }
    }
}

impl DeadLetters {
    /// At most `most` of the app's letters, fewer if they are large, oldest first, beginning behind `after`.
    pub async fn list(
        &self,
        app: &AppId,
        after: Option<&DeadLetterId>,
        most: usize,
    ) -> Result<DeadLetterPage, DeadLetterError> {
        let mut all = self.all(app).await?;
        all.retain(|(id, _)| after.is_none_or(|after| id > after));
        let total = all.len();
        let mut room = MAX_PAGE_BYTES;
        let mut letters = Vec::new();
        for (id, entry) in all.into_iter().take(most) {
            if !letters.is_empty() && entry.value.len() > room {
                break;
            }
            room = room.saturating_sub(entry.value.len());
            letters.push((id, entry));
        }
        let next = (letters.len() < total).then(|| letters.last().map(|(id, _)| id.clone())).flatten();
        // What a newer version has written is left out rather than misread.
        let letters = letters.into_iter().filter_map(|(id, entry)| Some((id, decode(&entry)?))).collect();
        Ok(DeadLetterPage { letters, next })
    }

    /// Has a letter delivered anew, to its webhook only, and forgets it: if it fails again it is a new letter. A call that
    /// is repeated after it did not answer delivers once.
    pub async fn replay(&self, app: &AppId, id: &DeadLetterId) -> Result<(), DeadLetterError> {
        let entry = self.letters.get(&key(app, id)).await?.ok_or(DeadLetterError::Missing)?;
        self.replay_entry(app, id, &entry).await
    }

    /// Replays every letter that the app has now, oldest first; how many. An error leaves the rest as they are.
    pub async fn replay_all(&self, app: &AppId) -> Result<usize, DeadLetterError> {
        let all = self.all(app).await?;
        let mut replayed = 0;
        for (id, entry) in all.into_iter().filter(|(_, entry)| decode(entry).is_some()) {
            self.replay_entry(app, &id, &entry).await?;
            replayed += 1;
        }
        Ok(replayed)
    }

    /// Forgets a letter. Forgetting what is not there is an error, so that a mistyped id is noticed.
    pub async fn delete(&self, app: &AppId, id: &DeadLetterId) -> Result<(), DeadLetterError> {
        self.letters.get(&key(app, id)).await?.ok_or(DeadLetterError::Missing)?;
        self.letters.remove(&key(app, id), None).await?;
        Ok(())
    }

    /// Forgets all letters that the app has now; how many.
    pub async fn delete_all(&self, app: &AppId) -> Result<usize, DeadLetterError> {
        let all = self.all(app).await?;
        for (id, _) in &all {
            self.letters.remove(&key(app, id), None).await?;
        }
        Ok(all.len())
    }

    async fn replay_entry(&self, app: &AppId, id: &DeadLetterId, entry: &Entry) -> Result<(), DeadLetterError> {
        let DeadLetter { event, webhook_id, .. } = decode(entry).ok_or(DeadLetterError::Missing)?;
        let event = WebhookEvent { webhook_id, time_ms: unix_ms(), ..event.ok_or(DeadLetterError::Missing)? };
        let once = IdempotencyId::new(&format!("replay/{}", id.as_str())).expect("ids are short");
        self.queue.push(app, &once, event.encode_to_vec().into()).await?;
        self.letters.remove(&key(app, id), None).await?;
        Ok(())
    }

    /// The app's letters, oldest first.
    async fn all(&self, app: &AppId) -> Result<Vec<(DeadLetterId, Entry)>, KvError> {
        let listing = self.letters.list(app.as_str()).await?;
        let mut all: Vec<_> =
            listing.entries.into_iter().filter_map(|entry| Some((parse(&entry.key)?.1, entry))).collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(all)
    }
}

/// Adds dead letters and keeps their number and age within bounds. To be used by one process at a time; letters that
/// others remove meanwhile count until the next [`Keeper::sweep`].
#[derive(Debug)]
pub struct Keeper {
    letters: Kv,
    by_app: HashMap<AppId, BTreeSet<DeadLetterId>>,
}

impl Keeper {
    /// A keeper that knows nothing until it has swept.
    pub fn new(backbone: &Backbone) -> Self {
        Self { letters: backbone.kv(Bucket::DeadLetters), by_app: HashMap::new() }
    }

    /// Takes note of what is there, and removes what is too old or belongs to an app that `keep` does not want.
    pub async fn sweep(&mut self, keep: impl Fn(&AppId) -> bool) -> Result<(), DeadLetterError> {
        let oldest = unix_ms().saturating_sub(millis(KEPT_FOR));
        let mut by_app: HashMap<AppId, BTreeSet<DeadLetterId>> = HashMap::new();
        for entry in self.letters.entries().await? {
            let Some((app, id)) = parse(&entry.key) else { continue };
            if id.failed_ms() < oldest || !keep(&app) {
                self.letters.remove(&entry.key, None).await?;
            } else {
                by_app.entry(app).or_default().insert(id);
            }
        }
        self.by_app = by_app;
        Ok(())
    }

    /// Adds a letter, at the expense of the oldest ones if the app has too many.
    pub async fn add(&mut self, app: &AppId, letter: &DeadLetter) -> Result<(), DeadLetterError> {
        let id = DeadLetterId::random(letter.failed_ms);
        self.letters.put(&key(app, &id), letter.encode_to_vec().into()).await?;
        let ids = self.by_app.entry(app.clone()).or_default();
        ids.insert(id);
        while ids.len() > MAX_PER_APP {
            let Some(oldest) = ids.first().cloned() else { break };
            self.letters.remove(&key(app, &oldest), None).await?;
            ids.remove(&oldest);
        }
        Ok(())
    }
}

pub(crate) fn key(app: &AppId, id: &DeadLetterId) -> String {
    format!("{app}.{}", id.as_str())
}

fn parse(key: &str) -> Option<(AppId, DeadLetterId)> {
    let (app, id) = key.split_once('.')?;
    Some((AppId::new(app).ok()?, DeadLetterId::new(id).ok()?))
}

pub(crate) fn decode(entry: &Entry) -> Option<DeadLetter> {
    DeadLetter::decode(entry.value.clone()).ok().filter(|letter| letter.version == VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn app() -> AppId {
        AppId::new("1001").unwrap()
    }

    fn letter(channel: &str, failed_ms: u64) -> DeadLetter {
        let event =
            WebhookEvent { version: 1, app_id: "1001".to_owned(), channel: channel.to_owned(), ..Default::default() };
        DeadLetter {
            version: VERSION,
            event: Some(event),
            webhook_id: "w1".to_owned(),
            failed_ms,
            ..Default::default()
        }
    }

    fn channels(page: &DeadLetterPage) -> Vec<String> {
        page.letters.iter().filter_map(|(_, letter)| Some(letter.event.as_ref()?.channel.clone())).collect()
    }

    #[test]
    fn ids() {
        let id = DeadLetterId::random(1_730_000_000_123);
        assert_eq!(DeadLetterId::new(id.as_str()), Ok(id.clone()));
        assert_eq!(id.failed_ms(), 1_730_000_000_123);
        for text in ["", "1730000000123", "1730000000123-", "173000000012x-0000000000000000", "1-0000000000000000"] {
            assert_eq!(DeadLetterId::new(text), Err(InvalidDeadLetterId), "{text}");
        }
    }

    #[tokio::test]
    async fn lists_in_pages_and_deletes() {
        let backbone = Backbone::memory(&Config::default());
        let (letters, mut keeper) = (backbone.dead_letters(), Keeper::new(&backbone));
        for (channel, at) in [("b", 2), ("a", 1), ("c", 3)] {
            keeper.add(&app(), &letter(channel, at)).await.unwrap();
        }
        let first = letters.list(&app(), None, 2).await.unwrap();
        assert_eq!(channels(&first), ["a", "b"]);
        let second = letters.list(&app(), first.next.as_ref(), 2).await.unwrap();
        assert_eq!((channels(&second), second.next), (vec!["c".to_owned()], None));
        let id = &first.letters[0].0;
        letters.delete(&app(), id).await.unwrap();
        assert!(matches!(letters.delete(&app(), id).await, Err(DeadLetterError::Missing)));
        assert_eq!(letters.delete_all(&app()).await.unwrap(), 2);
        assert!(letters.list(&AppId::new("2").unwrap(), None, 9).await.unwrap().letters.is_empty());
    }

    #[tokio::test]
    async fn a_replay_goes_to_its_webhook_once() {
        let backbone = Backbone::memory(&Config::default());
        let (letters, mut keeper) = (backbone.dead_letters(), Keeper::new(&backbone));
        keeper.add(&app(), &letter("a", 1)).await.unwrap();
        keeper.add(&app(), &letter("b", 2)).await.unwrap();
        let page = letters.list(&app(), None, 1).await.unwrap();
        letters.replay(&app(), &page.letters[0].0).await.unwrap();
        assert!(matches!(letters.replay(&app(), &page.letters[0].0).await, Err(DeadLetterError::Missing)));
        assert_eq!(letters.replay_all(&app()).await.unwrap(), 1);
        let mut consumer = backbone.webhook_queue().consume().await.unwrap();
        for channel in ["a", "b"] {
            let item = consumer.next().await.unwrap();
            let event = WebhookEvent::decode(item.payload().clone()).unwrap();
            assert_eq!((event.channel.as_str(), event.webhook_id.as_str()), (channel, "w1"));
            assert!(event.time_ms > 1_730_000_000_000, "the time is that of the replay");
        }
    }

    #[tokio::test]
    async fn the_oldest_go_first_and_the_outdated_with_a_sweep() {
        let backbone = Backbone::memory(&Config::default());
        let (letters, mut keeper) = (backbone.dead_letters(), Keeper::new(&backbone));
        let now = unix_ms();
        for number in 0..=MAX_PER_APP {
            keeper.add(&app(), &letter(&number.to_string(), now + number as u64)).await.unwrap();
        }
        let page = letters.list(&app(), None, 1).await.unwrap();
        assert_eq!(channels(&page), ["1"]);
        let other = AppId::new("2").unwrap();
        keeper.add(&other, &letter("old", 5)).await.unwrap();
        keeper.add(&other, &letter("new", now)).await.unwrap();
        let mut next = Keeper::new(&backbone);
        next.sweep(|app| app.as_str() == "2").await.unwrap();
        assert_eq!(channels(&letters.list(&other, None, 9).await.unwrap()), ["new"]);
        assert!(letters.list(&app(), None, 9).await.unwrap().letters.is_empty(), "its app is gone");
    }
}
