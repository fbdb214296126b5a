//! `fanfare admin health`: for probes of containers that have neither a shell nor curl.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::client::Way;
use super::{Answer, Failure};

/// How long a process may take to say whether it is ready.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most of an answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Whom to ask.
#[derive(Args, Debug)]
pub(super) struct Health {
    /// A service, as in fanfare.control.v1.AppService [default: the server as a whole]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    /// Ask this admin listener instead whether its process is ready for clients, as in 127.0.0.1:6003; for nodes without
    /// a control plane
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "service")]
    ready: Option<String>,
}

impl Health {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let (is_serving, text) = match self.ready {
            Some(address) => ready(&address).await?,
            None => {
                let status = serving(way, self.service).await?;
                (status == ServingStatus::Serving, status.as_str_name().to_ascii_lowercase().replace('_', " ") + "\n")
            }
        };
        Ok(Answer::report(json!({ "serving": is_serving }), text, !is_serving))
    }
}

/// What the health service says.
pub(super) async fn serving(way: &Way, service: String) -> Result<ServingStatus, Failure> {
    let mut client = HealthClient::new(way.open_to_anybody().await?);
    Ok(client.check(HealthCheckRequest { service }).await?.into_inner().status())
}

/// Whether `/readyz` says yes, and what it says.
async fn ready(address: &str) -> Result<(bool, String), Failure> {
    let unreachable = |reason: String| Failure::Unreachable(format!("cannot reach {address}: {reason}"));
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, ask).await.map_err(|_| unreachable("no answer".to_owned()))?;
    let answer = answer.map_err(|error| unreachable(error.to_string()))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| unreachable("that is no HTTP".to_owned()))?;
    Ok((head.starts_with("HTTP/1.1 200 "), body.to_owned()))
}
