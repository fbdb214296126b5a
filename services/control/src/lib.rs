//! The control plane: who may use the cluster, and as what.
//!
//! Owns the gRPC API of `control.proto` with health and reflection, the checks that stand between a request and the
//! registry, the making of ids and secrets, and the seed file. Deliberately knows nothing of connections or
//! edges: what it writes into [`backbone::registry`] reaches them through the backbone, also when this crate's server
//! is down.
//!
//! It fails closed: without an admin token there is no server, and a call without the right one is refused before its
//! message is read. Only the health service is open, since load balancers carry no tokens and it says nothing but
//! whether this process serves. Reflection needs the token: whoever may not call may not browse either.

mod access;
mod apps;
mod audit;
mod channels;
mod check;
mod clients;
mod config;
mod connections;
mod gateway;
mod housekeeping;
mod keys;
mod link;
mod made_up;
mod mistakes;
mod namespaces;
mod nodes;
pub mod seed;
mod server;
mod services;
mod status;
mod survey;
mod token;
mod tokens;
mod update;
mod usage;
mod webhooks;
mod whole;
mod wire;

pub use config::Config;
pub use made_up::admin_token;
pub use mistakes::Mistake;
pub use server::{ServeError, Server, StartError};
pub use services::Parts;
pub use token::{AdminToken, InvalidAdminToken};
