//! Shards: which slice of the backbone a channel lives in.

use std::fmt;

use crate::{AppId, ChannelName};

/// How many shards the cluster has: a constant of the cluster, kept with its data and checked at start, because a
/// channel's messages stay in the shard they were stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShardCount(u16);

/// A shard count of zero or above [`ShardCount::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard count must be between 1 and {}", ShardCount::MAX)]
pub struct InvalidShardCount;

impl ShardCount {
    /// 256 idle replicated streams already cost 11 % of a core on each server (measured, `jetstream.md` §6).
    pub const MAX: u16 = 256;

    /// Checks `count`.
    pub fn new(count: u16) -> Result<Self, InvalidShardCount> {
        if (1..=Self::MAX).contains(&count) { Ok(Self(count)) } else { Err(InvalidShardCount) }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }

    /// Every shard, in order.
    pub fn shards(self) -> impl Iterator<Item = Shard> {
        (0..self.0).map(Shard)
    }

    /// The shard of a channel: FNV-1a (64 bit) over the app id, one zero byte and the channel name, the upper half
    /// folded onto the lower by XOR, modulo the count.
    ///
    /// This function is part of the stored format. It may never change while data exists.
    pub fn shard_of(self, app: &AppId, channel: &ChannelName) -> Shard {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        let bytes = app.as_str().bytes().chain([0]).chain(channel.as_str().bytes());
        let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        let folded = (hash >> 32) ^ (hash & 0xffff_ffff);
        let shard = folded % u64::from(self.0);
        Shard(u16::try_from(shard).expect("a remainder below a u16 fits one"))
    }
}

impl fmt::Display for ShardCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One shard's number. Comes only from [`ShardCount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shard(u16);

impl Shard {
    /// The number, from 0.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(count: u16, app: &str, channel: &str) -> u16 {
        let app = AppId::new(app).unwrap();
        ShardCount::new(count).unwrap().shard_of(&app, &ChannelName::new(channel).unwrap()).get()
    }

    #[test]
    fn the_hash_is_a_stored_format() {
        assert_eq!(shard(1, "1001", "anything"), 0);
        assert_eq!(shard(64, "1001", "ticker.acme"), 28);
        assert_eq!(shard(64, "1001", "presence-room"), 40);
        assert_eq!(shard(4, "1001", "ticker.acme"), 0);
    }

    #[test]
    fn app_and_channel_do_not_run_together() {
        let all: Vec<_> =
            (0..64).map(|i| (shard(256, "12", &format!("3{i}")), shard(256, "123", &i.to_string()))).collect();
        assert!(all.iter().any(|(a, b)| a != b));
    }

    #[test]
    fn spreads_evenly() {
        let mut counts = [0_u32; 16];
        for i in 0..16_000 {
            counts[usize::from(shard(16, "1001", &format!("room-{i}")))] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn counts_have_bounds() {
        assert_eq!(ShardCount::new(0), Err(InvalidShardCount));
        assert_eq!(ShardCount::new(257), Err(InvalidShardCount));
        assert_eq!(ShardCount::new(256).unwrap().shards().count(), 256);
    }
}
