//! A node's life as the control plane sees it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use backbone::Backbone;
use backbone::members::{self, Members};
use clock::unix_ms;
use metering::{Live, Meters};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::outbox::Outbox;
use crate::report::LoadMeter;
use crate::{Config, Host, link, usage};

/// How often the meters are looked at, and replicas told.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How soon replicas are told again when something was refused that another node's share may have room for.
const SOONEST_REPORT: Duration = Duration::from_millis(100);

/// How long the end of the process may be held up by the last of what was counted.
const FAREWELL: Duration = Duration::from_secs(3);

/// Webhook requests are made by one process at a time.
const WORKERS: u32 = 1;

/// A node of the cluster. Does nothing until it [runs](Self::run).
pub struct Agent {
    node: Arc<Node>,
}

/// What every part of the agent knows.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) meters: Arc<Meters>,
    pub(crate) host: Option<Arc<dyn Host>>,
    /// Who of the cluster is there.
    pub(crate) members: watch::Sender<Members>,
    /// Cancelled when this node was ordered to drain.
    pub(crate) drain: CancellationToken,
    /// Milliseconds since the Unix epoch.
    pub(crate) started_ms: u64,
    backbone: Backbone,
    /// By the id of the replica that is to be told.
    outboxes: Mutex<HashMap<String, Arc<Outbox>>>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("config", &self.node.config).finish_non_exhaustive()
    }
}

impl Agent {
    /// A node whose apps are counted by `meters` and whose clients, if it has any, are the `host`'s.
    pub fn new(config: Config, backbone: Backbone, meters: Arc<Meters>, host: Option<Arc<dyn Host>>) -> Self {
        let node = Node {
            config,
            meters,
            host,
            members: watch::Sender::new(Members::default()),
            drain: CancellationToken::new(),
            started_ms: unix_ms(),
            backbone,
            outboxes: Mutex::default(),
        };
        Self { node: Arc::new(node) }
    }

    /// The node's id.
    pub fn node_id(&self) -> &str {
        &self.node.config.id
    }

    /// Cancelled when somebody orders this node to drain, which is the process's to do.
    pub fn drain_ordered(&self) -> CancellationToken {
        self.node.drain.clone()
    }

    /// Reports, obeys, and writes down what was used, until `stop`; then writes the last of it, which may take 3 s. To be
    /// stopped after everything that counts.
    pub async fn run(&self, stop: CancellationToken) {
        let node = &self.node;
        let mut writer = usage::Writer::new(&node.backbone, &node.config.id, Arc::clone(&node.meters));
        tokio::select! {
            () = stop.cancelled() => {}
            never = members::follow(&node.backbone, &node.members) => match never {},
            never = node.tick() => match never {},
            never = node.attend(&stop) => match never {},
            never = writer.keep_writing() => match never {},
        }
        // With the links above the streams have ended, which tells the replicas.
        let (now, now_ms) = (Instant::now().into_std(), unix_ms());
        node.meters.tick(now, now_ms, node.live());
        if timeout(FAREWELL, writer.write(true)).await.is_err() {
            tracing::warn!("the backbone did not take what apps used in the last seconds");
        }
    }
}

impl Node {
    /// Looks at the meters once a second, for ever, and tells what they say then, or sooner if that is urgent.
    async fn tick(&self) -> Infallible {
        let mut ticks = interval(SOONEST_REPORT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut load = LoadMeter::new();
        let mut due = Instant::now();
        loop {
            let now = ticks.tick().await;
            let now_ms = unix_ms();
            let is_short = self.meters.take_short();
            if now >= due {
                due = now + REPORT_INTERVAL;
                self.meters.tick(now.into_std(), now_ms, self.live());
            } else if !is_short {
                continue;
            }
            let report = self.meters.report(now.into_std(), now_ms);
            let load = load.look(self.host.as_deref(), &report);
            self.outboxes.lock().values().for_each(|outbox| outbox.add(&report, &load));
        }
    }

    fn live(&self) -> Live {
        Live { edges: self.members.borrow().live_edges(), workers: WORKERS }
    }

    /// Keeps a stream to every replica that has a lease, for ever.
    async fn attend(self: &Arc<Self>, stop: &CancellationToken) -> Infallible {
        let mut members = self.members.subscribe();
        let mut links = JoinSet::new();
        loop {
            let replicas: Vec<_> = members.borrow_and_update().replicas.keys().cloned().collect();
            for id in replicas {
                let mut outboxes = self.outboxes.lock();
                if !outboxes.contains_key(&id) {
                    let outbox = Arc::new(Outbox::default());
                    outboxes.insert(id.clone(), Arc::clone(&outbox));
                    links.spawn(link::keep(Arc::clone(self), id, outbox, stop.clone()));
                }
            }
            tokio::select! {
                // Cannot fail: `self` holds the sender.
                _ = members.changed() => {}
                Some(ended) = links.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a stream to a control replica failed");
                    }
                    // Those that nobody sends from any more.
                    self.outboxes.lock().retain(|_, outbox| Arc::strong_count(outbox) > 1);
                }
            }
        }
    }
}
