//! Getting hold of the backbone, and putting the first apps into it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use backbone::audit::AuditLog;
use backbone::registry::{Registry, RegistryError};
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, StartError};
use clock::Backoff;
use control::seed::{Applied, Seed, SeedError};
use telemetry::Check;
use tokio::time::sleep;

use super::RunError;
use crate::config::Settings;
use crate::private_file;

/// Where a data directory has the cluster key.
const CLUSTER_KEY_FILE: &str = "cluster.key";

/// Pauses before another attempt. The longest pause bounds how much later than NATS an edge comes up.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));

/// Connects, however long it takes: NATS may come up later than we do. Meanwhile `check` says what is missing.
pub(super) async fn connect(settings: &Settings, check: &Check) -> Result<Backbone, RunError> {
    if settings.is_in_memory() {
        return match &settings.data_dir {
            None => Ok(Backbone::memory(&settings.backbone)),
            Some(directory) => Backbone::open(&settings.backbone, directory).map_err(|error| match error {
                StartError::Refused(sentence) | StartError::Unreachable(sentence) => RunError::Backbone(sentence),
            }),
        };
    }
    check.set_not_ready("connecting to NATS");
    let mut backoff = BACKOFF;
    loop {
        let pause = backoff.pause();
        match Backbone::connect(&settings.backbone, &settings.nats).await {
            Ok(backbone) => return Ok(backbone),
            Err(StartError::Refused(sentence)) => return Err(RunError::Backbone(sentence)),
            Err(StartError::Unreachable(reason)) => {
                check.set_not_ready(format!("NATS is not there yet: {reason}"));
                tracing::warn!(%reason, retry_in = ?pause, "NATS is not there yet");
            }
        }
        sleep(pause).await;
    }
}

/// The keys of this process's cluster: those of the settings, or the one of the data directory, which exists by now, or
/// one that is made up. What is only in memory ends with the process, and its key may, too.
pub(super) fn cluster_keys(settings: &Settings) -> Result<Arc<ClusterKeys>, RunError> {
    if let Some(keys) = &settings.cluster_keys {
        return Ok(Arc::clone(keys));
    }
    let Some(directory) = &settings.data_dir else { return Ok(Arc::new(ClusterKeys::generate())) };
    let file = directory.join(CLUSTER_KEY_FILE);
    let failed = |source| RunError::ClusterKeyFile { file: file.clone(), source };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = ClusterKeys::generate_text();
            private_file::create(&file, &text).map_err(failed)?;
            tracing::info!(file = %file.display(), "cluster key made; without it the data directory is worth nothing");
            text
        }
        Err(error) => return Err(failed(error)),
    };
    let keys = text.parse().map_err(|source| RunError::ClusterKey { file: file.clone(), source })?;
    Ok(Arc::new(keys))
}

/// Applies a seed, again and again while the backbone does not answer.
pub(super) async fn seed(seed: &Seed, registry: &Registry, log: &AuditLog, check: &Check) -> Result<Applied, RunError> {
    let mut backoff = BACKOFF;
    loop {
        let pause = backoff.pause();
        match seed.apply(registry, log).await {
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
    }
}
