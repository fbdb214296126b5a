//! Usage by the minute, hour, day and month, as it is folded from what nodes wrote.
//!
//! For each app there is a row per hour with a slot for each minute, per day with a slot for each hour, and per month with
//! a slot for each day. A slot is worked out anew from all there is to know and set, never added to, and a row is written
//! over the revision that was read. So a minute may be folded any number of times, by any number of processes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use channels::AppId;
use clock::millis;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use metering::usage::{AppMinute, Counts, Interval, Period, Slots, fold};
use prost::Message as _;
use proto::backbone as wire;

use super::{RAW, RawKey, VERSION, counts_from_wire, counts_to_wire, decode_rows};
use crate::Backbone;
use crate::kv::{Bucket, Entry, Kv, KvError};

/// Rows that are written at the same time.
const CONCURRENCY: usize = 16;

/// Most minutes that a query reads as nodes wrote them. If more are not folded, folding is far behind and goes on.
const MAX_UNFOLDED: u64 = 120;

/// Under what it is kept how far usage is folded.
const FOLDED: &str = "folded";

/// How long usage is kept, by what it is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Minutes.
    pub minutes: Duration,
    /// Hours.
    pub hours: Duration,
    /// Days.
    pub days: Duration,
    /// Months.
    pub months: Duration,
}

impl Default for Kept {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        Self { minutes: days(3), hours: days(60), days: days(400), months: days(3_650) }
    }
}

impl Kept {
    fn of(self, interval: Interval) -> Duration {
        match interval {
            Interval::Minute => self.minutes,
            Interval::Hour => self.hours,
            Interval::Day => self.days,
            Interval::Month => self.months,
        }
    }

    /// How long a row is kept whose slots are of this interval. The last row is where months are read from, too.
    fn of_row(self, slots: Interval) -> Duration {
        match slots {
            Interval::Minute | Interval::Hour => self.of(slots),
            Interval::Day | Interval::Month => self.days.max(self.months),
        }
    }
}

/// Usage of all apps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UsageStore {
    kv: Kv,
    kept: Kept,
}

/// What is known of one minute.
#[derive(Debug, Default)]
struct Raw {
    apps: HashMap<AppId, Vec<AppMinute>>,
    /// Whether every node has written that it is over.
    closed: bool,
}

impl UsageStore {
    /// The usage in `backbone`, kept for as long as `kept` says.
    pub fn new(backbone: &Backbone, kept: Kept) -> Self {
        Self { kv: backbone.kv(Bucket::Usage), kept }
    }

    /// The usage in `backbone` for whoever only reads it: whatever is still there. How long that is, is for who writes it to
    /// say.
    pub fn reader(backbone: &Backbone) -> Self {
        const AGES: Duration = Duration::from_secs(u32::MAX as u64);
        Self::new(backbone, Kept { minutes: AGES, hours: AGES, days: AGES, months: AGES })
    }

    /// The minutes of which nodes have written rows, and the keys of those.
    pub async fn minutes(&self) -> Result<BTreeMap<u64, BTreeSet<RawKey>>, KvError> {
        let mut minutes: BTreeMap<u64, BTreeSet<RawKey>> = BTreeMap::new();
        for key in self.kv.keys(RAW).await?.iter().filter_map(|key| RawKey::parse(key)) {
            minutes.entry(key.minute).or_default().insert(key);
        }
        Ok(minutes)
    }

    /// Folds these minutes into hours, days and months. Gives those of which some node may still have something to write.
    pub async fn fold(&self, minutes: &BTreeSet<u64>) -> Result<BTreeSet<u64>, KvError> {
        let mut open = BTreeSet::new();
        let mut hours: BTreeMap<(AppId, Period), BTreeMap<u8, Counts>> = BTreeMap::new();
        for minute in minutes {
            let raw = self.raw(*minute).await?;
            if !raw.closed {
                open.insert(*minute);
            }
            let period = Period::minute(*minute);
            let Some(hour) = period.outer() else { continue };
            for (app, nodes) in raw.apps {
                hours.entry((app, hour)).or_default().insert(period.slot(), fold(&nodes));
            }
        }
        let days = self.set_all(Interval::Minute, hours).await?;
        let months = self.set_all(Interval::Hour, days).await?;
        self.set_all(Interval::Day, months).await?;
        Ok(open)
    }

