//! A receiver of webhooks on loopback.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, LOCATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use testkit::{eventually, free_port};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// What a receiver does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    Answer(u16),
    /// Answers well, a while after so many requests have been under way at one time.
    Slow {
        together: usize,
        pause: Duration,
    },
    /// Never answers.
    Hang,
    Redirect(String),
}

/// A request as it came, and what was answered.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub status: u16,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn events(&self) -> Vec<Value> {
        self.json()["events"].as_array().unwrap().clone()
    }
}

#[derive(Debug)]
struct State {
    manner: Manner,
    /// What is done with the next requests, before `manner` counts.
    first: VecDeque<Manner>,
    received: Vec<Received>,
    connections: usize,
    under_way: usize,
    most_under_way: usize,
}

/// A running receiver.
#[derive(Debug)]
pub struct Hook {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinSet<()>,
}

impl Hook {
    pub async fn start(manner: Manner) -> Self {
        Self::listen(manner, None).await
    }

    pub async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::listen(Manner::Answer(200), Some(acceptor)).await
    }

    async fn listen(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        // A port that no connection is given while the receiver is dead.
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = eventually("the port to be free", || async { TcpListener::bind(address).await.ok() }).await;
        let state = State {
            manner,
            first: VecDeque::new(),
            received: Vec::new(),
            connections: 0,
            under_way: 0,
            most_under_way: 0,
        };
        let mut hook = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
            accepting: JoinSet::new(),
        };
        hook.accepting.spawn(accept(listener, Arc::clone(&hook.state), tls));
        hook
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What is done with every request from now on.
    pub fn set(&self, manner: Manner) {
        self.state.lock().manner = manner;
    }

    /// What is done with the next requests.
    pub fn first(&self, manners: impl IntoIterator<Item = Manner>) {
        self.state.lock().first.extend(manners);
    }

    /// Closes the port and every connection.
    pub async fn die(&mut self) {
        self.accepting.shutdown().await;
    }

    /// Opens the port again.
    pub async fn revive(&mut self) {
        let listener = eventually("the port to be free", || async { TcpListener::bind(self.address).await.ok() }).await;
        self.accepting.spawn(accept(listener, Arc::clone(&self.state), None));
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().received.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    pub fn most_under_way(&self) -> usize {
        self.state.lock().most_under_way
    }

    /// The events of requests that were answered well.
    pub fn events(&self) -> Vec<Value> {
        let state = self.state.lock();
        state.received.iter().filter(|received| received.status == 200).flat_map(Received::events).collect()
    }

    /// The events as short texts: `name channel user count`.
    pub fn told(&self) -> Vec<String> {
        self.events().iter().map(short).collect()
    }

    /// Waits for at least `count` delivered events.
    pub async fn wait_for(&self, count: usize) -> Vec<String> {
        let what = format!("{count} events at {}", self.address);
        eventually(&what, || async { Some(self.told()).filter(|told| told.len() >= count) }).await
    }

    /// Waits for at least `count` requests, whatever was answered.
    pub async fn wait_for_requests(&self, count: usize) {
        eventually("requests", || async { (self.state.lock().received.len() >= count).then_some(()) }).await;
    }
}

fn short(event: &Value) -> String {
    let mut text = format!("{} {}", event["name"].as_str().unwrap(), event["channel"].as_str().unwrap());
    for member in ["user_id", "event", "data"] {
        if let Some(value) = event[member].as_str() {
            text.push_str(&format!(" {value}"));
        }
    }
    if let Some(count) = event["subscription_count"].as_u64() {
        text.push_str(&format!(" {count}"));
    }
    text
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        state.lock().connections += 1;
        let (state, tls) = (Arc::clone(&state), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(socket, state).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(socket).await {
                        serve(stream, state).await;
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    // A client may end a connection as it likes.
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service).await.ok();
}

/// Counts a request for as long as it is under way, also if it is called off.
struct UnderWay(Arc<Mutex<State>>);

impl UnderWay {
    fn begin(state: &Arc<Mutex<State>>) -> Self {
        let mut locked = state.lock();
        locked.under_way += 1;
        locked.most_under_way = locked.most_under_way.max(locked.under_way);
        Self(Arc::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.lock().under_way -= 1;
    }
}

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let _under_way = UnderWay::begin(&state);
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::default()) };
    let body = body.to_bytes();
    let manner = {
        let mut state = state.lock();
        state.first.pop_front().unwrap_or_else(|| state.manner.clone())
    };
    let note = |status| {
        state.lock().received.push(Received {
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            headers: parts.headers.clone(),
            body: body.clone(),
            status,
        });
    };
    let mut response = Response::new(Full::new(Bytes::from_static(b"thank you")));
    let status = match manner {
        Manner::Answer(status) => status,
        Manner::Slow { together, pause } => {
            while state.lock().most_under_way < together {
                sleep(Duration::from_millis(5)).await;
            }
            sleep(pause).await;
            200
        }
        Manner::Hang => {
            note(0);
            return std::future::pending().await;
        }
        Manner::Redirect(target) => {
            response.headers_mut().insert(LOCATION, target.parse().unwrap());
            302
        }
    };
    *response.status_mut() = status.try_into().unwrap();
    note(status);
    Ok(response)
}
