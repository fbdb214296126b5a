//! Real servers for tests: `nats-server` processes on free ports in temporary directories, a cluster of three whose
//! members can be stopped and killed, and a proxy whose connections can be cut. And budgets: what inner loops may take; and
//! formats: what releases wrote.
//!
//! Everything ends when its value is dropped. Nothing here waits a fixed time: it waits for the event, and panics with
//! what was awaited when [`PATIENCE`] runs out.

mod budgets;
mod callgrind;
mod cluster;
mod formats;
mod monitor;
mod nats;
mod port;
mod proxy;
mod wait;

pub use budgets::Budgets;
pub use cluster::NatsCluster;
pub use formats::{Formats, with_unknown_fields};
pub use nats::{Nats, NatsOptions, Signal};
pub use port::free_port;
pub use proxy::Proxy;
pub use wait::{PATIENCE, eventually, within};
