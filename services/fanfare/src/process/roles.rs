//! Starting each role.

use backbone::Backbone;
use backbone::registry::Apps;
use telemetry::Readiness;
use tokio::net::TcpListener;

use super::RunError;
use super::tasks::Tasks;
use crate::config::Settings;

/// The edge on `listener`. It drains by itself when told to stop.
pub(super) fn edge(
    tasks: &mut Tasks,
    settings: &Settings,
    listener: TcpListener,
    backbone: Backbone,
    apps: Apps,
    readiness: &Readiness,
) -> Result<(), RunError> {
    let edge = edge::Edge::new(settings.edge(), backbone, apps, readiness.clone())?;
    tasks.spawn("the edge", |stop| async move {
        edge.serve(listener, stop).await;
    });
    Ok(())
}

/// The worker. When told to stop it hands over to another.
pub(super) fn worker(
    tasks: &mut Tasks,
    settings: &Settings,
    backbone: Backbone,
    apps: Apps,
    readiness: &Readiness,
) -> Result<(), RunError> {
    let worker = worker::Worker::new(settings.worker(), backbone, apps)?;
    let check = readiness.check("worker");
    tasks.spawn("the worker", |stop| async move {
        check.set_ready();
        worker.run(stop).await;
    });
    Ok(())
}

/// The control plane on `listener`.
pub(super) fn control(
    tasks: &mut Tasks,
    settings: &Settings,
    listener: TcpListener,
    backbone: &Backbone,
    readiness: &Readiness,
) -> Result<(), RunError> {
    let config = settings.control().ok_or(RunError::NoToken)?;
    let server = control::Server::new(&config, backbone)?;
    let check = readiness.check("control");
    tasks.spawn("the control plane", |stop| async move {
        check.set_ready();
        if let Err(error) = server.serve(listener, stop.cancelled_owned()).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the control plane failed");
        }
    });
    Ok(())
}
