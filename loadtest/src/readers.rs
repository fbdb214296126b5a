//! Reading many connections in one thread.

use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tungstenite::Message;

use crate::connection::Connection;
use crate::error::Error;

/// How soon a reader with nothing to read sees that it shall stop.
const LOOK_UP: Duration = Duration::from_millis(20);

/// Reads `connections`, answering pings, until told to `stop`; hands each text with the index of its connection to
/// `received`. Answers how many the server closed.
pub(crate) fn read(
    connections: &mut [Connection],
    stop: &AtomicBool,
    mut received: impl FnMut(usize, &str),
) -> Result<usize, Error> {
    let system = || Error::system("waiting for many connections");
    let mut poll = Poll::new().map_err(system())?;
    for (index, connection) in connections.iter().enumerate() {
        let descriptor = connection.get_ref().as_raw_fd();
        poll.registry().register(&mut SourceFd(&descriptor), Token(index), Interest::READABLE).map_err(system())?;
    }
    let mut events = Events::with_capacity(1024);
    let mut closed = 0;
    while !stop.load(Relaxed) {
        match poll.poll(&mut events, Some(LOOK_UP)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(system()(error)),
            _ => {}
        }
        for event in &events {
            let Token(index) = event.token();
            if !drain(&mut connections[index], |text| received(index, text)) {
                let descriptor = connections[index].get_ref().as_raw_fd();
                poll.registry().deregister(&mut SourceFd(&descriptor)).map_err(system())?;
                closed += 1;
            }
        }
    }
    Ok(closed)
}

/// Reads all there is; whether the connection is still open.
fn drain(connection: &mut Connection, mut received: impl FnMut(&str)) -> bool {
    loop {
        match connection.read() {
            Ok(Message::Text(text)) => received(&text),
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}
