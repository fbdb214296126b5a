//! A `fanfare` process for a test: on ports that it keeps when it is started again, with its log in a file.

use std::fs::{self, File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use testkit::{PATIENCE, eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A process, or the place of one. Killed when dropped.
pub(crate) struct Node {
    name: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    listen: u16,
    control: u16,
    admin: u16,
    child: Option<Child>,
}

impl Node {
    /// A process that is not started yet.
    pub(crate) fn new(directory: &Path, name: &str, arguments: &[&str]) -> Self {
        let [listen, control, admin] = [free_port(), free_port(), free_port()];
        Self {
            name: name.to_owned(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: vec![
                ("FANFARE_NODE_NAME".to_owned(), name.to_owned()),
                ("FANFARE_LOG_FORMAT".to_owned(), "json".to_owned()),
                ("FANFARE_LOG_FILTER".to_owned(), LOGGED.to_owned()),
                ("FANFARE_DRAIN_GRACE".to_owned(), "0s".to_owned()),
                ("FANFARE_DRAIN_DURATION".to_owned(), "1s".to_owned()),
            ],
            log: directory.join(format!("{name}.log")),
            listen,
            control,
            admin,
            child: None,
        }
    }

    /// Sets an environment variable from the next start on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it, and does not wait for anything.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(name);
            }
        }
        command.args(&self.arguments);
        for (flag, port) in
            [("--listen", self.listen), ("--control-listen", self.control), ("--admin-listen", self.admin)]
        {
            command.args([flag, &format!("127.0.0.1:{port}")]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        self.readiness_is(200).await;
    }

    /// Waits until `/readyz` answers with `status`; gives what it says.
    pub(crate) async fn readiness_is(&self, status: u16) -> String {
        eventually(&format!("/readyz of {} to answer {status}", self.name), || async {
            self.get("/readyz").await.filter(|(given, _)| *given == status).map(|(_, body)| body)
        })
        .await
    }

    /// What the admin listener answers.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await.ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
        };
        timeout(PATIENCE, asked).await.ok()?
    }

    /// Sends a signal by name, as in `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = std::sync::Mutex::new(self.child.take().unwrap());
        eventually(&format!("{} to end", self.name), || async { child.lock().unwrap().try_wait().unwrap() }).await
    }

    /// Ends it at once, as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.signal("KILL");
        self.ended().await;
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.signal("TERM");
        let status = self.ended().await;
        assert!(status.success(), "{} ends with {status}", self.name);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Where clients and publishers come in.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.listen))
    }

    /// Where the control plane is.
    pub(crate) fn control_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.control)
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Everything that it and those before it have written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// More than is usual, since logs are searched for secrets.
const LOGGED: &str =
    "info,fanfare=debug,edge=debug,control=debug,agent=debug,worker=debug,backbone=debug,async_nats=warn";

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}
