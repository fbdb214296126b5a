//! Connections to the public address: TCP, TLS, HTTP.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::target::Target;
use super::trouble::Trouble;
use crate::with_causes;

/// Most of an answer that is read; more than any that we hope for.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A byte stream, with TLS or without.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub(super) type Stream = Box<dyn Io>;

/// How long each stage of an attempt took; absent for what did not happen.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// The name's lookup, and TCP.
    pub(super) connect: Option<Duration>,
    pub(super) tls: Option<Duration>,
    /// Until the connection was established, as its protocol sees it.
    pub(super) open: Option<Duration>,
    pub(super) subscribe: Option<Duration>,
    /// From each publish request to its answer.
    pub(super) publish: Vec<Duration>,
    /// From each publish request to its message.
    pub(super) deliver: Vec<Duration>,
}

/// Opens a byte stream.
pub(super) async fn dial(target: &Target, stages: &mut Stages) -> Result<Stream, Trouble> {
    let failed = |error: io::Error| Trouble::Unreachable(format!("cannot connect to {}: {error}", target.authority));
    let since = Instant::now();
    let socket = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    stages.connect = Some(since.elapsed());
    let Some((connector, name)) = &target.tls else { return Ok(Box::new(socket)) };
    let since = Instant::now();
    let stream = connector
        .connect(name.clone(), socket)
        .await
        .map_err(|error| Trouble::Unreachable(format!("no TLS with {}: {}", target.authority, with_causes(&error))))?;
    stages.tls = Some(since.elapsed());
    Ok(Box::new(stream))
}

/// A connection for requests, one after the other.
pub(super) struct Http<'t> {
    target: &'t Target,
    sender: SendRequest<Full<Bytes>>,
    connection: AbortOnDropHandle<()>,
}

impl<'t> Http<'t> {
    /// Opens one.
    pub(super) async fn open(target: &'t Target, stages: &mut Stages) -> Result<Self, Trouble> {
        let stream = dial(target, stages).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // What goes wrong with the connection is told to whoever waits for an answer.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.unwrap_or_default() }));
        Ok(Self { target, sender, connection })
    }

    /// Publishes `data`.
    pub(super) async fn publish(&mut self, event: &str, data: &str) -> Result<(), Trouble> {
        let body = serde_json::json!({ "name": event, "channel": self.target.channel, "data": data }).to_string();
        let request = Request::post(self.target.publish_path(body.as_bytes())).header(CONTENT_TYPE, "application/json");
        let answer = self.send(request.body(Full::new(Bytes::from(body)))).await?;
        let status = answer.status().as_u16();
        // Read to its end even if it is good, so that the connection can be used again.
        let text = text(answer).await?;
        if status == 200 { Ok(()) } else { Err(refusal("publish", status, &text)) }
    }

    /// Opens an event stream, whose body is answered together with the connection that carries it.
    pub(super) async fn events(mut self) -> Result<(Incoming, AbortOnDropHandle<()>), Trouble> {
        let request = Request::get(self.target.events_path())
            .header(AUTHORIZATION, self.target.bearer())
            .header("accept", "text/event-stream");
        let answer = self.send(request.body(Full::default())).await?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(refusal("event stream", status, &text(answer).await?));
        }
        Ok((answer.into_body(), self.connection))
    }

    async fn send(
        &mut self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Response<Incoming>, Trouble> {
        let mut request = request.map_err(|error| Trouble::Refused(error.to_string()))?;
        let host = self.target.authority.parse();
        request.headers_mut().insert(HOST, host.map_err(|_| Trouble::Refused("the host is no header".to_owned()))?);
        self.sender.send_request(request).await.map_err(failed)
    }
}

fn failed(error: hyper::Error) -> Trouble {
    Trouble::Unreachable(format!("no HTTP: {}", with_causes(&error)))
}

async fn text(answer: Response<Incoming>) -> Result<String, Trouble> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| Trouble::Unreachable(format!("an answer was cut: {error}")))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

/// What an answer says that is not the one hoped for.
fn refusal(what: &str, status: u16, body: &str) -> Trouble {
    const SHOWN_CHARS: usize = 200;
    let said: String = body.trim().chars().take(SHOWN_CHARS).collect();
    Trouble::of_status(status, format!("the {what} was answered with {status}: {said}"))
}
