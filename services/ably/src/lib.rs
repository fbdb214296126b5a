//! The Ably protocol, as its SDKs speak it, and server-sent events in its form.
//!
//! Owns everything that a client or server library of it can see: frames in both formats, the connection's state machine,
//! credentials, the bodies and statuses of REST, names and params, and the one table of codes. Deliberately knows nothing
//! of sockets, HTTP parsing, tokio, NATS, clocks or random numbers: bytes and times come in, outputs go out, and the edge
//! does what they say.

mod codes;
mod connect;
pub mod credentials;
pub mod data;
pub mod delta;
pub mod encode;
mod filter;
mod identity;
pub mod meta;
mod name;
pub mod occupancy;
mod params;
pub mod publish;
pub mod query;
pub mod rest;
pub mod serial;
pub mod session;
pub mod sse;
mod version;
pub mod wire;

pub use codes::{Code, ErrorInfo};
pub use connect::Connect;
pub use filter::{Filter, InvalidFilter, Subject};
pub use identity::Identity;
pub use name::{InvalidName, Name};
pub use params::{Back, ChannelParams, Rewind};
pub use serial::Serial;
pub use session::{End, Input, Now, Output, Session, Settings};
pub use version::Version;
pub use wire::{Flags, Format, Modes};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod formats;
