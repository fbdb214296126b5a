//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>): what a load
//! balancer that passes bytes on says of its client, before anything else. Its grammar is the library's.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Longest header that is taken: addresses, and what version 2 adds of TLS, names and identifiers. One of version 1 has
/// 107 bytes at most.
const MAX_HEADER: usize = 4096;

/// How a header of version 2 begins whose sender speaks for itself. The next byte is the family of the addresses.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20";

/// Whether sockets begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// None does.
    Off,
    /// All do. The receiver must never guess (section 5 of the specification): who can leave the header out can also
    /// make one up.
    Required,
}

impl ProxyProtocol {
    /// Reads `off` or `required`.
    ///
    /// # Errors
    /// It is neither, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "required" => Ok(Self::Required),
            _ => Err(format!("{text:?} is neither off nor required")),
        }
    }
}

/// Why it is not known whom a socket is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    /// It ended before it said anything, as health checks do that only connect.
    Silent,
    /// What it began with is no header, or too long, or broke off.
    Bad,
    /// It is not from a proxy that is believed.
    Untrusted,
}

/// Takes the header off `socket`, and nothing of what is behind it. Gives whom the proxy speaks for; `None` if for itself.
pub(super) async fn read(socket: &TcpStream) -> Result<Option<SocketAddr>, NoHeader> {
    let mut header = Vec::with_capacity(256);
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    loop {
        let begun = header.len();
        if begun >= MAX_HEADER {
            return Err(NoHeader::Bad);
        }
        // As much as there is, without taking it: what is behind the header is somebody else's.
        header.resize((begun * 2).clamp(256, MAX_HEADER), 0);
        let seen = match socket.peek(&mut header[begun..]).await {
            Ok(0) | Err(_) if begun == 0 => return Err(NoHeader::Silent),
            Ok(0) | Err(_) => return Err(NoHeader::Bad),
            Ok(seen) => seen,
        };
        header.truncate(begun + seen);
        if header.starts_with(LOCAL)
            && let Some(family) = header.get_mut(LOCAL.len())
        {
            // "Unspecified": who speaks for itself may say anything there, and it is to be ignored (section 2.2).
            *family = 0;
        }
        match ProxyHeader::parse(&header, config) {
            Ok((parsed, length)) => {
                take(socket, length - begun).await?;
                return Ok(parsed.proxied_address().map(|proxied| proxied.source));
            }
            Err(Error::BufferTooShort) => take(socket, seen).await?,
            Err(_) => return Err(NoHeader::Bad),
        }
    }
}

/// Takes so many bytes, which are there, off the socket.
async fn take(socket: &TcpStream, mut bytes: usize) -> Result<(), NoHeader> {
    let mut scratch = [0; 256];
    while bytes > 0 {
        let part = bytes.min(scratch.len());
        let read = socket.async_io(Interest::READABLE, || socket.try_read(&mut scratch[..part])).await;
        match read {
            Ok(0) | Err(_) => return Err(NoHeader::Bad),
            Ok(read) => bytes -= read,
        }
    }
    Ok(())
}
