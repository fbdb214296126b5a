//! As much of HTTP/1.1 as one keep-alive connection between known ends needs.

use std::io::{self, BufRead};

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

    /// Status of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.first_line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }
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
        assert_eq!((first.status(), first.body.as_slice()), (Some(200), &b"{}"[..]));
        assert_eq!(Exchange::read(&mut bytes).unwrap().status(), Some(401));
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
