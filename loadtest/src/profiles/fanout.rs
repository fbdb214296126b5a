//! The fan-out profile: what a delivery costs in CPU, and how long it takes.

use std::num::NonZeroU32;

use clap::Args;
use serde::Serialize;

use super::defaults;
use super::deliveries::{Deliveries, measure_one_channel};
use crate::client::message::LEAST_BYTES;
use crate::client::protocol::Protocol;
use crate::error::Error;
use crate::target::Target;

/// One channel with many subscribers.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct FanoutLoad {
    /// How subscribers speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many subscribers
    #[arg(long, default_value = "1000")]
    pub(crate) subscribers: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// Publishes per second
    #[arg(long, default_value = "50")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for FanoutLoad {
    fn default() -> Self {
        defaults()
    }
}

/// Publishes to all of them at a steady rate.
pub(crate) fn run(target: &Target, load: &FanoutLoad) -> Result<Deliveries, Error> {
    measure_one_channel(target, load.protocol, load.subscribers, &[load.payload], load.rate, load.seconds)
}
