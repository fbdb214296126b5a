//! This edge's counts and its lease.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backbone::{Lease, LeaseError};
use bytes::Bytes;
use channels::{AppId, ChannelName};
use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use prost::Message as _;
use proto::backbone::Occupancy as Count;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::cluster::{VERSION, count_key};
use super::{LEASE_PREFIX, Occupancy};
use crate::hub::Channel;

/// Writes under way at one time.
const CONCURRENT_WRITES: usize = 32;

/// How long the removal of our counts may hold up the end of the process. What is left is reaped.
const FAREWELL: Duration = Duration::from_secs(5);

/// The counts as they are in the bucket: absent is none, `None` is not known.
type Written = HashMap<(AppId, ChannelName), Option<u64>>;

impl Occupancy {
    /// Writes changed counts and keeps the lease until `stop`, then takes both back.
    pub(super) async fn report(&self, stop: CancellationToken) {
        let mut written = Written::new();
        let mut lease = None;
        let taken = Notify::new();
        // Side by side: however long the writing takes, the lease must not lapse over it.
        tokio::select! {
            () = stop.cancelled() => {}
            never = self.keep_lease(&mut lease, &taken) => match never {},
            never = self.keep_counts(&mut written, &taken) => match never {},
        }
        let farewell = self.farewell(lease, written);
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("left subscription counts behind; they end with the lease");
        }
    }

    /// Renews the lease, and tells `taken` each time it is a new one.
    async fn keep_lease(&self, lease: &mut Option<Lease>, taken: &Notify) -> Infallible {
        let mut renewal = tokio::time::interval(self.lease_ttl / 4);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            renewal.tick().await;
            match self.renew(lease).await {
                Ok(false) => {}
                Ok(true) => taken.notify_one(),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "this edge's lease is not renewed");
                }
            }
        }
    }

    /// Keeps the lease, or takes a new one if there is none; tells whether it is new.
    async fn renew(&self, lease: &mut Option<Lease>) -> Result<bool, LeaseError> {
        if let Some(held) = lease {
            match held.renew().await {
                Ok(()) => return Ok(false),
                Err(error @ LeaseError::Unavailable(_)) => return Err(error),
                // Lapsed while the backbone was away. Nobody believes our counts now, so not a moment later.
                Err(LeaseError::Lost | LeaseError::Held) => *lease = None,
            }
        }
        let key = format!("{LEASE_PREFIX}{}", self.me);
        // `Held`: by an attempt of our own whose answer was lost. It lapses, and then we take it.
        *lease = Some(self.backbone.lease(&key, Bytes::from(self.me.to_string()), self.lease_ttl).await?);
        Ok(true)
    }

    /// Writes what changes, and with a new lease everything.
    async fn keep_counts(&self, written: &mut Written, taken: &Notify) -> Infallible {
        loop {
            tokio::select! {
                () = taken.notified() => {
                    // Others may have removed what we had written.
                    written.values_mut().for_each(|count| *count = None);
                    self.hub.all_occupied().iter().for_each(|channel| self.changes.note(channel));
                }
                () = self.changes.some.notified() => {
                    self.write(written, self.changes.take()).await;
                    // At most one write per channel and interval.
                    tokio::time::sleep(self.interval).await;
                }
            }
        }
    }

    async fn write(&self, written: &mut Written, changed: Vec<Arc<Channel>>) {
        let mut begun = Vec::with_capacity(changed.len());
        for channel in changed {
            let key = (channel.app.clone(), channel.name.clone());
            begun.push(self.write_one(written, channel));
            // Until it is answered: should we have to stop before, this is one to take back.
            written.insert(key, None);
        }
        let mut writes = stream::iter(begun).buffer_unordered(CONCURRENT_WRITES);
        let mut done = Vec::new();
        while let Some(outcome) = writes.next().await {
            done.push(outcome);
        }
        drop(writes);
        for (channel, outcome) in done {
            let key = (channel.app.clone(), channel.name.clone());
            match outcome {
                Some(0) => drop(written.remove(&key)),
                Some(count) => drop(written.insert(key, Some(count))),
                None => {
                    written.insert(key, None);
                    self.changes.note(&channel);
                }
            }
        }
    }

    /// Brings one count up to date; `None` if that failed.
    fn write_one<'a>(
        &'a self,
        written: &Written,
        channel: Arc<Channel>,
    ) -> impl Future<Output = (Arc<Channel>, Option<u64>)> + use<'a> {
        let known = written.get(&(channel.app.clone(), channel.name.clone())).copied().unwrap_or(Some(0));
        async move {
            // Not the count of this very channel: it may have ended and begun again.
            let count = self.hub.subscriptions(&channel.app, &channel.name);
            let key = count_key(&channel.app, channel.name.token().as_str(), &self.me);
            let outcome = match count {
                count if known == Some(count) => Ok(()),
                0 => self.counts.remove(&key, None).await,
                subscriptions => {
                    let name = channel.name.as_str().to_owned();
                    let value = Count { version: VERSION, channel: name, subscriptions };
                    self.counts.put(&key, value.encode_to_vec().into()).await.map(drop)
                }
            };
            if let Err(error) = &outcome {
                tracing::debug!(error = error as &dyn std::error::Error, %key, "a count could not be written yet");
            }
            (channel, outcome.is_ok().then_some(count))
        }
    }

    async fn farewell(&self, lease: Option<Lease>, written: Written) {
        let mut removals: FuturesUnordered<_> = written
            .keys()
            .map(|(app, channel)| {
                let key = count_key(app, channel.token().as_str(), &self.me);
                async move { self.counts.remove(&key, None).await.is_ok() }
            })
            .collect();
        while removals.next().await.is_some() {}
        if let Some(lease) = lease
            && let Err(error) = lease.release().await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "the lease will lapse by itself");
        }
    }
}
