//! Clients: byte streams, what comes over them, what each protocol says, many subscribers in one thread, publishers.

pub(crate) mod backend;
pub(crate) mod crowd;
pub(crate) mod http;
mod link;
pub(crate) mod message;
pub(crate) mod protocol;
pub(crate) mod publisher;
mod transport;
mod wire;

use std::time::Duration;

pub(crate) use wire::client_frame;

/// How long the server may take for each step; long, so that a slow server is measured rather than given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
