//! A whole cluster of processes: three NATS servers, three control replicas, three edges, and a worker.

use std::fs;
use std::time::Duration;

use backbone::sealing::ClusterKeys;
use proto::control as wire;
use proto::control::{CreateAppRequest, ListNodesRequest, NodeState, RotateKeyResponse};
use tempfile::TempDir;
use testkit::{NatsCluster, eventually};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use crate::admin::Admin;
use crate::node::Node;
use crate::publisher::{Credentials, Publisher};

/// Clusters are many processes: one at a time, so that each has the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no other test of this process has a cluster.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// A running cluster; all of it ends when this is dropped.
pub(crate) struct Cluster {
    pub(crate) control: Vec<Node>,
    pub(crate) edges: Vec<Node>,
    pub(crate) worker: Node,
    pub(crate) token: String,
    /// What must not be in any log.
    secrets: Vec<String>,
    directory: TempDir,
    _nats: NatsCluster,
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// Starts everything, and waits until all of it is ready.
    pub(crate) async fn start() -> Self {
        let mut cluster = Self::prepare().await;
        cluster.start_all();
        cluster.ready().await;
        cluster
    }

    /// Starts NATS alone.
    pub(crate) async fn prepare() -> Self {
        let alone = alone().await;
        let nats = NatsCluster::start().await;
        let directory = tempfile::tempdir().unwrap();
        let (key, token) = (ClusterKeys::generate_text(), ClusterKeys::generate_text());
        fs::write(directory.path().join("admin.token"), &token).unwrap();
        let node = |index: usize, role: &str| {
            let (name, urls) = (format!("{role}-{index}"), nats.urls_from(index).join(","));
            let mut node = Node::new(directory.path(), &name, &["run", "--role", role, "--nats", &urls]);
            node.set("FANFARE_CLUSTER_KEY", &key);
            node.set("FANFARE_ADMIN_TOKEN_FILE", directory.path().join("admin.token").to_str().unwrap());
            // As many as three edges need.
            node.set("FANFARE_BACKBONE_SHARDS", "4");
            // Elections take long on a slow machine.
            node.set("FANFARE_BACKBONE_PUBLISH_DEADLINE", "60s");
            node
        };
        let three = |role| (0..3).map(|index| node(index, role)).collect();
        let (control, edges, worker) = (three("control"), three("edge"), node(0, "worker"));
        let node_token = key.parse::<ClusterKeys>().unwrap().node_token().to_owned();
        let secrets = vec![key, token.clone(), node_token];
        Self { control, edges, worker, token, secrets, directory, _nats: nats, _alone: alone }
    }

    /// Starts every process of ours that is not running.
    pub(crate) fn start_all(&mut self) {
        for node in self.nodes_mut().filter(|node| !node.is_running()) {
            node.start();
        }
    }

    /// Waits until every process is ready, and every replica has heard of all of them.
    pub(crate) async fn ready(&self) {
        for node in self.nodes() {
            node.ready().await;
        }
        for replica in 0..self.control.len() {
            let admin = self.admin(replica);
            eventually("a replica to hear of everybody", || async {
                let nodes = admin.nodes().list_nodes(ListNodesRequest {}).await.ok()?.into_inner().nodes;
                // One that holds a lease and has not said who it is yet would be listed twice.
                let serves = |node: &wire::Node| node.state() == NodeState::Serving && node.load.is_some();
                let is_there = |name: &str| nodes.iter().any(|node| node.name == name && serves(node));
                let leads = nodes.iter().any(|node| node.leader);
                let are_there = nodes.len() == self.nodes().count() && self.nodes().all(|node| is_there(node.name()));
                (leads && are_there).then_some(())
            })
            .await;
        }
    }

    /// Everything of ours.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.control.iter().chain(&self.edges).chain([&self.worker])
    }

    fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.control.iter_mut().chain(&mut self.edges).chain([&mut self.worker])
    }

    /// Who may do everything, at one replica.
    pub(crate) fn admin(&self, replica: usize) -> Admin {
        Admin::new(&self.control[replica].control_url(), &self.token)
    }

    /// The index of the replica that leads, once those of `asked` agree on one of the running.
    pub(crate) async fn leader(&self, asked: &[usize]) -> usize {
        eventually("a leader", || async {
            let mut leader = None;
            for &replica in asked {
                let mut nodes = self.admin(replica).nodes();
                let listed = timeout(Duration::from_secs(5), nodes.list_nodes(ListNodesRequest {})).await.ok()?.ok()?;
                let name = listed.into_inner().nodes.into_iter().find(|node| node.leader)?.name;
                let index = self.control.iter().position(|node| node.name() == name && node.is_running());
                if index.is_none() || leader.is_some_and(|leader| Some(leader) != index) {
                    return None;
                }
                leader = index;
            }
            leader
        })
        .await
    }

    /// Creates an app by way of `replica`, and waits until every running edge serves it.
    pub(crate) async fn create_app(&mut self, replica: usize, request: CreateAppRequest) -> Credentials {
        let made = self.admin(replica).apps().create_app(request).await.unwrap().into_inner();
        let key = made.key.unwrap();
        self.keep_secret(&key.secret);
        let credentials = Credentials { app: made.app.unwrap().id, key: key.key.unwrap().name, secret: key.secret };
        for edge in self.edges.iter().filter(|edge| edge.is_running()) {
            self.serves(edge, &credentials).await;
        }
        credentials
    }

    /// Waits until `edge` takes a publish.
    pub(crate) async fn serves(&self, edge: &Node, credentials: &Credentials) {
        eventually("an edge to know a key", || async {
            let answer = Publisher::new(edge.address(), credentials).publish("hello", "x").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// A publisher at one edge.
    pub(crate) fn publisher(&self, edge: usize, credentials: &Credentials) -> Publisher {
        Publisher::new(self.edges[edge].address(), credentials)
    }

    /// From now on this is looked for in the logs at the end.
    pub(crate) fn keep_secret(&mut self, secret: &str) {
        assert!(secret.len() >= 8, "{secret:?} could be anywhere");
        self.secrets.push(secret.to_owned());
    }

    /// The credentials after a rotation.
    pub(crate) fn rotated(&mut self, credentials: &Credentials, rotated: RotateKeyResponse) -> Credentials {
        self.keep_secret(&rotated.secret);
        Credentials { secret: rotated.secret, ..credentials.clone() }
    }

    /// Ends everything, and looks for secrets in what it wrote.
    pub(crate) fn finish(self) {
        assert!(self.secrets.len() > 3, "a cluster with nothing to tell");
        for node in self.nodes() {
            let log = node.log();
            assert!(log.contains("\"message\":\"starting\""), "{} logs", node.name());
            for secret in &self.secrets {
                assert!(!log.contains(secret), "a secret is in the log of {}", node.name());
            }
        }
    }
}

impl Drop for Cluster {
    /// A test that fails tells what the processes had to say.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for node in self.nodes() {
            let log = node.log();
            let grave = log.lines().filter(|line| !line.contains("\"level\":\"DEBUG\"")).collect::<Vec<_>>();
            eprintln!("--- {} in {}", node.name(), self.directory.path().display());
            for line in &grave[grave.len().saturating_sub(12)..] {
                eprintln!("{line}");
            }
        }
    }
}
