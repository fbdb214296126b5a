//! The gRPC server: its services, its limits, its end.

use std::path::PathBuf;
use std::time::Duration;

use backbone::registry::Registry;
use backbone::{Backbone, Bucket};
use proto::control::app_service_server::AppServiceServer;
use proto::control::key_service_server::KeyServiceServer;
use proto::control::webhook_service_server::WebhookServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Router;
use tonic::transport::{Identity, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::apps::Apps;
use crate::connections::{self, Bounds};
use crate::keys::Keys;
use crate::token::RequireToken;
use crate::webhooks::Webhooks;
use crate::{Config, Tls};

/// Largest header block. A call's headers are its path and the token.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// The services that health checks may name; the empty name is the server as a whole.
const SERVICES: [&str; 4] =
    ["", "fanfare.control.v1.AppService", "fanfare.control.v1.KeyService", "fanfare.control.v1.WebhookService"];

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
        source: tonic::transport::Error,
    },
    /// The descriptions of our own services are malformed.
    #[error("cannot describe the services")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server that is ready to serve.
pub struct Server {
    router: Router,
    health: HealthReporter,
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
    pub fn new(config: &Config, backbone: &Backbone) -> Result<Self, StartError> {
        let mut builder = tonic::transport::Server::builder()
            .timeout(config.request_timeout * 2)
            .max_concurrent_streams(config.max_streams_per_connection)
            .http2_keepalive_interval(Some(config.silence_timeout / 2))
            .http2_keepalive_timeout(Some(config.silence_timeout / 2))
            .http2_max_header_list_size(MAX_HEADER_BYTES);
        if let Some(tls) = &config.tls {
            let refused = |source| StartError::Tls { tls: tls.clone(), source };
            builder = builder.tls_config(tls_config(tls, config.silence_timeout)?).map_err(refused)?;
        }
        let token = RequireToken(config.token.clone());
        let patience = config.request_timeout;
        let registry = Registry::new(backbone.kv(Bucket::Apps));
        let apps = AppServiceServer::new(Apps { registry: registry.clone(), patience })
            .max_decoding_message_size(config.max_request_bytes);
        let keys = KeyServiceServer::new(Keys { registry: registry.clone(), patience })
            .max_decoding_message_size(config.max_request_bytes);
        let webhooks = WebhookServiceServer::new(Webhooks { registry, letters: backbone.dead_letters(), patience })
            .max_decoding_message_size(config.max_request_bytes);
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::control::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let (health, health_service) = tonic_health::server::health_reporter();
        let router = builder
            .add_service(health_service)
            .add_service(InterceptedService::new(reflection, token.clone()))
            .add_service(InterceptedService::new(apps, token.clone()))
            .add_service(InterceptedService::new(keys, token.clone()))
            .add_service(InterceptedService::new(webhooks, token));
        let bounds = Bounds { connections: config.max_connections, silence: config.silence_timeout };
        Ok(Self { router, health, bounds, drain_timeout: config.drain_timeout })
    }

    /// Serves on `listener` until `shutdown`; then refuses new connections, lets running calls end, and cuts what is
    /// left after the drain timeout. When it returns, no connection is open.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let Self { router, mut health, bounds, drain_timeout } = self;
        for service in SERVICES {
            health.set_service_status(service, ServingStatus::Serving).await;
        }
        let cut = CancellationToken::new();
        let stop = CancellationToken::new();
        let connections = connections::accept(listener, bounds, cut.clone());
        let serve = router.serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
        let end = async {
            shutdown.await;
            // Watchers of the health service are told, and their endless calls end.
            for service in SERVICES {
                health.set_service_status(service, ServingStatus::NotServing).await;
                health.clear_service_status(service).await;
            }
            stop.cancel();
            tokio::time::sleep(drain_timeout).await;
            tracing::warn!(?drain_timeout, "control calls did not end in time and are cut");
            cut.cancel();
            std::future::pending().await
        };
        tokio::select! {
            result = serve => result,
            never = end => never,
        }
    }
}

fn tls_config(tls: &Tls, handshake_timeout: Duration) -> Result<ServerTlsConfig, StartError> {
    let read =
        |file: &PathBuf| std::fs::read(file).map_err(|source| StartError::TlsFile { file: file.clone(), source });
    let identity = Identity::from_pem(read(&tls.cert_file)?, read(&tls.key_file)?);
    Ok(ServerTlsConfig::new().identity(identity).timeout(handshake_timeout))
}
