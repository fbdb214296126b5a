//! This edge's counts.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use backbone::facts::{Count, CountKey, Parts};
use channels::{ChannelHash, EdgeId};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::{Counted, Here, Occupancy};

/// Writes under way at one time.
const CONCURRENT_WRITES: usize = 32;

/// How long the removal of our counts may hold up the end of the process. What is left is reaped.
const FAREWELL: Duration = Duration::from_secs(5);

/// The counts as they are in the bucket: absent is none, `None` is not known.
type Written = HashMap<Counted, Option<Here>>;

impl Occupancy {
    /// Writes changed counts until `stop`, then takes all back.
    pub(super) async fn report(&self, stop: CancellationToken) {
        let mut written = Written::new();
        tokio::select! {
            () = stop.cancelled() => {}
            never = self.keep_counts(&mut written) => match never {},
        }
        if tokio::time::timeout(FAREWELL, self.farewell(written)).await.is_err() {
            tracing::warn!("left subscription counts behind; they end with the lease");
        }
    }

    /// Writes what changes, and everything whenever this edge begins another life.
    async fn keep_counts(&self, written: &mut Written) -> Infallible {
        let mut lives = self.membership.lives();
        let mut me = self.membership.me();
        loop {
            tokio::select! {
                changed = lives.changed() => {
                    if changed.is_ok() {
                        // What a former life wrote counts no more.
                        let former = std::mem::replace(&mut me, self.membership.me());
                        self.take_back(written, &former).await;
                        written.values_mut().for_each(|count| *count = None);
                        written.keys().for_each(|(app, channel)| self.changes.note(app, channel));
                    }
                }
                () = self.changes.some() => {
                    self.write(written, self.changes.take()).await;
                    // At most one write per channel and interval.
                    tokio::time::sleep(self.interval).await;
                }
            }
        }
    }

    async fn write(&self, written: &mut Written, changed: HashSet<Counted>) {
        let me = self.membership.me();
        let mut begun = Vec::with_capacity(changed.len());
        for counted in changed {
            let known = written.get(&counted).copied().unwrap_or(Some(Here::NONE));
            // Until it is answered: should we have to stop before, this is one to take back.
            written.insert(counted.clone(), None);
            begun.push(self.write_one(&me, counted, known));
        }
        let mut writes = stream::iter(begun).buffer_unordered(CONCURRENT_WRITES);
        while let Some((counted, outcome)) = writes.next().await {
            match outcome {
                Some(Here::NONE) => drop(written.remove(&counted)),
                Some(count) => drop(written.insert(counted, Some(count))),
                None => self.changes.note(&counted.0, &counted.1),
            }
        }
    }

    /// Brings one count up to date; `None` if that failed.
    async fn write_one(&self, me: &EdgeId, counted: Counted, known: Option<Here>) -> (Counted, Option<Here>) {
        let (app, channel) = &counted;
        let count = self.here(app, channel);
        if (count.subscriptions == 0) != (known == Some(Here::NONE)) {
            self.news.note(app, channel);
        }
        // Users of a channel that nobody here is in are others' to tell.
        let count = if count.subscriptions == 0 { Here::NONE } else { count };
        let key = CountKey::new(app, channel, me).to_key();
        let outcome = if known == Some(count) {
            Ok(())
        } else if count == Here::NONE {
            self.counts.remove(&key, None).await.map(drop)
        } else {
            let Here { subscriptions, users, parts } = count;
            let value = Count { channel: channel.clone(), subscriptions, users, parts };
            self.counts.put(&key, value.encode()).await.map(drop)
        };
        if let Err(error) = &outcome {
            let (error, channel_hash) = (error as &dyn std::error::Error, ChannelHash::of(app, channel));
            tracing::debug!(error, %app, %channel_hash, "a count could not be written yet");
        }
        (counted, outcome.is_ok().then_some(count))
    }

    async fn farewell(&self, written: Written) {
        self.take_back(&written, &self.membership.me()).await;
    }

    /// Removes what was written as `me`. What is left is reaped.
    async fn take_back(&self, written: &Written, me: &EdgeId) {
        let mut begun = Vec::with_capacity(written.len());
        for (app, channel) in written.keys() {
            let key = CountKey::new(app, channel, me).to_key();
            begun.push(async move { self.counts.remove(&key, None).await.is_ok() });
        }
        let mut removals = stream::iter(begun).buffer_unordered(CONCURRENT_WRITES);
        while removals.next().await.is_some() {}
    }
}

impl Here {
    pub(super) const NONE: Self = Self {
        subscriptions: 0,
        users: None,
        parts: Parts {
            publishers: 0,
            subscribers: 0,
            presence_subscribers: 0,
            presence_members: 0,
            presence_connections: 0,
        },
    };
}