    /// Sets slots of rows; gives what to set in the rows above.
    async fn set_all(
        &self,
        slots: Interval,
        rows: BTreeMap<(AppId, Period), BTreeMap<u8, Counts>>,
    ) -> Result<BTreeMap<(AppId, Period), BTreeMap<u8, Counts>>, KvError> {
        let set = |((app, row), set): ((AppId, Period), BTreeMap<u8, Counts>)| async move {
            let total = self.set(slots, &app, row, &set).await?;
            Ok::<_, KvError>(total.map(|total| (app, row, total)))
        };
        let totals: Vec<_> = stream::iter(rows).map(set).buffer_unordered(CONCURRENCY).try_collect().await?;
        let mut above: BTreeMap<(AppId, Period), BTreeMap<u8, Counts>> = BTreeMap::new();
        for (app, row, total) in totals.into_iter().flatten() {
            if let Some(outer) = row.outer() {
                above.entry((app, outer)).or_default().insert(row.slot(), total);
            }
        }
        Ok(above)
    }

    /// Sets slots of one row, and gives its total; nothing of a row that a later version has written.
    async fn set(
        &self,
        slots: Interval,
        app: &AppId,
        row: Period,
        set: &BTreeMap<u8, Counts>,
    ) -> Result<Option<Counts>, KvError> {
        let key = row_key(slots, app, row);
        let ttl = self.kept.of_row(slots);
        loop {
            let found = self.kv.get(&key).await?;
            // A row of a later version, or with counts that only that one knows, is not to be spoilt.
            let whole = |entry: &Entry| decode(entry).filter(|row| encode(row).len() >= entry.value.len());
            let Some(mut row) = found.as_ref().map_or(Some(Slots::default()), whole) else {
                return Ok(None);
            };
            let changed = set.iter().filter(|(slot, counts)| row.set(**slot, (*counts).clone())).count() > 0;
            if !changed {
                return Ok(Some(row.total()));
            }
            let written = match found {
                Some(Entry { revision, .. }) => self.kv.update_expiring(&key, encode(&row), revision, ttl).await,
                None => self.kv.create_expiring(&key, encode(&row), ttl).await,
            };
            match written {
                Ok(_) => return Ok(Some(row.total())),
                // Another one folds, too.
                Err(KvError::Conflict | KvError::Exists) => {}
                Err(error @ (KvError::InvalidKey | KvError::Unavailable(_))) => return Err(error),
            }
        }
    }

    /// Forgets what nodes wrote of a minute.
    pub async fn forget(&self, keys: &BTreeSet<RawKey>) -> Result<(), KvError> {
        for key in keys {
            self.kv.remove(&key.to_key(), None).await?;
        }
        Ok(())
    }

    /// Every minute before this one, counted from the Unix epoch, is folded.
    pub async fn folded(&self) -> Result<u64, KvError> {
        let entry = self.kv.get(FOLDED).await?;
        let folded = entry.and_then(|entry| wire::UsageFolded::decode(entry.value).ok());
        Ok(folded.filter(|folded| folded.version == VERSION).map_or(0, |folded| folded.before_minute))
    }

    /// Notes that every minute before this one is folded. Falls back by itself if one that knows less says so.
    pub async fn set_folded(&self, before_minute: u64) -> Result<(), KvError> {
        let value = wire::UsageFolded { version: VERSION, before_minute }.encode_to_vec().into();
        self.kv.put(FOLDED, value).await.map(|_| ())
    }

