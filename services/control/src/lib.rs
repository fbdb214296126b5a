//! The control plane: who may use the cluster, and as what.
//!
//! Owns the gRPC API of `control.proto` (apps, keys, dead letters, health, reflection), the checks that stand between a request
//! and the registry, the making of ids and secrets, and the seed file. Deliberately knows nothing of connections or
//! edges: what it writes into [`backbone::registry`] reaches them through the backbone, also when this crate's server
//! is down.
//!
//! It fails closed: without an admin token there is no server, and a call without the right one is refused before its
//! message is read. Only the health service is open, since load balancers carry no tokens and it says nothing but
//! whether this process serves. Reflection needs the token: whoever may not call may not browse either.

mod apps;
mod check;
mod config;
mod connections;
mod keys;
mod made_up;
mod mistakes;
pub mod seed;
mod server;
mod status;
mod token;
mod webhooks;
mod wire;

pub use config::{Config, Tls};
pub use made_up::admin_token;
pub use mistakes::Mistake;
pub use server::{Server, StartError};
pub use token::{AdminToken, InvalidAdminToken};

use std::time::{Duration, SystemTime};

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
