//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use channels::{AppId, KeyName, Secret};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::bench;
use crate::profiles::acknowledge::AcknowledgeLoad;
use crate::profiles::channels::ChannelsLoad;
use crate::profiles::connect::ConnectLoad;
use crate::profiles::fairness::FairnessLoad;
use crate::profiles::fanout::FanoutLoad;
use crate::profiles::history::HistoryLoad;
use crate::profiles::idle::IdleLoad;
use crate::profiles::presence::PresenceLoad;
use crate::profiles::publish::PublishLoad;
use crate::profiles::publishers::PublishersLoad;
use crate::profiles::sizes::SizesLoad;
use crate::profiles::storm::StormLoad;
use crate::servers::Form;

/// The highest id that Linux gives to a process, `PID_MAX_LIMIT`. Larger numbers, and zero, mean groups to some calls.
const MAX_PID: i64 = 4_194_304;

/// Puts load on a Fanfare server on this machine and reports what the server used
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The profiles, all that matters of them at once, and the server that they are compared with.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The short set: every goal beside its floor, as a table
    Bench(Bench),
    /// CPU and latency: publish to one channel with many subscribers at a fixed rate
    Fanout(Measure<FanoutLoad>),
    /// CPU and latency: many channels, each connection in some of them
    Channels(Measure<ChannelsLoad>),
    /// CPU and latency: many publishers of one channel
    Publishers(Measure<PublishersLoad>),
    /// CPU and latency: messages of mixed sizes
    Sizes(Measure<SizesLoad>),
    /// Memory: open connections, subscribe each to a public channel, leave them alone
    Idle(Measure<IdleLoad>),
    /// CPU and latency: clients that connect and subscribe at a fixed rate
    Connect(Measure<ConnectLoad>),
    /// Latency: kill the first node under its clients, until all have caught up on the others
    Storm(Alone<StormLoad>),
    /// Latency: publishes at a fixed rate, until they are acknowledged
    Acknowledge(Measure<AcknowledgeLoad>),
    /// CPU: publishes over HTTP, one after the other's answer
    Publish(Measure<PublishLoad>),
    /// CPU and latency: reads of history
    History(Alone<HistoryLoad>),
    /// CPU and latency: members who come and go
    Presence(Alone<PresenceLoad>),
    /// Latency of one app alone, beside another at its quota of messages, and beside that one far over it
    Fairness(Alone<FairnessLoad>),
    /// The least that a server can do for WebSocket clients; it prints its address. `--floor` starts one by itself
    FloorServer {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:0", value_parser = loopback)]
        listen: SocketAddr,
        /// PEM file with a certificate: all have to speak TLS
        #[arg(long, requires = "key")]
        cert: Option<PathBuf>,
        /// PEM file with its key
        #[arg(long, requires = "cert")]
        key: Option<PathBuf>,
    },
}

/// Settings of the short set.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// Only these rows; repeat it for several
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(bench::names()))]
    pub(crate) only: Vec<String>,
    /// Few clients for a short time, to see that all works: the figures mean nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// The server's program [default: fanfare, beside this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) server: Option<PathBuf>,
    /// A program that starts another server, as `loadtest/README.md` says, to be put into the table; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) peer: Vec<PathBuf>,
    /// Write the table to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Write all figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A profile that is run in rounds, and can be held against the floor.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Measure<L: Args> {
    /// Which server.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// How often to measure; the median by the profile's main figure is shown
    #[arg(long, default_value = "1")]
    pub(crate) rounds: NonZeroU32,
    /// Do the same to the floor before each round, and compare
    #[arg(long)]
    pub(crate) floor: bool,
    /// What to do to it.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) load: L,
}

/// A profile that the floor cannot take part in, or with an order of its own.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Alone<L: Args> {
    /// Which server.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// What to do to it.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) load: L,
}

/// Which server, and where the report goes.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Common {
    /// Start a server for this run: one in memory, one on NATS, or three on three NATS servers
    #[arg(long, value_name = "FORM", value_enum, conflicts_with_all = ["address", "pid", "server_version"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start: Option<Form>,
    /// From how much memory on each process that is started refuses new clients
    #[arg(long, value_name = "MIB", requires = "start", conflicts_with = "pid")]
    pub(crate) memory_limit_mib: Option<u32>,
    /// Let the server that is started speak TLS
    #[arg(long, requires = "start", conflicts_with = "pid")]
    pub(crate) tls: bool,
    /// The program of the server that is started [default: fanfare, beside this one]
    #[arg(long, value_name = "FILE", requires = "start", conflicts_with = "pid")]
    #[serde(skip)]
    pub(crate) server: Option<PathBuf>,
    /// Where a running server takes clients; repeat it for several nodes. Loopback only
    #[arg(long, default_value = "127.0.0.1:6001", value_parser = loopback)]
    #[serde(skip)]
    pub(crate) address: Vec<SocketAddr>,
    /// Process of the running server; repeat it for several, in the order of their addresses
    #[arg(long, required_unless_present = "start", value_parser = clap::value_parser!(u32).range(1..=MAX_PID))]
    #[serde(skip)]
    pub(crate) pid: Vec<u32>,
    /// App to publish to
    #[arg(long, default_value = "1001", value_parser = AppId::new)]
    #[serde(skip)]
    pub(crate) app: AppId,
    /// Name of the key that clients present
    #[arg(long, default_value = "app-key", value_parser = KeyName::new)]
    #[serde(skip)]
    pub(crate) key: KeyName,
    /// Secret of the key
    #[arg(long, env = "LOADTEST_SECRET", hide_env_values = true, default_value = "app-secret", value_parser = secret)]
    #[serde(skip)]
    pub(crate) secret: Secret,
    /// What the report calls the running server, as in "fanfare 0.1.0, release build"
    #[arg(long, default_value = "unnamed")]
    #[serde(skip)]
    pub(crate) server_version: String,
    /// Write the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected IP:PORT, as in 127.0.0.1:6001".to_owned())?;
    let refused = || "load goes to loopback only, as in 127.0.0.1:6001".to_owned();
    address.ip().is_loopback().then_some(address).ok_or_else(refused)
}

/// Of a key; never empty.
pub(crate) fn secret(text: &str) -> Result<Secret, &'static str> {
    Secret::new(text).ok_or("a secret cannot be empty")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn fanout(line: &str) -> Result<Measure<FanoutLoad>, clap::Error> {
        match Cli::try_parse_from(line.split(' '))?.command {
            Command::Fanout(settings) => Ok(settings),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn load_goes_to_loopback_only() {
        for address in ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1"] {
            assert!(loopback(address).is_ok(), "{address}");
        }
        for address in ["10.0.0.1:1", "0.0.0.0:1", "[::]:1", "[::ffff:1.2.3.4]:1", "localhost:1", "127.0.0.1"] {
            assert!(loopback(address).is_err(), "{address}");
        }
    }

    #[test]
    fn a_server_is_started_or_is_there() {
        assert!(fanout("loadtest fanout --start cluster --tls").unwrap().common.start == Some(Form::Cluster));
        assert_eq!(fanout("loadtest fanout --pid 7 --pid 8").unwrap().common.pid, [7, 8]);
        for line in ["loadtest fanout", "loadtest fanout --pid 1 --start memory", "loadtest fanout --pid 1 --tls"] {
            assert!(fanout(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_report_holds_no_secret() {
        let settings = fanout("loadtest fanout --pid 1 --secret hush --key k").unwrap();
        let text = serde_json::to_string(&settings).unwrap();
        assert!(text.contains("\"rate\":50") && !text.contains("hush"), "{text}");
    }
}
