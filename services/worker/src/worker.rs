//! A worker's life: waiting for its turn, acting while the lease is its own, handing over.

use std::sync::Arc;
use std::time::Duration;

use backbone::registry::Apps;
use backbone::{Backbone, Tenure};
use bytes::Bytes;
use metering::Meters;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::age;
use crate::config::Config;
use crate::decide::Decider;
use crate::deliver::trust::{self, TrustError};
use crate::deliver::{Ended, Intake, Settings};
use crate::metrics::Metrics;

/// Key of the lease whose holder acts.
const LEASE: &str = "worker";

/// Pause before it competes again after it had to stop.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long what is just being decided may take to end.
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
    meters: Arc<Meters>,
    config: Config,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    /// What this worker's lease is known by.
    me: Bytes,
}

impl Worker {
    /// A worker that does nothing until it runs. `meters` count its requests and say how many there may be.
    pub fn new(config: Config, backbone: Backbone, apps: Apps, meters: Arc<Meters>) -> Result<Self, StartError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(StartError::Config(problems));
        }
        let settings = Arc::new(Settings::new(&config, trust::connector(config.ca_file.as_deref())?));
        let me = Bytes::from(format!("{:016x}", rand::random::<u64>()));
        Ok(Self { backbone, apps, meters, config, settings, metrics: Arc::new(Metrics::new()), me })
    }

    /// Competes for the lease, and acts while it has it, until `stop`. Then it ends what is under way, as far as
    /// [`Config::drain`] suffices, and releases the lease, so that the next one takes over at once.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = self.compete(stop) => {}
            never = age::watch(self.backbone.webhook_queue(), &self.metrics.oldest) => match never {},
        }
    }

    async fn compete(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let won = tokio::select! {
                () = stop.cancelled() => return,
                won = self.backbone.win_lease(LEASE, self.me.clone(), self.config.lease_ttl) => won,
            };
            tracing::info!("this worker acts");
            self.metrics.waiting.set(0.0);
            self.metrics.active.set(1.0);
            self.act(won, &stop).await;
            self.metrics.active.set(0.0);
            self.metrics.waiting.set(0.0);
        }
    }

    /// Decides and delivers until told to stop, or until somebody else does.
    async fn act(&self, mut tenure: Tenure, stop: &CancellationToken) {
        let decider = Decider::new(&self.backbone, self.apps.clone(), self.config.vacated_grace);
        // Tasks, so that neither keeps the other or the lease waiting. Dropping a set ends its task.
        let (mut deciding, mut delivering) = (JoinSet::new(), JoinSet::new());
        let told = stop.clone();
        deciding.spawn(async move { decider.run(told).await });
        let (backbone, apps, meters) = (self.backbone.clone(), self.apps.clone(), Arc::clone(&self.meters));
        let intake = Intake::new(backbone, apps, meters, Arc::clone(&self.settings), Arc::clone(&self.metrics));
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
            () = tenure.keep() => {
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
        tenure.release().await;
        if !stopped {
            sleep(RETRY_PAUSE).await;
        }
    }
}
