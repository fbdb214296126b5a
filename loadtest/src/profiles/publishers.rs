//! The profile of many publishers on one channel: order is kept for each, and all subscribers see the same.

use std::num::NonZeroU32;

use clap::Args;
use serde::Serialize;

use super::deliveries::{Deliveries, Traffic, measure};
use super::{defaults, names};
use crate::client::message::LEAST_BYTES;
use crate::client::protocol::Protocol;
use crate::error::Error;
use crate::target::Target;

/// Publishers with a connection each.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct PublishersLoad {
    /// How subscribers speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many publishers
    #[arg(long, default_value = "100")]
    pub(crate) publishers: NonZeroU32,
    /// How many subscribers
    #[arg(long, default_value = "100")]
    pub(crate) subscribers: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// Publishes per second, all publishers together
    #[arg(long, default_value = "200")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for PublishersLoad {
    fn default() -> Self {
        defaults()
    }
}

/// Lets them publish in turns.
pub(crate) fn run(target: &Target, load: &PublishersLoad) -> Result<Deliveries, Error> {
    let traffic = Traffic {
        protocol: load.protocol,
        channels: &names(1),
        subscriptions: &vec![vec![0]; load.subscribers.get() as usize],
        sources: load.publishers.get(),
        connections: load.publishers.get(),
        sizes: &[load.payload],
        rate: load.rate,
        seconds: load.seconds,
    };
    measure(target, &traffic)
}
