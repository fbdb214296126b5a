//! Folding what nodes counted into hours, days and months, while this replica leads.
//!
//! Nothing depends on there being one that does it: two that do lose nothing, and what is not folded is read as the nodes
//! wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use backbone::KvError;
use backbone::usage::UsageStore;
use clock::{millis, unix_ms};
use tokio::time::{MissedTickBehavior, interval};

use crate::link::Link;

/// How long after its end a minute is folded: a node writes every ten seconds, and its clock may be a minute behind.
const SETTLED: Duration = Duration::from_secs(2 * 60 + 30);

/// How long what nodes wrote is kept after that: longer than a node that cannot write keeps it.
const RAW_KEPT: Duration = Duration::from_secs(25 * 60 * 60);

/// What one replica remembers while it folds.
#[derive(Debug)]
pub(crate) struct Folding {
    store: UsageStore,
    link: Link,
    interval: Duration,
    /// How many keys each folded minute had, and when it is looked at again because some node has not closed it.
    folded: BTreeMap<u64, Folded>,
}

#[derive(Clone, Copy, Debug)]
struct Folded {
    keys: usize,
    /// In minutes since the Unix epoch. Ever later, as whoever has not written for long will hardly come back.
    again: Option<u64>,
}

impl Folding {
    pub(crate) fn new(store: UsageStore, link: Link, interval: Duration) -> Self {
        Self { store, link, interval, folded: BTreeMap::new() }
    }

    /// Folds again and again, for ever.
    pub(crate) async fn run(mut self) -> Infallible {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.link.is_leader() {
                // Whoever leads meanwhile sees what this one has not.
                self.folded.clear();
                continue;
            }
            if let Err(error) = self.fold().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "usage is not folded; trying again later");
            }
        }
    }

    async fn fold(&mut self) -> Result<(), KvError> {
        let now_ms = unix_ms();
        let minutes_before = |age: Duration| now_ms.saturating_sub(millis(age)) / 60_000;
        let (now, settled, forgotten) = (now_ms / 60_000, minutes_before(SETTLED), minutes_before(RAW_KEPT));
        let raw = self.store.minutes().await?;
        self.folded.retain(|minute, _| raw.contains_key(minute));
        let due = |(minute, keys): &(&u64, &BTreeSet<_>)| {
            let done = self.folded.get(*minute);
            let is_done =
                done.is_some_and(|done| done.keys == keys.len() && done.again.is_none_or(|again| now < again));
            **minute < settled && !is_done
        };
        let due: BTreeSet<u64> = raw.iter().filter(due).map(|(minute, _)| *minute).collect();
        let open = self.store.fold(&due).await?;
        for minute in due {
            let again = open.contains(&minute).then(|| now + (now - minute).max(1));
            self.folded.insert(minute, Folded { keys: raw[&minute].len(), again });
        }
        self.store.set_folded(settled).await?;
        for keys in raw.range(..forgotten).map(|(_, keys)| keys) {
            self.store.forget(keys).await?;
        }
        Ok(())
    }
}
