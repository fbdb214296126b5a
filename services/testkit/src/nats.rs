//! One `nats-server` process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::wait::{eventually, within};
use crate::{free_port, monitor};

/// What a test wants of a server.
#[derive(Clone, Debug, Default)]
pub struct NatsOptions {
    /// Configuration in the server's own language, appended to the test's.
    pub extra: String,
}

/// How a server is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: an orderly stop.
    Terminate,
    /// SIGKILL: a crash.
    Kill,
}

/// A running (or stopped) `nats-server` with JetStream.
#[derive(Debug)]
pub struct Nats {
    name: String,
    directory: TempDir,
    client_port: u16,
    monitor_port: u16,
    process: Option<Child>,
}

impl Nats {
    /// Starts a single server and waits until JetStream is ready.
    pub async fn start() -> Self {
        Self::start_with(NatsOptions::default()).await
    }

    /// Starts a single server with more configuration.
    pub async fn start_with(options: NatsOptions) -> Self {
        let mut nats = Self::prepare("single", free_port(), &options.extra);
        nats.spawn();
        nats.ready().await;
        nats
    }

    /// Writes the configuration of a server, without starting it.
    pub(crate) fn prepare(name: &str, client_port: u16, extra: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let monitor_port = free_port();
        let store = directory.path().join("store");
        let config = format!(
            "server_name: {name}\nlisten: 127.0.0.1:{client_port}\nhttp: 127.0.0.1:{monitor_port}\n\
             jetstream {{ store_dir: {store:?}, max_mem: 256M, max_file: 4G }}\n{extra}\n"
        );
        fs::write(directory.path().join("nats.conf"), config).expect("a writable temporary directory");
        Self { name: name.to_owned(), directory, client_port, monitor_port, process: None }
    }

    pub(crate) fn spawn(&mut self) {
        let child = Command::new(binary())
            .arg("-c")
            .arg(self.directory.path().join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.log_path()).expect("a writable temporary directory"))
            .kill_on_drop(true)
            .spawn();
        let child =
            child.unwrap_or_else(|error| panic!("cannot start {}: {error}; run make tools", binary().display()));
        self.process = Some(child);
    }

    /// Waits until the server says that it is healthy, JetStream included.
    pub async fn ready(&mut self) {
        let (port, log) = (self.monitor_port, self.log_path());
        let process = Mutex::new(self.process.as_mut());
        eventually(&format!("{} to be healthy", self.name), || async {
            let ended = process.lock().ok()?.as_mut().and_then(|process| process.try_wait().ok()?);
            if let Some(status) = ended {
                panic!("nats-server ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            let health = monitor::get(port, "/healthz").await?;
            (health["status"] == "ok").then_some(())
        })
        .await;
    }

    /// Ends the process and waits until it is gone. Its data stays.
    pub async fn stop(&mut self, signal: Signal) {
        let Some(mut process) = self.process.take() else { return };
        match signal {
            Signal::Kill => process.start_kill().expect("the process can be killed"),
            Signal::Terminate => {
                let pid = process.id().expect("a running process has an id");
                let status = std::process::Command::new("kill").arg(pid.to_string()).status();
                assert!(status.expect("kill runs").success());
            }
        }
        within("nats-server to end", process.wait()).await.expect("the process can be waited for");
    }

    /// Starts the process again on its data.
    pub async fn restart(&mut self) {
        self.stop(Signal::Kill).await;
        self.spawn();
        self.ready().await;
    }

    /// Whether the process has not been stopped.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The server's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port that clients connect to.
    pub fn client_port(&self) -> u16 {
        self.client_port
    }

    /// The URL that clients connect to.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.client_port)
    }

    /// What the monitoring port answers to `path`.
    pub async fn monitor(&self, path: &str) -> Option<Value> {
        let answer = tokio::time::timeout(Duration::from_secs(5), monitor::get(self.monitor_port, path));
        answer.await.ok()?
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("nats.log")
    }
}

/// `NATS_SERVER`, or what `make tools` installs.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NATS_SERVER") {
        return path.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/venv/bin/nats-server")
}
