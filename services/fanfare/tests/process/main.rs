//! The binary from outside: what it prints, how it exits, what it answers while it starts, runs and stops.

#![expect(clippy::unwrap_used, reason = "tests state their expectations with unwrap, helpers of tests too")]

mod admin;
mod canary;
mod command_line;
mod front;
mod life;
mod server;
