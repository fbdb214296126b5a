//! Fanfare, in the three forms that it is measured in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde::Serialize;

use super::nats::{self, Nats};
use super::process::{Directory, Process};
use super::{APP, Running, app};
use crate::error::Error;
use crate::servers::Tls;
use crate::target::{Surface, Target};

/// The streams of few edges need no more.
const SHARDS: &str = "4";

/// How many processes, on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// One process that keeps everything in memory, `fanfare dev`
    Memory,
    /// One process with every role on one NATS server
    Nats,
    /// Three edges on three NATS servers, each connected to one of its own; the first is control plane and worker, too
    Cluster,
}

impl Form {
    /// Whether there are NATS servers below it.
    pub(crate) fn is_on_nats(self) -> bool {
        match self {
            Self::Memory => false,
            Self::Nats | Self::Cluster => true,
        }
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct Fanfare {
    /// The program.
    pub(crate) program: PathBuf,
    /// In which form.
    pub(crate) form: Form,
    /// Whether clients and publishers have to speak TLS.
    pub(crate) tls: bool,
    /// From how much memory on each process refuses new clients; its own default without.
    pub(crate) memory_limit_mib: Option<u32>,
}

impl Fanfare {
    /// The program beside this one, as one build makes both.
    pub(crate) fn beside_this() -> PathBuf {
        std::env::current_exe().unwrap_or_default().with_file_name("fanfare")
    }

    /// What the program says of itself.
    pub(crate) fn version(program: &Path) -> Result<String, Error> {
        let output = Command::new(program).arg("--version").output();
        let output = output.map_err(Error::system(format!("starting {}", program.display())))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Starts it and waits until all nodes are ready.
    pub(crate) fn start(&self) -> Result<Running, Error> {
        let version = Self::version(&self.program)?;
        let directory = Directory::new()?;
        let tls = self.tls.then(|| Tls::make(&directory)).transpose()?;
        let nats = match self.form {
            Form::Memory => None,
            Form::Nats => Some(Nats::start(1)?),
            Form::Cluster => Some(Nats::start(3)?),
        };
        let commands = match &nats {
            None => vec![self.command("dev", tls.as_ref())],
            Some(nats) => self.cluster(nats, tls.as_ref(), &directory)?,
        };
        let mut nodes = Vec::new();
        for (index, command) in commands.into_iter().enumerate() {
            nodes.push(Process::start(&format!("fanfare-{}", index + 1), command, &directory)?);
        }
        let mut addresses = Vec::new();
        for node in &mut nodes {
            addresses.push(ready(node)?);
        }
        let (app, key, secret) = app();
        let target = Target {
            name: "fanfare".to_owned(),
            version,
            addresses,
            pids: nodes.iter().map(Process::pid).collect(),
            stores: nats.as_ref().map(Nats::pids).unwrap_or_default(),
            tls: tls.map(|tls| tls.client),
            app,
            key,
            secret,
            surface: Surface::Fanfare,
        };
        Ok(Running { target, _nodes: nodes, nats, _directory: directory })
    }

    /// One node for each NATS server.
    fn cluster(&self, nats: &Nats, tls: Option<&Tls>, directory: &Directory) -> Result<Vec<Command>, Error> {
        let (id, key, secret) = APP;
        let seed = format!(
            "[[app]]\nid = \"{id}\"\nname = \"load\"\n[[app.key]]\nname = \"{key}\"\nsecret = \"{secret}\"\n\
             [app.pusher]\nclient_events = true\n"
        );
        let seed = directory.write("apps.toml", seed)?;
        let cluster_key = directory.write("cluster.key", self.new_key()?)?;
        let token = directory.write("admin.token", self.new_key()?)?;
        let urls = nats.urls();
        let nodes = urls.iter().enumerate().map(|(index, url)| {
            let mut command = self.command("run", tls);
            command.env("FANFARE_NATS_URLS", url).env("FANFARE_CLUSTER_KEY_FILE", &cluster_key);
            command.env("FANFARE_BACKBONE_SHARDS", SHARDS).env("FANFARE_NODE_NAME", format!("load-{index}"));
            command.env("FANFARE_BACKBONE_REPLICAS", urls.len().to_string());
            if index == 0 {
                command.env("FANFARE_ROLES", "edge,control,worker").env("FANFARE_ADMIN_TOKEN_FILE", &token);
                command.env("FANFARE_SEED", &seed);
            } else {
                command.env("FANFARE_ROLES", "edge");
            }
            command
        });
        Ok(nodes.collect())
    }

    /// A node with the settings that all have, and none that reaches it by accident.
    fn command(&self, form: &str, tls: Option<&Tls>) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANFARE_")) {
            command.env_remove(name);
        }
        command.arg(form).env("FANFARE_LOG_FORMAT", "json");
        command.args(["--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        // How many clients one process can take is measured; a cluster limits them as it does by default.
        if self.form != Form::Cluster {
            command.env("FANFARE_EDGE_ACCEPT_RATE", "0");
        }
        if let Some(mib) = self.memory_limit_mib {
            command.env("FANFARE_EDGE_MEMORY_LIMIT", format!("{mib}MiB"));
        }
        if let Some(Tls { cert_file, key_file, .. }) = tls {
            command.env("FANFARE_TLS_CERT_FILE", cert_file).env("FANFARE_TLS_KEY_FILE", key_file);
        }
        command
    }

    fn new_key(&self) -> Result<Vec<u8>, Error> {
        let output = Command::new(&self.program).args(["config", "new-key"]).output();
        Ok(output.map_err(Error::system("making a cluster key"))?.stdout)
    }
}

/// Waits until a node is ready; where it takes clients.
fn ready(node: &mut Process) -> Result<SocketAddr, Error> {
    let both = |log: &str| Some((listener(log, "listen")?, listener(log, "admin.listen")?));
    let (address, admin) = node.wait_for("its listeners", both)?;
    let is_ready = |_: &str| nats::answers(admin.port(), "/readyz").then_some(());
    node.wait_for("readiness", is_ready)?;
    Ok(address)
}

/// The address in the log line of the listener of the setting `key`.
fn listener(log: &str, key: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains(&format!("\"key\":\"{key}\"")))?;
    let (_, rest) = line.split_once("\"address\":\"")?;
    rest.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_in_a_log() {
        let log = "hello\n{\"key\":\"listen\",\"address\":\"127.0.0.1:5\",\"m\":1}\n{\"key\":\"admin.listen\",\"addr";
        assert_eq!(listener(log, "listen"), Some("127.0.0.1:5".parse().unwrap()));
        assert_eq!(listener(log, "admin.listen"), None, "the line is not there yet");
    }
}
