//! Free ports for servers that have to be told theirs.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below the range from which operating systems give ports to outgoing connections, of which there are many here.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port that nobody listens on at this moment, and that this process has not given out yet.
pub(super) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at a time begin at different places.
    let begin = u16::try_from(std::process::id() * 37 % u32::from(COUNT)).unwrap_or(0);
    loop {
        let port = FIRST + (begin + NEXT.fetch_add(1, Relaxed) % COUNT) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
