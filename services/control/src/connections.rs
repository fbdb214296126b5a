//! Accepted connections: how many there may be, and their end.
//!
//! tonic takes any number of connections, waits for ever for one that never finishes its HTTP/2 handshake and, once told
//! to stop, for the last of all. Here each one holds a slot, is cut when it falls silent, and can be cut from outside.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use certificate::Certificate;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Pause after a failed accept. The usual cause is a lack of file descriptors, and asking again at once would only
/// burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections may take up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Most at one time.
    pub(crate) connections: usize,
    /// How long one may neither send nor take anything.
    pub(crate) silence: Duration,
}

/// One connection of a caller.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Ends the connection from our side.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Ends it too; put off whenever something arrives, or is taken from us.
    silent: Pin<Box<Sleep>>,
    silence: Duration,
    /// Free for the next one when this one goes.
    _slot: OwnedSemaphorePermit,
}

/// Connections of `listener` within `bounds`, until `cut`. One too many is closed as soon as it is accepted, so that
/// its caller learns of it instead of waiting.
pub(crate) fn accept(
    listener: TcpListener,
    bounds: Bounds,
    cut: CancellationToken,
) -> impl Stream<Item = io::Result<Connection>> {
    let slots = Arc::new(Semaphore::new(bounds.connections.min(Semaphore::MAX_PERMITS)));
    stream::unfold((listener, slots, cut), move |(listener, slots, cut)| async move {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                tracing::warn!(%peer, "too many control connections; this one is closed");
                continue;
            };
            // Requests are small and wait for an answer; holding them back to fill a packet only costs time.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, %peer, "a control connection was gone before it began");
                continue;
            }
            let Bounds { silence, .. } = bounds;
            let connection = Connection {
                stream,
                peer,
                cut: Box::pin(cut.clone().cancelled_owned()),
                silent: Box::pin(tokio::time::sleep(silence)),
                silence,
                _slot: slot,
            };
            return Some((Ok(connection), (listener, slots, cut)));
        }
    })
}

/// `connections` behind their TLS handshakes, with the certificate there is by then. Each may take as long as a connection may be silent, and holds nobody up.
pub(crate) fn secure(
    connections: impl Stream<Item = io::Result<Connection>>,
    certificate: Arc<Certificate>,
    bounds: Bounds,
) -> impl Stream<Item = io::Result<TlsStream<Connection>>> {
    let handshakes = connections.map(move |connection| {
        let tls = certificate.acceptor();
        async move { tokio::time::timeout(bounds.silence, tls.accept(connection?)).await? }
    });
    handshakes.buffer_unordered(bounds.connections).filter_map(|shaken| {
        let shaken = shaken.inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"));
        std::future::ready(shaken.ok().map(Ok))
    })
}

impl Connection {
    /// Whether the connection was cut; if not, the task is woken when it is.
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// What came of reading or writing; an error where nothing has `moved` for too long.
    fn poll_silence<T>(
        &mut self,
        cx: &mut Context<'_>,
        moved: bool,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if moved {
            let deadline = Instant::now() + self.silence;
            self.silent.as_mut().reset(deadline);
        } else if outcome.is_pending() && self.silent.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        outcome
    }
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        let had = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let moved = buf.filled().len() > had;
        self.poll_silence(cx, moved, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.poll_silence(cx, written.is_ready(), written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.poll_silence(cx, written.is_ready(), written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
