//! Free ports.

use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which operating systems give ports to outgoing connections: one of those would otherwise take a
/// port between its choice and its use now and then.
const PORTS: Range<u16> = 12_000..32_000;

/// Where this process begins, so that test processes which run at the same time seldom try the same ports.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
    let random = RandomState::new().hash_one(std::process::id());
    let offset = random % u64::from(PORTS.end - PORTS.start);
    AtomicU16::new(PORTS.start + u16::try_from(offset).expect("below the size of a range of u16"))
});

/// A port that nobody listens on at this moment, and that this process does not give out again soon.
pub fn free_port() -> u16 {
    loop {
        let next = |port: u16| Some(if port + 1 < PORTS.end { port + 1 } else { PORTS.start });
        let port = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).expect("there is always a next port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
