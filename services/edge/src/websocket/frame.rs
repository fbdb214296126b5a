//! Server frames as bytes.

use ably::Format;
use bytes::Bytes;

use crate::queue::Frame;

/// First byte of a whole text message.
const FINAL_TEXT: u8 = 0x81;

/// First byte of a whole binary message.
const FINAL_BINARY: u8 = 0x82;

/// Longest header of a frame without mask.
const MAX_HEADER: usize = 10;

/// One text message, as it goes onto the wire.
pub(crate) fn text(payload: &str) -> Frame {
    texts(std::slice::from_ref(&payload))
}

/// Several text messages in a row, each in its own WebSocket frame, in one piece of memory.
pub(crate) fn texts(payloads: &[impl AsRef<str>]) -> Frame {
    let length: usize = payloads.iter().map(|payload| payload.as_ref().len() + MAX_HEADER).sum();
    let mut bytes = Vec::with_capacity(length);
    for payload in payloads {
        let payload = payload.as_ref().as_bytes();
        push_header(&mut bytes, FINAL_TEXT, payload.len());
        bytes.extend_from_slice(payload);
    }
    let messages = u32::try_from(payloads.len()).unwrap_or(u32::MAX);
    Frame { bytes: Bytes::from(bytes), messages, ..Frame::default() }
}

/// A frame of the Ably protocol, as it goes onto the wire. It counts as one message, as all do but WebSocket's own.
pub(crate) fn ably(format: Format, payload: &[u8]) -> Frame {
    let mut bytes = Vec::with_capacity(payload.len() + MAX_HEADER);
    push_header(&mut bytes, if format.is_binary() { FINAL_BINARY } else { FINAL_TEXT }, payload.len());
    bytes.extend_from_slice(payload);
    Frame { bytes: Bytes::from(bytes), messages: 1, ..Frame::default() }
}

/// The payloads of messages that were encoded here, for transports that frame them in another way.
pub(crate) fn payloads(mut bytes: &[u8]) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (header, length) = match *bytes {
            [_, 126, a, b, ..] => (4, usize::from(u16::from_be_bytes([a, b]))),
            [_, 127, a, b, c, d, e, f, g, h, ..] => {
                (10, usize::try_from(u64::from_be_bytes([a, b, c, d, e, f, g, h])).ok()?)
            }
            [_, short, ..] => (2, usize::from(short)),
            [] | [_] => return None,
        };
        let (payload, rest) = bytes.get(header..)?.split_at_checked(length)?;
        bytes = rest;
        std::str::from_utf8(payload).ok()
    })
}

fn push_header(bytes: &mut Vec<u8>, first: u8, length: usize) {
    bytes.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::Frame as Reference;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;

    #[test]
    fn headers_are_those_of_the_library() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
            let payload = "x".repeat(length);
            let mut expected = Vec::new();
            Reference::message(payload.clone(), OpCode::Data(Data::Text), true).format(&mut expected).unwrap();
            assert_eq!(text(&payload).bytes, expected, "{length}");
            assert_eq!(payloads(&expected).collect::<Vec<_>>(), [payload], "{length}");
        }
    }

    #[test]
    fn each_format_has_its_kind_of_frame() {
        for (format, code) in [(Format::Json, Data::Text), (Format::MsgPack, Data::Binary)] {
            let mut expected = Vec::new();
            Reference::message("x".repeat(300), OpCode::Data(code), true).format(&mut expected).unwrap();
            assert_eq!(ably(format, "x".repeat(300).as_bytes()).bytes, expected);
        }
    }

    #[test]
    fn several_messages_are_several_frames() {
        let frame = texts(&["ab", "c"]);
        assert_eq!(frame.bytes, [0x81, 2, b'a', b'b', 0x81, 1, b'c'].as_slice());
        assert_eq!(frame.messages, 2);
        assert_eq!(payloads(&frame.bytes).collect::<Vec<_>>(), ["ab", "c"]);
    }
}
