//! From the listener's backlog to the first request: who gets in, the PROXY header, TLS.
//!
//! What is said once HTTP begins is for [`crate::http`]; whether there is room is for [`crate::admission`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::admission::{self, Entry, NoHeader, ProxyProtocol, Turn, TurnedAway};
use crate::http;
use crate::metrics::Refusal;
use crate::server::Shared;
use crate::stream::Stream;

/// Pause after the operating system refused us a socket: no descriptors, no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts sockets until `stop`, and then those that have come by then.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener, stop: CancellationToken) {
    loop {
        let turn = tokio::select! {
            () = stop.cancelled() => break,
            turn = shared.gate.turn() => turn,
        };
        // Whoever is there already has waited for it.
        let waited = turn.held.and_then(|held| Some((held, listener.accept().now_or_never()?)));
        let accepted = match waited {
            Some((held, accepted)) => {
                shared.metrics.hold(held);
                accepted
            }
            None => tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            },
        };
        match accepted {
            Ok((socket, peer)) => admit(&shared, turn, socket, peer),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a socket could not be accepted");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    if let Err(error) = empty(&shared, listener) {
        tracing::warn!(error = &error as &dyn std::error::Error, "those who came last may be cut off");
    }
}

/// Takes in who is in the backlog, as far as the pace allows: closing the listener resets them.
fn empty(shared: &Arc<Shared>, listener: TcpListener) -> io::Result<()> {
    // What the runtime knows of it may be older than they are.
    let listener = listener.into_std()?;
    while let Some(turn) = shared.gate.turn().now_or_never() {
        match listener.accept() {
            Ok((socket, peer)) => {
                socket.set_nonblocking(true)?;
                admit(shared, turn, TcpStream::from_std(socket)?, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // It has gone again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Serves a socket that was accepted, if it gets in.
fn admit(shared: &Arc<Shared>, turn: Turn, socket: TcpStream, peer: SocketAddr) {
    match shared.gate.enter(turn, peer.ip()) {
        Ok(entry) => {
            shared.tasks.spawn(serve(Arc::clone(shared), socket, peer, entry));
        }
        Err(why) => turn_away(shared, socket, why),
    }
}

/// Counts a socket that does not get in, and tells its client, if that can be done.
fn turn_away(shared: &Arc<Shared>, socket: TcpStream, why: TurnedAway) {
    shared.metrics.refuse(why.refusal());
    if !shared.is_tls()
        && let Some(permit) = shared.gate.refusal()
    {
        shared.tasks.spawn(admission::turn_away(socket, why, permit));
    }
}

/// Serves the socket of `peer` until its end.
async fn serve(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr, entry: Entry) {
    // Boxed: a WebSocket's task must not carry the size of what came before.
    let Some(socket) = Box::pin(greet(&shared, tcp, peer, entry)).await else { return };
    if let Some(upgrade) = socket.upgrade() {
        upgrade.serve(&shared).await;
    }
}

/// A PROXY header and TLS, if there are any, then HTTP. Gives what is known of the socket, if it came to that.
async fn greet(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr, mut entry: Entry) -> Option<http::Socket> {
    let accepted = Instant::now();
    // Messages are small and wait for nobody. If it fails the socket is dead, which is found out soon.
    tcp.set_nodelay(true).ok();
    let address = match shared.config.proxy_protocol {
        ProxyProtocol::Off => peer,
        ProxyProtocol::Required => {
            let client = in_time(shared, accepted, shared.gate.client_of(&tcp, peer)).await?;
            let address = match client {
                Ok(address) => address,
                Err(NoHeader::Silent) => return None,
                Err(why @ (NoHeader::Bad | NoHeader::Untrusted)) => {
                    tracing::debug!(%peer, ?why, "a socket came without a PROXY header that counts");
                    shared.metrics.refuse(Refusal::ProxyHeader);
                    return None;
                }
            };
            match shared.gate.guest(address.ip()) {
                Ok(guest) => entry.guest = guest,
                Err(why) => {
                    turn_away(shared, tcp, why);
                    return None;
                }
            }
            address
        }
    };
    let stream = match &shared.certificate {
        None => Stream::Plain(Arc::new(tcp)),
        Some(certificate) => match in_time(shared, accepted, certificate.acceptor().accept(tcp)).await? {
            Ok(stream) => Stream::Tls(Box::new(stream)),
            Err(error) => {
                tracing::debug!(%address, error = &error as &dyn std::error::Error, "TLS handshake failed");
                shared.metrics.refuse(Refusal::Tls);
                return None;
            }
        },
    };
    let socket = http::Socket::new(accepted, address, entry);
    http::serve(Arc::clone(shared), stream, socket.clone()).await;
    Some(socket)
}

/// A step of the handshake of a socket that was `accepted` then; `None`, and counted, if it takes too long.
async fn in_time<T>(shared: &Shared, accepted: Instant, step: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = step => Some(done),
        late = shared.gate.too_late(accepted) => {
            shared.metrics.refuse(late);
            None
        }
        () = shared.kill.cancelled() => None,
    }
}
