//! The gRPC server: its services, its limits, its end.

use std::sync::Arc;
use std::time::Duration;

use backbone::registry::Registry;
use backbone::schema::{Migrated, SchemaError};
use backbone::usage::UsageStore;
use certificate::{Certificate, CertificateError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{self, server::Router};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_layer::{Identity, Stack};

use crate::access::{AccessLayer, Doors};
use crate::connections::{self, Bounds};
use crate::gateway::GatewayLayer;
use crate::link::Link;
use crate::services::{self, NAMES, Parts};
use crate::usage::Folding;
use crate::{Config, housekeeping, survey};

/// Largest header block. A call's headers are its path and the token.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// What may be spoken behind the handshake, the best first. tonic's own TLS offers HTTP/2 alone, and clients that ask for
/// HTTP/1.1 alone are refused in the handshake.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Why a server cannot be built. All of it is found out before a socket is touched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The descriptions of our own services are malformed.
    #[error("cannot describe the services")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The registry is not one that this version of Fanfare may change.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The listener failed.
    #[error("cannot serve the control plane")]
    Transport(#[from] transport::Error),
}

/// How often the files of the certificate are read again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long to wait before the registry is asked again for its schema.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A server that is ready to serve.
pub struct Server {
    config: Config,
    parts: Parts,
    certificate: Option<Arc<Certificate>>,
    pub(crate) link: Link,
    folding: Folding,
    router: Router<Stack<AccessLayer, Stack<GatewayLayer, Identity>>>,
    health: HealthReporter,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Server {
    /// Puts the server together, and reads the TLS files.
    pub fn new(config: &Config, parts: Parts) -> Result<Self, StartError> {
        let builder = transport::Server::builder()
            // For the gateway.
            .accept_http1(true)
            .max_concurrent_streams(config.max_streams_per_connection)
            .http2_keepalive_interval(Some(config.silence_timeout / 2))
            .http2_keepalive_timeout(Some(config.silence_timeout / 2))
            .http2_max_header_list_size(MAX_HEADER_BYTES);
        let load = |files| Certificate::load("control", files, PROTOCOLS);
        let certificate = config.tls.as_ref().map(load).transpose()?.map(Arc::new);
        let link = Link::new(parts.backbone.clone(), parts.apps.clone(), &config.id, config.lease_ttl);
        let (health, routes) = services::routes(config, &parts, &link)?;
        let usage = UsageStore::new(&parts.backbone, config.usage_kept);
        let folding = Folding::new(usage, link.clone(), config.fold_interval);
        let (tokens, keys) = (parts.tokens.clone(), Arc::clone(&parts.keys));
        let doors = Doors { bootstrap: config.token.clone(), tokens, keys };
        let gateway = GatewayLayer { max_body_bytes: config.max_request_bytes, beat: config.silence_timeout / 4 };
        let checks = AccessLayer::new(doors, config.request_timeout * 2);
        let router = builder.layer(gateway).layer(checks).add_routes(routes);
        Ok(Self { config: config.clone(), parts, certificate, link, folding, router, health })
    }

    /// Serves on `listener` until `shutdown`; then refuses new connections, lets running calls end, and cuts what is
    /// left after the drain timeout. When it returns, no connection is open. Meanwhile it is a replica among the others.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { config, parts, certificate, link, folding, router, mut health } = self;
        let address = config.advertise.or_else(|| listener.local_addr().ok().map(|address| address.to_string()));
        for service in NAMES {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        let cut = CancellationToken::new();
        let stop = CancellationToken::new();
        let part = CancellationToken::new();
        let bounds = Bounds { connections: config.max_connections, silence: config.silence_timeout };
        let connections = connections::accept(listener, bounds, cut.clone());
        let has_tls = certificate.is_some();
        let stopped = stop.clone().cancelled_owned();
        let serve = Box::pin(async {
            match certificate {
                Some(certificate) => {
                    let connections = connections::secure(connections, Arc::clone(&certificate), bounds);
                    let serve = router.serve_with_incoming_shutdown(Box::pin(connections), stopped);
                    tokio::select! {
                        result = serve => result,
                        never = certificate.follow(LOOK_AGAIN) => match never {},
                    }
                }
                None => router.serve_with_incoming_shutdown(connections, stopped).await,
            }
        });
        let end = async {
            shutdown.await;
            // Nodes go to other replicas, and another one leads.
            part.cancel();
            // Watchers of the health service are told, and their endless calls end.
            for service in NAMES {
                health.set_service_status(service, ServingStatus::NotServing).await;
                health.clear_service_status(service).await;
            }
            stop.cancel();
            let drain_timeout = config.drain_timeout;
            tokio::time::sleep(drain_timeout).await;
            tracing::warn!(?drain_timeout, "control calls did not end in time and are cut");
            cut.cancel();
            std::future::pending().await
        };
        let serve = Box::pin(async {
            let result = tokio::select! {
                result = serve => result.map_err(ServeError::from),
                never = end => never,
                error = modernise(&parts.registry) => Err(error.into()),
                () = parts.tokens.run(CancellationToken::new()) => unreachable!("it runs until it is cancelled"),
                never = folding.run() => match never {},
                never = housekeeping::run(&parts.registry, &link) => match never {},
                never = survey::run(&parts.backbone, &link) => match never {},
            };
            part.cancel();
            result
        });
        let replica = Box::pin(link.run(address.unwrap_or_default(), has_tls, part.clone()));
        let (result, ()) = tokio::join!(serve, replica);
        result
    }
}

/// Brings the registry to the present schema. Ends only when that must not be done.
async fn modernise(registry: &Registry) -> SchemaError {
    loop {
        match registry.migrate().await {
            Ok(Migrated { from, to, rewritten, unreadable }) => {
                if rewritten > 0 || from != to {
                    tracing::info!(from, to, rewritten, "the registry has been brought up to date");
                }
                for (app, error) in &unreadable {
                    let error = error as &dyn std::error::Error;
                    tracing::error!(%app, error, "a stored app cannot be read and stays as it is");
                }
                std::future::pending::<()>().await;
            }
            Err(error @ (SchemaError::Newer(_) | SchemaError::Damaged)) => return error,
            Err(SchemaError::Registry(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot read the registry's schema yet");
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