    /// What `app` used, in every period of length `interval` in which anything happened, oldest first, beginning with the
    /// one that `from_ms` is in and up to the one that `until_ms` is in.
    pub async fn query(
        &self,
        app: &AppId,
        interval: Interval,
        from_ms: u64,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<Vec<(Period, Counts)>, KvError> {
        let kept_ms = millis(self.kept.of(interval));
        let from_ms = from_ms.max(now_ms.saturating_sub(kept_ms));
        let mut used = match interval {
            Interval::Minute | Interval::Hour | Interval::Day => self.slots(app, interval).await?,
            Interval::Month => by_outer(self.slots(app, Interval::Day).await?),
        };
        for (period, counts) in self.unfolded(app, interval, now_ms).await? {
            used.insert(period, counts);
        }
        let (first, last) = (Period::of(interval, from_ms), Period::of(interval, until_ms));
        Ok(used.range(first..=last).map(|(period, counts)| (*period, counts.clone())).collect())
    }

    /// All slots of this interval.
    async fn slots(&self, app: &AppId, interval: Interval) -> Result<BTreeMap<Period, Counts>, KvError> {
        let mut used = BTreeMap::new();
        for entry in self.kv.list(&format!("{}.{app}", rows_of(interval))).await?.entries {
            let start_ms = entry.key.rsplit('.').next().and_then(|start| start.parse::<u64>().ok());
            let (Some(start_ms), Some(slots)) = (start_ms.map(|minute| minute * 60_000), decode(&entry)) else {
                continue;
            };
            used.extend(slots.iter().map(|(slot, counts)| (period_at(interval, start_ms, slot), counts.clone())));
        }
        Ok(used)
    }

    /// The periods that hold minutes which are not folded, worked out with them.
    async fn unfolded(
        &self,
        app: &AppId,
        interval: Interval,
        now_ms: u64,
    ) -> Result<BTreeMap<Period, Counts>, KvError> {
        let newest = now_ms / 60_000;
        let oldest = self.folded().await?.max(newest.saturating_sub(MAX_UNFOLDED));
        let mut minutes = BTreeMap::new();
        // A clock ahead of this one writes into minutes that have not begun here.
        for minute in oldest..=newest + 1 {
            if let Some(nodes) = self.raw(minute).await?.apps.get(app) {
                minutes.insert(Period::minute(minute), fold(nodes));
            }
        }
        let mut used = minutes;
        for below in [Interval::Minute, Interval::Hour, Interval::Day] {
            if below == interval || used.is_empty() {
                break;
            }
            // What is folded of the periods above, with these set in it.
            let touched: BTreeSet<Period> = used.keys().filter_map(|period| period.outer()).collect();
            let mut all = BTreeMap::new();
            for row in touched {
                let entry = self.kv.get(&row_key(below, app, row)).await?;
                let slots = entry.as_ref().and_then(decode).unwrap_or_default();
                all.extend(slots.iter().map(|(slot, counts)| (period_at(below, row.start_ms(), slot), counts.clone())));
            }
            all.extend(used);
            used = by_outer(all);
        }
        Ok(used)
    }

    /// What nodes wrote of a minute.
    async fn raw(&self, minute: u64) -> Result<Raw, KvError> {
        let mut raw = Raw { closed: true, ..Raw::default() };
        for entry in self.kv.list(&format!("{RAW}.{minute}")).await?.entries {
            let Some((closed, rows)) = decode_rows(entry.value) else {
                tracing::error!(key = entry.key, "what a node counted cannot be read and is left out");
                continue;
            };
            raw.closed &= closed;
            for (app, row) in rows {
                raw.apps.entry(app).or_default().push(row);
            }
        }
        Ok(raw)
    }
}

/// The counts of periods put together in the periods above.
fn by_outer(used: BTreeMap<Period, Counts>) -> BTreeMap<Period, Counts> {
    let mut above: BTreeMap<Period, Counts> = BTreeMap::new();
    for (period, counts) in used {
        if let Some(outer) = period.outer() {
            above.entry(outer).or_default().add(&counts);
        }
    }
    above
}

/// First part of the keys of rows whose slots are of this interval.
fn rows_of(slots: Interval) -> &'static str {
    match slots {
        Interval::Minute => "hour",
        Interval::Hour => "day",
        Interval::Day | Interval::Month => "month",
    }
}

