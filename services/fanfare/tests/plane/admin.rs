//! Clients of one control replica.

use proto::control::access_service_client::AccessServiceClient;
use proto::control::app_service_client::AppServiceClient;
use proto::control::audit_service_client::AuditServiceClient;
use proto::control::channel_service_client::ChannelServiceClient;
use proto::control::connection_service_client::ConnectionServiceClient;
use proto::control::key_service_client::KeyServiceClient;
use proto::control::node_service_client::NodeServiceClient;
use proto::control::registry_service_client::RegistryServiceClient;
use proto::control::tail_service_client::TailServiceClient;
use proto::control::usage_service_client::UsageServiceClient;
use proto::control::webhook_service_client::WebhookServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Sends a token with every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorized = InterceptedService<Channel, Bearer>;

/// A caller with a token. Connects when it is first used, and again whenever it has to.
#[derive(Clone)]
pub(crate) struct Admin {
    channel: Channel,
    bearer: Bearer,
}

impl Admin {
    pub(crate) fn new(url: &str, token: &str) -> Self {
        let channel = Endpoint::new(url.to_owned()).unwrap().connect_lazy();
        Self { channel, bearer: Bearer(format!("Bearer {token}").parse().unwrap()) }
    }
}

macro_rules! services {
    ($($name:ident: $client:ident,)*) => {
        impl Admin {
            $(pub(crate) fn $name(&self) -> $client<Authorized> {
                $client::with_interceptor(self.channel.clone(), self.bearer.clone())
            })*
        }
    };
}

services! {
    access: AccessServiceClient,
    apps: AppServiceClient,
    audit: AuditServiceClient,
    channels: ChannelServiceClient,
    connections: ConnectionServiceClient,
    keys: KeyServiceClient,
    nodes: NodeServiceClient,
    registry: RegistryServiceClient,
    tail: TailServiceClient,
    usage: UsageServiceClient,
    webhooks: WebhookServiceClient,
}
