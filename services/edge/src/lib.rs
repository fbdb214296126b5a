//! The server edge: everything between a client's socket and the backbone.
//!
//! Owns listeners, TLS, HTTP, WebSocket, the HTTP fallback, the hub with its rings and fan-out, every connection's
//! outgoing queue, cluster-wide occupancy and presence, signed-in users, and the drain. What clients and libraries say is
//! decided by the `pusher` crate, who may by `auth`, order and history by `backbone`. Deliberately does not know how apps
//! are stored or administered: it serves from the snapshot it is given.

mod accept;
mod admission;
mod authentication;
mod config;
mod connection;
mod connections;
mod election;
#[cfg(test)]
mod fixtures;
mod host;
mod http;
mod hub;
mod membership;
mod meta;
mod metrics;
mod news;
mod nonces;
mod occupancy;
mod orders;
mod queue;
mod resume;
mod revocations;
mod server;
mod stream;
mod tail;
#[cfg(test)]
mod tests;
mod trace;
mod users;
mod webhooks;
mod websocket;

pub use admission::{MemoryLimit, Networks, ProxyProtocol};
pub use config::{Config, TlsConfig};
pub use server::{Drained, Edge, EdgeError};