fn row_key(slots: Interval, app: &AppId, row: Period) -> String {
    format!("{}.{app}.{}", rows_of(slots), row.start_ms() / 60_000)
}

/// Until when what is stored under `key` is kept, milliseconds since the Unix epoch; `None` for ever.
pub(crate) fn kept_until_ms(key: &str, kept: Kept) -> Option<u64> {
    let after = |end_ms: u64, kept: Duration| end_ms.saturating_add(millis(kept));
    if let Some(raw) = RawKey::parse(key) {
        return Some(after(Period::minute(raw.minute).end_ms(), super::RAW_TTL));
    }
    let (kind, of) = key.split_once('.')?;
    let rows = [(Interval::Minute, Interval::Hour), (Interval::Hour, Interval::Day), (Interval::Day, Interval::Month)];
    let (slots, row) = rows.into_iter().find(|(slots, _)| rows_of(*slots) == kind)?;
    let minute: u64 = of.rsplit('.').next()?.parse().ok()?;
    Some(after(Period::of(row, Period::minute(minute).start_ms()).end_ms(), kept.of_row(slots)))
}

/// The period that `slot` is in a row that begins at `start_ms`.
fn period_at(slots: Interval, start_ms: u64, slot: u8) -> Period {
    const HOUR_MS: u64 = 60 * 60 * 1_000;
    let slot = u64::from(slot);
    let offset = match slots {
        Interval::Minute => slot * 60_000,
        Interval::Hour => slot * HOUR_MS,
        Interval::Day | Interval::Month => slot.saturating_sub(1) * 24 * HOUR_MS,
    };
    Period::of(slots, start_ms + offset)
}

fn encode(slots: &Slots) -> Bytes {
    let slot = |(slot, counts): (u8, &Counts)| wire::usage_slots::Slot {
        slot: slot.into(),
        counts: Some(counts_to_wire(counts)),
    };
    wire::UsageSlots { version: VERSION, slots: slots.iter().map(slot).collect() }.encode_to_vec().into()
}

