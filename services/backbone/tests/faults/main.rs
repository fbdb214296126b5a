//! What the backbone promises while servers crash and connections break.
//!
//! A checker records every acknowledged publish and every delivery. Afterwards: no acknowledged message is missing from
//! history, publishers' order was kept, and each subscriber got every message of its channel once and in order, or was
//! told of a gap.

#![allow(clippy::unwrap_used, clippy::large_futures, reason = "a test says unwrap, and its size is no matter")]

mod checker;
#[path = "../connect/mod.rs"]
mod connect;
mod crashes;
mod queue;
mod silence;
mod start;
mod streams;
