//! The admin listener over real sockets.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Admin, AppsPage, routes, serve};
use crate::{Exporter, LogFilter, Readiness};

struct Server {
    address: std::net::SocketAddr,
    admin: Admin,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn admin() -> Admin {
    let (_, exporter) = Exporter::build().unwrap();
    let (log_filter, layer) = LogFilter::detached("info");
    // The filter lives as long as its layer.
    std::mem::forget(layer);
    Admin { exporter, readiness: Readiness::new(), log_filter, apps: None, version: "9.9.9", commit: Some("abc123") }
}

async fn start() -> Server {
    start_with(admin()).await
}

async fn start_with(admin: Admin) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, admin.clone(), async {
        stopped.await.ok();
    }));
    Server { address, admin, stop, task }
}

impl Server {
    /// Sends a whole request and answers status and body.
    async fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server may answer and close before it has read an oversize body.
        stream.write_all(body).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, b"").await
    }
}

#[tokio::test]
async fn health_follows_the_parts() {
    let server = start().await;
    let check = server.admin.readiness.check("backbone");
    assert_eq!(server.get("/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(server.get("/readyz").await, (503, "not ready\nbackbone: not ready: starting\n".to_owned()));
    check.set_ready();
    assert_eq!(server.get("/readyz").await, (200, "ready\nbackbone: ready\n".to_owned()));
    server.admin.readiness.drain();
    assert_eq!(server.get("/readyz").await, (503, "draining\nbackbone: ready\n".to_owned()));
    assert_eq!(server.get("/livez").await.0, 200, "draining is not dying");
}

#[tokio::test]
async fn shows_metrics_and_version() {
    let server = start().await;
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("process_open_fds "), "{text}");
    assert!(server.get("/version").await.1.starts_with("{\"version\":\"9.9.9\",\"commit\":\"abc123\",\"os\":"));
}

#[tokio::test]
async fn metrics_by_app_are_a_page_of_their_own() {
    let server = start().await;
    let (status, text) = server.get("/metrics/apps").await;
    assert_eq!(status, 404);
    assert!(text.contains("metrics.apps"), "{text}");
    let apps = Some(AppsPage::new(|| "by app\n".to_owned()));
    let server = start_with(Admin { apps, ..admin() }).await;
    assert_eq!(server.get("/metrics/apps").await, (200, "by app\n".to_owned()));
    assert!(!server.get("/metrics").await.1.contains("by app"));
    assert_eq!(server.ask("PUT", "/metrics/apps", b"").await.0, 405);
}

#[tokio::test]
async fn changes_the_log_level() {
    let server = start().await;
    assert_eq!(server.get("/log-level").await, (200, "info\n".to_owned()));
    assert_eq!(server.ask("PUT", "/log-level", b"debug\n").await, (200, "debug\n".to_owned()));
    assert_eq!(server.get("/log-level").await, (200, "debug\n".to_owned()));
    for bad in [&b"edge=loud"[..], b"", b"\xff\xfe"] {
        assert_eq!(server.ask("PUT", "/log-level", bad).await.0, 400);
    }
    assert_eq!(server.ask("PUT", "/log-level", &[b'a'; 8192]).await.0, 413);
    assert_eq!(server.get("/log-level").await.1, "debug\n");
}

/// A body that never comes.
struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let admin = admin();
    let request = Request::put("/log-level").body(Never).unwrap();
    assert_eq!(routes::answer(&admin, request).await.status(), 408);
}

#[tokio::test]
async fn refuses_other_paths_and_methods() {
    let server = start().await;
    assert_eq!(server.get("/").await.0, 404);
    assert_eq!(server.ask("DELETE", "/log-level", b"").await, (405, "use GET, HEAD, PUT\n".to_owned()));
    assert_eq!(server.ask("POST", "/readyz", b"").await.0, 405);
}

#[tokio::test]
async fn ends_when_told_though_a_client_idles() {
    let server = start().await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(server.get("/livez").await.0, 200);
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    drop(idle);
}
