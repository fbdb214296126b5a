//! Load for a server on this machine, and what the server used to carry it.
//!
//! Owns the load profiles, the clients that make the load, the servers that it starts to put load on, the reading of the
//! servers' figures from `/proc` and the floor that they are held against. Deliberately knows nothing of the server's
//! code: what it knows of the protocols is the few frames that it sends and awaits. Threads and blocking calls
//! throughout, but for the readers of many sockets and the client of NATS: the generator must cost little, as it shares
//! the machine with what it measures.

mod bench;
mod cli;
mod client;
mod error;
mod floor;
mod machine;
mod measure;
mod profiles;
mod report;
mod servers;
mod single;
mod target;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::error::Error;
use crate::measure::verdict::Verdict;
use crate::profiles::{channels, connect, fanout, history, idle, presence, publish, publishers, sizes, storm};

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(verdict) if verdict.is_clean() => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!("loadtest: not every message came as it should; see the report");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<Verdict, Error> {
    machine::raise_open_files();
    match command {
        Command::Bench(settings) => bench::run(settings),
        Command::Fanout(settings) => single::measure("fanout", settings, fanout::run),
        Command::Channels(settings) => single::measure("channels", settings, channels::run),
        Command::Publishers(settings) => single::measure("publishers", settings, publishers::run),
        Command::Sizes(settings) => single::measure("sizes", settings, sizes::run),
        Command::Idle(settings) => single::measure("idle", settings, idle::run),
        Command::Connect(settings) => single::measure("connect", settings, connect::run),
        Command::Storm(settings) => single::alone("storm", settings, |target, load| {
            storm::run(target, load, &mut || servers::kill(target.pids[0]))
        }),
        Command::Acknowledge(settings) => single::acknowledge(settings),
        Command::Publish(settings) => single::measure("publish", settings, publish::run),
        Command::History(settings) => single::alone("history", settings, history::run),
        Command::Presence(settings) => single::alone("presence", settings, presence::run),
        Command::Fairness(settings) => single::fairness(settings),
        Command::FloorServer { listen, cert, key } => {
            floor::websocket::serve(*listen, cert.as_deref().zip(key.as_deref())).map(|()| Verdict::default())
        }
    }
}
