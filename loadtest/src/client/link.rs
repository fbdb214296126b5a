//! One connection: a transport, and what comes over it taken apart.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use super::transport::Transport;
use super::wire::{Decoder, Form, Piece, client_frame};

/// Least room to read into; as much as a socket hands over at once.
const ROOM: usize = 64 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) transport: Transport,
    decoder: Decoder,
    /// What came and is not whole.
    kept: Vec<u8>,
}

impl Link {
    /// Begins to connect, and to send `request`.
    pub(super) fn connect(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        form: Form,
        request: &[u8],
    ) -> io::Result<Self> {
        let mut transport = Transport::connect(address, tls)?;
        transport.send(request)?;
        Ok(Self { transport, decoder: Decoder::new(form), kept: Vec::new() })
    }

    /// Reads all there is into `scratch`, and hands it on piece by piece; pings are answered. Whether the connection is
    /// still open.
    pub(super) fn pump(&mut self, scratch: &mut Vec<u8>, mut take: impl FnMut(&mut Transport, Piece<'_>)) -> bool {
        loop {
            let kept = self.kept.len();
            if scratch.len() < kept + ROOM {
                scratch.resize(2 * kept + ROOM, 0);
            }
            scratch[..kept].copy_from_slice(&self.kept);
            let read = match self.transport.receive(&mut scratch[kept..]) {
                Ok(0) => return false,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            self.kept = Vec::new();
            let (transport, mut open) = (&mut self.transport, true);
            let used = self.decoder.decode(&scratch[..kept + read], |piece| {
                match &piece {
                    Piece::Ping(bytes) => {
                        let pong = client_frame(OpCode::Control(Control::Pong), bytes);
                        open &= transport.send(&pong).is_ok();
                    }
                    Piece::Close(_) | Piece::Foreign(_) => open = false,
                    Piece::Head(_) | Piece::Answer(..) | Piece::Message(_) | Piece::Event(_) => {}
                }
                take(transport, piece);
            });
            self.kept.extend_from_slice(&scratch[used..kept + read]);
            if !open {
                return false;
            }
        }
    }
}
