//! What an operator chooses about the control plane's server.

use std::path::PathBuf;
use std::time::Duration;

use crate::AdminToken;

/// Settings of the gRPC server. There is no default as a whole: without a token nothing is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every caller must show.
    pub token: AdminToken,
    /// Certificate and key; `None` serves in clear text, for loopback or behind a proxy that speaks TLS.
    pub tls: Option<Tls>,
    /// Largest request message, in bytes. Default 256 KiB: the largest honest one, all namespaces of an app, is a
    /// tenth of it.
    pub max_request_bytes: usize,
    /// Most connections at one time; one more is closed at once. Default 256: callers are people, consoles and
    /// deployment tools, not clients.
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
}

/// Where the server's identity is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the certificate chain, the server's own first.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

impl Config {
    /// The defaults, with this token.
    pub fn new(token: AdminToken) -> Self {
        Self {
            token,
            tls: None,
            max_request_bytes: 256 * 1024,
            max_connections: 256,
            max_streams_per_connection: 64,
            request_timeout: Duration::from_secs(20),
            silence_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
        }
    }
}
