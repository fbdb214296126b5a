//! The profile of many channels with few subscribers each, where each connection is in several of them.

use std::num::NonZeroU32;

use clap::Args;
use serde::Serialize;

use super::deliveries::{Deliveries, Traffic, measure};
use super::{defaults, names};
use crate::client::message::LEAST_BYTES;
use crate::client::protocol::Protocol;
use crate::error::Error;
use crate::target::Target;

/// Channels, and connections that are in several each.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct ChannelsLoad {
    /// How subscribers speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many channels
    #[arg(long, default_value = "200")]
    pub(crate) channels: NonZeroU32,
    /// How many connections
    #[arg(long, default_value = "1000")]
    pub(crate) connections: NonZeroU32,
    /// In how many channels each connection is
    #[arg(long, default_value = "20")]
    pub(crate) each: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// Publishes per second to each channel
    #[arg(long, default_value = "1")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for ChannelsLoad {
    fn default() -> Self {
        defaults()
    }
}

/// Publishes to one channel after the other.
pub(crate) fn run(target: &Target, load: &ChannelsLoad) -> Result<Deliveries, Error> {
    let traffic = Traffic {
        protocol: load.protocol,
        channels: &names(load.channels.get()),
        subscriptions: &subscriptions(load),
        sources: load.channels.get(),
        connections: 1,
        sizes: &[load.payload],
        rate: load.rate.saturating_mul(load.channels),
        seconds: load.seconds,
    };
    measure(target, &traffic)
}

/// Evenly spread, and in such a way that no two of neighbouring connections are in the same set of channels.
fn subscriptions(load: &ChannelsLoad) -> Vec<Vec<u32>> {
    let channels = load.channels.get();
    let each = load.each.get().min(channels);
    let step = (7..).find(|step| is_coprime(*step, channels)).unwrap_or(1);
    let of = |connection: u32| (0..each).map(|n| (connection % channels + n * step) % channels).collect();
    (0..load.connections.get()).map(of).collect()
}

fn is_coprime(mut a: u32, mut b: u32) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_channel_has_as_many_subscribers() {
        for (channels, each) in [(200, 20), (7, 7), (6, 9), (1, 1)] {
            let (channels, each) = (NonZeroU32::new(channels).unwrap(), NonZeroU32::new(each).unwrap());
            let connections = channels.saturating_mul(NonZeroU32::new(5).unwrap());
            let subscriptions = subscriptions(&ChannelsLoad { channels, each, connections, ..ChannelsLoad::default() });
            let each = each.min(channels).get() as usize;
            let distinct = |list: &Vec<u32>| list.iter().collect::<BTreeSet<_>>().len();
            assert!(subscriptions.iter().all(|list| distinct(list) == each), "{subscriptions:?}");
            for channel in 0..channels.get() {
                let subscribers = subscriptions.iter().filter(|list| list.contains(&channel)).count();
                assert_eq!(subscribers, 5 * each, "{channel} of {channels}");
            }
        }
    }
}
