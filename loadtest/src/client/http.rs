//! As much of HTTP/1.1 as one keep-alive connection between known ends needs.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use auth::Signer;

use crate::target::Target;

/// No head or body of ours comes near; what is longer is a mistake.
const MAX_BYTES: u64 = 2_000_000;

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// Reading or writing failed, or took too long.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other end closed it.
    #[error("the connection was closed")]
    Closed,
    /// Not what we speak.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// A request or an answer.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// The request line, or the status line.
    pub(crate) first_line: String,
    /// `Sec-WebSocket-Key`.
    pub(crate) websocket_key: Option<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    /// Reads the next one.
    pub(crate) fn read(from: &mut impl BufRead) -> Result<Self, Broken> {
        let first_line = line(from)?;
        let mut exchange = Self { first_line, ..Self::default() };
        let mut length = 0;
        loop {
            let header = line(from)?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or(Broken::Unsupported("a header without a colon"))?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().map_err(|_| Broken::Unsupported("a strange length"))?,
                "transfer-encoding" => return Err(Broken::Unsupported("a body without a length")),
                "sec-websocket-key" => exchange.websocket_key = Some(value.to_owned()),
                _ => {}
            }
        }
        if length > MAX_BYTES {
            return Err(Broken::Unsupported("a body too long"));
        }
        exchange.body.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        from.read_exact(&mut exchange.body)?;
        Ok(exchange)
    }
}

/// A request to the HTTP API of `target`'s app, signed as server libraries do; `path` is what follows the app.
pub(crate) fn signed(
    target: &Target,
    address: SocketAddr,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let path = format!("/apps/{}{path}", target.app);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let signer = Signer::new(target.key.clone(), target.secret.clone());
    let query = signer.request(method, &path, parameters, body, now);
    let length = body.len();
    let head = format!(
        "{method} {path}?{query} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A request that publishes `data` on `channel`.
pub(crate) fn publish(target: &Target, address: SocketAddr, channel: &str, data: &str) -> Vec<u8> {
    let body = serde_json::json!({"name": super::message::EVENT, "channel": channel, "data": data}).to_string();
    signed(target, address, "POST", "/events", &[], body.as_bytes())
}

fn line(from: &mut impl BufRead) -> Result<String, Broken> {
    let mut line = String::new();
    if io::Read::take(from, MAX_BYTES).read_line(&mut line)? == 0 {
        return Err(Broken::Closed);
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_one_after_the_other() {
        let mut bytes = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 401 Unauthorized\r\n\r\n"[..];
        let first = Exchange::read(&mut bytes).unwrap();
        assert_eq!((first.first_line.as_str(), first.body.as_slice()), ("HTTP/1.1 200 OK", &b"{}"[..]));
        assert_eq!(Exchange::read(&mut bytes).unwrap().first_line, "HTTP/1.1 401 Unauthorized");
        assert!(matches!(Exchange::read(&mut bytes), Err(Broken::Closed)));
    }

    #[test]
    fn refuses_what_it_does_not_speak() {
        for text in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n",
        ] {
            assert!(matches!(Exchange::read(&mut text.as_bytes()), Err(Broken::Unsupported(_))), "{text}");
        }
    }
}
