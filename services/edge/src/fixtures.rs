//! What several tests start from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backbone::Backbone;
use backbone::registry::{Apps, Registry};
use backbone::sealing::ClusterKeys;
use channels::{
    App, AppId, Capability, Key, KeyName, Limits, Namespace, Namespaces, PusherSettings, Quota, Secret, Tier,
};
use metering::{AppMeter, Meters};
use tokio_util::sync::CancellationToken;

use crate::connections::Client;
use crate::hub::Parts;
use crate::membership::Membership;
use crate::metrics::{Metrics, Protocol, Transport};
use crate::webhooks::Webhooks;

/// An app with one key, client events, and an ephemeral namespace `tick-`.
pub(crate) fn app() -> App {
    let key = Key {
        name: KeyName::new("app-key").unwrap(),
        secret: Secret::new("app-secret").unwrap(),
        previous: None,
        capability: Capability::all(),
        revocable_tokens: false,
        created_ms: 1,
    };
    App {
        id: AppId::new("1001").unwrap(),
        name: "demo".to_owned(),
        enabled: true,
        keys: vec![key],
        pusher: PusherSettings { client_events: true, ..PusherSettings::default() },
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::new(vec![Namespace::new("tick-", Tier::Ephemeral)]).unwrap(),
        webhooks: Vec::new(),
    }
}

/// What counts and limits `app` on a node that is alone.
pub(crate) fn meter(app: &App) -> Arc<AppMeter> {
    Meters::new(Instant::now()).meter(app)
}

/// Who connects with that app's key.
pub(crate) fn client() -> Client {
    let key = app().keys.remove(0).name;
    Client::new(Protocol::Pusher, key, Transport::WebSocket, "192.0.2.1:1234".parse().unwrap())
}

/// A backbone in this process with one registered app, and its live copy.
pub(crate) struct World {
    pub(crate) backbone: Backbone,
    pub(crate) registry: Registry,
    pub(crate) apps: Apps,
    pub(crate) keys: Arc<ClusterKeys>,
    /// Ends what keeps `apps` current.
    pub(crate) stop: CancellationToken,
}

impl World {
    pub(crate) async fn with(app: App) -> Self {
        Self::over(&backbone::Config::default(), app).await
    }

    pub(crate) async fn over(config: &backbone::Config, app: App) -> Self {
        let backbone = Backbone::memory(config);
        let keys = Arc::new(ClusterKeys::generate());
        let registry = Registry::new(&backbone, Arc::clone(&keys));
        registry.create(app, 1).await.unwrap();
        let apps = Apps::watch(registry.clone());
        let stop = CancellationToken::new();
        tokio::spawn(apps.run(stop.clone()));
        apps.ready().await;
        Self { backbone, registry, apps, keys, stop }
    }

    /// What a hub needs, as one edge with leases of `lease_ttl` has it.
    pub(crate) fn parts(&self, lease_ttl: Duration) -> Parts {
        let metrics = Arc::new(Metrics::new());
        Parts {
            backbone: self.backbone.clone(),
            apps: self.apps.clone(),
            membership: Membership::new(self.backbone.clone(), lease_ttl),
            changes: Arc::default(),
            news: Arc::default(),
            occupied: Arc::default(),
            tails: Arc::default(),
            webhooks: Arc::new(Webhooks::new(&self.backbone, Arc::clone(&metrics))),
            metrics,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
