//! Sessions as transcripts.
//!
//! A script is what one connection sees and does, line by line. The harness feeds the inputs, writes down every output
//! behind the input that caused it, and compares the whole with the script.
//!
//! ```text
//! > TEXT              the client sends a text frame; $AUTH(CHANNEL) is the right auth for it
//! alive, binary       it sends another frame
//! wait SECONDS        time passes; ticks come when they are due
//! < TEXT              the server sends a text frame
//! subscribe C TEXT    the hub is asked to subscribe, and to confirm with TEXT
//! unsubscribe C
//! publish C NAME ENCODING DATA
//! ping
//! close CODE
//! ```

mod client_events;
mod denied;
mod lifecycle;
mod subscriptions;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use channels::{App, KeyName, RecordKind};
use proptest::prelude::*;

use super::*;
use crate::fixtures::{self, KEY, SOCKET_ID, signer};

/// A connection of protocol 7 to the fixture's app, unless changed.
struct Scene {
    app: App,
    protocol: ProtocolVersion,
    settings: Settings,
}

/// Runs `script` in the plain scene.
fn check(script: &str) {
    Scene::default().check(script);
}

impl Default for Scene {
    fn default() -> Self {
        Self { app: fixtures::app(), protocol: ProtocolVersion::V7, settings: Settings::default() }
    }
}

impl Scene {
    fn open(&self, now: Instant, out: &mut Vec<Output>) -> Session {
        let (first, second) = SOCKET_ID.split_once('.').unwrap();
        let socket_id = SocketId::new(first.parse().unwrap(), second.parse().unwrap());
        Session::open(socket_id, KeyName::new(KEY).unwrap(), self.protocol, &self.settings, now, out)
    }

    /// Runs `script`, which starts after the greeting.
    fn check(&self, script: &str) {
        let mut now = Instant::now();
        let mut out = Vec::new();
        let mut session = self.open(now, &mut out);
        out.clear();
        let mut transcript = String::new();
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let expected: Vec<String> = lines.map(with_auth).collect();
        for line in &expected {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                ">" => session.handle(Input::Text(rest), &self.app, now, &mut out),
                "alive" => session.handle(Input::Alive, &self.app, now, &mut out),
                "binary" => session.handle(Input::Binary, &self.app, now, &mut out),
                "wait" => {
                    let until = now + Duration::from_secs_f64(rest.parse().unwrap());
                    while session.deadline() <= until && !session.closed {
                        now = session.deadline();
                        session.handle(Input::Tick, &self.app, now, &mut out);
                    }
                    now = until;
                }
                _ => continue,
            }
            writeln!(transcript, "{line}").unwrap();
            for output in out.drain(..) {
                writeln!(transcript, "{}", shown(&output)).unwrap();
            }
        }
        assert_eq!(transcript.lines().collect::<Vec<_>>(), expected);
    }
}

/// Fills in `$AUTH(CHANNEL)`.
fn with_auth(line: &str) -> String {
    let Some((before, rest)) = line.split_once("$AUTH(") else { return line.to_owned() };
    let (channel, after) = rest.split_once(')').unwrap();
    format!("{before}{}{after}", signer().channel(SOCKET_ID, channel, None))
}

fn shown(output: &Output) -> String {
    match output {
        Output::Send(text) | Output::Deny { text, .. } => format!("< {text}"),
        Output::Subscribe { channel, confirmation } => format!("subscribe {channel} {confirmation}"),
        Output::Unsubscribe { channel } => format!("unsubscribe {channel}"),
        Output::Publish { channel, record } => {
            assert_eq!(record.kind, RecordKind::ClientEvent);
            assert_eq!(record.connection.as_ref().unwrap().as_str(), SOCKET_ID);
            let [message] = record.messages.as_slice() else { panic!("one message per client event") };
            let data = std::str::from_utf8(&message.data).unwrap();
            format!("publish {channel} {} {:?} {data}", message.name.as_ref().unwrap(), message.encoding)
        }
        Output::Ping => "ping".to_owned(),
        Output::Close(code) => format!("close {}", code.number()),
    }
}

fn frames() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        r#"\{"event":"pusher:(un)?subscribe","data":\{"channel":"(private-|presence-|#)?[a-c]{0,2}"(,"auth":"[a-f:]{0,3}")?\}\}"#,
        r#"\{"event":"(client-|pusher:)[a-z]{0,3}","channel":"(private-)?[a-c]","data":[0-9"\\{}u]{0,5}\}"#,
        Just(with_auth(r#"{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"$AUTH(private-a)"}}"#)),
        Just(r#"{"event":"client-x","channel":"private-a","data":"\ud83d"}"#.to_owned()),
        Just(r#"{"event":"client-x","channel":"private-a","data":{"a":[1e400]}}"#.to_owned()),
    ]
}

proptest! {
    /// Whatever comes in, what goes out is well-formed, ordered and bounded.
    #[test]
    fn any_input_is_answered(
        inputs in proptest::collection::vec((frames(), 0..6_u8, 0..200_u64), 0..40),
        old_protocol: bool,
    ) {
        let protocol = if old_protocol { ProtocolVersion::V5 } else { ProtocolVersion::V7 };
        let mut scene = Scene { protocol, ..Scene::default() };
        scene.app.limits.channels_per_connection = 2;
        let mut now = Instant::now();
        let mut out = Vec::new();
        let mut session = scene.open(now, &mut out);
        for (text, what, seconds) in inputs {
            now += Duration::from_secs(seconds);
            let input = match what {
                0 => Input::Alive,
                1 => Input::Tick,
                2 if seconds == 0 => Input::Binary,
                _ => Input::Text(&text),
            };
            session.handle(input, &scene.app, now, &mut out);
        }
        prop_assert!(session.channels().count() <= 2);
        let closed_at = out.iter().position(|output| matches!(output, Output::Close(_)));
        prop_assert!(closed_at.is_none_or(|at| at + 1 == out.len()));
        let mut subscribed = BTreeSet::new();
        for output in &out {
            match output {
                Output::Send(text) | Output::Deny { text, .. } => {
                    let frame: serde_json::Value = serde_json::from_str(text).unwrap();
                    prop_assert!(frame["event"].is_string() && !frame["data"].is_null());
                }
                Output::Subscribe { channel, .. } => prop_assert!(subscribed.insert(channel)),
                Output::Unsubscribe { channel } => prop_assert!(subscribed.remove(channel)),
                Output::Publish { channel, record } => {
                    prop_assert!(subscribed.contains(channel));
                    for text in crate::encode_record(channel, record) {
                        // Not a `Value`: that has no room for 1e400.
                        prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
                    }
                }
                Output::Ping | Output::Close(_) => {}
            }
        }
        prop_assert!(subscribed.into_iter().eq(session.channels()));
    }
}
