//! What a data directory promises: nothing that was acknowledged is lost, whatever ends the process; nothing is read that
//! is not whole; one process at a time.

#![allow(clippy::unwrap_used, clippy::large_futures, reason = "a test says unwrap, and its size is no matter")]

mod damage;
mod figures;
mod full;
mod kills;
mod refusals;
mod restart;
mod support;
