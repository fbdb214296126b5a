//! One server connection driven by a stream-less `WebSocketContext`: the candidate for the edge.
//!
//! The context only ever sees [`Pipe`]: its reads come from the socket without blocking, and what
//! it writes (pong, close) is appended to our queue, so that it is never written between two
//! halves of a data frame. Data frames go to the socket as the shared bytes they were encoded in.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::Message;
use tungstenite::error::{CapacityError, Error, Result};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};

/// Queued replies beyond which the peer's frames are no longer read.
const MAX_QUEUED_REPLIES: usize = 16;

pub struct Conn<S> {
    io: S,
    ctx: WebSocketContext,
    out: VecDeque<Bytes>,
}

/// What the context reads from and writes to, for the length of one call.
struct Pipe<'a, 'cx, S> {
    io: &'a mut S,
    cx: &'a mut Context<'cx>,
    out: &'a mut VecDeque<Bytes>,
}

impl<S: AsyncRead + Unpin> io::Read for Pipe<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buf) {
            Poll::Ready(result) => result.map(|()| buf.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S> io::Write for Pipe<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.push_back(Bytes::copy_from_slice(buf));
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    /// `leftover`: what the peer sent after its upgrade request (hyper's `Parts::read_buf`).
    pub fn new(io: S, leftover: &[u8], read_buffer: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(read_buffer)
            .write_buffer_size(0)
            .max_frame_size(Some(64 * 1024))
            .max_message_size(Some(64 * 1024));
        let ctx = WebSocketContext::from_partially_read(leftover.to_vec(), Role::Server, Some(config));
        let out = VecDeque::new();
        Self { io, ctx, out }
    }

    /// The next message. Call until pending, then [`Self::poll_flush`]: replies are queued here.
    /// `Err(ConnectionClosed)` is the orderly end, after which the queue is still to be flushed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message>> {
        if self.out.len() > MAX_QUEUED_REPLIES {
            ready!(self.poll_flush(cx))?;
        }
        let Self { io, ctx, out } = self;
        match ctx.read(&mut Pipe { io, cx, out }) {
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            result => Poll::Ready(result),
        }
    }

    /// Sends a frame that was encoded once for all its receivers; queues what does not fit.
    /// True if nothing waits in the queue afterwards.
    pub fn send(&mut self, cx: &mut Context<'_>, frame: &Bytes) -> io::Result<bool> {
        if !self.ctx.can_write() {
            return Ok(self.out.is_empty());
        }
        let mut written = 0;
        if self.out.is_empty()
            && let Poll::Ready(result) = Pin::new(&mut self.io).poll_write(cx, frame)
        {
            written = result?;
        }
        if written < frame.len() {
            self.out.push_back(frame.slice(written..));
        }
        Ok(self.out.is_empty())
    }

    /// Writes the queue out. Over TLS this is also what pushes the records to the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(front) = self.out.front_mut() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, front))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            front.advance(written);
            if front.is_empty() {
                self.out.pop_front();
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Queues a close frame. Go on reading (until `ConnectionClosed` or a deadline) and flushing.
    pub fn close(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &str) -> Result<()> {
        let reason = reason.into();
        let Self { io, ctx, out } = self;
        ctx.close(&mut Pipe { io, cx, out }, Some(CloseFrame { code, reason }))
    }
}

/// The close code to answer a failed read with, if the peer is still there to hear it.
pub fn close_code(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(CloseCode::Size),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::Protocol),
        _ => None,
    }
}

