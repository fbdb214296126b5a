//! A backend that publishes to one edge.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::Signer;
use channels::{KeyName, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than the server tries a publish before it gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// An app's key as its owner has it.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) app: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

impl Credentials {
    fn signer(&self) -> Signer {
        Signer::new(KeyName::new(&self.key).unwrap(), Secret::new(&self.secret).unwrap())
    }
}

/// What an edge answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// A connection to an edge's publish API, opened when it is needed.
pub(crate) struct Publisher {
    edge: SocketAddr,
    app: String,
    signer: Signer,
    /// Sent with each request.
    traceparent: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

impl Publisher {
    pub(crate) fn new(edge: SocketAddr, credentials: &Credentials) -> Self {
        Self { edge, app: credentials.app.clone(), signer: credentials.signer(), traceparent: None, stream: None }
    }

    /// One whose publishes are a part of a trace.
    pub(crate) fn traced(self, traceparent: &str) -> Self {
        Self { traceparent: Some(traceparent.to_owned()), ..self }
    }

    /// Publishes one event to one channel.
    pub(crate) async fn publish(&mut self, channel: &str, data: &str) -> io::Result<Answer> {
        self.post("events", &json!({ "name": "e", "channel": channel, "data": data })).await
    }

    /// Publishes as many events as there are in `data` to one channel, all or none of them.
    pub(crate) async fn publish_batch(&mut self, channel: &str, data: &[&str]) -> io::Result<Answer> {
        let batch: Vec<_> = data.iter().map(|data| json!({ "name": "e", "channel": channel, "data": data })).collect();
        self.post("batch_events", &json!({ "batch": batch })).await
    }

    /// An error means that nobody knows whether the request was obeyed.
    async fn post(&mut self, resource: &str, body: &Value) -> io::Result<Answer> {
        let path = format!("/apps/{}/{resource}", self.app);
        let body = body.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let query = self.signer.request("POST", &path, &[], body.as_bytes(), now);
        let traceparent = self.traceparent.iter().map(|value| format!("traceparent: {value}\r\n")).collect::<String>();
        let request = format!(
            "POST {path}?{query} HTTP/1.1\r\nhost: x\r\n{traceparent}content-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(self.edge).await?),
        };
        let (answer, is_last) = timeout(PATIENCE, exchange(&mut stream, &request)).await??;
        if !is_last {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// One request and its answer, and whether the server closes the connection behind it.
async fn exchange(stream: &mut BufReader<TcpStream>, request: &str) -> io::Result<(Answer, bool)> {
    stream.get_mut().write_all(request.as_bytes()).await?;
    let (mut status, mut length, mut is_last) = (0, 0, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        } else if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if let Some(value) = line.strip_prefix("connection:") {
            is_last = value.trim() == "close";
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }, is_last))
}
