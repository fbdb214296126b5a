//! The server under load: where it is, what it consists of, and what it speaks.
//!
//! Knows nothing of how it was started; a server of somebody else's is a target like one of ours.

use std::net::SocketAddr;
use std::sync::Arc;

use channels::{AppId, KeyName, Secret};
use rustls::ClientConfig;

/// A server that a profile can be run against.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What the report calls it: `fanfare`, `floor`, or what a peer is called.
    pub(crate) name: String,
    /// Its version, and how it was built, as far as is known.
    pub(crate) version: String,
    /// Where its nodes take clients and publishers; never empty.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Its processes. The first ones are the nodes, in the order of their addresses; a peer may have more.
    pub(crate) pids: Vec<u32>,
    /// The processes that store for it, which are NATS servers. Their figures are told apart.
    pub(crate) stores: Vec<u32>,
    /// How clients and publishers speak TLS; plain text without.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The app that is published to.
    pub(crate) app: AppId,
    /// The key of the app.
    pub(crate) key: KeyName,
    /// Its secret.
    pub(crate) secret: Secret,
    /// What it speaks.
    pub(crate) surface: Surface,
}

/// Which protocols a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// The Pusher protocol, and its HTTP API as far as publishing goes. The floor and peers.
    Pusher,
    /// Those of Fanfare, Ably's and event streams among them, and all of the HTTP API.
    Fanfare,
}