fn decode(entry: &Entry) -> Option<Slots> {
    let row = wire::UsageSlots::decode(entry.value.clone()).ok().filter(|row| row.version == VERSION)?;
    let slot = |slot: wire::usage_slots::Slot| {
        Some((u8::try_from(slot.slot).ok()?, counts_from_wire(&slot.counts.unwrap_or_default())))
    };
    row.slots.into_iter().map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::usage::{RAW_TTL, encode_rows};

    /// 2026-11-22 14:05 UTC, in minutes.
    const NOW: u64 = 1_795_356_300_000 / 60_000;

    fn app() -> AppId {
        AppId::new("1").unwrap()
    }

    fn store() -> UsageStore {
        UsageStore::new(&Backbone::memory(&Config::default()), Kept::default())
    }

    async fn write(store: &UsageStore, node: &str, minute: u64, messages_in: u64, closed: bool) {
        let counts = Counts { messages_in, peak_connections: messages_in, ..Counts::default() };
        let rows = [(app(), AppMinute { counts, connections: vec![messages_in] })];
        let key = RawKey { minute, node: node.to_owned(), part: 0 }.to_key();
        store.kv.put_expiring(&key, encode_rows(closed, &rows), RAW_TTL).await.unwrap();
    }

    async fn totals(store: &UsageStore) -> [u64; 4] {
        let mut totals = [0; 4];
        for (total, interval) in totals.iter_mut().zip(Interval::ALL) {
            let used = store.query(&app(), interval, 0, NOW * 60_000, NOW * 60_000).await.unwrap();
            *total = used.iter().map(|(_, counts)| counts.messages_in).sum();
        }
        totals
    }

    #[tokio::test]
    async fn what_is_folded_again_counts_once() {
        let store = store();
        // Over the end of an hour, a day and a month: 2026-10-31 23:59 and 2026-11-01 00:00.
        let midnight = "2026-11-01".parse::<Period>().unwrap().start_ms() / 60_000;
        for (node, minute, count) in [
            ("a", midnight - 1, 1),
            ("a", midnight, 10),
            ("b", midnight, 100),
            ("a", NOW - 9, 1000),
            ("b", NOW, 10_000),
        ] {
            write(&store, node, minute, count, minute != NOW).await;
        }
        let minutes: BTreeSet<u64> = store.minutes().await.unwrap().into_keys().collect();
        assert_eq!(minutes.len(), 4);
        let before = minutes.iter().copied().filter(|minute| *minute < NOW).collect();
        for _ in 0..3 {
            assert_eq!(store.fold(&before).await.unwrap(), BTreeSet::new());
            store.set_folded(NOW).await.unwrap();
            // Minutes of three weeks ago are not kept; the one that is not folded is there all the same.
            assert_eq!(totals(&store).await, [11_000, 11_111, 11_111, 11_111]);
        }
        assert_eq!(store.fold(&minutes).await.unwrap(), [NOW].into());
        assert_eq!(totals(&store).await, [11_000, 11_111, 11_111, 11_111]);
        let months = store.query(&app(), Interval::Month, 0, u64::MAX / 2, NOW * 60_000).await.unwrap();
        let shown: Vec<_> = months.iter().map(|(period, counts)| (period.to_string(), counts.messages_in)).collect();
        assert_eq!(shown, [("2026-10".to_owned(), 1), ("2026-11".to_owned(), 11_110)]);
        assert_eq!(months[1].1.peak_connections, 10_000);
    }

    #[tokio::test]
    async fn a_row_that_comes_late_is_folded_in() {
        let store = store();
        write(&store, "a", NOW - 5, 7, true).await;
        write(&store, "b", NOW - 5, 1, false).await;
        assert_eq!(store.fold(&[NOW - 5].into()).await.unwrap(), [NOW - 5].into(), "b has more to say");
        store.set_folded(NOW).await.unwrap();
        write(&store, "b", NOW - 5, 3, true).await;
        assert_eq!(store.fold(&[NOW - 5].into()).await.unwrap(), BTreeSet::new());
        assert_eq!(totals(&store).await, [10; 4]);
    }

    #[tokio::test]
    async fn two_that_fold_at_once_lose_nothing() {
        let store = store();
        for minute in NOW - 40..NOW {
            write(&store, "a", minute, 1, true).await;
        }
        let fold = |from: u64, to: u64| {
            let store = store.clone();
            async move { store.fold(&(from..to).collect()).await.unwrap() }
        };
        tokio::join!(fold(NOW - 40, NOW - 15), fold(NOW - 25, NOW), fold(NOW - 30, NOW - 10));
        store.set_folded(NOW).await.unwrap();
        assert_eq!(totals(&store).await, [40; 4]);
        let keys = store.minutes().await.unwrap();
        store.forget(&keys[&(NOW - 1)]).await.unwrap();
        assert_eq!(store.minutes().await.unwrap().len(), 39);
        assert_eq!(totals(&store).await, [40; 4]);
    }

    #[tokio::test]
    async fn a_query_has_bounds() {
        let store = store();
        for minute in [NOW - 3, NOW - 2, NOW - 1] {
            write(&store, "a", minute, 1, true).await;
        }
        let used = store
            .query(&app(), Interval::Minute, (NOW - 2) * 60_000 + 5, (NOW - 2) * 60_000, NOW * 60_000)
            .await
            .unwrap();
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].0, Period::minute(NOW - 2));
        let other = AppId::new("2").unwrap();
        assert_eq!(store.query(&other, Interval::Hour, 0, u64::MAX / 2, NOW * 60_000).await.unwrap(), []);
    }
}
