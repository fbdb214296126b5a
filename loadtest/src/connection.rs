//! Opening client connections: upgrade, greeting, one subscription.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use crate::cli::Common;
use crate::error::Error;
use crate::message::{ESTABLISHED, Frame, SUBSCRIBED, subscribe};

/// How long the server may take for each step; long, so that a slow server is measured rather than given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How many connections are in the making at a time: enough to keep the server busy, fewer than any listen queue.
const CONNECTING: u32 = 8;

/// Small: it is held by each connection, and the machine's memory belongs to the server.
const READ_BUFFER: usize = 2048;

/// A subscribed client; its socket does not block.
pub(crate) type Connection = WebSocket<TcpStream>;

/// Opens `count` connections, spread evenly over `addresses`, a few at the same time; the `n`th subscribes to
/// `channel(n)`. Answers them and how long it took.
pub(crate) fn open_all(
    addresses: &[SocketAddr],
    settings: &Common,
    count: u32,
    channel: impl Fn(u32) -> String + Sync,
) -> Result<(Vec<Connection>, Duration), Error> {
    let next = AtomicU32::new(0);
    let start = Instant::now();
    let worker = || {
        let mut opened = Vec::new();
        loop {
            let n = next.fetch_add(1, Relaxed);
            if n >= count {
                return Ok(opened);
            }
            let address = addresses[n as usize % addresses.len()];
            match open(address, settings.key.as_str(), &channel(n)) {
                Ok(connection) => opened.push(connection),
                Err(error) => {
                    // Nobody needs to go on.
                    next.store(count, Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let opened: Vec<Vec<Connection>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTING).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("the worker does not panic")).collect::<Result<_, _>>()
    })?;
    Ok((opened.into_iter().flatten().collect(), start.elapsed()))
}

fn open(address: SocketAddr, key: &str, channel: &str) -> Result<Connection, Error> {
    let system = || Error::system(format!("connecting a client to {address}"));
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(system())?;
    stream.set_nodelay(true).map_err(system())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(system())?;
    let url = format!("ws://{address}/app/{key}?protocol=7&client=loadtest&version={}", env!("CARGO_PKG_VERSION"));
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
    let upgraded = tungstenite::client::client_with_config(url, stream, Some(config));
    let (mut connection, _) = upgraded.map_err(|error| match error {
        HandshakeError::Failure(error) => Error::WebSocket(Box::new(error)),
        HandshakeError::Interrupted(_) => {
            Error::Unwelcome { awaited: "an upgrade", received: "nothing in time".to_owned() }
        }
    })?;
    expect(&mut connection, ESTABLISHED)?;
    connection.send(Message::text(subscribe(channel))).map_err(Box::new)?;
    expect(&mut connection, SUBSCRIBED)?;
    connection.get_ref().set_nonblocking(true).map_err(system())?;
    Ok(connection)
}

/// Reads the next message, which has to be `event`.
fn expect(connection: &mut Connection, event: &'static str) -> Result<(), Error> {
    loop {
        let received = match connection.read().map_err(Box::new)? {
            Message::Text(text) => text.to_string(),
            Message::Ping(_) | Message::Pong(_) => continue,
            other @ (Message::Binary(_) | Message::Close(_) | Message::Frame(_)) => format!("{other:?}"),
        };
        return match serde_json::from_str::<Frame<'_>>(&received) {
            Ok(frame) if frame.event == event => Ok(()),
            _ => Err(Error::Unwelcome { awaited: event, received }),
        };
    }
}
