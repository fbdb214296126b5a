//! Writing down what the apps used.
//!
//! Every ten seconds the current minute is written over what was written of it before, and minutes that are over until
//! the backbone has taken them once more. So nothing counts twice however often it is written, an outage of the backbone
//! costs nothing, and a process that is killed takes at most the last ten seconds with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backbone::usage::{RAW_TTL, RawKey, encode_rows, row_bytes};
use backbone::{Backbone, Bucket, Kv, KvError};
use bytes::Bytes;
use channels::AppId;
use metering::Meters;
use metering::usage::{AppMinute, Minute};
use tokio::time::{MissedTickBehavior, interval};

/// How often it is written.
const INTERVAL: Duration = Duration::from_secs(10);

/// A part that holds so many bytes takes no other app. Rows grow while their minute lasts, to the double at most; all
/// of it stays well below the megabyte that NATS takes at once.
const PART_BYTES: usize = 128 * 1024;

/// Writes the minutes of one process.
pub(crate) struct Writer {
    kv: Kv,
    node: String,
    meters: Arc<Meters>,
    /// Minutes that were written at least once, or may have been, and are not done.
    layouts: BTreeMap<u64, Layout>,
    /// Minutes that are over and not done.
    waiting: BTreeSet<u64>,
}

/// How the apps of a minute are spread over its parts. An app stays where it is: in two parts it would count twice.
#[derive(Default)]
struct Layout {
    part_of: HashMap<AppId, usize>,
    parts: Vec<Part>,
}

#[derive(Default)]
struct Part {
    bytes: usize,
    /// What the backbone has taken.
    written: Option<Bytes>,
}

impl Writer {
    pub(crate) fn new(backbone: &Backbone, node: &str, meters: Arc<Meters>) -> Self {
        let kv = backbone.kv(Bucket::Usage);
        Self { kv, node: node.to_owned(), meters, layouts: BTreeMap::new(), waiting: BTreeSet::new() }
    }

    /// Writes again and again, for ever.
    pub(crate) async fn keep_writing(&mut self) -> Infallible {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.write(false).await;
        }
    }

    /// Writes everything that is not written yet, oldest first; what the backbone does not take is left for the next
    /// time. The current minute is not over unless the process `ends`. Safe to drop: what was being written is written
    /// again.
    pub(crate) async fn write(&mut self, ends: bool) {
        let minutes = self.meters.minutes();
        self.note_lost(&minutes);
        for minute in &minutes {
            if let Err(error) = self.write_minute(minute, minute.closed || ends).await {
                tracing::warn!(
                    minute = minute.minute,
                    waiting = self.waiting.len(),
                    error = &error as &dyn std::error::Error,
                    "what apps used is not written yet"
                );
                return;
            }
            if minute.closed {
                self.meters.confirm(minute.minute);
                self.waiting.remove(&minute.minute);
                self.layouts.remove(&minute.minute);
            }
        }
    }

    async fn write_minute(&mut self, minute: &Minute, closed: bool) -> Result<(), KvError> {
        let layout = self.layouts.entry(minute.minute).or_default();
        for (part, rows) in layout.spread(&minute.apps).into_iter().enumerate() {
            let value = encode_rows(closed, rows);
            if layout.parts[part].written.as_ref() == Some(&value) {
                continue;
            }
            let number = u32::try_from(part).unwrap_or(u32::MAX);
            let key = RawKey { minute: minute.minute, node: self.node.clone(), part: number }.to_key();
            self.kv.put_expiring(&key, value.clone(), RAW_TTL).await?;
            layout.parts[part].written = Some(value);
        }
        Ok(())
    }

    /// Meters keep only so many minutes: those that waited and are there no more are lost.
    fn note_lost(&mut self, minutes: &[Minute]) {
        let closed: BTreeSet<u64> = minutes.iter().filter(|minute| minute.closed).map(|minute| minute.minute).collect();
        let lost = self.waiting.difference(&closed).count();
        if lost > 0 {
            telemetry::metrics::USAGE_MINUTES_LOST.handle().increment(lost as u64);
            tracing::error!(
                minutes = lost,
                "what apps used could not be written for so long that a part of it is lost"
            );
            self.layouts.retain(|minute, _| !self.waiting.contains(minute) || closed.contains(minute));
        }
        self.waiting = closed;
    }
}

impl Layout {
    /// The rows of each part. Apps that are new get a place.
    fn spread<'a>(&mut self, rows: &'a [(AppId, AppMinute)]) -> Vec<Vec<&'a (AppId, AppMinute)>> {
        let mut spread: Vec<Vec<&(AppId, AppMinute)>> = vec![Vec::new(); self.parts.len()];
        for row in rows {
            let (app, counts) = row;
            let part = self.part_of.get(app).copied().unwrap_or_else(|| {
                if self.parts.last().is_none_or(|last| last.bytes >= PART_BYTES) {
                    self.parts.push(Part::default());
                    spread.push(Vec::new());
                }
                let last = self.parts.len() - 1;
                self.parts[last].bytes += row_bytes(app, counts);
                self.part_of.insert(app.clone(), last);
                last
            });
            spread[part].push(row);
        }
        spread
    }
}

#[cfg(test)]
mod tests;
