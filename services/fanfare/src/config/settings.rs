//! What the keys are built into: each crate's own configuration, and what only the binary needs.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backbone::sealing::ClusterKeys;
use channels::Secret;
use control::AdminToken;
use telemetry::Format;

use super::value;

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

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Control => "control",
            Self::Worker => "worker",
        }
    }

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
    /// Where a process without NATS keeps what its users created; not set: in memory.
    pub(crate) data_dir: Option<PathBuf>,
    /// What this process is called in lists of nodes; not set: as the machine.
    pub(crate) node_name: Option<String>,
    /// What the cluster's secrets are sealed with; without NATS they are made up if there are none.
    pub(crate) cluster_keys: Option<Arc<ClusterKeys>>,
    /// Who may use the control plane before there are other tokens.
    pub(crate) admin_token: Option<AdminToken>,
    /// Where that token is if `fanfare dev` made it up. No setting.
    pub(crate) made_up_token_file: Option<PathBuf>,
    /// Apps to create where they are absent.
    pub(crate) seed: Option<PathBuf>,
    /// How log lines look.
    pub(crate) log_format: Format,
    /// Which events are logged.
    pub(crate) log_filter: String,
    /// Apps with metrics of their own.
    pub(crate) metrics_apps: usize,
    /// Where traces go, and which.
    pub(crate) trace: Trace,
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
    /// Who may have signed the certificates of callers.
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Where other nodes reach it, as `host:port`; not set: where it listens.
    pub(crate) advertise: Option<String>,
    /// Who may have signed the certificates of control planes, for the nodes that call them.
    pub(crate) ca_file: Option<PathBuf>,
    /// The name in those certificates; not set: the host under which they are reached.
    pub(crate) server_name: Option<String>,
    /// What a node shows them.
    pub(crate) client: TlsFiles,
    /// How long the audit log goes back.
    pub(crate) audit_retention: Duration,
    /// How long usage is kept.
    pub(crate) usage: backbone::usage::Kept,
    /// Most connections.
    pub(crate) max_connections: usize,
    /// How long one call may wait for the backbone.
    pub(crate) request_timeout: Duration,
}

/// What an operator chooses about traces.
#[derive(Debug)]
pub(crate) struct Trace {
    /// The collector's URL; not set: no traces.
    pub(crate) endpoint: Option<String>,
    /// Which share is traced of what no publisher decides about.
    pub(crate) sample_ratio: f64,
    /// Most traces that begin in a second, for each of two reasons.
    pub(crate) max_per_second: u32,
    /// Who may have signed the collector's certificate; not set: whom the system trusts.
    pub(crate) ca_file: Option<PathBuf>,
    /// Headers for the collector, as `name=value,…`.
    pub(crate) headers: Option<Secret>,
}

