//! What comes over a byte stream, piece by piece and in place: the head of an HTTP answer, then WebSocket messages,
//! server-sent events or more answers.
//!
//! Nothing is copied but what is not whole yet, so that ten thousand idle clients hold no buffers.

use std::io::Cursor;

use memchr::memmem;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A piece of what the server sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The head of the only answer before a stream begins: its status.
    Head(u16),
    /// An HTTP answer: status and body.
    Answer(u16, &'a [u8]),
    /// A message over WebSocket, text or binary.
    Message(&'a [u8]),
    /// A server-sent event, all its lines.
    Event(&'a [u8]),
    /// A WebSocket ping, to be answered with the same bytes.
    Ping(&'a [u8]),
    /// The server says that it closes: over WebSocket with code and reason.
    Close(&'a [u8]),
    /// Not what we speak.
    Foreign(&'static str),
}

/// How the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Answers, one after the other.
    Answers,
    /// A head, then frames.
    WebSocket,
    /// A head, then events in chunks.
    Events,
}

/// Takes a stream apart.
#[derive(Debug)]
pub(super) struct Decoder {
    form: Form,
    /// Whether the head is behind us.
    begun: bool,
    /// Of a chunk: how much is to come.
    chunk: usize,
    /// Events that are not whole yet.
    text: Vec<u8>,
}

impl Decoder {
    /// At the beginning of a stream.
    pub(super) fn new(form: Form) -> Self {
        Self { form, begun: false, chunk: 0, text: Vec::new() }
    }

    /// Hands the pieces in `bytes` to `take`; answers how many bytes they are. The rest has to come again, with more.
    pub(super) fn decode(&mut self, bytes: &[u8], mut take: impl FnMut(Piece<'_>)) -> usize {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let used = match (self.form, self.begun) {
                (Form::Answers, _) => answer(rest, &mut take),
                (Form::WebSocket | Form::Events, false) => self.head(rest, &mut take),
                (Form::WebSocket, true) => frame(rest, &mut take),
                (Form::Events, true) => self.chunk(rest, &mut take),
            };
            match used {
                0 => return at,
                used => at += used,
            }
        }
    }

    fn head(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> usize {
        let Some(head) = Head::read(bytes) else { return 0 };
        self.begun = true;
        if (head.status == 200) != (self.form == Form::Events) || !matches!(head.status, 101 | 200) {
            take(Piece::Answer(head.status, &bytes[head.length..]));
            return bytes.len();
        }
        if self.form == Form::Events && head.body.is_some() {
            take(Piece::Foreign("events without chunks"));
        }
        take(Piece::Head(head.status));
        head.length
    }

    fn chunk(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> usize {
        if self.chunk == 0 {
            // The line break behind the chunk before it may come first.
            let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
            let Some(end) = memmem::find(&bytes[start..], b"\r\n") else { return 0 };
            let size = str::from_utf8(&bytes[start..start + end]).ok();
            match size.and_then(|size| usize::from_str_radix(size, 16).ok()) {
                Some(0) => take(Piece::Close(b"")),
                Some(size) => self.chunk = size,
                None => take(Piece::Foreign("a chunk without a size")),
            }
            return start + end + 2;
        }
        let now = self.chunk.min(bytes.len());
        self.chunk -= now;
        let mut rest = &bytes[..now];
        if !self.text.is_empty() {
            self.text.extend_from_slice(rest);
            let text = std::mem::take(&mut self.text);
            rest = events(&text, take);
            self.text = rest.to_vec();
        } else {
            rest = events(rest, take);
            self.text.extend_from_slice(rest);
        }
        now
    }
}

/// Hands on the whole events of `text`; answers what is behind them.
fn events<'a>(mut text: &'a [u8], take: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
    while let Some(end) = memmem::find(text, b"\n\n") {
        take(Piece::Event(&text[..end]));
        text = &text[end + 2..];
    }
    text
}

/// The first frame of `bytes`; how long it is.
fn frame(bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> usize {
    let mut cursor = Cursor::new(bytes);
    let (header, length) = match FrameHeader::parse(&mut cursor) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return 0,
        Err(_) => {
            take(Piece::Foreign("no WebSocket frame"));
            return bytes.len();
        }
    };
    let (Ok(start), Ok(length)) = (usize::try_from(cursor.position()), usize::try_from(length)) else { return 0 };
    let Some(payload) = bytes.get(start..).and_then(|rest| rest.get(..length)) else { return 0 };
    take(match header.opcode {
        _ if !header.is_final || header.mask.is_some() => Piece::Foreign("a fragment, or a masked frame"),
        OpCode::Data(Data::Text | Data::Binary) => Piece::Message(payload),
        OpCode::Control(Control::Ping) => Piece::Ping(payload),
        OpCode::Control(Control::Close) => Piece::Close(payload),
        OpCode::Control(Control::Pong) => return start + length,
        OpCode::Data(Data::Continue | Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
            Piece::Foreign("an unknown kind of frame")
        }
    });
    start + length
}

fn answer(bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) -> usize {
    let Some(head) = Head::read(bytes) else { return 0 };
    let Some(length) = head.body else {
        take(Piece::Foreign("an answer without a length"));
        return bytes.len();
    };
    let Some(body) = bytes.get(head.length..).and_then(|rest| rest.get(..length)) else { return 0 };
    take(Piece::Answer(head.status, body));
    head.length + length
}

/// The head of an HTTP answer, as far as it matters.
struct Head {
    status: u16,
    /// Of the head itself, the empty line included.
    length: usize,
    /// Length of the body, if it is told.
    body: Option<usize>,
}

impl Head {
    /// The head that `bytes` begin with, if it is whole; status 0 if it is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let length = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&bytes[..length]);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        let body = pairs.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        Some(Self { status: status.unwrap_or(0), length, body: body.and_then(|(_, value)| value.trim().parse().ok()) })
    }
}

/// A frame from a client, of text or bytes. The mask is zero: it protects proxies from what pages send, and here is
/// neither.
pub(crate) fn client_frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { opcode, mask: Some([0; 4]), ..FrameHeader::default() };
    let mut bytes = Vec::with_capacity(payload.len() + 14);
    header.format(payload.len() as u64, &mut bytes).expect("a vector takes everything");
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `bytes` hold if they come in portions of `size`.
    fn pieces(form: Form, bytes: &[u8], size: usize) -> Vec<String> {
        let mut decoder = Decoder::new(form);
        let (mut kept, mut found) = (Vec::new(), Vec::new());
        for portion in bytes.chunks(size) {
            kept.extend_from_slice(portion);
            let used = decoder.decode(&kept, |piece| {
                found.push(match piece {
                    Piece::Message(bytes) => format!("message {}", String::from_utf8_lossy(bytes)),
                    Piece::Event(bytes) => format!("event {}", String::from_utf8_lossy(bytes)),
                    Piece::Answer(status, bytes) => format!("{status} {}", String::from_utf8_lossy(bytes)),
                    other => format!("{other:?}"),
                });
            });
            kept.drain(..used);
        }
        found
    }

    fn check(form: Form, bytes: &[u8], expected: &[&str]) {
        for size in [1, 2, 3, 7, bytes.len()] {
            assert_eq!(pieces(form, bytes, size), expected, "in portions of {size}");
        }
    }

    #[test]
    fn answers_one_after_the_other() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n";
        check(Form::Answers, bytes, &["200 {}", "401 "]);
    }

    #[test]
    fn messages_behind_an_upgrade() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_vec();
        bytes.extend(b"\x81\x02hi\x82\x01x\x89\x01p\x8a\x00\x81\x7e\x01\x00");
        bytes.extend([b'y'; 256]);
        bytes.extend(b"\x88\x02\x03\xe8");
        let long = format!("message {}", "y".repeat(256));
        check(
            Form::WebSocket,
            &bytes,
            &["Head(101)", "message hi", "message x", "Ping([112])", &long, "Close([3, 232])"],
        );
    }

    #[test]
    fn events_across_chunks() {
        let bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nid:\r\n8\r\n 1\n\nid: \r\nc\r\n2\n\n:alive\n\nx\r\n0\r\n";
        check(Form::Events, bytes, &["Head(200)", "event id: 1", "event id: 2", "event :alive", "Close([])"]);
    }

    #[test]
    fn a_refusal_before_the_stream() {
        let bytes = b"HTTP/1.1 400 Bad\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(pieces(Form::Events, bytes, bytes.len()), ["400 {}"]);
        assert_eq!(pieces(Form::WebSocket, bytes, bytes.len()), ["400 {}"]);
    }

    #[test]
    fn what_a_client_sends_is_masked() {
        assert_eq!(client_frame(OpCode::Data(Data::Text), b"hi"), b"\x81\x82\0\0\0\0hi");
    }
}
