//! Getting hold of the backbone, and putting the first apps into it.

use std::time::Duration;

use backbone::registry::{Registry, RegistryError};
use backbone::{Backbone, StartError};
use control::seed::{Applied, Seed, SeedError};
use telemetry::Check;
use tokio::time::sleep;

use super::RunError;
use crate::config::Settings;

/// First and longest pause before another attempt. The longest bounds how much later than NATS an edge comes up.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Connects, however long it takes: NATS may come up later than we do. Meanwhile `check` says what is missing.
pub(super) async fn connect(settings: &Settings, check: &Check) -> Result<Backbone, RunError> {
    if settings.is_in_memory() {
        return Ok(Backbone::memory(&settings.backbone));
    }
    check.set_not_ready("connecting to NATS");
    let mut pause = BACKOFF.0;
    loop {
        match Backbone::connect(&settings.backbone, &settings.nats).await {
            Ok(backbone) => return Ok(backbone),
            Err(StartError::Refused(sentence)) => return Err(RunError::Backbone(sentence)),
            Err(StartError::Unreachable(reason)) => {
                check.set_not_ready(format!("NATS is not there yet: {reason}"));
                tracing::warn!(%reason, retry_in = ?pause, "NATS is not there yet");
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Applies a seed, again and again while the backbone does not answer.
pub(super) async fn seed(seed: &Seed, registry: &Registry, check: &Check) -> Result<Applied, RunError> {
    let mut pause = BACKOFF.0;
    loop {
        match seed.apply(registry).await {
            Ok(applied) => return Ok(applied),
            Err(SeedError::Registry {
                app,
                source: source @ (RegistryError::Backbone(_) | RegistryError::Contended(_)),
            }) => {
                check.set_not_ready("the backbone does not take the seed yet");
                tracing::warn!(%app, error = &source as &dyn std::error::Error, retry_in = ?pause, "cannot seed yet");
            }
            Err(error) => return Err(error.into()),
        }
        sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}