impl Default for Trace {
    fn default() -> Self {
        Self { endpoint: None, sample_ratio: 0.01, max_per_second: 100, ca_file: None, headers: None }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Control {
    fn default() -> Self {
        Self {
            tls: TlsFiles::default(),
            client_ca_file: None,
            advertise: None,
            ca_file: None,
            server_name: None,
            client: TlsFiles::default(),
            audit_retention: DAY * 90,
            usage: backbone::usage::Kept::default(),
            max_connections: 1024,
            request_timeout: Duration::from_secs(20),
        }
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
            data_dir: None,
            node_name: None,
            cluster_keys: None,
            admin_token: None,
            made_up_token_file: None,
            seed: None,
            log_format: Format::Auto,
            log_filter: "info,async_nats=warn".to_owned(),
            metrics_apps: 0,
            trace: Trace::default(),
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

    /// Whether the backbone lives in this process, its registry perhaps in a data directory.
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

    /// The whole configuration of the control plane of the node `id`.
    pub(crate) fn control(&self, id: &str) -> control::Config {
        let tls = |(cert_file, key_file): (&PathBuf, &PathBuf)| certificate::Files {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
            client_ca_file: self.control.client_ca_file.clone(),
        };
        control::Config {
            token: self.admin_token.clone(),
            tls: self.control.tls.pair().map(tls),
            max_connections: self.control.max_connections,
            request_timeout: self.control.request_timeout,
            id: id.to_owned(),
            advertise: Some(self.control_address()),
            audit_retention: self.control.audit_retention,
            usage_kept: self.control.usage,
            ..control::Config::default()
        }
    }

    /// Where the other nodes reach this one's control plane. One process alone reaches itself.
    fn control_address(&self) -> String {
        let listen = self.control_listen;
        match &self.control.advertise {
            Some(address) => address.clone(),
            None if listen.ip().is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port())).to_string(),
            None => listen.to_string(),
        }
    }

    /// What this process says of itself to control planes, and how it knows them.
    pub(crate) fn agent(&self, keys: Arc<ClusterKeys>) -> agent::Config {
        let identity = |(cert_file, key_file): (&PathBuf, &PathBuf)| agent::ClientIdentity {
            cert_file: cert_file.clone(),
            key_file: key_file.clone(),
        };
        let trust = agent::Trust {
            ca_file: self.control.ca_file.clone(),
            server_name: self.control.server_name.clone(),
            identity: self.control.client.pair().map(identity),
        };
        let name = self.node_name();
        let roles: Vec<_> = self.roles.iter().map(|role| role.name()).collect();
        agent::Config { trust, ..agent::Config::new(&name, &roles, env!("CARGO_PKG_VERSION"), keys) }
    }

    /// What tracing is told, if it is on.
    pub(crate) fn trace(&self) -> Option<telemetry::trace::Config> {
        let Trace { endpoint, sample_ratio, max_per_second, ca_file, headers } = &self.trace;
        let headers = headers.as_ref().map(|headers| value::pairs(headers.expose()).unwrap_or_default());
        let roles: Vec<_> = self.roles.iter().map(|role| role.name()).collect();
        Some(telemetry::trace::Config {
            endpoint: endpoint.clone()?,
            ca_file: ca_file.clone(),
            headers: headers.unwrap_or_default(),
            sample_ratio: *sample_ratio,
            max_per_second: *max_per_second,
            resource: vec![
                ("service.name", "fanfare".to_owned()),
                ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
                ("service.instance.id", self.node_name()),
                ("fanfare.roles", roles.join(",")),
            ],
        })
    }

    /// What this process is called.
    fn node_name(&self) -> String {
        self.node_name.clone().unwrap_or_else(machine_name)
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
        if self.nats.user.is_some() != self.nats.password.is_some() {
            problems.push("nats.user and nats.password come together".to_owned());
        }
        if self.nats.user.is_some() && self.nats.credentials_file.is_some() {
            problems.push("nats.user and nats.credentials_file exclude each other".to_owned());
        }
        if !self.is_in_memory() {
            problems.extend(self.cluster_problems());
        }
        let pairs =
            [("tls.", &self.tls), ("control.tls.", &self.control.tls), ("control.client_", &self.control.client)];
        for (prefix, files) in pairs {
            if files.is_half() {
                problems.push(format!("{prefix}cert_file and {prefix}key_file come together"));
            }
        }
        if self.runs(Role::Control) && self.admin_token.is_none() && self.control.client_ca_file.is_none() {
            // Elsewhere there may be tokens already, which only the registry knows.
            if self.is_in_memory() && self.data_dir.is_none() {
                problems.push(
                    "the control role needs admin.token, admin.token_file or control.tls.client_ca_file: in memory \
                     there are no other tokens to begin with"
                        .to_owned(),
                );
            }
        }
        if self.runs(Role::Control) && self.control.tls.pair().is_some() && self.control.ca_file.is_none() {
            problems.push(
                "control.tls needs control.ca_file, too: it is how nodes, of which this process is one, know a control \
                 plane"
                    .to_owned(),
            );
        }
        if self.control.client_ca_file.is_some() && self.control.tls.pair().is_none() {
            problems.push("control.tls.client_ca_file needs control.tls.cert_file and control.tls.key_file".to_owned());
        }
        if self.nats.tls.cert_file.is_some() != self.nats.tls.key_file.is_some() {
            problems.push("nats.tls.cert_file and nats.tls.key_file come together".to_owned());
        }
        problems
    }

    /// What is wrong for a process that is one of several.
    fn cluster_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.cluster_keys.is_none() {
            problems.push(
                "nats.urls needs cluster.key or cluster.key_file, the same in every process of the cluster; \
                 `fanfare config new-key` makes one"
                    .to_owned(),
            );
        }
        if self.data_dir.is_some() {
            problems.push("data_dir and nats.urls exclude each other: NATS keeps everything".to_owned());
        }
        if self.runs(Role::Control) && self.control.advertise.is_none() && self.control_listen.ip().is_unspecified() {
            problems.push(format!(
                "control.listen is every address of this machine ({}): control.advertise must say under which one the \
                 other nodes reach it",
                self.control_listen
            ));
        }
        problems
    }
}

/// What the machine is called, for people.
fn machine_name() -> String {
    let name =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.map(|name| name.trim().to_owned()).unwrap_or_default();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}
