//! Connections to receivers: to allowed addresses only, and nowhere by way of a proxy.
//!
//! The name is resolved here, each address is checked, and the checked address is the one that is connected to: a name
//! that answers differently the next time gains nothing.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::address::Policy;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The URL leads to nowhere that it could be sent to.
    #[error("the URL has no host")]
    NoHost,
    /// The name leads to addresses that are not allowed, and to no others.
    #[error("{host} is at {address}, where webhooks may not go")]
    Forbidden {
        /// As in the URL.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// The name is not known.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// As in the URL.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The receiver does not prove that it is who the URL says.
    #[error("no TLS with {host}: {source}")]
    Tls {
        /// As in the URL.
        host: String,
        /// Why.
        source: io::Error,
    },
}

/// Connects for one webhook. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    policy: Arc<Policy>,
    tls: TlsConnector,
    timeout: Duration,
    /// One at a time: the system's resolver cannot be called off, and a name server that hangs must not take all threads
    /// on which others' names are resolved.
    resolving: Arc<Semaphore>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(policy: Arc<Policy>, tls: TlsConnector, timeout: Duration) -> Self {
        Self { policy, tls, timeout, resolving: Arc::new(Semaphore::new(1)) }
    }

    async fn connect(self, uri: Uri) -> Result<Stream, ConnectError> {
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let addresses = self.resolve(host, port).await?;
        let socket = self.first_that_answers(host, &addresses).await?;
        let failed = |source| ConnectError::Tls { host: host.to_owned(), source };
        if !secure {
            return Ok(Stream(Box::new(TokioIo::new(socket))));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
        let stream = self.tls.connect(name, socket).await.map_err(failed)?;
        Ok(Stream(Box::new(TokioIo::new(stream))))
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let failed = |source| ConnectError::Resolve { host: host.to_owned(), source };
        let turn = Arc::clone(&self.resolving).acquire_owned().await;
        let turn = turn.map_err(|error| failed(io::Error::other(error)))?;
        let name = host.to_owned();
        let resolving = tokio::task::spawn_blocking(move || {
            let addresses = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
            drop(turn);
            addresses
        });
        let addresses = resolving.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
        if addresses.is_empty() { Err(failed(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
    }

    async fn first_that_answers(&self, host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let allowed: Vec<_> = addresses.iter().filter(|address| self.policy.allows(address.ip())).collect();
        let mut failure = match addresses.first() {
            Some(address) => ConnectError::Forbidden { host: host.to_owned(), address: address.ip() },
            None => ConnectError::NoHost,
        };
        // So that one that swallows everything leaves time for the others.
        let share = self.timeout / u32::try_from(allowed.len().max(1)).unwrap_or(u32::MAX);
        for &address in allowed {
            let connected = tokio::time::timeout(share, TcpStream::connect(address)).await;
            let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match connected.and_then(|socket| socket.set_nodelay(true).map(|()| socket)) {
                Ok(socket) => return Ok(socket),
                Err(source) => failure = ConnectError::Connect { address, source },
            }
        }
        Err(failure)
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

trait ReadWrite: Read + Write + Send + Unpin {}
impl<T: Read + Write + Send + Unpin> ReadWrite for T {}

/// A connection, with TLS or without.
pub(super) struct Stream(Box<dyn ReadWrite>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(cx, bufs)
    }
}
