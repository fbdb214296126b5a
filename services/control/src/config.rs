//! What an operator chooses about the control plane's server.

use std::time::Duration;

use backbone::audit::DEFAULT_KEPT_FOR;
use backbone::usage::Kept;

use crate::AdminToken;

/// Settings of the gRPC server.
#[derive(Clone, Debug)]
pub struct Config {
    /// What a caller may show before there are other tokens; `None`: only those and client certificates let in.
    pub token: Option<AdminToken>,
    /// Where certificate and key are, which are read again when they change; `None` serves in clear text, for loopback or
    /// behind a proxy that speaks TLS.
    pub tls: Option<certificate::Files>,
    /// Largest request message, in bytes. Default 256 KiB: the largest honest one, all namespaces of an app, is a
    /// tenth of it.
    pub max_request_bytes: usize,
    /// Most connections at one time; one more is closed at once. Default 1024: callers are nodes of the cluster, people,
    /// consoles and deployment tools, not clients.
    pub max_connections: usize,
    /// Most calls at one time on one connection; more wait. Default 64.
    pub max_streams_per_connection: u32,
    /// How long the registry may take over one call before the caller is told that it did not answer; a request that
    /// takes twice as long to arrive is given up too. Default 20 s: longer than a leader election of the backbone.
    pub request_timeout: Duration,
    /// How long a connection may send nothing before it is cut; also how long a TLS handshake may take. Default 60 s.
    /// Every client that lives is asked for a sign of it twice as often.
    pub silence_timeout: Duration,
    /// How long calls that run when the server is told to stop may take to end. Default 5 s.
    pub drain_timeout: Duration,
    /// Id of this replica, which is that of its node. Default: random.
    pub id: String,
    /// Where nodes reach this replica, as `host:port`. Default: where it listens.
    pub advertise: Option<String>,
    /// How long the leases of a replica last, and so how long after the end of the leader another one may take to divide
    /// the quotas. Default 6 s: shares outlast that.
    pub lease_ttl: Duration,
    /// How long entries of the audit log are kept, at least a day. Default 90 days.
    pub audit_retention: Duration,
    /// How long usage is kept, by minute, hour, day and month.
    pub usage_kept: Kept,
    /// How often usage is folded into hours, days and months. Default 5 minutes; what is not folded yet is read as the
    /// nodes wrote it.
    pub fold_interval: Duration,
}

impl Config {
    /// The defaults, with this token.
    pub fn new(token: AdminToken) -> Self {
        Self { token: Some(token), ..Self::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            token: None,
            tls: None,
            max_request_bytes: 256 * 1024,
            max_connections: 1024,
            max_streams_per_connection: 64,
            request_timeout: Duration::from_secs(20),
            silence_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
            id: format!("{:016x}", rand::random::<u64>()),
            advertise: None,
            lease_ttl: Duration::from_secs(6),
            audit_retention: DEFAULT_KEPT_FOR,
            usage_kept: Kept::default(),
            fold_interval: Duration::from_secs(5 * 60),
        }
    }
}
