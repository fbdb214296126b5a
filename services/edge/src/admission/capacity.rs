//! Whether the node is full: of connections, or of what they take of its memory.
//!
//! Whoever is asked again and again whether there is room must not say yes and no by turns. So a node is full at a limit
//! and has room again only some way below it.

use std::fmt;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Gate;
use crate::connections::Connections;

/// How often memory is looked at. A node that lets in 2,000 a second takes some megabytes in that time, of the tenth that
/// is kept free.
const INTERVAL: Duration = Duration::from_millis(100);

/// The part of a limit, in hundredths, below which there is room again.
const ROOM: u64 = 95;

/// The part of the connections, in hundredths, that leaves room for others in the memory that they took: what an
/// allocator has once got it seldom gives back.
const FEWER: usize = 90;

/// The part of the limit, in hundredths, by which use may grow beyond where it once was before it counts as more.
const MORE: u64 = 1;

/// What a node is full of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// It has as many connections as it may have.
    Connections { limit: usize },
    /// It uses as much memory as it may.
    Memory { limit: u64 },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections { limit } => write!(f, "it has {limit} connections, as many as it may have"),
            Self::Memory { limit } => write!(f, "it uses more than {} MiB of memory", limit >> 20),
        }
    }
}

impl Gate {
    /// Keeps [`Gate::full`] current until `stop`.
    pub(crate) async fn run(&self, connections: &Connections, stop: CancellationToken) {
        let mut memory = Memory::default();
        let mut crowded = false;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let (count, max) = (connections.len(), self.config.max_connections);
            crowded = is_full(crowded, count, max);
            let short = self.ceiling.as_ref().filter(|ceiling| {
                let used = ceiling.used();
                // Exact up to 2^53.
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                self.memory_used.set(used as f64);
                memory.is_short(used, ceiling.limit(), count)
            });
            let full = match short {
                Some(ceiling) => Some(Full::Memory { limit: ceiling.limit() }),
                None => crowded.then_some(Full::Connections { limit: max }),
            };
            self.full.send_if_modified(|current| std::mem::replace(current, full) != full);
        }
    }
}

/// Whether `count` of `max` is too many, for one that `was` full or not.
fn is_full(was: bool, count: usize, max: usize) -> bool {
    if was { count as u64 * 100 > max as u64 * ROOM } else { count >= max }
}

/// Whether there is too little memory.
#[derive(Debug, Default)]
struct Memory {
    short: bool,
    /// Use and connections when it was last too little.
    worst: Option<(u64, usize)>,
}

impl Memory {
    /// Whether that is so with this much `used` of `limit` by so many connections.
    fn is_short(&mut self, used: u64, limit: u64, connections: usize) -> bool {
        let enough = used < limit / 100 * ROOM;
        if enough {
            *self = Self::default();
        } else if self.short {
            let left = |(_, worst): (u64, usize)| connections < worst && connections * 100 <= worst * FEWER;
            self.short = !self.worst.is_some_and(left);
        } else if used >= limit {
            let more = |(used_then, worst)| connections >= worst || used > used_then + limit / 100 * MORE;
            self.short = self.worst.is_none_or(more);
            if self.short {
                self.worst = Some((used, connections));
            }
        }
        self.short
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_again_some_way_below_the_limit() {
        let mut full = false;
        let steps = [(99, false), (100, true), (99, true), (96, true), (95, false), (99, false), (100, true)];
        for (count, expected) in steps {
            full = is_full(full, count, 100);
            assert_eq!(full, expected, "{count}");
        }
        assert!(is_full(true, 1, 1) && !is_full(true, 0, 1));
    }

    #[test]
    fn memory_that_comes_back_makes_room() {
        let mut memory = Memory::default();
        for (used, expected) in [(999, false), (1000, true), (990, true), (950, true), (899, false), (990, false)] {
            assert_eq!(memory.is_short(used, 1000, 10), expected, "{used}");
        }
    }

    #[test]
    fn memory_that_does_not_come_back_has_room_for_those_who_left() {
        let mut memory = Memory::default();
        assert!(memory.is_short(1000, 1000, 500));
        assert!(memory.is_short(1000, 1000, 451));
        assert!(!memory.is_short(1000, 1000, 450));
        assert!(!memory.is_short(1005, 1000, 499), "they fit where the others were");
        assert!(memory.is_short(1005, 1000, 500));
        assert!(!memory.is_short(1000, 1000, 400));
        assert!(memory.is_short(1020, 1000, 401), "these take more");
    }
}
