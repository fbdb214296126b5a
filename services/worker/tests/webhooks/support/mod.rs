//! What the cases share: a backbone with an app on it, workers, and edges that tell who is where.

mod hook;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backbone::facts::{Count, CountKey, Parts, edge_lease_key, encode_member, roster_key};
use backbone::registry::{AppChange, Apps, Registry, RegistryError};
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, Bucket, Config as BackboneConfig, IdempotencyId, Lease, NatsConfig};
use bytes::Bytes;
use channels::{
    App, AppId, Capability, ChannelName, ClientId, ConnectionId, EdgeId, Key, KeyName, Limits, Member, MemberData,
    Namespaces, PusherSettings, Quota, Secret, Webhook, WebhookEvents,
};
use metering::Meters;
use prost::Message as _;
use proto::backbone::WebhookEvent as Event;
use testkit::{Nats, eventually};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{Config, Worker};

pub use hook::{Hook, Manner, Received};

pub const KEY: &str = "9f2c4be1d07a4c3e8b51";

/// Which backbone a case runs on.
#[derive(Clone, Copy, Debug)]
pub enum Variant {
    Memory,
    Nats,
}

/// A backbone with one app.
pub struct Site {
    pub backbone: Backbone,
    pub registry: Registry,
    pub apps: Apps,
    pub app: AppId,
    pub meters: Arc<Meters>,
    _background: JoinSet<()>,
    pub nats: Option<Nats>,
}

/// A webhook that wants everything.
pub fn webhook(hook: &Hook) -> Webhook {
    webhook_to(&hook.url())
}

pub fn webhook_to(url: &str) -> Webhook {
    Webhook {
        id: Webhook::made_up_id(url, ""),
        url: url.to_owned(),
        events: WebhookEvents::ALL,
        prefix: String::new(),
        batch: None,
        headers: Vec::new(),
    }
}

/// Settings for tests: quick retries, and receivers on loopback. A lease that is lost and a request that is given up make
/// events come twice, so both last longer than a busy machine stalls.
pub fn config() -> Config {
    Config {
        lease_ttl: Duration::from_secs(15),
        vacated_grace: Duration::from_millis(300),
        request_timeout: Duration::from_secs(30),
        first_retry: Duration::from_millis(20),
        longest_retry: Duration::from_millis(200),
        give_up_after: Duration::from_secs(200),
        allow_loopback: true,
        ..Config::default()
    }
}

impl Site {
    pub async fn start(variant: Variant, webhooks: Vec<Webhook>) -> Self {
        let config = BackboneConfig { shards: 4, replicas: 1, ..BackboneConfig::default() };
        let (backbone, nats) = match variant {
            Variant::Memory => (Backbone::memory(&config), None),
            Variant::Nats => {
                let nats = Nats::start().await;
                let to = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
                let connect = || async { Backbone::connect(&config, &to).await.ok() };
                (eventually("the backbone to start", connect).await, Some(nats))
            }
        };
        let registry = Registry::new(&backbone, Arc::new(ClusterKeys::generate()));
        let app = AppId::new("3301").unwrap();
        eventually("the app to be there", || async {
            match registry.create(the_app(&app, webhooks.clone()), 1).await {
                // As after an answer that came too late.
                Ok(_) | Err(RegistryError::AppExists(_)) => Some(()),
                Err(_) => None,
            }
        })
        .await;
        let apps = Apps::watch(registry.clone());
        let mut background = JoinSet::new();
        background.spawn(apps.run(CancellationToken::new()));
        apps.ready().await;
        let meters = Arc::new(Meters::new(Instant::now()));
        Self { backbone, registry, apps, app, meters, _background: background, nats }
    }

    /// Runs a worker.
    pub fn work(&self, config: Config) -> Running {
        let (backbone, apps, meters) = (self.backbone.clone(), self.apps.clone(), Arc::clone(&self.meters));
        let worker = Worker::new(config, backbone, apps, meters).unwrap();
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let told = stop.clone();
        task.spawn(async move { worker.run(told).await });
        Running { stop, task }
    }

    /// A living edge.
    pub async fn edge(&self) -> Edge {
        eventually("a lease", || async {
            let id = EdgeId::from_random(rand::random());
            let value = Bytes::from(id.as_str().to_owned());
            let lease = self.backbone.lease(&edge_lease_key(&id), value, Duration::from_secs(600)).await.ok()?;
            Some(Edge { backbone: self.backbone.clone(), app: self.app.clone(), id, lease })
        })
        .await
    }

    async fn change(&self, change: &AppChange) {
        eventually("the change to be taken", || async { self.registry.update(&self.app, None, change).await.ok() })
            .await;
    }

    /// Changes the app's webhooks, and waits until that is known.
    pub async fn set_webhooks(&self, webhooks: Vec<Webhook>) {
        self.change(&AppChange { webhooks: Some(webhooks.clone()), ..AppChange::default() }).await;
        eventually("the webhooks to be known", || async {
            self.apps.get(&self.app).filter(|app| app.webhooks == webhooks)
        })
        .await;
    }

    /// Changes the app's quota, and waits until that is known.
    pub async fn set_quota(&self, quota: Quota) {
        self.change(&AppChange { quota: Some(quota.clone()), ..AppChange::default() }).await;
        eventually("the quota to be known", || async { self.apps.get(&self.app).filter(|app| app.quota == quota) })
            .await;
    }

