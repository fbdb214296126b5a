//! The admin listener's connections.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::{Admin, routes};

/// Most connections at a time. Probes and scrapers need a handful; more wait in the accept queue.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send its request head, also between requests of a kept connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open answers may take after shutdown was asked for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which usually means that descriptors ran out: without it the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often observations are folded into buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves, and also does the upkeep of the metrics. Ends with every connection ended.
pub async fn serve(listener: TcpListener, admin: Admin, shutdown: impl Future<Output = ()>) {
    let admin = Arc::new(admin);
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut upkeep = interval(UPKEEP);
    upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = upkeep.tick() => admin.exporter.upkeep(),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&admin), closed.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "admin listener could not accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    drop(closing);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(CLOSE_TIMEOUT, all).await.is_err() {
        tracing::debug!(open = connections.len(), "admin connections did not end by themselves");
        connections.shutdown().await;
    }
}

/// `closed` resolves when the listener wants to end.
async fn serve_connection(stream: TcpStream, admin: Arc<Admin>, mut closed: watch::Receiver<()>) {
    let service = service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(routes::answer(&admin, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 * 1024);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = &mut connection => result,
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "admin connection ended early");
    }
}
