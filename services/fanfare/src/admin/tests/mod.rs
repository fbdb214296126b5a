//! The commands against a real server.

mod apps;
mod cluster;
mod endings;
mod outputs;

use std::sync::Arc;
use std::time::Instant;

use backbone::Backbone;
use backbone::registry::{Apps, Registry};
use backbone::sealing::ClusterKeys;
use clap::Parser;
use control::AdminToken;
use metering::Meters;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

const TOKEN: &str = "0123456789abcdef";

/// What `main` parses, for the part below `fanfare admin`.
#[derive(Debug, Parser)]
#[command(name = "fanfare-admin")]
struct Line {
    #[command(flatten)]
    command: Command,
}

/// A running control plane, with the node that it is part of.
struct Plane {
    backbone: Backbone,
    address: String,
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Plane {
    async fn start() -> Self {
        Self::start_with(ClusterKeys::generate()).await
    }

    async fn start_with(keys: ClusterKeys) -> Self {
        let (keys, stop) = (Arc::new(keys), CancellationToken::new());
        let backbone = Backbone::memory(&backbone::Config::default());
        let apps = Apps::watch(Registry::new(&backbone, Arc::clone(&keys)));
        tokio::spawn(apps.run(stop.clone()));
        let node = agent::Config::new("plane", &["control"], "0.0.0", Arc::clone(&keys));
        let config = control::Config { id: node.id.clone(), ..control::Config::new(AdminToken::new(TOKEN).unwrap()) };
        let parts = control::Parts { apps, ..control::Parts::new(&backbone, keys) };
        let server = control::Server::new(&config, parts).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(server.serve(listener, stop.clone().cancelled_owned()));
        let meters = Arc::new(Meters::new(Instant::now()));
        let agent = agent::Agent::new(node, backbone.clone(), meters, None);
        let (drain, stopped) = (agent.drain_ordered(), stop.clone());
        tokio::spawn(async move { agent.run(stopped).await });
        Self { backbone, address, drain, stop }
    }

    async fn run(&self, words: &[&str]) -> Result<String, Failure> {
        run_at(&self.address, words, Some(TOKEN)).await
    }

    async fn json(&self, words: &[&str]) -> Value {
        let text = self.run(&[words, &["--output", "json"]].concat()).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

fn parse(words: &[&str]) -> Result<Command, clap::Error> {
    let words = std::iter::once("fanfare-admin").chain(words.iter().copied());
    Line::try_parse_from(words).map(|line| line.command)
}

async fn run_at(address: &str, words: &[&str], token: Option<&str>) -> Result<String, Failure> {
    let command = parse(&[&["--address", address], words].concat()).unwrap();
    let mut printed = Vec::new();
    execute(command, token.map(str::to_owned), &mut printed).await?;
    Ok(String::from_utf8(printed).unwrap())
}

#[track_caller]
fn fails(result: Result<String, Failure>, exit_code: u8, words: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.exit_code(), exit_code, "{failure:?}");
    assert!(failure.to_string().contains(words), "{:?} does not mention {words:?}", failure.to_string());
}