    /// Gives the key that signs another secret, and waits until that is known.
    pub async fn rotate(&self, secret: &str, overlap: Duration) {
        let (name, secret) = (KeyName::new(KEY).unwrap(), Secret::new(secret).unwrap());
        self.registry.rotate_key(&self.app, &name, secret.clone(), overlap, unix_ms()).await.unwrap();
        eventually("the new secret to be known", || async {
            self.apps.get(&self.app).filter(|app| app.keys[0].secret == secret)
        })
        .await;
    }

    /// Tells of a client event, as edges do.
    pub async fn client_event(&self, channel: &str, data: &str) {
        self.client_event_at(channel, data, unix_ms()).await;
    }

    pub async fn client_event_at(&self, channel: &str, data: &str, time_ms: u64) {
        let event = Event {
            version: 1,
            app_id: self.app.as_str().to_owned(),
            name: "client_event".to_owned(),
            channel: channel.to_owned(),
            time_ms,
            event: "client-x".to_owned(),
            data: data.to_owned().into(),
            socket_id: "1.2".to_owned(),
            ..Event::default()
        };
        let id = IdempotencyId::new(&format!("{:032x}", rand::random::<u128>())).unwrap();
        self.backbone.webhook_queue().push(&self.app, &id, event.encode_to_vec().into()).await.unwrap();
    }

    /// Waits until the app has `count` dead letters; their channels, reasons and attempts, oldest first.
    pub async fn dead_letters(&self, count: usize) -> Vec<(String, String, u32)> {
        let letters = self.backbone.dead_letters();
        eventually("dead letters", || async {
            let page = letters.list(&self.app, None, 2000).await.ok()?;
            let letters = page.letters.into_iter().map(|(_, letter)| {
                let channel = letter.event.unwrap().channel;
                (channel, letter.reason, letter.attempts)
            });
            Some(letters.collect::<Vec<_>>()).filter(|letters| letters.len() >= count)
        })
        .await
    }

    /// Waits until everything in the queue is dealt with: nothing is left for another consumer, which this becomes. No
    /// worker must run.
    pub async fn leftovers(&self) -> usize {
        let mut consumer = self.backbone.webhook_queue().consume().await.unwrap();
        let mut count = 0;
        while tokio::time::timeout(Duration::from_millis(500), consumer.next()).await.is_ok() {
            count += 1;
        }
        count
    }
}

fn the_app(id: &AppId, webhooks: Vec<Webhook>) -> App {
    let key = |name: &str, secret: &str| Key {
        name: KeyName::new(name).unwrap(),
        secret: Secret::new(secret).unwrap(),
        previous: None,
        capability: Capability::all(),
        revocable_tokens: false,
        created_ms: 1,
    };
    App {
        id: id.clone(),
        name: "test".to_owned(),
        enabled: true,
        keys: vec![key(KEY, "4b7e0c9a62d1f5833ae6"), key("younger", "another-secret")],
        pusher: PusherSettings { subscription_count: true, ..PusherSettings::default() },
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks,
    }
}

/// A worker's task.
pub struct Running {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Running {
    /// Tells it to stop, and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        testkit::within("the worker to stop", self.task.join_next()).await.unwrap().unwrap();
    }

    /// Ends it as a crash would.
    pub async fn crash(mut self) {
        self.task.shutdown().await;
    }
}

/// What an edge tells the others. It says it again if the backbone does not answer in time.
pub struct Edge {
    backbone: Backbone,
    app: AppId,
    id: EdgeId,
    lease: Lease,
}

impl Edge {
    /// So many connections are subscribed.
    pub async fn count(&self, channel: &str, subscriptions: u64) {
        let channel = ChannelName::new(channel).unwrap();
        let key = CountKey::new(&self.app, &channel, &self.id).to_key();
        let counts = self.backbone.kv(Bucket::Occupancy);
        let value = Count { channel, subscriptions, users: None, parts: Parts::default() }.encode();
        eventually("the count to be taken", || async {
            match subscriptions {
                0 => counts.remove(&key, None).await.ok(),
                _ => counts.put(&key, value.clone()).await.ok(),
            }
        })
        .await;
    }

    pub async fn enter(&self, channel: &str, connection: &str, user: &str) {
        let (channel, member) = member(channel, connection, user);
        let key = roster_key(&self.app, &channel, &self.id, &member);
        let value = encode_member(&channel, &member, &MemberData::default());
        let roster = self.backbone.kv(Bucket::Roster);
        eventually("the member to be taken", || async { roster.put(&key, value.clone()).await.ok() }).await;
    }

    pub async fn leave(&self, channel: &str, connection: &str, user: &str) {
        let (channel, member) = member(channel, connection, user);
        let key = roster_key(&self.app, &channel, &self.id, &member);
        let roster = self.backbone.kv(Bucket::Roster);
        eventually("the removal to be taken", || async { roster.remove(&key, None).await.ok() }).await;
    }

    /// Its lease ends; what it told stays behind.
    pub async fn die(self) {
        self.lease.release().await.unwrap();
    }
}

fn member(channel: &str, connection: &str, user: &str) -> (ChannelName, Member) {
    let member = Member { connection: ConnectionId::new(connection).unwrap(), user: ClientId::new(user).unwrap() };
    (ChannelName::new(channel).unwrap(), member)
}

pub fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The events of one channel, in the order in which they came.
pub fn of_channel(told: &[String], channel: &str) -> Vec<String> {
    told.iter().filter(|text| text.split(' ').nth(1) == Some(channel)).cloned().collect()
}
