//! Whole edges on loopback sockets, with blocking clients: what a client sees is what is tested.

mod ably_rest;
mod abuse;
mod admission;
mod api;
mod cluster;
mod direct;
mod drain;
mod fuzz;
mod limits;
mod metrics;
mod operators;
mod quotas;
mod realtime;
mod rules;
mod socket;
mod sse;
mod tls;
mod xhr;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use auth::Signer;
use backbone::Backbone;
use backbone::registry::AppChange;
use channels::App;
use metering::Meters;
use parking_lot::Mutex;
use serde_json::{Value, json};
use telemetry::Readiness;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

use crate::fixtures::{self, World};
use crate::{Config, Drained, Edge};

/// Longest that a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Held by who looks at the memory that this process has: others of them take some of it.
static MEMORY: Mutex<()> = Mutex::new(());

/// An edge that runs in this process.
struct Node {
    runtime: Arc<Runtime>,
    world: Arc<World>,
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: Option<JoinHandle<Drained>>,
    readiness: Readiness,
    meters: Arc<Meters>,
    host: Arc<dyn agent::Host>,
    metrics: telemetry::Exporter,
    /// Sockets that were opened before the node closed its listener.
    early: Mutex<Vec<TcpStream>>,
}

impl Node {
    fn runtime() -> Arc<Runtime> {
        Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
    }

    fn start(config: Config) -> Self {
        Self::with_app(config, fixtures::app())
    }

    fn with_app(config: Config, app: App) -> Self {
        let runtime = Self::runtime();
        let world = runtime.block_on(World::with(app));
        Self::beside(config, runtime, Arc::new(world))
    }

    /// Another node over the same backbone.
    fn another(&self, config: Config) -> Self {
        Self::beside(config, Self::runtime(), Arc::clone(&self.world))
    }

    /// Ends it as `kill -9` would: every task stops where it is.
    fn kill(mut self) {
        let runtime = std::mem::replace(
            &mut self.runtime,
            Arc::new(tokio::runtime::Builder::new_current_thread().build().unwrap()),
        );
        self.serving = None;
        Arc::into_inner(runtime).unwrap().shutdown_background();
    }

