//! The HTTP fallback of pusher-js, `xhr_streaming` and `xhr_polling`: paths, the lines of answers, the bodies of sends.
//!
//! A client that gets no WebSocket makes up a session and posts to `[prefix]/app/{key}/{n}/{session}/…`. It receives by
//! requests whose answers are lines, one after the other in one session, and sends frames by other requests. The framing
//! is that of SockJS; its handshake, its other transports and its answers to GET are not spoken here.
//! Source: pusher-js 8.6.0, `src/core/http/`.

use crate::handshake::parse_handshake;
use crate::{CloseCode, Handshake, Refused, Rejection, json};

/// Once it has read more UTF-16 units than this from one answer, and nothing behind a line's end, pusher-js drops the
/// answer and asks anew (`MAX_BUFFER_LENGTH`). What is on its way to it then is lost, so nothing may be.
const CLIENT_BUFFER_UNITS: usize = 256 * 1024;

/// Frames in one send at most. pusher-js sends one.
const MAX_FRAMES: usize = 100;

/// What a request of the fallback wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `xhr_streaming`: lines, for as long as the answer goes on.
    Stream,
    /// `xhr`: the next lines, then the end.
    Poll,
    /// `xhr_send`: to hand in frames.
    Send,
}

/// The `{n}/{session}` that a client made up: 0 to 999, and eight digits to the base of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionName {
    number: u16,
    name: [u8; 8],
}

impl SessionName {
    fn parse(number: &str, name: &str) -> Option<Self> {
        let digits = number.len() <= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
        let name: [u8; 8] = name.as_bytes().try_into().ok()?;
        let base32 = name.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v'));
        (digits && base32).then_some(Self { number: number.parse().ok()?, name })
    }
}

/// A request of the fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it wants.
    pub verb: Verb,
    /// In which session. A session is known by its key and its name: another key's of the same name is another one.
    pub session: SessionName,
    /// The key, and what the query says, which with [`Verb::Send`] is nothing.
    pub handshake: Result<Handshake, Refused>,
}

/// Reads the path and query (behind `?`, empty if there is none) of a request. `None`: it is not one of the fallback.
pub fn route(path: &str, query: &str) -> Option<Route> {
    let (path, verb) = path.rsplit_once('/')?;
    let (path, name) = path.rsplit_once('/')?;
    let (path, number) = path.rsplit_once('/')?;
    let verb = match verb {
        "xhr_streaming" => Verb::Stream,
        "xhr" => Verb::Poll,
        "xhr_send" => Verb::Send,
        _ => return None,
    };
    let session = SessionName::parse(number, name)?;
    let handshake = parse_handshake(path, query);
    let elsewhere = matches!(handshake, Err(Refused { code: CloseCode::UnknownPath, .. }));
    (!elsewhere).then_some(Route { verb, session, handshake })
}

/// The lines of one answer to a request that receives.
#[derive(Debug, Default)]
pub struct Lines {
    text: String,
    /// UTF-16 units of all lines of the answer, those that were taken included.
    units: usize,
}

impl Lines {
    /// The session is open: its very first line, also of one that is refused, or else pusher-js takes no notice of the
    /// code it is closed with.
    pub fn open(&mut self) {
        self.push(|text| text.push('o'));
    }

    /// Frames, in this order.
    pub fn frames<'a>(&mut self, frames: impl IntoIterator<Item = &'a str>) {
        self.push(|text| {
            text.push_str("a[");
            for (index, frame) in frames.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                json::push_string(text, frame);
            }
            text.push(']');
        });
    }

    /// A sign of life. pusher-js answers it with an empty send while it streams, and with its next poll otherwise.
    pub fn heartbeat(&mut self) {
        self.push(|text| text.push('h'));
    }

    /// The session is over.
    pub fn close(&mut self, code: CloseCode) {
        self.close_with(code.number(), code.reason());
    }

    /// There is no session.
    pub fn reject(&mut self, rejection: &Rejection) {
        self.open();
        if let Some(error) = rejection.error() {
            self.frames([error.as_str()]);
        }
        self.close_with(rejection.code(), rejection.reason());
    }

    /// Another answer of the same session is still being written; the session stays. The number is that of SockJS, which
    /// pusher-js takes for a lost connection.
    pub fn busy(&mut self) {
        self.close_with(2010, "Another connection still open");
    }

    fn close_with(&mut self, code: u16, reason: &str) {
        self.push(|text| {
            text.push_str("c[");
            text.push_str(&code.to_string());
            text.push(',');
            json::push_string(text, reason);
            text.push(']');
        });
    }

    fn push(&mut self, line: impl FnOnce(&mut String)) {
        let begin = self.text.len();
        line(&mut self.text);
        self.text.push('\n');
        self.units += self.text[begin..].chars().map(char::len_utf16).sum::<usize>();
    }

    /// Bytes that were not taken yet.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether the answer has to end here, because the client drops it when it has read this far.
    pub fn is_full(&self) -> bool {
        self.units > CLIENT_BUFFER_UNITS
    }

    /// Takes what was added since the last time.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// Why the body of a send is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedSend {
    /// It is something else.
    #[error("the body must be a JSON array of strings")]
    NotStrings,
    /// There are too many.
    #[error("the body may hold at most {MAX_FRAMES} frames")]
    TooManyFrames,
}

