//! Webhooks: what is told to whom, and its delivery with retries.
//!
//! Any number of workers run; the one that holds the lease `worker` acts. It decides what is to be told of channels and
//! members (`decide`), beside what edges tell themselves, and delivers it (`deliver`). Between the two stands the
//! backbone's queue, so that neither waits for the other and what was decided outlives the one that decided it. Knows
//! nothing of connections or client protocols.

mod address;
mod age;
mod config;
mod decide;
mod deliver;
mod event;
mod metrics;
mod worker;

pub use address::{AddressRange, InvalidAddressRange};
pub use config::Config;
pub use deliver::trust::TrustError;
pub use worker::{StartError, Worker};
