//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use channels::{AppId, KeyName, Secret};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

/// Puts load on a Fanfare server on this machine and reports what the server used
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The profiles, and the server that they are compared with.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Memory: open connections, subscribe each to a public channel, leave them alone
    Idle(Idle),
    /// CPU and latency: publish to one channel with many subscribers at a fixed rate
    Fanout(Fanout),
    /// Latency of one app alone, beside another at its quota of messages, and beside that one far over it
    Fairness(Fairness),
    /// The least that a server can do for `fanout`; it prints its address. `fanout --floor` starts one by itself
    FloorServer {
        /// Where to listen
        #[arg(long, default_value = "127.0.0.1:0", value_parser = loopback)]
        listen: SocketAddr,
    },
}

/// Which server, and where the report goes.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Common {
    /// Where the server takes clients; repeat it for several nodes. Loopback only
    #[arg(long, default_value = "127.0.0.1:6001", value_parser = loopback)]
    pub(crate) address: Vec<SocketAddr>,
    /// Process of the server; repeat it for several, their figures are added
    #[arg(long, required = true)]
    #[serde(skip)]
    pub(crate) pid: Vec<u32>,
    /// Name of the key that clients present
    #[arg(long, default_value = "app-key", value_parser = KeyName::new)]
    #[serde(skip)]
    pub(crate) key: KeyName,
    /// What the report calls the server, as in "fanfare 0.1.0, release build"
    #[arg(long, default_value = "unnamed")]
    #[serde(skip)]
    pub(crate) server_version: String,
    /// Write the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
}

/// Settings of the idle profile.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Idle {
    /// Which server.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// How many connections
    #[arg(long, default_value = "5000")]
    pub(crate) connections: NonZeroU32,
    /// Over how many channels they are spread [default: one each]
    #[arg(long)]
    pub(crate) channels: Option<NonZeroU32>,
    /// Seconds to wait before the last look
    #[arg(long, default_value = "10")]
    pub(crate) settle: u32,
}

/// Settings of the fan-out profile.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Fanout {
    /// Which server.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// App to publish to
    #[arg(long, default_value = "1001", value_parser = AppId::new)]
    #[serde(skip)]
    pub(crate) app: AppId,
    /// Secret of the key
    #[arg(long, env = "LOADTEST_SECRET", hide_env_values = true, default_value = "app-secret", value_parser = secret)]
    #[serde(skip)]
    pub(crate) secret: Secret,
    /// Channel that everyone subscribes to
    #[arg(long, default_value = "loadtest")]
    pub(crate) channel: String,
    /// How many subscribers
    #[arg(long, default_value = "1000")]
    pub(crate) subscribers: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(21..=1_000_000))]
    pub(crate) payload: u32,
    /// Publishes per second, all publishers together
    #[arg(long, default_value = "50")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
    /// How often to measure; the median by CPU per delivery is shown
    #[arg(long, default_value = "1")]
    pub(crate) rounds: NonZeroU32,
    /// Do the same to a floor server before each round, and compare
    #[arg(long)]
    pub(crate) floor: bool,
}

/// Settings of the fairness profile. Those of the other app fit the seed in `docs/operations/quotas.md`.
#[derive(Args, Debug, Serialize)]
pub(crate) struct Fairness {
    /// Which server, and the key of the app that is measured.
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: Common,
    /// App that is measured
    #[arg(long, default_value = "1001", value_parser = AppId::new)]
    #[serde(skip)]
    pub(crate) app: AppId,
    /// Secret of its key
    #[arg(long, env = "LOADTEST_SECRET", hide_env_values = true, default_value = "app-secret", value_parser = secret)]
    #[serde(skip)]
    pub(crate) secret: Secret,
    /// How many subscribers it has
    #[arg(long, default_value = "50")]
    pub(crate) subscribers: NonZeroU32,
    /// Its publishes per second
    #[arg(long, default_value = "100")]
    pub(crate) rate: NonZeroU32,
    /// The other app
    #[arg(long, default_value = "1002", value_parser = AppId::new)]
    #[serde(skip)]
    pub(crate) other_app: AppId,
    /// Name of its key
    #[arg(long, default_value = "other-key", value_parser = KeyName::new)]
    #[serde(skip)]
    pub(crate) other_key: KeyName,
    /// Secret of its key
    #[arg(long, env = "LOADTEST_OTHER_SECRET", hide_env_values = true, default_value = "other-secret", value_parser = secret)]
    #[serde(skip)]
    pub(crate) other_secret: Secret,
    /// Its quota of messages per second
    #[arg(long, default_value = "100")]
    pub(crate) other_limit: NonZeroU32,
    /// How many times as much it publishes
    #[arg(long, default_value = "10")]
    pub(crate) times: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(21..=1_000_000))]
    pub(crate) payload: u32,
    /// For how many seconds each turn
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
    /// How many rounds of all turns
    #[arg(long, default_value = "3")]
    pub(crate) rounds: NonZeroU32,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected IP:PORT, as in 127.0.0.1:6001".to_owned())?;
    let refused = || "load goes to loopback only, as in 127.0.0.1:6001".to_owned();
    address.ip().is_loopback().then_some(address).ok_or_else(refused)
}

fn secret(text: &str) -> Result<Secret, &'static str> {
    Secret::new(text).ok_or("a secret cannot be empty")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

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
    fn a_report_holds_no_secret() {
        let line = "loadtest fanout --pid 1 --secret hush --key k";
        let Command::Fanout(settings) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
        let text = serde_json::to_string(&settings).unwrap();
        assert!(text.contains("\"rate\":50") && !text.contains("hush"), "{text}");
    }
}
