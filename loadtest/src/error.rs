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
    /// The publisher's connection is of no more use.
    #[error("publishing: {0}")]
    Publish(#[from] crate::http::Broken),
}

impl Error {
    /// For `map_err`: names what was tried.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }
}
