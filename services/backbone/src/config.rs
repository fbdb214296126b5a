//! What an operator chooses about the backbone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use channels::{Secret, ShardCount};

/// Settings of both variants.
#[derive(Clone, Debug)]
pub struct Config {
    /// Channel shards; fixed for a cluster's life. Default 64; 4 are plenty for one box.
    pub shards: u16,
    /// Copies of every stream and bucket (JetStream). Default 3, of which one may fail; 1 for a single server.
    pub replicas: usize,
    /// How long a recoverable channel keeps messages. Default 5 minutes, minimum 2: a reconnecting client and every
    /// repair must find what they missed.
    pub recoverable_window: Duration,
    /// How many messages a recoverable channel keeps. Default 100.
    pub recoverable_messages: u32,
    /// How many messages a persistent channel keeps, whatever its retention. Default 100,000.
    pub persistent_messages: u32,
    /// Longest retention any persistent namespace may ask for. Default 30 days.
    pub persistent_window: Duration,
    /// How long a publish is retried before it is given up with an unknown outcome. Default 20 s: a leader election
    /// takes 4 to 9 s.
    pub publish_deadline: Duration,
    /// How long an idempotency id is remembered. Default 130 s: Ably's clients resume, and send again what was not
    /// answered, for two minutes. Must exceed `publish_deadline`, and costs about 230 bytes of server memory an id.
    pub dedupe_window: Duration,
    /// Most publishes waiting for their acknowledgement; more wait. Default 4096.
    pub publishes_in_flight: usize,
    /// How long an attach waits for its interest to reach every NATS node before it reads the head. Default 25 ms.
    pub attach_settle: Duration,
    /// Messages buffered for one attachment before the newest are dropped, and then repaired from history.
    /// Default 4096.
    pub attach_buffer: usize,
    /// How often the heads of all attached channels are compared with the streams. Default 30 s; must stay well below
    /// `recoverable_window`.
    pub sweep_interval: Duration,
    /// Most history reads at once against one shard. Default 2: a read holds the shard's lock.
    pub reads_per_shard: usize,
    /// Most bytes of webhook events that wait for a worker. Default 256 MiB, which NATS sets aside on each server that
    /// holds a copy; what comes beyond is refused.
    pub webhook_queue_bytes: u64,
    /// Whether heads are compared at all. Only tests turn it off, to show what it is for.
    #[doc(hidden)]
    pub compare_heads: bool,
    /// Whether to stay with the configured servers and not learn of others from them. Only tests turn it on, to keep a
    /// process behind a proxy.
    #[doc(hidden)]
    pub ignore_discovered_servers: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 64,
            replicas: 3,
            recoverable_window: Duration::from_secs(5 * 60),
            recoverable_messages: 100,
            persistent_messages: 100_000,
            persistent_window: Duration::from_secs(30 * 24 * 60 * 60),
            publish_deadline: Duration::from_secs(20),
            dedupe_window: Duration::from_secs(130),
            publishes_in_flight: 4096,
            attach_settle: Duration::from_millis(25),
            attach_buffer: 4096,
            sweep_interval: Duration::from_secs(30),
            reads_per_shard: 2,
            webhook_queue_bytes: 256 << 20,
            compare_heads: true,
            ignore_discovered_servers: false,
        }
    }
}

impl Config {
    /// Everything wrong with these settings, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, problem: &str| {
            if !ok {
                problems.push(problem.to_owned());
            }
        };
        check(ShardCount::new(self.shards).is_ok(), "shards must be between 1 and 256");
        check(matches!(self.replicas, 1 | 3 | 5), "replicas must be 1, 3 or 5");
        check(self.recoverable_window >= Duration::from_secs(120), "recoverable window must be at least 2 minutes");
        check(self.recoverable_messages >= 1, "recoverable messages must be at least 1");
        check(self.persistent_messages >= 1, "persistent messages must be at least 1");
        check(self.persistent_window >= self.recoverable_window, "persistent window must not be below the recoverable");
        check(self.publish_deadline >= Duration::from_secs(15), "publish deadline must be at least 15 seconds");
        check(self.dedupe_window > self.publish_deadline, "dedupe window must exceed the publish deadline");
        check(self.dedupe_window <= self.recoverable_window, "dedupe window must not exceed the recoverable window");
        check(self.publishes_in_flight >= 1, "publishes in flight must be at least 1");
        check(self.attach_buffer >= 16, "attach buffer must be at least 16");
        check(
            self.sweep_interval >= Duration::from_secs(1) && self.sweep_interval * 3 <= self.recoverable_window,
            "sweep interval must be at least 1 second and at most a third of the recoverable window",
        );
        check(self.reads_per_shard >= 1, "reads per shard must be at least 1");
        check(self.webhook_queue_bytes >= 64 << 10, "webhook queue must be at least 64 KiB");
        problems
    }
}

/// How to reach NATS.
#[derive(Clone, Default)]
pub struct NatsConfig {
    /// Server URLs; any of them will do.
    pub urls: Vec<String>,
    /// User name, with `password`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// A NATS credentials file (JWT and seed), instead of user and password.
    pub credentials_file: Option<PathBuf>,
    /// TLS settings; `tls://` URLs use TLS with the system's roots even without.
    pub tls: NatsTls,
}

/// TLS towards NATS.
#[derive(Clone, Debug, Default)]
pub struct NatsTls {
    /// Refuse to talk to a server without TLS.
    pub required: bool,
    /// PEM file with the authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate, with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the client certificate's key.
    pub key_file: Option<PathBuf>,
}

impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs may carry user and password.
        f.debug_struct("NatsConfig")
            .field("servers", &self.urls.len())
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why the backbone did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// NATS is away, or has no JetStream quorum yet. Trying again later may help.
    #[error("NATS is not reachable: {0}")]
    Unreachable(String),
    /// The configuration and the cluster do not fit each other. Trying again will not help.
    #[error("{0}")]
    Refused(String),
}
