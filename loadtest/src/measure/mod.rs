//! Figures: when things were due, how long they took, what came of each message, what the server's processes used.

pub(crate) mod audit;
pub(crate) mod latency;
pub(crate) mod process;
pub(crate) mod schedule;
mod sequence;
pub(crate) mod verdict;
