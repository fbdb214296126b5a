//! One process with every role.

use std::fs;
use std::path::Path;

use backbone::sealing::ClusterKeys;
use proto::control::CreateAppRequest;
use tempfile::TempDir;
use testkit::eventually;

use crate::admin::Admin;
use crate::node::Node;
use crate::publisher::{Credentials, Publisher};

/// A process by itself; it ends when this is dropped.
pub(crate) struct Single {
    pub(crate) node: Node,
    token: String,
    /// What must not be in its log.
    secrets: Vec<String>,
    directory: TempDir,
}

impl Single {
    /// Over the NATS server at `url`, with these cluster keys. Not started.
    pub(crate) fn over_nats(url: &str, keys: &str) -> Self {
        let mut single = Self::with(&["run", "--nats", url]);
        single.set_keys(keys);
        for (setting, value) in [("SHARDS", "2"), ("REPLICAS", "1")] {
            single.node.set(&format!("FANFARE_BACKBONE_{setting}"), value);
        }
        single
    }

    /// Without NATS, with a data directory. Not started.
    pub(crate) fn over_disk() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        Self::inside(directory, &["run", "--data-dir", data.to_str().unwrap()])
    }

    fn with(arguments: &[&str]) -> Self {
        Self::inside(tempfile::tempdir().unwrap(), arguments)
    }

    fn inside(directory: TempDir, arguments: &[&str]) -> Self {
        let token = ClusterKeys::generate_text();
        let file = directory.path().join("admin.token");
        fs::write(&file, &token).unwrap();
        let mut node = Node::new(directory.path(), "single", arguments);
        node.set("FANFARE_ADMIN_TOKEN_FILE", file.to_str().unwrap());
        // The address of nobody, so that webhooks end as dead letters soon.
        node.set("FANFARE_WORKER_WEBHOOK_ALLOW", "127.0.0.1");
        node.set("FANFARE_WORKER_WEBHOOK_GIVE_UP", "1s");
        Self { node, secrets: vec![token.clone()], token, directory }
    }

    /// Which cluster keys it has from its next start on, between commas.
    pub(crate) fn set_keys(&mut self, keys: &str) {
        self.node.set("FANFARE_CLUSTER_KEY", keys);
        self.secrets.extend(keys.split(',').map(str::to_owned));
    }

    pub(crate) async fn start(&mut self) {
        self.node.start();
        self.node.ready().await;
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.node.control_url(), &self.token)
    }

    pub(crate) fn keep_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    /// Creates an app, and waits until it is served.
    pub(crate) async fn create_app(&mut self, request: CreateAppRequest) -> Credentials {
        let made = self.admin().apps().create_app(request).await.unwrap().into_inner();
        let key = made.key.unwrap();
        self.keep_secret(&key.secret);
        let credentials = Credentials { app: made.app.unwrap().id, key: key.key.unwrap().name, secret: key.secret };
        self.serves(&credentials).await;
        credentials
    }

    /// Waits until a publish is taken.
    pub(crate) async fn serves(&self, credentials: &Credentials) {
        eventually("a key to be known", || async {
            let answer = Publisher::new(self.node.address(), credentials).publish("hello", "x").await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    /// Looks for secrets in what it wrote.
    pub(crate) fn finish(&self) {
        let log = self.node.log();
        assert!(log.contains("\"message\":\"starting\""));
        for secret in &self.secrets {
            assert!(!log.contains(secret), "a secret is in the log");
        }
    }
}

impl Drop for Single {
    /// A test that fails tells what the process had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.node.log();
            let grave = log.lines().filter(|line| !line.contains("\"level\":\"DEBUG\"")).collect::<Vec<_>>();
            eprintln!("{}", grave[grave.len().saturating_sub(20)..].join("\n"));
        }
    }
}
