//! What is stored in persistent channels, kept so that a new leader knows it.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use backbone::{Bucket, KvError};
use bytes::Bytes;
use channels::AppId;
use clock::unix_ms;
use futures_util::{StreamExt as _, stream};
use metering::Expiries;
use prost::Message as _;
use proto::backbone as wire;
use tokio::time::{sleep, timeout};

use super::Link;

/// Format of the values.
const VERSION: u32 = 1;

/// In front of an app's id in its key.
const PREFIX: &str = "history.";

/// How often it is written.
const INTERVAL: Duration = Duration::from_secs(10);

/// Apps without a quota of stored bytes are written each so many times: nothing depends on them.
const WITHOUT_QUOTA: u32 = 6;

/// Writes under way at one time.
const CONCURRENT: usize = 16;

/// How long a new leader waits for what was written before it begins to divide.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an entry outlives what it counts.
const SLACK: Duration = Duration::from_secs(60 * 60);

impl Link {
    /// Takes in what was written of stored bytes, and says whether it could. Without an answer of the backbone a leader
    /// goes on with what it has heard itself, and [`Self::keep_history`] tries again.
    pub(super) async fn restore_history(&self) -> bool {
        match timeout(PATIENCE, self.read_history()).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::warn!(error = &error as &dyn Error, "cannot read what apps have stored"),
            Err(_) => tracing::warn!("what apps have stored is not read in time"),
        }
        false
    }

    /// Writes it again and again, once it is read: what was written is not to be written over by less.
    pub(super) async fn keep_history(&self, mut is_read: bool) -> Infallible {
        let mut written = HashMap::new();
        let mut round = 0u32;
        loop {
            sleep(INTERVAL).await;
            if is_read {
                self.write_history(&mut written, round.is_multiple_of(WITHOUT_QUOTA)).await;
                round = round.wrapping_add(1);
            } else {
                is_read = self.restore_history().await;
            }
        }
    }

    async fn read_history(&self) -> Result<(), KvError> {
        let entries = self.shared.backbone.kv(Bucket::Cluster).entries().await?;
        let mut sharing = self.shared.sharing.lock();
        for entry in entries {
            let Some(app) = entry.key.strip_prefix(PREFIX).and_then(|app| AppId::new(app).ok()) else { continue };
            if let Some(stored) = decode(entry.value) {
                sharing.restore(&app, &stored);
            }
        }
        Ok(())
    }

    async fn write_history(&self, written: &mut HashMap<AppId, Expiries>, everything: bool) {
        let limited = |app: &AppId| self.shared.apps.get(app).is_some_and(|app| app.quota.history_bytes.is_some());
        let mut changed: Vec<(AppId, Expiries)> = Vec::new();
        let mut gone: HashSet<AppId> = written.keys().cloned().collect();
        for (app, stored) in self.shared.sharing.lock().stored() {
            gone.remove(app);
            if written.get(app) != Some(stored) && (everything || limited(app)) {
                changed.push((app.clone(), stored.clone()));
            }
        }
        written.retain(|app, _| !gone.contains(app));
        let kv = self.shared.backbone.kv(Bucket::Cluster);
        let writes = changed.into_iter().map(|(app, stored)| {
            let kv = &kv;
            async move {
                let put = kv.put_expiring(&format!("{PREFIX}{app}"), encode(&stored), lifetime(&stored)).await;
                put.map(|_| (app, stored))
            }
        });
        let mut writes = stream::iter(writes).buffer_unordered(CONCURRENT);
        while let Some(put) = writes.next().await {
            match put {
                Ok((app, stored)) => drop(written.insert(app, stored)),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "what apps have stored is not written yet");
                    return;
                }
            }
        }
    }
}

/// Until the last of it has expired.
fn lifetime(stored: &Expiries) -> Duration {
    let last = stored.iter().last().map_or(0, |(minute, _)| minute.saturating_mul(60));
    Duration::from_secs(last.saturating_sub(unix_ms() / 1000)) + SLACK
}

fn encode(stored: &Expiries) -> Bytes {
    let expiries = stored.iter().map(|(minute, bytes)| wire::stored_history::Expiry { minute, bytes }).collect();
    wire::StoredHistory { version: VERSION, expiries }.encode_to_vec().into()
}

fn decode(value: Bytes) -> Option<Expiries> {
    let value = wire::StoredHistory::decode(value).ok().filter(|value| value.version == VERSION)?;
    Some(value.expiries.into_iter().map(|expiry| (expiry.minute, expiry.bytes)).collect())
}

#[cfg(test)]
mod tests {
    use metering::usage::Period;
    use testkit::Formats;

    use super::*;

    /// Also what callers get as the place of a page, where that is not an id.
    #[test]
    fn what_releases_wrote_is_read_and_still_written() {
        let mut formats = Formats::of(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_VERSION"));
        let stored: Expiries = [(29_000_000, 5), (29_000_007, 1 << 40)].into_iter().collect();
        formats.message("stored_history", &stored, || encode(&stored), |old| decode(Bytes::copy_from_slice(old)));
        for text in ["2026-11-22:14:05", "2026-11-22:14", "2026-11-22", "2026-11"] {
            let period: Period = text.parse().unwrap();
            let read = |old: &[u8]| std::str::from_utf8(old).ok()?.parse().ok();
            formats.whole(&format!("period.{text}"), &period, || period.to_string(), read, &[b"2026-11-22:14:05:59"]);
        }
        formats.check();
    }
}
