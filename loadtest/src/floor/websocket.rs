//! The floor of fan-out and of connecting: a server that does only what no server can leave out.
//!
//! Per connection it accepts, answers the upgrade and the subscriptions; per delivery it makes one blocking write of a
//! frame encoded once, or with TLS one encryption and one write. No queue, no limit, no check, no way to stop, and one
//! slow client holds up all. What a real server uses beyond it is the price of what it does.
//!
//! One thread: it waits for all sockets and does what they ask. A second one would only cost.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use serde::Deserialize;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

use crate::client::http::{Broken, Exchange};
use crate::client::message::{ESTABLISHED, Publication, SUBSCRIBED};
use crate::error::Error;

/// Of the listener. Connections count from 0 on.
const LISTENER: Token = Token(usize::MAX);
/// More than any client here sends at once: a socket is read once each time it is ready, so all there is has to fit.
const READ_BUFFER: usize = 256 * 1024;
/// What answers a publisher.
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// What a client of the Pusher protocol asks.
#[derive(Deserialize)]
struct Request<'a> {
    event: &'a str,
    #[serde(borrow)]
    data: Subscription<'a>,
}

#[derive(Deserialize)]
struct Subscription<'a> {
    channel: &'a str,
}

/// Serves at `listen` until the process is ended; prints the address first. `tls` are certificate and key.
pub(crate) fn serve(listen: SocketAddr, tls: Option<(&Path, &Path)>) -> Result<(), Error> {
    let tls = tls.map(|(cert, key)| config(cert, key)).transpose()?;
    let system = || Error::system(format!("listening at {listen}"));
    // By this library, since its queue of connections to accept is as long as the system allows.
    let listener = OwnedFd::from(mio::net::TcpListener::bind(listen).map_err(system())?);
    let listener = TcpListener::from(listener);
    println!("{}", listener.local_addr().map_err(system())?);
    let mut server = Server { tls, connections: Vec::new(), channels: HashMap::new() };
    server.run(&listener).map_err(system())
}

fn config(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let unreadable = |path: &Path| Error::UnknownForm(format!("{}: not PEM", path.display()));
    let open = |path: &Path| File::open(path).map_err(Error::system(path.display().to_string())).map(BufReader::new);
    let chain = CertificateDer::pem_reader_iter(open(cert)?).collect::<Result<_, _>>().map_err(|_| unreadable(cert))?;
    let key = PrivateKeyDer::from_pem_reader(open(key)?).map_err(|_| unreadable(key))?;
    Ok(Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?))
}

struct Server {
    tls: Option<Arc<ServerConfig>>,
    /// By token; those that have left are `None`, and nobody gets their place.
    connections: Vec<Option<Connection>>,
    /// Who has subscribed to what. Who has left is taken out at the next delivery.
    channels: HashMap<String, Vec<usize>>,
}

struct Connection {
    stream: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// Whether it is upgraded.
    is_websocket: bool,
    /// The beginning of something that is not there yet as a whole.
    pending: Vec<u8>,
}

/// What a client has sent.
enum Asked {
    Upgrade { key: String },
    Subscribe { channel: String },
    Publish { body: Vec<u8> },
    Nothing,
}

/// What is there as a whole, and its length in bytes.
type Found = (Asked, usize);

impl Server {
    fn run(&mut self, listener: &TcpListener) -> io::Result<()> {
        let mut poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; READ_BUFFER];
        loop {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(listener, &poll)?,
                    Token(index) => {
                        // Whoever fails is not served; the generator notices.
                        if self.serve(index, &mut buffer).is_err() {
                            self.connections[index] = None;
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.connections.len());
            poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), token, Interest::READABLE)?;
            let tls = self.tls.as_ref().map(|config| ServerConnection::new(Arc::clone(config)));
            let tls = tls.transpose().map_err(io::Error::other)?.map(Box::new);
            self.connections.push(Some(Connection { stream, tls, is_websocket: false, pending: Vec::new() }));
        }
    }

    /// Reads what a connection has sent and does what it asks.
    fn serve(&mut self, index: usize, buffer: &mut [u8]) -> Result<(), Broken> {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return Ok(()) };
        connection.read(buffer)?;
        loop {
            let Some(connection) = &mut self.connections[index] else { return Ok(()) };
            let Some(asked) = connection.next()? else { return Ok(()) };
            match asked {
                Asked::Upgrade { key } => {
                    connection.is_websocket = true;
                    connection.write(&upgraded(&key))?;
                }
                Asked::Subscribe { channel } => {
                    let answer = serde_json::json!({"event": SUBSCRIBED, "channel": channel, "data": "{}"});
                    connection.write(&frame(answer.to_string().into_bytes()))?;
                    self.channels.entry(channel).or_default().push(index);
                }
                Asked::Publish { body } => {
                    connection.write(ACCEPTED)?;
                    let publication = serde_json::from_slice::<Publication<'_>>(&body);
                    self.deliver(&publication.map_err(|_| Broken::Unsupported("a publish of another kind"))?);
                }
                Asked::Nothing => {}
            }
        }
    }

    fn deliver(&mut self, publication: &Publication<'_>) {
        let Some(subscribers) = self.channels.get_mut(&*publication.channel) else { return };
        let frame = frame(serde_json::to_vec(publication).expect("strings are JSON"));
        subscribers.retain(|index| {
            let Some(connection) = &mut self.connections[*index] else { return false };
            let written = connection.write(&frame).is_ok();
            if !written {
                self.connections[*index] = None;
            }
            written
        });
    }
}

