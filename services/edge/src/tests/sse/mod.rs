//! Event streams on real sockets.

mod ending;
mod resuming;
mod stream;

use std::io::ErrorKind;

use ably::sse::EventId;

use super::*;

/// The query of a client with the key.
pub(super) const KEY: &str = "v=1.2&key=app-key:app-secret";

/// A reader of a stream, which looks at every byte.
pub(super) struct Reader {
    socket: TcpStream,
    head: String,
    /// Bytes of the response's body that are not decoded yet.
    raw: Vec<u8>,
    /// Decoded, and not looked at yet.
    text: Vec<u8>,
    /// The body came to its end.
    ended: bool,
    /// The id of the last event that had one, as an `EventSource` keeps it.
    last_id: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    kind: String,
    data: String,
}

impl Event {
    fn value(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

impl Node {
    /// A stream that has begun.
    fn events(&self, target: &str, headers: &str) -> Reader {
        let mut socket = self.tcp();
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        Reader { socket, head, raw: Vec::new(), text: Vec::new(), ended: false, last_id: String::new() }
    }

    /// A stream of these channels, each of which is attached.
    pub(super) fn attached(&self, channels: &str, query: &str) -> Reader {
        let mut reader = self.events(&format!("/sse?{KEY}&channels={channels}&{query}"), "");
        let names: Vec<_> = channels.split(',').collect();
        let at_all = |reader: &Reader| {
            let id = reader.last_id.parse::<EventId>();
            id.is_ok_and(|id| names.iter().all(|name| id.positions.get(name).is_some()))
        };
        while !at_all(&reader) {
            let block = reader.block().expect("not over");
            assert!(!block.contains("event: error"), "{block}");
        }
        reader
    }
}

impl Reader {
    /// What comes up to a blank line; `None` at the end. Fails if the end is not behind a whole event.
    pub(super) fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                let block = String::from_utf8(block).unwrap();
                if let Some(id) = block.lines().find_map(|line| line.strip_prefix("id: ")) {
                    self.last_id = id.to_owned();
                }
                return Some(block);
            }
            if self.ended {
                assert!(self.text.is_empty(), "half an event: {:?}", String::from_utf8_lossy(&self.text));
                return None;
            }
            self.fill().unwrap();
        }
    }

    /// Reads on, and decodes the chunks that are there.
    fn fill(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 8192];
        let read = self.socket.read(&mut bytes)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.raw.extend_from_slice(&bytes[..read]);
        while let Some(line) = self.raw.windows(2).position(|pair| pair == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).unwrap(), 16).unwrap();
            let end = line + 2 + size;
            if self.raw.len() < end + 2 {
                break;
            }
            self.text.extend_from_slice(&self.raw[line + 2..end]);
            self.raw.drain(..end + 2);
            self.ended |= size == 0;
        }
        Ok(())
    }

    /// The next event; `None` at the end.
    fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block()?;
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                lines.collect::<Vec<_>>().join("\n")
            };
            if block.contains("data: ") {
                return Some(Event { kind: field("event"), data: field("data") });
            }
        }
    }

    /// The next event, which is a message.
    fn message(&mut self) -> Value {
        let event = self.event().expect("not over");
        assert_eq!(event.kind, "message", "{event:?}");
        event.value()
    }

    /// The code of the next event, which is an error and the last one.
    fn last_error(&mut self) -> u64 {
        let event = self.event().expect("not over");
        assert_eq!(event.kind, "error", "{event:?}");
        assert_eq!(self.event(), None);
        event.value()["code"].as_u64().unwrap()
    }
}
