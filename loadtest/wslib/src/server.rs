//! The process that is measured: hyper up to the upgrade, then one of the libraries.

use std::convert::Infallible;
use std::process::{Child, Command};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tungstenite::handshake::derive_accept_key;

use crate::{library, meter};

const PAYLOAD: usize = 128;
const ROUNDS: usize = 300;
const WARM_UP: usize = 20;

/// The stream under an upgraded connection, and what was read beyond the request.
pub type Upgraded = (TcpStream, Bytes);

pub async fn run(mode: &str, name: &str, connections: usize, message: usize) -> [f64; 3] {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let before = (meter::rss() as f64, meter::heap() as f64);
    let mut client = start_client(port, connections, message);
    let mut upgraded = accept(listener, connections);
    let figures = if mode == "idle" {
        library::echo(name, upgraded, connections).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let heap = meter::heap() as f64 - before.1;
        let resident = meter::rss() as f64 - before.0;
        meter::trim();
        let trimmed = meter::rss() as f64 - before.0;
        [resident / 1024.0, trimmed / 1024.0, heap].map(|figure| figure / connections as f64)
    } else {
        let mut sockets = Vec::new();
        while sockets.len() < connections {
            sockets.push(upgraded.recv().await.expect("another connection"));
        }
        let payload = Bytes::from(vec![b'x'; PAYLOAD]);
        let mut fanout = library::fanout(name, sockets, payload).await;
        let mut total = [0.0; 3];
        for round in 0..WARM_UP + ROUNDS {
            let before = (meter::cpu(), meter::allocations());
            fanout.round().await;
            let after = (meter::cpu(), meter::allocations());
            if round >= WARM_UP {
                let user = after.0.0 - before.0.0;
                total[0] += user + after.0.1 - before.0.1;
                total[1] += user;
                total[2] += (after.1 - before.1) as f64;
            }
            // Lets the client empty its sockets, so that no write has to wait.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        total.map(|figure| figure / (ROUNDS * connections) as f64)
    };
    client.kill().expect("the client still runs");
    client.wait().expect("the client ends");
    figures
}

fn start_client(port: u16, connections: usize, message: usize) -> Child {
    let numbers = [port as usize, connections, message].map(|n| n.to_string());
    let program = std::env::current_exe().expect("own path");
    let child = Command::new(program).arg("client").args(numbers).spawn();
    child.expect("a client process")
}

fn accept(listener: TcpListener, connections: usize) -> UnboundedReceiver<Upgraded> {
    let (sender, receiver) = unbounded_channel();
    tokio::spawn(async move {
        for _ in 0..connections {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option of every socket");
            let sender = sender.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| upgrade(request, sender.clone()));
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await
                    .expect("a request");
            });
        }
    });
    receiver
}

async fn upgrade(
    mut request: Request<Incoming>,
    sender: UnboundedSender<Upgraded>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let parts = upgrade
            .await
            .expect("an upgrade")
            .downcast::<TokioIo<TcpStream>>()
            .expect("the type given to serve_connection");
        // Ignored when nobody waits for more connections.
        sender.send((parts.io.into_inner(), parts.read_buf)).ok();
    });
    let accept = derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes());
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .body(Empty::new());
    Ok(response.expect("valid headers"))
}
