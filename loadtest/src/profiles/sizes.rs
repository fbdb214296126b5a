//! The profile of mixed sizes: small and large messages in turns, up to what Pusher allows by default.

use std::num::NonZeroU32;

use clap::Args;
use serde::Serialize;

use super::defaults;
use super::deliveries::{Deliveries, measure_one_channel};
use crate::client::message::LEAST_BYTES;
use crate::client::protocol::Protocol;
use crate::error::Error;
use crate::target::Target;

/// The sizes, one after the other: most messages are small, and one is as large as they get.
const SIZES: [u32; 8] = [64, 128, LEAST_BYTES, 512, 100, 2048, 256, 10_240];

/// One channel with many subscribers.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct SizesLoad {
    /// How subscribers speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many subscribers
    #[arg(long, default_value = "500")]
    pub(crate) subscribers: NonZeroU32,
    /// Publishes per second
    #[arg(long, default_value = "40")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for SizesLoad {
    fn default() -> Self {
        defaults()
    }
}

/// Publishes to all of them at a steady rate.
pub(crate) fn run(target: &Target, load: &SizesLoad) -> Result<Deliveries, Error> {
    measure_one_channel(target, load.protocol, load.subscribers, &SIZES, load.rate, load.seconds)
}
