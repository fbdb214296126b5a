//! This edge's counts and its lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backbone::{Lease, LeaseError};
use bytes::Bytes;
use channels::{AppId, ChannelName};
use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use prost::Message as _;
use proto::backbone::Occupancy as Count;
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
        let mut renewal = tokio::time::interval(self.lease_ttl / 4);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = renewal.tick() => {
                    if self.renew(&mut lease).await {
                        // Others may have removed what we had written.
                        written.values_mut().for_each(|count| *count = None);
                        self.hub.all_occupied().iter().for_each(|channel| self.changes.note(channel));
                    }
                }
                () = self.changes.some.notified() => {
                    self.write(&mut written, self.changes.take()).await;
                    // At most one write per channel and interval; the renewal of the lease must not wait for it.
                    tokio::time::sleep(self.interval.min(self.lease_ttl / 8)).await;
                }
            }
        }
        let farewell = self.farewell(lease, written);
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("left subscription counts behind; they end with the lease");
        }
    }

    /// Takes or keeps the lease; tells whether it is a new one.
    async fn renew(&self, lease: &mut Option<Lease>) -> bool {
        let renewed = match lease {
            Some(held) => held.renew().await.map(|()| None),
            None => {
                let key = format!("{LEASE_PREFIX}{}", self.me);
                self.backbone.lease(&key, Bytes::new(), self.lease_ttl).await.map(Some)
            }
        };
        match renewed {
            Ok(None) => false,
            Ok(taken) => {
                *lease = taken;
                true
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "this edge's lease is not renewed");
                match error {
                    // `Held` by our own earlier attempt, whose answer was lost: it lapses, and then we take it.
                    LeaseError::Lost | LeaseError::Held => *lease = None,
                    LeaseError::Unavailable(_) => {}
                }
                false
            }
        }
    }

    async fn write(&self, written: &mut Written, changed: Vec<Arc<Channel>>) {
        let mut writes =
            stream::iter(changed.into_iter().map(|channel| self.write_one(written, channel)).collect::<Vec<_>>())
                .buffer_unordered(CONCURRENT_WRITES);
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
