//! A byte stream that never waits: plain TCP, or TLS over it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// To a server; what is sent before it is connected waits.
#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    /// Boxed, since it is large and mostly absent.
    tls: Option<Box<ClientConnection>>,
    /// What the socket did not take yet.
    waiting: Vec<u8>,
}

impl Transport {
    /// Begins to connect.
    pub(super) fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        let session = |config: &Arc<ClientConfig>| {
            let name = ServerName::IpAddress(address.ip().into());
            let mut session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
            // What is sent at once is never more than a publish.
            session.set_buffer_limit(None);
            Ok::<_, io::Error>(Box::new(session))
        };
        Ok(Self { socket, tls: tls.map(session).transpose()?, waiting: Vec::new() })
    }

    /// Wants to be told under `token` when there is something to do.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Sends `bytes`, at once as far as the socket takes them, the rest with the next [`Transport::flush`].
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None if self.waiting.is_empty() => {
                let sent = match self.socket.write(bytes) {
                    Ok(sent) => sent,
                    Err(error) if is_not_yet(&error) => 0,
                    Err(error) => return Err(error),
                };
                self.waiting.extend_from_slice(&bytes[sent..]);
                return Ok(());
            }
            None => self.waiting.extend_from_slice(bytes),
        }
        self.flush()
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if is_not_yet(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(sent) => drop(self.waiting.drain(..sent)),
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.waiting = Vec::new();
        Ok(())
    }

    /// Reads what there is; nothing at the end of the stream, [`ErrorKind::WouldBlock`] if there is nothing now.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(into) };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            // A handshake goes on with an answer.
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if is_not_yet(&error) => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Whether the socket only has no room, or is not connected yet.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