impl Connection {
    /// Reads once, which gives all that is there.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Broken> {
        let length = self.stream.read(buffer)?;
        let mut bytes = &buffer[..length];
        if bytes.is_empty() {
            return Err(Broken::Closed);
        }
        let Some(tls) = &mut self.tls else {
            self.pending.extend_from_slice(bytes);
            return Ok(());
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)?;
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let start = self.pending.len();
            self.pending.resize(start + state.plaintext_bytes_to_read(), 0);
            tls.reader().read_exact(&mut self.pending[start..])?;
        }
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).write_all(bytes),
        }
    }

    /// The next thing that is there as a whole.
    fn next(&mut self) -> Result<Option<Asked>, Broken> {
        let found = if self.is_websocket { next_frame(&self.pending)? } else { next_request(&self.pending)? };
        let Some((asked, length)) = found else { return Ok(None) };
        if length == self.pending.len() {
            // Gives the memory back, which thousands of subscribers do not need again.
            self.pending = Vec::new();
        } else {
            self.pending.drain(..length);
        }
        Ok(Some(asked))
    }
}

/// What a complete request asks, and how long it is.
fn next_request(bytes: &[u8]) -> Result<Option<Found>, Broken> {
    let mut rest = bytes;
    if !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        return Ok(None);
    }
    let exchange = match Exchange::read(&mut rest) {
        Err(Broken::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    let asked = match exchange.websocket_key {
        Some(key) => Asked::Upgrade { key },
        None => Asked::Publish { body: exchange.body },
    };
    Ok(Some((asked, bytes.len() - rest.len())))
}

/// What a complete frame asks, and how long it is.
fn next_frame(bytes: &[u8]) -> Result<Option<Found>, Broken> {
    let mut cursor = Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|_| Broken::Unsupported("not a frame"))?;
    let Some((FrameHeader { opcode, mask: Some(mask), .. }, length)) = parsed else { return Ok(None) };
    let too_long = |_| Broken::Unsupported("a frame too long");
    let start = usize::try_from(cursor.position()).map_err(too_long)?;
    let end = start.saturating_add(usize::try_from(length).map_err(too_long)?);
    let Some(masked) = bytes.get(start..end) else { return Ok(None) };
    let asked = match opcode {
        OpCode::Control(tungstenite::protocol::frame::coding::Control::Close) => return Err(Broken::Closed),
        OpCode::Control(_) => Asked::Nothing,
        OpCode::Data(_) => {
            let text: Vec<u8> = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            match serde_json::from_slice::<Request<'_>>(&text) {
                Ok(Request { event: "pusher:subscribe", data }) => {
                    Asked::Subscribe { channel: data.channel.to_owned() }
                }
                _ => Asked::Nothing,
            }
        }
    };
    Ok(Some((asked, end)))
}

/// The answer to an upgrade, and the first event, in one write.
fn upgraded(key: &str) -> Vec<u8> {
    let established = serde_json::json!({
        "event": ESTABLISHED, "data": "{\"socket_id\":\"1.1\",\"activity_timeout\":120}"
    });
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    [head.into_bytes(), frame(established.to_string().into_bytes())].concat()
}

fn frame(text: Vec<u8>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::message(text, OpCode::Data(Data::Text), true).format(&mut bytes).expect("a vector takes everything");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `next` finds in the first `n` bytes for every `n`: nothing until `whole` is there.
    fn check_whole(whole: &[u8], next: fn(&[u8]) -> Result<Option<Found>, Broken>) -> Asked {
        for end in 0..whole.len() {
            assert!(next(&whole[..end]).unwrap().is_none(), "{end} bytes");
        }
        let (asked, length) = next(&[whole, b"more"].concat()).unwrap().unwrap();
        assert_eq!(length, whole.len());
        asked
    }

    #[test]
    fn requests_are_taken_when_they_are_complete() {
        let upgrade = b"GET /app/k HTTP/1.1\r\nhost: x\r\nsec-websocket-key: abc\r\n\r\n";
        assert!(matches!(check_whole(upgrade, next_request), Asked::Upgrade { key } if key == "abc"));
        let publish = b"POST /apps/1/events HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}";
        assert!(matches!(check_whole(publish, next_request), Asked::Publish { body } if body == b"{}"));
    }

    #[test]
    fn frames_are_taken_when_they_are_complete() {
        let subscribe = r#"{"event":"pusher:subscribe","data":{"channel":"c","auth":""}}"#;
        for (text, channel) in [(subscribe, Some("c")), (r#"{"event":"pusher:ping","data":{}}"#, None)] {
            let mut frame = Frame::message(text.as_bytes(), OpCode::Data(Data::Text), true);
            frame.header_mut().mask = Some([1, 2, 3, 4]);
            let mut bytes = Vec::new();
            frame.format(&mut bytes).unwrap();
            match check_whole(&bytes, next_frame) {
                Asked::Subscribe { channel: found } => assert_eq!(Some(found.as_str()), channel),
                Asked::Nothing => assert_eq!(channel, None),
                Asked::Upgrade { .. } | Asked::Publish { .. } => panic!("neither was asked"),
            }
        }
    }
}
