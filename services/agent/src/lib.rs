//! A node's side of the control plane.
//!
//! Owns what every process of a cluster does for it, whatever its roles: it finds the control replicas and keeps a stream
//! to each, on which it says once a second what its apps do ([`metering`]), takes its shares of their quotas, and obeys
//! orders (list and close connections, tail, drain); and it writes down what the apps used, minute by minute.
//!
//! Deliberately knows nothing of connections: a process that has clients hands in a [`Host`]. And nothing here stands
//! between a client and its message: without any control replica the meters go on with the last shares, and then with the
//! limit divided by the live edges.

mod agent;
mod config;
mod dial;
mod host;
mod link;
mod outbox;
mod report;
mod shares;
mod tap;
mod usage;

pub use agent::Agent;
pub use config::{ClientIdentity, Config, Trust};
pub use host::{Host, Page};
pub use tap::{Tap, TapEvents, tap};