/// The frames in the body of a send. None at all is a sign of life, which must not be answered by a heartbeat: it may
/// itself be the answer to one.
pub fn parse_send(body: &[u8]) -> Result<Vec<String>, MalformedSend> {
    let frames: Vec<String> = serde_json::from_slice(body).map_err(|_| MalformedSend::NotStrings)?;
    if frames.len() > MAX_FRAMES { Err(MalformedSend::TooManyFrames) } else { Ok(frames) }
}

/// The longest body that a client needs for a frame of `frame_bytes`. A frame is JSON, so as a JSON string each of its
/// bytes becomes two at most.
pub fn max_send_bytes(frame_bytes: usize) -> usize {
    frame_bytes.saturating_mul(2).saturating_add(r#"[""]"#.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::ProtocolVersion;

    fn key(path: &str) -> Option<(Verb, String)> {
        let route = route(path, "t=1&n=2")?;
        Some((route.verb, route.handshake.unwrap().key.as_str().to_owned()))
    }

    #[test]
    fn paths_of_pusher_js() {
        let expected = |verb| Some((verb, "app-key".to_owned()));
        assert_eq!(key("/pusher/app/app-key/7/0a1b2c3v/xhr_streaming"), expected(Verb::Stream));
        assert_eq!(key("/app/app-key/999/vvvvvvvv/xhr"), expected(Verb::Poll));
        assert_eq!(key("/a/b/app/app-key/0/00000000/xhr_send"), expected(Verb::Send));
        let route = |number, name| route(&format!("/app/k/{number}/{name}/xhr"), "protocol=5&client=js");
        let one = route("1", "aaaaaaaa").unwrap();
        assert_eq!(one.handshake.unwrap().protocol, ProtocolVersion::V5);
        assert_ne!(one.session, route("2", "aaaaaaaa").unwrap().session);
        assert_ne!(one.session, route("1", "aaaaaaab").unwrap().session);
    }

    #[test]
    fn other_paths() {
        for path in [
            "",
            "/xhr",
            "/app/k",
            "/app/k/1/aaaaaaaa",
            "/app/k/1/aaaaaaaa/xhr/",
            "/app/k/1/aaaaaaaa/websocket",
            "/app/k/1/aaaaaaaa/XHR",
            "/app/k/1000/aaaaaaaa/xhr",
            "/app/k//aaaaaaaa/xhr",
            "/app/k/-1/aaaaaaaa/xhr",
            "/app/k/1/aaaaaaa/xhr",
            "/app/k/1/aaaaaaaaa/xhr",
            "/app/k/1/aaaaaaaw/xhr",
            "/app/k/1/AAAAAAAA/xhr",
            "/app//1/aaaaaaaa/xhr",
            "/apps/k/1/aaaaaaaa/xhr",
            "/app/k/more/1/aaaaaaaa/xhr",
            "/pusher/1/aaaaaaaa/xhr",
        ] {
            assert_eq!(route(path, ""), None, "{path}");
        }
    }

    /// They are answered: on HTTP level, pusher-js would try for ever.
    #[test]
    fn refusals_are_routes() {
        let code = |path, query| route(path, query).unwrap().handshake.unwrap_err().code;
        assert_eq!(code("/app/a:b/1/aaaaaaaa/xhr", ""), CloseCode::UnknownKey);
        assert_eq!(code("/app/k/1/aaaaaaaa/xhr", "protocol=3"), CloseCode::UnsupportedProtocol);
    }

    #[test]
    fn lines() {
        let mut lines = Lines::default();
        lines.open();
        lines.frames(["{\"a\":\"é\\n\"}", "x"]);
        assert_eq!(lines.take(), "o\na[\"{\\\"a\\\":\\\"é\\\\n\\\"}\",\"x\"]\n");
        assert!(lines.is_empty());
        lines.heartbeat();
        lines.busy();
        lines.close(CloseCode::Draining);
        let expected =
            "h\nc[2010,\"Another connection still open\"]\nc[4200,\"The server is restarting, reconnect\"]\n";
        assert_eq!((lines.len(), lines.take().as_str()), (expected.len(), expected));
    }

    #[test]
    fn sends() {
        assert_eq!(parse_send(b"[]"), Ok(vec![]));
        assert_eq!(
            parse_send(br#" ["{\"event\":\"e\"}", "\u00e9"] "#),
            Ok(vec![r#"{"event":"e"}"#.into(), "é".into()])
        );
        for body in [&b""[..], b"[", b"{}", b"[1]", b"\"x\"", b"null", b"[\"\xff\"]", b"[\"\\ud800\"]", b"[]x", b"[[]]"]
        {
            assert_eq!(parse_send(body), Err(MalformedSend::NotStrings), "{body:?}");
        }
        let frames = |count| serde_json::to_vec(&vec![""; count]).unwrap();
        assert_eq!(parse_send(&frames(MAX_FRAMES)).unwrap().len(), MAX_FRAMES);
        assert_eq!(parse_send(&frames(MAX_FRAMES + 1)), Err(MalformedSend::TooManyFrames));
    }

    #[test]
    fn the_largest_frame_fits() {
        let frame = format!("{{\"event\":\"client-{}\"}}", "\\".repeat(1000));
        let body = serde_json::to_vec(&[&frame]).unwrap();
        assert!(body.len() <= max_send_bytes(frame.len()), "{} bytes of {}", body.len(), frame.len());
    }

    /// How pusher-js reads an answer: lines as they become complete, and none from the moment it asks anew.
    #[derive(Default)]
    struct Client {
        buffer: Vec<u16>,
        position: usize,
        frames: Vec<String>,
        asks_anew: bool,
    }

    impl Client {
        fn chunk(&mut self, units: &[u16]) {
            if self.asks_anew {
                return;
            }
            self.buffer.extend(units);
            while let Some(end) = self.buffer[self.position..].iter().position(|unit| *unit == u16::from(b'\n')) {
                let line = String::from_utf16(&self.buffer[self.position..self.position + end]).unwrap();
                self.position += end + 1;
                if let Some(array) = line.strip_prefix('a') {
                    let array: Value = serde_json::from_str(array).unwrap();
                    self.frames
                        .extend(array.as_array().unwrap().iter().map(|frame| frame.as_str().unwrap().to_owned()));
                }
            }
            self.asks_anew = self.position == self.buffer.len() && self.buffer.len() > CLIENT_BUFFER_UNITS;
        }
    }

    proptest! {
        /// However an answer is cut into pieces on its way, the client asks anew exactly when the answer is full, and has
        /// missed nothing by then.
        #[test]
        fn an_answer_ends_where_its_client_stops(
            text in "[a-z\"\\\\é日🚀\u{1}]{1,40}",
            repeat in 1..3000_usize,
            piece in 1..100_000_usize,
        ) {
            let frame = text.repeat(repeat);
            let (mut lines, mut client, mut sent) = (Lines::default(), Client::default(), Vec::new());
            while !lines.is_full() {
                prop_assert!(!client.asks_anew);
                lines.frames([frame.as_str()]);
                sent.push(frame.clone());
                let units: Vec<u16> = lines.take().encode_utf16().collect();
                units.chunks(piece).for_each(|units| client.chunk(units));
            }
            prop_assert!(client.asks_anew);
            prop_assert_eq!(client.frames, sent);
        }

        #[test]
        fn any_request_is_answered(path in "(/app/k)?[/a-z0-9]{0,20}(/xhr|/xhr_send)?", query in "\\PC{0,20}", body in any::<Vec<u8>>()) {
            route(&path, &query);
            parse_send(&body).ok();
        }
    }
}
