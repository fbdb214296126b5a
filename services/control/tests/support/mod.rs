//! A control plane on a real socket, over the memory backbone, and clients of it.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod raw;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use backbone::Backbone;
use backbone::audit::{AuditLog, DEFAULT_KEPT_FOR};
use backbone::registry::Registry;
use backbone::sealing::ClusterKeys;
use control::{AdminToken, Config, Parts, Server};
use proto::control as wire;
use proto::control::access_service_client::AccessServiceClient;
use proto::control::app_service_client::AppServiceClient;
use proto::control::audit_service_client::AuditServiceClient;
use proto::control::key_service_client::KeyServiceClient;
use proto::control::namespace_service_client::NamespaceServiceClient;
use proto::control::registry_service_client::RegistryServiceClient;
use proto::control::webhook_service_client::WebhookServiceClient;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// What the server expects.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) fn memory() -> Backbone {
    Backbone::memory(&backbone::Config::default())
}

/// An empty registry with its audit log.
pub(crate) fn registry() -> (Registry, AuditLog) {
    let backbone = memory();
    (registry_of(&backbone), log_of(&backbone))
}

pub(crate) fn registry_of(backbone: &Backbone) -> Registry {
    Registry::new(backbone, cluster_keys())
}

pub(crate) fn log_of(backbone: &Backbone) -> AuditLog {
    AuditLog::new(backbone, DEFAULT_KEPT_FOR)
}

/// The same for every replica.
pub(crate) fn cluster_keys() -> Arc<ClusterKeys> {
    Arc::new("ab".repeat(32).parse().unwrap())
}

pub(crate) fn config() -> Config {
    Config::new(AdminToken::new(TOKEN).unwrap())
}

/// A running server; gone when dropped.
pub(crate) struct Plane {
    pub(crate) registry: Registry,
    pub(crate) log: AuditLog,
    pub(crate) address: SocketAddr,
    stop: Arc<Notify>,
    task: AbortOnDropHandle<()>,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::start_with(config(), &memory()).await
    }

    pub(crate) async fn start_with(config: Config, backbone: &Backbone) -> Self {
        let server = Server::new(&config, Parts::new(backbone, cluster_keys())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = async move { server.serve(listener, stopped.notified()).await.unwrap() };
        let (registry, log) = (registry_of(backbone), log_of(backbone));
        Self { registry, log, address, stop, task: AbortOnDropHandle::new(tokio::spawn(task)) }
    }

    /// Tells the server to stop and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.notify_one();
        self.task.await.unwrap();
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::new(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::over(self.channel().await, Some(TOKEN))
    }
}

/// Sends a token with every call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<String>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(request)
    }
}

type Authorized = InterceptedService<Channel, Bearer>;

/// Short forms of the calls.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) apps: AppServiceClient<Authorized>,
    pub(crate) keys: KeyServiceClient<Authorized>,
    pub(crate) webhooks: WebhookServiceClient<Authorized>,
    pub(crate) namespaces: NamespaceServiceClient<Authorized>,
    pub(crate) access: AccessServiceClient<Authorized>,
    pub(crate) audit: AuditServiceClient<Authorized>,
    pub(crate) whole: RegistryServiceClient<Authorized>,
}

impl Client {
    pub(crate) fn over(channel: Channel, token: Option<&str>) -> Self {
        let bearer = || Bearer(token.map(str::to_owned));
        Self {
            apps: AppServiceClient::with_interceptor(channel.clone(), bearer()),
            keys: KeyServiceClient::with_interceptor(channel.clone(), bearer()),
            webhooks: WebhookServiceClient::with_interceptor(channel.clone(), bearer()),
            namespaces: NamespaceServiceClient::with_interceptor(channel.clone(), bearer()),
            access: AccessServiceClient::with_interceptor(channel.clone(), bearer()),
            audit: AuditServiceClient::with_interceptor(channel.clone(), bearer()),
            whole: RegistryServiceClient::with_interceptor(channel, bearer()),
        }
    }

    pub(crate) async fn create(&mut self, request: wire::CreateAppRequest) -> Result<wire::CreateAppResponse, Status> {
        self.apps.create_app(request).await.map(tonic::Response::into_inner)
    }

    /// An app with a key called `{id}-key`.
    pub(crate) async fn create_plain(&mut self, id: &str) -> wire::App {
        self.create(plain(id)).await.unwrap().app.unwrap()
    }

