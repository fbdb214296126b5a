//! What stands between clients and a server at its public address, and what can go wrong there.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread;

/// What happens to messages of the canary on their way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// They are swallowed.
    Swallow,
    /// They come twice.
    Repeat,
    /// The first two change places.
    Swap,
    /// A letter is another one.
    Alter,
    /// The connection ends.
    Cut,
}

/// A proxy that passes bytes on, but for one fault. Ends with its value.
pub(crate) struct Front {
    port: u16,
    upstream: Arc<AtomicU16>,
    has_ended: Arc<AtomicBool>,
}

impl Front {
    /// In front of whoever listens at the port `upstream`.
    pub(crate) fn start(upstream: u16, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (upstream, has_ended) = (Arc::new(AtomicU16::new(upstream)), Arc::new(AtomicBool::new(false)));
        let front = Self { port, upstream: Arc::clone(&upstream), has_ended: Arc::clone(&has_ended) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if has_ended.load(Ordering::Relaxed) {
                    return;
                }
                // If nobody listens there, the client sees the end.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", upstream.load(Ordering::Relaxed))) {
                    let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                    thread::spawn(move || pass(client, to_server, Fault::None));
                    thread::spawn(move || pass(server, to_client, fault));
                }
            }
        });
        front
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Leads to another server from now on.
    pub(crate) fn lead_to(&self, upstream: u16) {
        self.upstream.store(upstream, Ordering::Relaxed);
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.has_ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// What the data of each message begins with, behind which are 32 digits and the message's number.
const MESSAGE: &[u8] = b"canary ";

fn pass(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let mut room = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut room) {
        let mut bytes = room[..read].to_vec();
        let windows = bytes.windows(MESSAGE.len()).enumerate();
        let messages: Vec<_> = windows.filter(|(_, window)| *window == MESSAGE).map(|(at, _)| at).collect();
        if !messages.is_empty() {
            match fault {
                Fault::None => {}
                Fault::Swallow => continue,
                Fault::Repeat => bytes.extend_from_within(..),
                Fault::Swap => {
                    // They differ by their numbers alone, and the first ones are 3 and 4.
                    for at in messages {
                        let number = &mut bytes[at + MESSAGE.len() + 33];
                        *number = match *number {
                            b'3' => b'4',
                            b'4' => b'3',
                            other => other,
                        };
                    }
                }
                Fault::Alter => {
                    let letter = "漢".as_bytes();
                    let at = bytes.windows(letter.len()).position(|window| window == letter).unwrap();
                    bytes[at..at + letter.len()].copy_from_slice("字".as_bytes());
                }
                Fault::Cut => break,
            }
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}