/// A whole server frame, header and payload, to be shared by all who receive it.
pub fn encode(payload: Bytes, kind: Data) -> Bytes {
    let frame = Frame::message(payload, OpCode::Data(kind), true);
    let mut encoded = Vec::with_capacity(frame.len());
    frame.format(&mut encoded).expect("writing to memory does not fail");
    encoded.into()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A client frame; a mask of zeros leaves the payload as it is.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    }

    fn conn(pipe: usize) -> (Conn<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(pipe);
        (Conn::new(server, &[], 512), client)
    }

    async fn read(conn: &mut Conn<DuplexStream>) -> Result<Message> {
        poll_fn(|cx| conn.poll_read(cx)).await
    }

    #[tokio::test]
    async fn joins_fragments_around_a_ping_and_queues_the_pong() {
        let (mut conn, mut client) = conn(1024);
        for frame in [masked(0x01, b"he"), masked(0x89, b"p"), masked(0x80, b"y")] {
            client.write_all(&frame).await.unwrap();
        }
        assert_eq!(read(&mut conn).await.unwrap(), Message::Ping("p".into()));
        assert_eq!(read(&mut conn).await.unwrap(), Message::text("hey"));
        poll_fn(|cx| conn.poll_flush(cx)).await.unwrap();
        let mut pong = [0; 3];
        client.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, [0x8a, 1, b'p']);
    }

    #[tokio::test]
    async fn a_reply_waits_for_the_rest_of_a_half_written_frame() {
        let (mut conn, mut client) = conn(10);
        let frame = encode(Bytes::from_static(b"0123456789"), Data::Text);
        poll_fn(|cx| Poll::Ready(conn.send(cx, &frame))).await.unwrap();
        client.write_all(&masked(0x89, b"")).await.unwrap();
        assert!(read(&mut conn).await.unwrap().is_ping());
        // The pong is queued by the next read, which finds nothing.
        let idle = poll_fn(|cx| Poll::Ready(conn.poll_read(cx).is_pending()));
        assert!(idle.await);
        let mut seen = [0; 14];
        let flush = poll_fn(|cx| conn.poll_flush(cx));
        let (flushed, got) = tokio::join!(flush, client.read_exact(&mut seen));
        flushed.unwrap();
        got.unwrap();
        assert_eq!(&seen[..12], &frame[..]);
        assert_eq!(&seen[12..], [0x8a, 0]);
    }

    #[tokio::test]
    async fn answers_a_close_and_ends() {
        let (mut conn, mut client) = conn(1024);
        client.write_all(&masked(0x88, &[0x03, 0xe8])).await.unwrap();
        assert!(read(&mut conn).await.unwrap().is_close());
        assert!(matches!(read(&mut conn).await, Err(Error::ConnectionClosed)));
        poll_fn(|cx| conn.poll_flush(cx)).await.unwrap();
        let mut reply = [0; 4];
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, [0x88, 2, 0x03, 0xe8]);
    }

    #[tokio::test]
    async fn maps_violations_to_close_codes() {
        let oversized = [0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0].to_vec();
        for (bytes, code) in [
            (vec![0x81, 1, b'a'], CloseCode::Protocol),
            (masked(0x81, &[0xff]), CloseCode::Invalid),
            (oversized, CloseCode::Size),
        ] {
            let (mut conn, mut client) = conn(1024);
            client.write_all(&bytes).await.unwrap();
            let error = read(&mut conn).await.unwrap_err();
            assert_eq!(close_code(&error), Some(code), "{error}");
            poll_fn(|cx| Poll::Ready(conn.close(cx, code, ""))).await.unwrap();
            poll_fn(|cx| conn.poll_flush(cx)).await.unwrap();
            let mut reply = [0; 4];
            client.read_exact(&mut reply).await.unwrap();
            assert_eq!(reply[..2], [0x88, 2]);
            assert_eq!(CloseCode::from(u16::from_be_bytes([reply[2], reply[3]])), code);
        }
    }

    #[tokio::test]
    async fn works_over_tls() {
        let (server, client) = duplex(1024);
        let (acceptor, connector) = tls();
        let (server, client) =
            tokio::join!(acceptor.accept(server), connector.connect("localhost".try_into().unwrap(), client));
        let mut conn = Conn::new(server.unwrap(), &[], 512);
        let mut client = client.unwrap();
        client.write_all(&masked(0x81, b"hey")).await.unwrap();
        client.flush().await.unwrap();
        let message = poll_fn(|cx| conn.poll_read(cx)).await.unwrap();
        assert_eq!(message, Message::text("hey"));
        let frame = encode(Bytes::from(vec![b'x'; 5000]), Data::Text);
        poll_fn(|cx| Poll::Ready(conn.send(cx, &frame))).await.unwrap();
        let mut seen = vec![0; frame.len()];
        let flush = poll_fn(|cx| conn.poll_flush(cx));
        let (flushed, got) = tokio::join!(flush, client.read_exact(&mut seen));
        flushed.unwrap();
        got.unwrap();
        assert_eq!(seen, frame);
    }

    fn tls() -> (tokio_rustls::TlsAcceptor, tokio_rustls::TlsConnector) {
        use std::sync::Arc;
        use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let cert = made.cert.der().clone();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert).unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        (Arc::new(server).into(), Arc::new(client).into())
    }
}
