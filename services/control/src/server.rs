//! The gRPC server: its services, its limits, its end.

use std::path::PathBuf;
use std::time::Duration;

use backbone::access::AccessTokens;
use backbone::registry::Registry;
use backbone::schema::{Migrated, SchemaError};
use backbone::usage::UsageStore;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
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
use crate::tls::{self, TlsError};
use crate::usage::Folding;
use crate::{Config, Tls, housekeeping};

/// Largest header block. A call's headers are its path and the token.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Why a server cannot be built. All of it is found out before a socket is touched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A TLS file cannot be read.
    #[error("cannot read {}", file.display())]
    TlsFile {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Certificate and key are malformed, or do not belong together.
    #[error("certificate {} and key {} cannot be used", tls.cert_file.display(), tls.key_file.display())]
    Tls {
        /// Where they are.
        tls: Tls,
        /// Why not.
        source: Box<TlsError>,
    },
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

/// How long to wait before the registry is asked again for its schema.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A server that is ready to serve.
pub struct Server {
    router: Router<Stack<AccessLayer, Stack<GatewayLayer, Identity>>>,
    health: HealthReporter,
    tokens: AccessTokens,
    registry: Registry,
    pub(crate) link: Link,
    folding: Folding,
    /// Where nodes reach it, if not where it listens.
    advertise: Option<String>,
    tls: Option<TlsAcceptor>,
    bounds: Bounds,
    drain_timeout: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("bounds", &self.bounds).finish_non_exhaustive()
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
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let link = Link::new(parts.backbone.clone(), parts.apps.clone(), &config.id, config.lease_ttl);
        let (health, routes) = services::routes(config, &parts, &link)?;
        let usage = UsageStore::new(&parts.backbone, config.usage_kept);
        let folding = Folding::new(usage, link.clone(), config.fold_interval);
        let Parts { tokens, keys, registry, .. } = parts;
        let doors = Doors { bootstrap: config.token.clone(), tokens: tokens.clone(), keys };
        let gateway = GatewayLayer { max_body_bytes: config.max_request_bytes, beat: config.silence_timeout / 4 };
        let checks = AccessLayer::new(doors, config.request_timeout * 2);
        let router = builder.layer(gateway).layer(checks).add_routes(routes);
        let bounds = Bounds { connections: config.max_connections, silence: config.silence_timeout };
        let advertise = config.advertise.clone();
        let drain_timeout = config.drain_timeout;
        Ok(Self { router, health, tokens, registry, link, folding, advertise, tls, bounds, drain_timeout })
    }

    /// Serves on `listener` until `shutdown`; then refuses new connections, lets running calls end, and cuts what is
    /// left after the drain timeout. When it returns, no connection is open. Meanwhile it is a replica among the others.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { router, mut health, tokens, registry, link, folding, advertise, tls, bounds, drain_timeout } = self;
        let address = advertise.or_else(|| listener.local_addr().ok().map(|address| address.to_string()));
        for service in NAMES {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        let cut = CancellationToken::new();
        let stop = CancellationToken::new();
        let part = CancellationToken::new();
        let connections = connections::accept(listener, bounds, cut.clone());
        let has_tls = tls.is_some();
        let stopped = stop.clone().cancelled_owned();
        let serve = Box::pin(async {
            match tls {
                Some(tls) => {
                    let connections = Box::pin(connections::secure(connections, tls, bounds));
                    router.serve_with_incoming_shutdown(connections, stopped).await
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
            tokio::time::sleep(drain_timeout).await;
            tracing::warn!(?drain_timeout, "control calls did not end in time and are cut");
            cut.cancel();
            std::future::pending().await
        };
        let serve = Box::pin(async {
            let result = tokio::select! {
                result = serve => result.map_err(ServeError::from),
                never = end => never,
                error = modernise(&registry) => Err(error.into()),
                () = tokens.run(CancellationToken::new()) => unreachable!("it runs until it is cancelled"),
                never = folding.run() => match never {},
                never = housekeeping::run(&registry, &link) => match never {},
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
