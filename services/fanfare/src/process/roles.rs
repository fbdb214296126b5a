//! Starting each role.

use std::sync::Arc;

use backbone::Backbone;
use backbone::registry::Apps;
use backbone::sealing::ClusterKeys;
use metering::Meters;
use tokio::net::TcpListener;

use super::{Process, RunError};

/// The edge, not serving yet.
pub(super) fn edge(
    process: &Process,
    backbone: &Backbone,
    apps: &Apps,
    meters: &Arc<Meters>,
    keys: &Arc<ClusterKeys>,
) -> Result<edge::Edge, RunError> {
    let (backbone, apps, meters, keys) = (backbone.clone(), apps.clone(), Arc::clone(meters), Arc::clone(keys));
    Ok(edge::Edge::new(process.settings.edge(), backbone, apps, process.readiness.clone(), meters, keys)?)
}

/// The worker. When told to stop it hands over to another.
pub(super) fn worker(
    process: &mut Process,
    backbone: &Backbone,
    apps: &Apps,
    meters: Arc<Meters>,
) -> Result<(), RunError> {
    let worker = worker::Worker::new(process.settings.worker(), backbone.clone(), apps.clone(), meters)?;
    let check = process.readiness.check("worker");
    process.roles.spawn("the worker", |stop| async move {
        check.set_ready();
        worker.run(stop).await;
    });
    Ok(())
}

/// The control plane on `listener`, as part of the node `id`.
pub(super) async fn control(
    process: &mut Process,
    listener: TcpListener,
    id: &str,
    backbone: &Backbone,
    keys: Arc<ClusterKeys>,
    apps: &Apps,
) -> Result<(), RunError> {
    let config = process.settings.control(id);
    let has_own_way_in = config.token.is_some() || process.settings.control.client_ca_file.is_some();
    if !has_own_way_in && !has_tokens(backbone).await {
        return Err(RunError::NoToken);
    }
    if !process.settings.is_in_memory() {
        tracing::info!(address = config.advertise, "the other nodes reach this control plane there");
    }
    let parts = control::Parts { apps: apps.clone(), ..control::Parts::new(backbone, keys) };
    let server = control::Server::new(&config, parts)?;
    let check = process.readiness.check("control");
    process.roles.spawn("the control plane", |stop| async move {
        check.set_ready();
        // Large, and most of it is needed while something happens only.
        if let Err(error) = Box::pin(server.serve(listener, stop.cancelled_owned())).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the control plane failed");
        }
    });
    Ok(())
}

/// Whether somebody was given a token before. Where the backbone does not say, there may be.
async fn has_tokens(backbone: &Backbone) -> bool {
    match backbone.access().list().await {
        Ok(tokens) => !tokens.is_empty(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot see whether there are admin tokens");
            true
        }
    }
}
