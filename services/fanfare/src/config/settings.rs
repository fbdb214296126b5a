//! What the keys are built into: each crate's own configuration, and what only the binary needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use control::AdminToken;
use telemetry::Format;

/// A part of the product that a process can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Takes clients and the publish API.
    Edge,
    /// The control plane.
    Control,
    /// Webhooks.
    Worker,
}

impl Role {
    /// Every role of this build.
    pub(crate) const ALL: [Self; 3] = [Self::Edge, Self::Control, Self::Worker];

    /// Reads a role's name.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        match name {
            "edge" => Ok(Self::Edge),
            "control" => Ok(Self::Control),
            "worker" => Ok(Self::Worker),
            _ => Err(format!("{name:?} is no role: there are edge, control and worker")),
        }
    }
}

/// Everything a process is told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What to run, sorted, without doubles, never empty.
    pub(crate) roles: Vec<Role>,
    /// Where clients and publishers come in.
    pub(crate) listen: SocketAddr,
    /// Where the control plane listens.
    pub(crate) control_listen: SocketAddr,
    /// Where the admin listener listens.
    pub(crate) admin_listen: SocketAddr,
    /// Who may use the control plane.
    pub(crate) admin_token: Option<AdminToken>,
    /// Apps to create where they are absent.
    pub(crate) seed: Option<PathBuf>,
    /// How log lines look.
    pub(crate) log_format: Format,
    /// Which events are logged.
    pub(crate) log_filter: String,
    /// The edge, without TLS; [`Settings::edge`] has it whole.
    pub(crate) edge: edge::Config,
    /// Certificate and key for clients.
    pub(crate) tls: TlsFiles,
    /// How often these two are read again.
    pub(crate) tls_reload_interval: Duration,
    /// The control plane, without the token; [`Settings::control`] has it whole.
    pub(crate) control: Control,
    /// The worker.
    pub(crate) worker: worker::Config,
    /// The backbone.
    pub(crate) backbone: backbone::Config,
    /// How to reach NATS; without URLs the backbone is in memory.
    pub(crate) nats: backbone::NatsConfig,
}

/// A certificate and its key: both or neither, once the settings are checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// PEM file with the certificate.
    pub(crate) cert_file: Option<PathBuf>,
    /// PEM file with the key.
    pub(crate) key_file: Option<PathBuf>,
}

impl TlsFiles {
    fn pair(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.cert_file.as_ref().zip(self.key_file.as_ref())
    }

    fn is_half(&self) -> bool {
        self.cert_file.is_some() != self.key_file.is_some()
    }
}

/// What an operator chooses about the control plane, apart from the token.
#[derive(Debug)]
pub(crate) struct Control {
    /// Certificate and key.
    pub(crate) tls: TlsFiles,
    /// Most connections.
    pub(crate) max_connections: usize,
    /// How long one call may wait for the backbone.
    pub(crate) request_timeout: Duration,
}

impl Default for Control {
    fn default() -> Self {
        Self { tls: TlsFiles::default(), max_connections: 256, request_timeout: Duration::from_secs(20) }
    }
}

impl Default for Settings {
    /// Loopback everywhere: nothing is reachable from outside until somebody asks for it.
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            roles: Role::ALL.to_vec(),
            listen: loopback(6001),
            control_listen: loopback(6002),
            admin_listen: loopback(6003),
            admin_token: None,
            seed: None,
            log_format: Format::Auto,
            log_filter: "info,async_nats=warn".to_owned(),
            edge: edge::Config::default(),
            tls: TlsFiles::default(),
            tls_reload_interval: Duration::from_secs(10),
            control: Control::default(),
            worker: worker::Config::default(),
            backbone: backbone::Config::default(),
            nats: backbone::NatsConfig::default(),
        }
    }
}

impl Settings {
    /// Whether this process runs `role`.
    pub(crate) fn runs(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether the backbone lives in this process.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.nats.urls.is_empty()
    }

    /// The edge's whole configuration.
    pub(crate) fn edge(&self) -> edge::Config {
        let tls = |(cert_file, key_file): (&PathBuf, &PathBuf)| edge::TlsConfig {
            reload_interval: self.tls_reload_interval,
            ..edge::TlsConfig::new(cert_file, key_file)
        };
        edge::Config { tls: self.tls.pair().map(tls), ..self.edge.clone() }
    }

    /// The worker's whole configuration. While clients are only on this machine, their receivers may be, too.
    pub(crate) fn worker(&self) -> worker::Config {
        let allow_loopback = self.worker.allow_loopback || self.listen.ip().is_loopback();
        worker::Config { allow_loopback, ..self.worker.clone() }
    }

    /// The control plane's whole configuration; `None` without a token.
    pub(crate) fn control(&self) -> Option<control::Config> {
        let tls = |(cert_file, key_file): (&PathBuf, &PathBuf)| control::Tls {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        };
        Some(control::Config {
            tls: self.control.tls.pair().map(tls),
            max_connections: self.control.max_connections,
            request_timeout: self.control.request_timeout,
            ..control::Config::new(self.admin_token.clone()?)
        })
    }

    /// What is wrong between settings that are each fine, as sentences.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems: Vec<_> =
            self.backbone.problems().into_iter().map(|text| format!("backbone: {text}")).collect();
        problems.extend(self.edge().problems().into_iter().map(|text| format!("edge: {text}")));
        problems.extend(self.worker.problems().into_iter().map(|text| format!("worker: {text}")));
        if self.is_in_memory() && self.roles.len() < Role::ALL.len() {
            problems.push(
                "without nats.urls the backbone is in this process's memory, so it must run every role: \
                 leave out roles, or name NATS servers"
                    .to_owned(),
            );
        }
        if self.runs(Role::Control) && self.admin_token.is_none() {
            problems.push("the control role needs admin.token or admin.token_file".to_owned());
        }
        if self.nats.user.is_some() != self.nats.password.is_some() {
            problems.push("nats.user and nats.password come together".to_owned());
        }
        if self.nats.user.is_some() && self.nats.credentials_file.is_some() {
            problems.push("nats.user and nats.credentials_file exclude each other".to_owned());
        }
        for (name, files) in [("tls", &self.tls), ("control.tls", &self.control.tls)] {
            if files.is_half() {
                problems.push(format!("{name}.cert_file and {name}.key_file come together"));
            }
        }
        if self.nats.tls.cert_file.is_some() != self.nats.tls.key_file.is_some() {
            problems.push("nats.tls.cert_file and nats.tls.key_file come together".to_owned());
        }
        problems
    }
}