    fn beside(config: Config, runtime: Arc<Runtime>, world: Arc<World>) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let node = Self::listening(config, runtime, world, listener);
        // One that starts slowly refuses tokens until it knows which are revoked.
        eventually(|| node.readiness.is_ready(), || format!("{:?}", node.readiness.report()));
        node
    }

    /// One that takes its clients from `listener`, and may not be ready yet.
    fn listening(config: Config, runtime: Arc<Runtime>, world: Arc<World>, listener: TcpListener) -> Self {
        let meters = Arc::new(Meters::new(Instant::now()));
        let shutdown = CancellationToken::new();
        let (recorder, metrics) = telemetry::Exporter::build().unwrap();
        let readiness = ::metrics::with_local_recorder(&recorder, Readiness::new);
        let (address, host, serving) = {
            let _context = runtime.enter();
            let address = listener.local_addr().unwrap();
            let (backbone, apps) = (world.backbone.clone(), world.apps.clone());
            let (readiness, meters) = (readiness.clone(), Arc::clone(&meters));
            let edge = ::metrics::with_local_recorder(&recorder, || {
                Edge::new(config, backbone, apps, readiness, meters, Arc::clone(&world.keys))
            });
            let edge = edge.unwrap();
            (address, edge.host(), runtime.spawn(edge.serve(listener, shutdown.clone())))
        };
        Self {
            runtime,
            world,
            address,
            shutdown,
            serving: Some(serving),
            readiness,
            meters,
            host,
            metrics,
            early: Mutex::default(),
        }
    }

    /// Changes the app, and waits until this node knows.
    fn change(&self, change: &AppChange, known: impl Fn(&App) -> bool) {
        let (registry, id) = (self.world.registry.clone(), fixtures::app().id);
        self.runtime.block_on(async { registry.update(&id, None, change).await }).unwrap();
        eventually(|| self.world.apps.get(&id).is_some_and(|app| known(&app)), || "the change is not seen".to_owned());
    }

    fn backbone(&self) -> &Backbone {
        &self.world.backbone
    }

    /// A socket, one of those that came early if there are any.
    fn tcp(&self) -> TcpStream {
        if let Some(early) = self.early.lock().pop() {
            return early;
        }
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A greeted client.
    fn client(&self) -> Client {
        self.client_at("/app/app-key?protocol=7&client=js&version=8.6.0")
    }

    fn client_at(&self, path: &str) -> Client {
        let mut client = self.upgraded(path);
        let greeting = client.next();
        assert_eq!(greeting["event"], "pusher:connection_established");
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        client.socket_id = data["socket_id"].as_str().unwrap().to_owned();
        client
    }

    /// The same of a node that gives handshakes so little time that a busy machine may be late: then it comes again.
    fn client_in_time(&self) -> Client {
        let url = format!("ws://{}/app/app-key?protocol=7", self.address);
        let begun = Instant::now();
        loop {
            if let Ok((socket, _)) = tungstenite::client::client(&url, self.tcp()) {
                let mut client = Client { socket, socket_id: String::new() };
                assert_eq!(client.next()["event"], "pusher:connection_established");
                return client;
            }
            assert!(begun.elapsed() < PATIENCE, "never in time");
        }
    }

    /// A client that has done nothing but the upgrade.
    fn upgraded(&self, path: &str) -> Client {
        let url = format!("ws://{}{path}", self.address);
        let (socket, _) = tungstenite::client::client(url, self.tcp()).unwrap();
        Client { socket, socket_id: String::new() }
    }

    /// The number after a metric's name and labels.
    fn metric(&self, series: &str) -> f64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).unwrap_or("0");
        line.parse().unwrap()
    }

    fn await_metric(&self, series: &str, value: f64) {
        eventually(|| self.metric(series) == value, || format!("{series} is {}", self.metric(series)));
    }

    /// A signed request on a socket of its own.
    fn api(&self, method: &str, path: &str, parameters: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let query = signer().request(method, path, parameters, body.as_bytes(), now());
        let (status, _, body) = self.http(&request(method, &format!("{path}?{query}"), &body, "Connection: close\r\n"));
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    fn publish(&self, channel: &str, data: &str) -> (u16, Value) {
        let body = json!({ "name": "e", "channel": channel, "data": data });
        self.api("POST", "/apps/1001/events", &[], &body)
    }

    /// Sends raw bytes, and reads until the other side closes.
    fn http(&self, request: &str) -> (u16, String, String) {
        let mut stream = self.tcp();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        parse(&answer)
    }

    /// Has it drain, and waits until its grace is over; a socket has come early.
    fn close(&self) {
        let early = self.tcp();
        // Sockets are accepted in their order.
        let clients = [self.client(), self.client()];
        self.shutdown.cancel();
        eventually(|| TcpStream::connect(self.address).is_err(), || "still listening".to_owned());
        drop(clients);
        self.early.lock().push(early);
    }

    fn stop(&mut self) -> Drained {
        self.shutdown.cancel();
        let serving = self.serving.take().unwrap();
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, serving).await }).expect("drained").unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// Status, head and body of an answer.
fn parse(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn request(method: &str, target: &str, body: &str, headers: &str) -> String {
    let length = body.len();
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

fn signer() -> Signer {
    Signer::from(&fixtures::app().keys[0])
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Waits until `done`, looking every few milliseconds.
fn eventually(done: impl Fn() -> bool, problem: impl Fn() -> String) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{}", problem());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A drain without a grace and without an end.
fn everlasting() -> Config {
    Config { drain_duration: Duration::from_secs(3600), ..quick() }
}

/// Short times, so that tests of the end of things do not wait; long ones where only a busy machine would be too late.
fn quick() -> Config {
    Config {
        handshake_timeout: PATIENCE,
        body_timeout: PATIENCE,
        attach_timeout: PATIENCE,
        xhr_grace: PATIENCE,
        drain_grace: Duration::ZERO,
        drain_duration: Duration::from_millis(50),
        close_timeout: Duration::from_secs(1),
        occupancy_interval: Duration::from_millis(20),
        ..Config::default()
    }
}

struct Client {
    socket: WebSocket<TcpStream>,
    socket_id: String,
}

impl Client {
    fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).unwrap();
    }

    /// The next text frame.
    fn next(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("expected text, got {other:?}"),
            }
        }
    }

    fn subscribe(&mut self, channel: &str) {
        let auth = if channel.starts_with("private-") {
            signer().channel(&self.socket_id, channel, None)
        } else {
            String::new()
        };
        self.send(&json!({ "event": "pusher:subscribe", "data": { "channel": channel, "auth": auth } }));
        let answer = self.next();
        assert_eq!(
            (&answer["event"], &answer["channel"]),
            (&json!("pusher_internal:subscription_succeeded"), &json!(channel))
        );
    }

    /// Reads until the close frame, and gives its code and reason.
    fn close(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(close)) = self.socket.read().unwrap() {
                return (close.code.into(), close.reason.to_string());
            }
        }
    }

    /// Reads until the close frame, and gives its code.
    fn close_code(&mut self) -> u16 {
        loop {
            match self.socket.read().unwrap() {
                Message::Close(Some(close)) => return close.code.into(),
                Message::Close(None) => return CloseCode::Status.into(),
                _ => {}
            }
        }
    }

    /// The code, if a close frame is the first thing it is sent.
    fn first_close(&mut self) -> Option<u16> {
        match self.socket.read().unwrap() {
            Message::Close(close) => close.map(|close| close.code.into()),
            _ => None,
        }
    }

    /// Proves that the connection works.
    fn check(&mut self) {
        self.send(&json!({ "event": "pusher:ping", "data": {} }));
        assert_eq!(self.next()["event"], "pusher:pong");
    }
}
