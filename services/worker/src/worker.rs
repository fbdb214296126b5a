//! A worker's life: waiting for its turn, acting while the lease is its own, handing over.

use std::sync::Arc;
use std::time::Duration;

use backbone::registry::Apps;
use backbone::{Backbone, Bucket, KvError, Lease, LeaseError, WatchEvent};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::decide::Decider;
use crate::deliver::trust::{self, TrustError};
use crate::deliver::{Ended, Intake, Settings};
use crate::metrics::Metrics;

/// Key of the lease whose holder acts.
const LEASE: &str = "worker";

/// Pause before the backbone is asked again for what it did not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long the release of the lease may take; after that it lapses by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a worker cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings that do not fit, each told in a sentence.
    #[error("{}", .0.join("; "))]
    Config(Vec<String>),
    /// TLS towards receivers cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// A worker. Of all that run in a cluster one acts, and the others wait to take its place.
#[derive(Debug)]
pub struct Worker {
    backbone: Backbone,
    apps: Apps,
    config: Config,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    /// What this worker's lease is known by.
    me: Bytes,
}

impl Worker {
    /// A worker that does nothing until it runs.
    pub fn new(config: Config, backbone: Backbone, apps: Apps) -> Result<Self, StartError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(StartError::Config(problems));
        }
        let settings = Arc::new(Settings::new(&config, trust::connector(config.ca_file.as_deref())?));
        let me = Bytes::from(format!("{:016x}", rand::random::<u64>()));
        Ok(Self { backbone, apps, config, settings, metrics: Arc::new(Metrics::new()), me })
    }

    /// Competes for the lease, and acts while it has it, until `stop`. Then it ends what is under way, as far as
    /// [`Config::drain`] suffices, and releases the lease, so that the next one takes over at once.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let won = tokio::select! {
                () = stop.cancelled() => return,
                won = self.compete() => won,
            };
            tracing::info!("this worker acts");
            self.metrics.waiting.set(0.0);
            self.metrics.active.set(1.0);
            self.act(won, &stop).await;
            self.metrics.active.set(0.0);
            self.metrics.waiting.set(0.0);
        }
    }

    /// Waits until the lease is this worker's.
    async fn compete(&self) -> Held {
        loop {
            let asked = Instant::now();
            match self.backbone.lease(LEASE, self.me.clone(), self.config.lease_ttl).await {
                Ok(lease) => return Held { lease, ttl: self.config.lease_ttl, until: asked + self.config.lease_ttl },
                // However the end of the other's lease is learned of, it cannot last for longer unnoticed than this.
                Err(LeaseError::Held | LeaseError::Lost) => {
                    match timeout(self.config.lease_ttl, self.vacancy()).await {
                        Ok(Ok(())) | Err(_) => {}
                        Ok(Err(error)) => {
                            tracing::debug!(
                                error = &error as &dyn std::error::Error,
                                "cannot watch the worker's lease"
                            );
                            sleep(RETRY_PAUSE).await;
                        }
                    }
                }
                Err(error @ LeaseError::Unavailable(_)) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "cannot ask for the worker's lease");
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Waits until nobody holds the lease.
    async fn vacancy(&self) -> Result<(), KvError> {
        let mut watch = self.backbone.kv(Bucket::Leases).watch().await?;
        let mut held = false;
        loop {
            match watch.next().await? {
                WatchEvent::Put(entry) => held |= entry.key == LEASE,
                WatchEvent::Removed(key) if key == LEASE => return Ok(()),
                WatchEvent::Current if !held => return Ok(()),
                WatchEvent::Removed(_) | WatchEvent::Current => {}
            }
        }
    }

    /// Decides and delivers until told to stop, or until somebody else does.
    async fn act(&self, mut held: Held, stop: &CancellationToken) {
        let decider = Decider::new(&self.backbone, self.apps.clone(), self.config.vacated_grace);
        // Tasks, so that neither keeps the other or the lease waiting. Dropping a set ends its task.
        let (mut deciding, mut delivering) = (JoinSet::new(), JoinSet::new());
        let told = stop.clone();
        deciding.spawn(async move { decider.run(told).await });
        let (backbone, apps) = (self.backbone.clone(), self.apps.clone());
        let intake = Intake::new(backbone, apps, Arc::clone(&self.settings), Arc::clone(&self.metrics));
        delivering.spawn(intake.run(stop.clone()));
        let decide = async {
            match deciding.join_next().await {
                // It was told to stop; the deliveries take longer.
                Some(Ok(())) => std::future::pending().await,
                Some(Err(error)) => tracing::error!(%error, "deciding about webhooks failed"),
                None => {}
            }
        };
        let stopped = tokio::select! {
            () = held.keep() => {
                tracing::warn!("lost the worker's lease; stopping at once");
                false
            }
            ended = delivering.join_next() => match ended {
                Some(Ok(Ended::Stopped)) => true,
                Some(Ok(Ended::TakenOver)) => {
                    tracing::warn!("another worker has taken over the webhook queue");
                    false
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "delivering webhooks failed");
                    false
                }
                None => false,
            },
            () = decide => false,
        };
        if stopped && timeout(FAREWELL, deciding.join_next()).await.is_err() {
            tracing::info!("left webhook events to the next worker that were just being decided");
        }
        deciding.shutdown().await;
        delivering.shutdown().await;
        match timeout(FAREWELL, held.lease.release()).await {
            Ok(Ok(())) if stopped => tracing::info!("released the worker's lease"),
            Ok(Ok(()) | Err(LeaseError::Lost | LeaseError::Held)) => {}
            Ok(Err(LeaseError::Unavailable(_))) | Err(_) => tracing::debug!("the worker's lease will lapse by itself"),
        }
        if !stopped {
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// The lease while it is ours.
#[derive(Debug)]
struct Held {
    lease: Lease,
    ttl: Duration,
    /// Until when it is certainly ours, by our own clock.
    until: Instant,
}

impl Held {
    /// Renews the lease again and again; returns when it is lost, or may be by the time that anybody hears of it.
    async fn keep(&mut self) {
        let margin = self.ttl / 6;
        loop {
            sleep_until((self.until - self.ttl * 3 / 4).max(Instant::now())).await;
            let asked = Instant::now();
            match timeout_at(self.until - margin, self.lease.renew()).await {
                Ok(Ok(())) => self.until = asked + self.ttl,
                Ok(Err(LeaseError::Unavailable(_))) if Instant::now() + margin < self.until => sleep(margin / 4).await,
                Ok(Err(LeaseError::Unavailable(_) | LeaseError::Lost | LeaseError::Held)) | Err(_) => return,
            }
        }
    }
}
