//! Load for a running server on this machine, and what the server used to carry it.
//!
//! Owns the load profiles, the clients that make the load, the reading of the server's figures from `/proc` and the
//! floor that they are held against. Deliberately knows nothing of the server's code: what it knows of the protocol is
//! the few frames that it sends and awaits. Threads and blocking calls throughout, but for the readers of many sockets:
//! the generator must cost little, as it shares the machine with what it measures.

mod cli;
mod connection;
mod error;
mod fairness;
mod fanout;
mod floor;
mod http;
mod idle;
mod latency;
mod machine;
mod message;
mod process;
mod publisher;
mod readers;
mod receiver;
mod report;
mod schedule;
mod sequence;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::error::Error;

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<(), Error> {
    match command {
        Command::Idle(settings) => idle::run(settings)?.publish(settings.common.json.as_deref()),
        Command::Fairness(settings) => fairness::run(settings)?.publish(settings.common.json.as_deref()),
        Command::Fanout(settings) => fanout::run(settings)?.publish(settings.common.json.as_deref()),
        Command::FloorServer { listen } => floor::serve(*listen),
    }
}
