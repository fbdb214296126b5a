//! Every service of the API, and what they answer from.

use std::sync::Arc;

use backbone::Backbone;
use backbone::access::AccessTokens;
use backbone::audit::AuditLog;
use backbone::registry::{self, Registry};
use backbone::sealing::ClusterKeys;
use backbone::usage::UsageStore;
use proto::control::access_service_server::AccessServiceServer;
use proto::control::app_service_server::AppServiceServer;
use proto::control::audit_service_server::AuditServiceServer;
use proto::control::channel_service_server::ChannelServiceServer;
use proto::control::connection_service_server::ConnectionServiceServer;
use proto::control::key_service_server::KeyServiceServer;
use proto::control::link_service_server::LinkServiceServer;
use proto::control::namespace_service_server::NamespaceServiceServer;
use proto::control::node_service_server::NodeServiceServer;
use proto::control::registry_service_server::RegistryServiceServer;
use proto::control::tail_service_server::TailServiceServer;
use proto::control::usage_service_server::UsageServiceServer;
use proto::control::webhook_service_server::WebhookServiceServer;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use crate::access::Guarded;
use crate::apps::Apps;
use crate::audit::{Audit, Recorder};
use crate::channels::Channels;
use crate::clients::Clients;
use crate::keys::Keys;
use crate::link::{Attach, Link};
use crate::namespaces::Namespaces;
use crate::nodes::{Nodes, Sources};
use crate::tokens::Tokens;
use crate::usage::Usage;
use crate::webhooks::Webhooks;
use crate::whole::Whole;
use crate::{Config, StartError};

/// The services that health checks may name; the empty name is the server as a whole.
pub(crate) const NAMES: [&str; 13] = [
    "",
    "fanfare.control.v1.AccessService",
    "fanfare.control.v1.AppService",
    "fanfare.control.v1.AuditService",
    "fanfare.control.v1.ChannelService",
    "fanfare.control.v1.ConnectionService",
    "fanfare.control.v1.KeyService",
    "fanfare.control.v1.NamespaceService",
    "fanfare.control.v1.NodeService",
    "fanfare.control.v1.RegistryService",
    "fanfare.control.v1.TailService",
    "fanfare.control.v1.UsageService",
    "fanfare.control.v1.WebhookService",
];

/// Largest message of a node, in bytes: a report of some hundred thousand apps.
const MAX_REPORT_BYTES: usize = 16 * 1024 * 1024;

/// What the services answer from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where everything is kept.
    pub backbone: Backbone,
    /// The cluster's keys.
    pub keys: Arc<ClusterKeys>,
    /// Apps and their keys.
    pub registry: Registry,
    /// The live copy of the tokens, which the server keeps current while it serves.
    pub tokens: AccessTokens,
    /// The live copy of the apps, which somebody else keeps current.
    pub apps: registry::Apps,
}

impl Parts {
    /// The parts of a replica on `backbone`.
    pub fn new(backbone: &Backbone, keys: Arc<ClusterKeys>) -> Self {
        let registry = Registry::new(backbone, Arc::clone(&keys));
        Self {
            backbone: backbone.clone(),
            keys,
            apps: registry::Apps::watch(registry.clone()),
            registry,
            tokens: AccessTokens::watch(backbone.access()),
        }
    }
}

/// All services, and what tells of their health. A service is added here, in [`NAMES`] and in the rules of `access`.
pub(crate) fn routes(config: &Config, parts: &Parts, link: &Link) -> Result<(HealthReporter, Routes), StartError> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::control::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut routes = Routes::new(health_service).add_service(reflection);
    macro_rules! add {
        ($server:ident, $service:expr) => {
            routes = routes.add_service($server::new($service).max_decoding_message_size(config.max_request_bytes));
        };
    }
    let patience = config.request_timeout;
    let log = AuditLog::new(&parts.backbone, config.audit_retention);
    let recorder = Recorder { log: log.clone(), patience };
    let registry = Guarded::new(parts.registry.clone());
    let access = Guarded::new(parts.backbone.access());
    let letters = Guarded::new(parts.backbone.dead_letters());
    let apps = Apps { registry: registry.clone(), access: access.clone(), recorder: recorder.clone(), patience };
    let tokens = Tokens { access, registry: registry.clone(), recorder: recorder.clone(), patience };
    add!(AppServiceServer, apps);
    add!(AccessServiceServer, tokens);
    add!(AuditServiceServer, Audit { log: Guarded::new(log), patience });
    add!(KeyServiceServer, Keys { registry: registry.clone(), recorder: recorder.clone(), patience });
    add!(NamespaceServiceServer, Namespaces { registry: registry.clone(), recorder: recorder.clone(), patience });
    add!(WebhookServiceServer, Webhooks { registry: registry.clone(), letters, recorder: recorder.clone(), patience });
    let backbone = Guarded::new(parts.backbone.clone());
    let whole = Whole {
        backbone: backbone.clone(),
        registry: registry.clone(),
        recorder: recorder.clone(),
        audit_retention: config.audit_retention,
        usage_kept: config.usage_kept,
    };
    add!(RegistryServiceServer, whole);
    let guarded = Guarded::new(link.clone());
    let clients = Clients { link: guarded.clone(), registry: registry.clone(), recorder: recorder.clone(), patience };
    add!(ConnectionServiceServer, clients.clone());
    add!(TailServiceServer, clients);
    let store = Guarded::new(UsageStore::new(&parts.backbone, config.usage_kept));
    add!(UsageServiceServer, Usage { store, link: guarded.clone(), registry: registry.clone(), patience });
    add!(ChannelServiceServer, Channels { link: guarded, registry, backbone, patience });
    let sources = Guarded::new(Sources {
        link: link.clone(),
        backbone: parts.backbone.clone(),
        registry: parts.registry.clone(),
        apps: parts.apps.clone(),
        keys: Arc::clone(&parts.keys),
    });
    add!(NodeServiceServer, Nodes { sources, recorder, patience });
    let attach = LinkServiceServer::new(Attach { link: link.clone() });
    routes = routes.add_service(attach.max_decoding_message_size(MAX_REPORT_BYTES));
    Ok((health, routes))
}