    pub(crate) async fn get(&mut self, id: &str) -> Result<wire::App, Status> {
        self.apps.get_app(wire::GetAppRequest { id: id.to_owned() }).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn update(&mut self, request: wire::UpdateAppRequest) -> Result<wire::App, Status> {
        self.apps.update_app(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn disable(&mut self, id: &str) -> Result<wire::App, Status> {
        self.apps.disable_app(wire::DisableAppRequest { id: id.to_owned() }).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn enable(&mut self, id: &str) -> Result<wire::App, Status> {
        self.apps.enable_app(wire::EnableAppRequest { id: id.to_owned() }).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn delete(&mut self, id: &str) -> Result<(), Status> {
        self.apps.delete_app(wire::DeleteAppRequest { id: id.to_owned() }).await.map(|_| ())
    }

    pub(crate) async fn list(&mut self, page_size: u32, token: &str) -> Result<wire::ListAppsResponse, Status> {
        let request = wire::ListAppsRequest { page_size, page_token: token.to_owned() };
        self.apps.list_apps(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn create_key(&mut self, app: &str, key: wire::NewKey) -> Result<wire::CreateKeyResponse, Status> {
        let request = wire::CreateKeyRequest { app_id: app.to_owned(), key: Some(key), ..Default::default() };
        self.keys.create_key(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn revoke(&mut self, app: &str, name: &str) -> Result<wire::Key, Status> {
        let request = wire::RevokeKeyRequest { app_id: app.to_owned(), name: name.to_owned() };
        self.keys.revoke_key(request).await.map(|response| response.into_inner().key.unwrap())
    }
}

impl Client {
    /// A token of the scope, once the server knows it.
    pub(crate) async fn token(&mut self, role: wire::Role, app: &str) -> wire::CreateTokenResponse {
        let scope = Some(wire::Scope { role: role.into(), app_id: app.to_owned() });
        let request = wire::CreateTokenRequest { name: "made for a test".to_owned(), scope, ..Default::default() };
        self.access.create_token(request).await.unwrap().into_inner()
    }

    /// The newest entries of the audit log.
    pub(crate) async fn audit(&mut self, app: &str) -> Vec<wire::AuditEntry> {
        let request = wire::ListAuditRequest { app_id: app.to_owned(), page_size: 1_000, ..Default::default() };
        self.audit.list_audit(request).await.unwrap().into_inner().entries
    }
}

/// Waits until the server lets the token in: it hears of it through the backbone.
pub(crate) async fn let_in(channel: &Channel, token: &str) -> Client {
    let client = Client::over(channel.clone(), Some(token));
    testkit::eventually("the token to be known", || {
        let mut client = client.clone();
        async move { client.list(1, "").await.ok() }
    })
    .await;
    client
}

/// Waits until the server lets the token in no more.
pub(crate) async fn kept_out(channel: &Channel, token: &str) {
    let client = Client::over(channel.clone(), Some(token));
    testkit::eventually("the token to be forgotten", || {
        let mut client = client.clone();
        async move { client.list(1, "").await.err() }
    })
    .await;
}

impl Client {
    pub(crate) async fn dead_letters(
        &mut self,
        app: &str,
        page_size: u32,
        token: &str,
    ) -> Result<wire::ListDeadLettersResponse, Status> {
        let page_token = token.to_owned();
        let request = wire::ListDeadLettersRequest { app_id: app.to_owned(), page_size, page_token };
        self.webhooks.list_dead_letters(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn replay(&mut self, app: &str, ids: &[&str], all: bool) -> Result<u64, Status> {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let request = wire::ReplayDeadLettersRequest { app_id: app.to_owned(), ids, all };
        self.webhooks.replay_dead_letters(request).await.map(|response| response.into_inner().replayed)
    }

    pub(crate) async fn forget(&mut self, app: &str, ids: &[&str], all: bool) -> Result<u64, Status> {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let request = wire::DeleteDeadLettersRequest { app_id: app.to_owned(), ids, all };
        self.webhooks.delete_dead_letters(request).await.map(|response| response.into_inner().deleted)
    }
}

pub(crate) fn plain(id: &str) -> wire::CreateAppRequest {
    let key = wire::NewKey { name: format!("{id}-key"), ..wire::NewKey::default() };
    wire::CreateAppRequest { id: id.to_owned(), key: Some(key), ..wire::CreateAppRequest::default() }
}

pub(crate) fn new_key(name: &str) -> wire::NewKey {
    wire::NewKey { name: name.to_owned(), ..wire::NewKey::default() }
}

/// Asserts a refusal with this code whose message holds `words`.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &str) {
    let status = result.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(words), "{:?} does not mention {words:?}", status.message());
}
