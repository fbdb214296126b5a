//! `fanfare admin canary`: publishes and receives through the public address, as customers do, and says how that went.
//!
//! Owns clients of all three ways to receive, as small as they can be, and the comparing. Deliberately knows nothing of
//! the cluster: no admin token, no control plane, only what an app's server and its clients have.

mod attempt;
mod dial;
mod expected;
mod report;
mod subscriber;
mod target;
mod trouble;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use self::attempt::Canary;
use self::report::Report;
use self::subscriber::Protocol;
use self::target::{Given, Target};
use super::client::Server;
use super::{Answer, Failure, Output, arguments};

/// The variable that holds the key's secret.
const SECRET_VARIABLE: &str = "FANFARE_KEY_SECRET";

/// The shortest time between attempts.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Where to go, as whom, and how often.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The public address, as customers use it: https://rt.example.com
    #[arg(value_name = "URL")]
    url: String,
    /// The app's id
    #[arg(long, value_name = "ID")]
    app: String,
    /// Name of a key that may publish and subscribe; its secret comes from --key-secret-file or the variable
    /// FANFARE_KEY_SECRET
    #[arg(long, value_name = "NAME")]
    key: String,
    /// File with the key's secret; wins over the variable
    #[arg(long, value_name = "FILE")]
    key_secret_file: Option<PathBuf>,
    /// How to receive; repeatable [default: every way]
    #[arg(long = "protocol", value_enum, value_name = "PROTOCOL")]
    protocols: Vec<Protocol>,
    /// Public or private channel for the canary alone; give it a namespace of its own, as ephemeral as the app's are
    #[arg(long, value_name = "NAME", default_value = "private-canary")]
    channel: String,
    /// Longest time for an attempt: connect, subscribe, publish, receive
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::config::duration)]
    timeout: Duration,
    /// Go on, an attempt over each protocol every so often, until SIGTERM
    #[arg(long, value_name = "TIME", value_parser = crate::config::duration)]
    interval: Option<Duration>,
    /// With --interval: where /metrics and /livez are [default: 127.0.0.1:6004]
    #[arg(long, value_name = "ADDRESS", requires = "interval")]
    listen: Option<SocketAddr>,
}

impl Arguments {
    /// Makes one attempt over each protocol, or goes on. Of `server` only what says whom to trust counts: the way to the
    /// control plane is another.
    pub(super) async fn run(self, server: &Server, output: &mut Output<'_>) -> Result<Answer, Failure> {
        let secret = match &self.key_secret_file {
            Some(file) => arguments::secret(Some(file))?,
            None => std::env::var(SECRET_VARIABLE).unwrap_or_default(),
        };
        let given = Given {
            app: &self.app,
            key: &self.key,
            secret,
            channel: &self.channel,
            ca_file: server.ca_file.as_deref(),
            server_name: server.server_name.as_deref(),
        };
        let target = Arc::new(Target::new(&self.url, given)?);
        let mut protocols = if self.protocols.is_empty() { Protocol::ALL.to_vec() } else { self.protocols };
        let mut seen = Vec::new();
        protocols.retain(|protocol| {
            !seen.contains(protocol) && {
                seen.push(*protocol);
                true
            }
        });
        let canary = |protocol| Canary::new(Arc::clone(&target), protocol, self.timeout);
        if let Some(every) = self.interval {
            if every < SHORTEST_INTERVAL {
                return Err(Failure::Usage("--interval must be at least 1s".to_owned()));
            }
            let listen = self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 6004)));
            watch::run(protocols.into_iter().map(canary).collect(), every, listen).await?;
            return Ok(Answer::printed());
        }
        let mut attempts = Vec::new();
        // One after the other, so that they do not wait for each other's processor.
        for protocol in protocols {
            attempts.push((protocol, canary(protocol).attempt().await));
        }
        let report = Report { target: &target, attempts };
        let answer = report.answer();
        match report.failure() {
            None => Ok(answer),
            Some(failure) => {
                output.answer(&answer);
                Err(failure)
            }
        }
    }
}
