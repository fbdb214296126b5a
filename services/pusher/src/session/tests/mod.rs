//! Sessions as transcripts.
//!
//! A script is what one connection sees and does, line by line. The harness feeds the inputs, writes down every output
//! behind the input that caused it, and compares the whole with the script.
//!
//! ```text
//! > TEXT              the client sends a text frame; in it $AUTH(CHANNEL) is the right auth for the channel,
//!                     $JOIN(CHANNEL|DATA) stands for the members auth and channel_data, $USER(DATA) for auth and user_data
//! alive, binary       it sends another frame
//! wait SECONDS        time passes; ticks come when they are due
//! < TEXT              the server sends a text frame
//! subscribe C TEXT    the hub is asked to subscribe, and to confirm with TEXT
//! join C USER INFO    the edge is asked to have USER present in C
//! unsubscribe C
//! signin USER WATCHLIST
//! full C              the edge says that there was no room in C
//! over-quota C        the edge says that a quota leaves no room for the subscription to C
//! event-over-quota    the edge says that a quota leaves no room for a client event
//! publish C NAME ENCODING DATA
//! ping
//! close CODE
//! ```

mod authorization;
mod channels_of_every_kind;
mod client_events;
mod denied;
mod lifecycle;
mod presence;
mod quotas;
mod sign_in;
mod subscriptions;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use channels::{Access, App, ChannelKind, KeyName, RecordKind};
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
        Session::open(socket_id, KeyName::new(KEY).unwrap(), self.protocol, &self.app, &self.settings, now, out)
    }

    /// Runs `script`, which starts after the greeting.
    fn check(&self, script: &str) {
        let mut now = Instant::now();
        let mut out = Vec::new();
        let mut session = self.open(now, &mut out);
        out.clear();
        let mut transcript = String::new();
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let expected: Vec<String> = lines.map(signed).collect();
        for line in &expected {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                ">" => session.handle(Input::Text(rest), &self.app, at(now), &mut out),
                "alive" => session.handle(Input::Alive, &self.app, at(now), &mut out),
                "binary" => session.handle(Input::Binary, &self.app, at(now), &mut out),
                "over-quota" => {
                    session.refuse_subscription(&ChannelName::new(rest).unwrap(), QUOTA.to_owned(), &mut out);
                }
                "event-over-quota" => {
                    session.refuse_client_event(&ChannelName::new("private-a").unwrap(), QUOTA.to_owned(), &mut out);
                }
                "full" => session.refuse_join(&ChannelName::new(rest).unwrap(), &self.app, &mut out),
                "wait" => {
                    let until = now + Duration::from_secs_f64(rest.parse().unwrap());
                    while session.deadline() <= until && !session.closed {
                        now = session.deadline();
                        session.handle(Input::Tick, &self.app, at(now), &mut out);
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

/// How a quota is said to be used up.
const QUOTA: &str = "quota channels exceeded, retry in 10 s";

/// What the wall clock says in every scene, milliseconds since the Unix epoch.
const WALL_MS: u64 = 1_730_000_000_000;

/// That moment.
fn at(instant: Instant) -> Now {
    Now { instant, unix_ms: WALL_MS }
}

/// Fills in what has to be signed.
fn signed(line: &str) -> String {
    let mut line = line.to_owned();
    while let Some((before, rest)) = line.split_once('$') {
        let Some((what, rest)) = rest.split_once('(') else { break };
        let (text, after) = rest.split_once(')').unwrap();
        let filled = match what {
            "AUTH" => signer().channel(SOCKET_ID, text, None),
            "JOIN" => {
                let (channel, data) = text.split_once('|').unwrap();
                joining(channel, data)
            }
            "USER" => signing_in(text),
            other => panic!("${other}"),
        };
        line = format!("{before}{filled}{after}");
    }
    line
}

/// The members `auth` and `channel_data`.
fn joining(channel: &str, data: &str) -> String {
    let auth = signer().channel(SOCKET_ID, channel, Some(data));
    format!(r#""auth":"{auth}","channel_data":{}"#, crate::json::string(data))
}

/// The members `auth` and `user_data`.
fn signing_in(data: &str) -> String {
    format!(r#""auth":"{}","user_data":{}"#, signer().user(SOCKET_ID, data), crate::json::string(data))
}

fn shown(output: &Output) -> String {
    match output {
        Output::Send(text) | Output::Deny { text, .. } => format!("< {text}"),
        Output::Subscribe { channel, confirmation } => format!("subscribe {channel} {confirmation}"),
        Output::Join { channel, user, info } => {
            format!("join {channel} {user} {}", std::str::from_utf8(info).unwrap()).trim_end().to_owned()
        }
        Output::SignIn { user, watchlist } => format!("signin {user} {watchlist:?}"),
        Output::Unsubscribe { channel } => format!("unsubscribe {channel}"),
        Output::Publish { channel, record } => {
            assert_eq!(record.kind, RecordKind::ClientEvent);
            assert_eq!(record.connection.as_ref().unwrap().as_str(), SOCKET_ID);
            let [message] = record.messages.as_slice() else { panic!("one message per client event") };
            let data = std::str::from_utf8(&message.data).unwrap();
            let user = record.client.as_ref().map(|user| format!(" from {user}")).unwrap_or_default();
            format!("publish {channel} {} {:?} {data}{user}", message.name.as_ref().unwrap(), message.encoding)
        }
        Output::Ping => "ping".to_owned(),
        Output::Close(code) => format!("close {}", code.number()),
    }
}

fn frames() -> impl Strategy<Value = String> {
    let data = prop_oneof![
        "\\PC{0,30}",
        r#"[{}\[\]",:\\ a-e0-9.-]{0,30}"#,
        r#"\{"(user_)?id":("[a-c]{0,2}"|-?[0-9]{1,3}|[0-9.e]{1,4}|null),"(user_info|watchlist)":(\["[a-c]?"(,[0-9])?\]|1e400|"[a-c]*")\}"#,
    ];
    let name = prop_oneof!["(private-|presence-)(cache-)?[a-b]", "#server-to-user-[a-c]"];
    prop_oneof![
        "\\PC{0,40}",
        r#"\{"event":"pusher:(un)?subscribe","data":\{"channel":"(private-|presence-|cache-|#)?[a-c]{0,2}"(,"auth":"[a-f:]{0,3}")?\}\}"#,
        r#"\{"event":"pusher:unsubscribe","data":\{"channel":"(private-|presence-)(cache-)?[a-b]"\}\}"#,
        r#"\{"event":"(client-|pusher:)[a-z]{0,3}","channel":"(private-|presence-)[a-c]","data":[0-9"\\{}u]{0,5}\}"#,
        r#"\{"event":"client-x","channel":"(private-|presence-)(cache-)?[a-b]","data":[0-9]\}"#,
        name.prop_map(|name| {
            let auth = signer().channel(SOCKET_ID, &name, None);
            format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{name}","auth":"{auth}"}}}}"#)
        }),
        ("presence-(cache-)?[a-b]", data.clone()).prop_map(|(name, data)| {
            format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{name}",{}}}}}"#, joining(&name, &data))
        }),
        data.prop_map(|data| format!(r#"{{"event":"pusher:signin","data":{{{}}}}}"#, signing_in(&data))),
        "[a-b]".prop_map(|id| {
            let data = format!(r#"{{"id":"{id}","user_info":{{"n": 1e400}}}}"#);
            format!(r#"{{"event":"pusher:signin","data":{{{}}}}}"#, signing_in(&data))
        }),
        Just(r#"{"event":"client-x","channel":"private-a","data":"\ud83d"}"#.to_owned()),
        Just(r#"{"event":"client-x","channel":"private-a","data":{"a":[1e400]}}"#.to_owned()),
    ]
}

/// What the outputs so far amount to.
#[derive(Default)]
struct Seen {
    subscribed: BTreeSet<ChannelName>,
    present: BTreeMap<ChannelName, ClientId>,
    user: Option<ClientId>,
}

impl Seen {
    fn note(&mut self, output: &Output) -> Result<(), TestCaseError> {
        match output {
            Output::Send(text) | Output::Deny { text, .. } => {
                let frame: serde_json::Value = serde_json::from_str(text).unwrap();
                prop_assert!(frame["event"].is_string() && !frame["data"].is_null());
            }
            Output::Subscribe { channel, .. } => {
                let access = ChannelKind::of(channel.as_str()).access();
                prop_assert_ne!(access, Access::Presence);
                if access == Access::User {
                    let own = format!("#server-to-user-{}", self.user.as_ref().unwrap());
                    prop_assert_eq!(channel.as_str(), own);
                }
                prop_assert!(self.subscribed.insert(channel.clone()));
            }
            Output::Join { channel, user, info } => {
                prop_assert!(ChannelKind::of(channel.as_str()).is_presence());
                prop_assert!(self.subscribed.insert(channel.clone()));
                prop_assert!(self.present.insert(channel.clone(), user.clone()).is_none());
                let data = crate::member_data(info.clone());
                for text in [
                    crate::presence_succeeded(channel, [(user, &data)]),
                    crate::member_added(channel, user, &data),
                    crate::member_removed(channel, user),
                ] {
                    prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
                }
            }
            Output::Unsubscribe { channel } => {
                prop_assert!(self.subscribed.remove(channel));
                self.present.remove(channel);
            }
            Output::SignIn { user, .. } => {
                prop_assert!(self.user.replace(user.clone()).is_none_or(|before| before == *user));
            }
            Output::Publish { channel, record } => {
                prop_assert!(self.subscribed.contains(channel));
                prop_assert_eq!(record.client.as_ref(), self.present.get(channel));
                for text in crate::encode_record(channel, record, None) {
                    // Not a `Value`: that has no room for 1e400.
                    prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
                }
            }
            Output::Ping | Output::Close(_) => {}
        }
        Ok(())
    }
}

proptest! {
    /// Whatever comes in, signed or not, what goes out is well-formed, ordered and bounded.
    #[test]
    fn any_input_is_answered(
        inputs in proptest::collection::vec((frames(), 0..9_u8, 0..50_u64), 0..40),
        old_protocol: bool,
        authorized_connections in proptest::option::of(1..100_u64),
    ) {
        let protocol = if old_protocol { ProtocolVersion::V5 } else { ProtocolVersion::V7 };
        let mut scene = Scene { protocol, ..Scene::default() };
        scene.app.limits.channels_per_connection = 3;
        scene.app.pusher.watchlist = true;
        scene.app.pusher.authorized_connections = authorized_connections.map(Duration::from_secs);
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
            session.handle(input, &scene.app, at(now), &mut out);
        }
        prop_assert!(session.channels().count() <= 3);
        let closed_at = out.iter().position(|output| matches!(output, Output::Close(_)));
        prop_assert!(closed_at.is_none_or(|at| at + 1 == out.len()));
        let mut seen = Seen::default();
        for output in &out {
            seen.note(output)?;
        }
        prop_assert!(seen.subscribed.iter().eq(session.channels()));
        prop_assert_eq!(seen.user.as_ref(), session.user());
    }
}
