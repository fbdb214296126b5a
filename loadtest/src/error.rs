//! Why a run could not be made.

use std::io;

/// Ends the run; there is no report then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of `/proc` lacks what we look for.
    #[error("{0}: not as Linux writes it")]
    UnknownForm(String),
    /// Not enough file descriptors, ours or the server's.
    #[error("process {pid} may open {limit} files and needs about {needed}; raise it with ulimit -n")]
    TooFewFiles {
        /// Which process.
        pid: u32,
        /// Its soft limit.
        limit: u64,
        /// What the profile needs.
        needed: u64,
    },
    /// A WebSocket failed before it was subscribed.
    #[error("connecting a client: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    /// The server answered something else than what lets a client go on.
    #[error("connecting a client: awaited {awaited}, received {received}")]
    Unwelcome {
        /// The event that should have come.
        awaited: &'static str,
        /// What came.
        received: String,
    },
    /// A server that was started is not there.
    #[error("{server} {}, awaiting {awaited}: {log}", if *.ended { "ended" } else { "is not there in time" })]
    NotReady {
        /// Which.
        server: String,
        /// Whether it ended by itself.
        ended: bool,
        /// What should have come.
        awaited: &'static str,
        /// The end of what it wrote.
        log: String,
    },
    /// No certificate could be made for loopback.
    #[error("making a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot be set up.
    #[error("setting up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// NATS does not do what the floor needs.
    #[error("publishing to NATS: {0}")]
    Nats(String),
    /// The server under load does not speak a protocol.
    #[error("{server} does not speak {protocol:?}")]
    Unspoken {
        /// Which server.
        server: String,
        /// What it does not speak.
        protocol: crate::client::protocol::Protocol,
    },
    /// A profile needs more nodes than there are.
    #[error("needs a server of at least {needed} nodes")]
    TooFewNodes {
        /// How many.
        needed: usize,
    },
    /// The publisher's connection is of no more use.
    #[error("publishing: {0}")]
    Publish(#[from] crate::client::http::Broken),
}

impl Error {
    /// For `map_err`: names what was tried.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }
}
