//! A cluster of meters in simulated time: nodes report and the leader tells shares once a second, nothing sleeps.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use channels::{App, AppId, Limits, Namespaces, PusherSettings, Quota};
use metering::{AppMeter, Live, LiveNode, Meters, NodeId, Report, Share, Sharing};

/// 2026-11-22 14:00 UTC.
pub const START_MS: u64 = 1_795_356_000_000;

/// A step of simulated time.
pub const STEP: Duration = Duration::from_millis(5);

pub const STEPS_A_SECOND: u64 = 200;

pub fn app(id: &str, quota: Quota) -> App {
    App {
        id: AppId::new(id).unwrap(),
        name: id.into(),
        enabled: true,
        keys: Vec::new(),
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota,
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

/// A replica that leads, and which nodes hear it.
pub struct Leader {
    pub sharing: Sharing,
    pub term: u64,
    /// Nodes that report to it and are told shares, by number.
    pub hears: Vec<usize>,
}

impl Leader {
    pub fn new(term: u64, hears: impl IntoIterator<Item = usize>) -> Self {
        Self { sharing: Sharing::default(), term, hears: hears.into_iter().collect() }
    }
}

pub struct Node {
    pub id: NodeId,
    pub meters: Meters,
    pub alive: bool,
}

/// Shares on their way.
struct Order {
    /// In which step they arrive.
    arrives: u64,
    node: usize,
    term: u64,
    shares: Vec<(AppId, Share)>,
}

pub struct Cluster {
    pub app: App,
    pub nodes: Vec<Node>,
    pub leaders: Vec<Leader>,
    /// Messages that passed in each step, in all nodes together.
    pub passed: Vec<u64>,
    start: Instant,
    steps: u64,
    orders: Vec<Order>,
    /// Parts of messages that each node owes to its offered load.
    owed: Vec<f64>,
}

impl Cluster {
    pub fn new(nodes: usize, quota: Quota) -> Self {
        let start = Instant::now();
        let node = |index: usize| Node { id: format!("node-{index}").into(), meters: Meters::new(start), alive: true };
        let mut cluster = Self {
            app: app("app", quota),
            nodes: (0..nodes).map(node).collect(),
            leaders: vec![Leader::new(1, 0..nodes)],
            passed: Vec::new(),
            start,
            steps: 0,
            orders: Vec::new(),
            owed: vec![0.0; nodes],
        };
        cluster.round();
        cluster
    }

    pub fn now(&self) -> Instant {
        self.start + STEP * u32::try_from(self.steps).unwrap()
    }

    pub fn unix_ms(&self) -> u64 {
        START_MS + self.steps * 5
    }

    pub fn meter(&self, node: usize) -> Arc<AppMeter> {
        self.nodes[node].meters.meter(&self.app)
    }

    pub fn connect(&self, node: usize) -> bool {
        self.meter(node).connect().is_ok()
    }

    pub fn connections(&self) -> u64 {
        self.nodes.iter().filter(|node| node.alive).map(|node| used(&self.app, node)).sum()
    }

    pub fn live(&self) -> Live {
        let edges = u32::try_from(self.nodes.iter().filter(|node| node.alive).count()).unwrap();
        Live { edges, workers: edges }
    }

    fn tick(&self) {
        for node in self.nodes.iter().filter(|node| node.alive) {
            node.meters.tick(self.now(), self.unix_ms(), self.live());
        }
    }

    /// One step of time.
    fn step(&mut self) {
        self.steps += 1;
        let (arrived, coming) = self.orders.drain(..).partition::<Vec<_>, _>(|order| order.arrives <= self.steps);
        self.orders = coming;
        for Order { node, term, shares, .. } in arrived {
            self.nodes[node].meters.apply(term, shares, self.now());
        }
    }

    /// Every node reports to those that hear it, then every leader tells its nodes their shares.
    pub fn round(&mut self) {
        self.tick();
        let (now, unix_ms) = (self.now(), self.unix_ms());
        let reports: Vec<Report> = self.nodes.iter().map(|node| node.meters.report(now, unix_ms)).collect();
        let live: Vec<LiveNode> = self.nodes.iter().filter(|node| node.alive).map(live_node).collect();
        for leader in &mut self.leaders {
            for node in leader.hears.iter().filter(|node| self.nodes[**node].alive) {
                leader.sharing.report(&self.nodes[*node].id, &reports[*node], now);
            }
            let quota = self.app.quota.clone();
            let orders: HashMap<_, _> = leader.sharing.divide(&live, |_| Some(quota.clone()), now, unix_ms);
            for (id, shares) in orders {
                let node = self.nodes.iter().position(|node| node.id == id).unwrap();
                // What is told to a node that is no longer connected is lost.
                if leader.hears.contains(&node) {
                    // Each node is another distance away, at most 400 ms.
                    let arrives = self.steps + 1 + node as u64 * 37 % 80;
                    self.orders.push(Order { arrives, node, term: leader.term, shares });
                }
            }
        }
    }

    /// Lets `seconds` pass, with `offered` messages a second published on each node; `jitter` in 0..1 gives each step's
    /// load. Returns what passed in all.
    pub fn publish(&mut self, seconds: u64, offered: &[f64], jitter: &mut dyn FnMut() -> f64) -> u64 {
        let mut all = 0;
        for _ in 0..seconds * STEPS_A_SECOND {
            self.step();
            let mut passed = 0;
            for (node, offered) in offered.iter().enumerate() {
                self.owed[node] += offered / STEPS_A_SECOND as f64 * 2.0 * jitter();
                let meter = self.meter(node);
                while self.owed[node] >= 1.0 {
                    self.owed[node] -= 1.0;
                    passed += u64::from(self.nodes[node].alive && meter.publish(1, 10, None, self.now()).is_ok());
                }
            }
            self.passed.push(passed);
            all += passed;
            if self.steps.is_multiple_of(STEPS_A_SECOND) {
                self.round();
            }
        }
        all
    }

    /// Lets `steps` pass, with `act` in each.
    pub fn run(&mut self, steps: u64, mut act: impl FnMut(&mut Self)) {
        for _ in 0..steps {
            self.step();
            act(self);
            if self.steps.is_multiple_of(STEPS_A_SECOND) {
                self.round();
            }
        }
    }

    /// The most that passed in any `seconds`.
    pub fn most_in(&self, seconds: u64) -> u64 {
        let window = usize::try_from(seconds * STEPS_A_SECOND).unwrap();
        self.passed.windows(window).map(|window| window.iter().sum()).max().unwrap()
    }
}

fn used(app: &App, node: &Node) -> u64 {
    node.meters.get(&app.id).map_or(0, |meter| meter.connections())
}

fn live_node(node: &Node) -> LiveNode {
    LiveNode { id: Arc::clone(&node.id), edge: true, worker: true }
}

/// A load without any variation.
pub fn steady() -> impl FnMut() -> f64 {
    || 0.5
}

/// A load that varies from step to step (a generator of Marsaglia's xorshift kind, so that runs repeat).
pub fn varying(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Fails unless `value` is within `part` of `wanted`.
pub fn assert_near(value: f64, wanted: f64, part: f64, what: &str) {
    assert!((value - wanted).abs() <= wanted * part, "{what}: {value} is not within {part} of {wanted}");
}
