//! Sessions as transcripts.
//!
//! A script is what one connection sees and does, line by line. The harness feeds the inputs, writes down every output
//! behind the input that caused it, and compares the whole with the script.
//!
//! ```text
//! > JSON                      the client sends a frame
//! alive                       another sign of life
//! wait SECONDS                time passes; ticks come when they are due
//! sent                        the hub sends the client something
//! stored SERIAL SEQUENCE      the backbone has stored a publish there
//! passed SERIAL               it has delivered one that is not stored
//! failed SERIAL CODE          it has not
//! told SERIAL [CODE]          a change of presence is told, or was refused
//! refuse CHANNEL CODE         the hub cannot attach
//! accept KEY WHO CAPABILITY   the token of AUTH is good; WHO is a client, * or -
//! reject CODE                 it is not
//! permit CAPABILITY           the key may do something else
//! end REASON, hint            the server's own doing
//! < JSON                      a frame to the client, an error in it as its code alone
//! attach CHANNEL MODES [NOTES], modes CHANNEL MODES, detach CHANNEL, sync CHANNEL
//! publish SERIAL CHANNEL KEY [NAME:DATA:ENCODING:CLIENT…]
//! presence SERIAL CHANNEL [ACTION:CLIENT:DATA:ID…]
//! verify TOKEN, ping, denied WHAT CHANNEL CODE, close PARTING
//! ```

mod attaching;
mod authority;
mod fuzz;
mod lifecycle;
mod members;
mod publishing;

use std::fmt::Write as _;

use channels::{ClientId, Epoch};

use super::*;
use crate::fixtures::{app, capability, connection};

/// What the wall clock says when a scene begins.
const WALL_MS: u64 = 1_700_000_000_000;

/// A connection of a key, unless changed.
struct Scene {
    app: App,
    settings: Settings,
    opening: Opening,
}

/// Runs `script` in the plain scene.
fn check(script: &str) {
    Scene::default().check(script);
}

impl Default for Scene {
    fn default() -> Self {
        let authority = Authority { identity: Identity::Any, capability: Arc::new(capability("*")), token: None };
        let opening = Opening {
            connection: connection(),
            key: "c0nnA!k1".to_owned(),
            format: Format::Json,
            heartbeats: true,
            echo: true,
            authority,
            error: None,
        };
        Self { app: app(), settings: Settings::default(), opening }
    }
}

impl Scene {
    /// A scene of a client called `client` that may do what `words` say.
    fn of(client: &str, words: &str) -> Self {
        let mut scene = Self::default();
        scene.opening.authority.identity = identity(client);
        scene.opening.authority.capability = Arc::new(capability(words));
        scene
    }

    /// Runs `script`, which begins with CONNECTED if it shows it.
    fn check(&self, script: &str) {
        let start = Instant::now();
        let now_at = |instant: Instant| Now {
            instant,
            unix_ms: WALL_MS + u64::try_from((instant - start).as_millis()).unwrap(),
        };
        let mut now = start;
        let mut sent = start;
        let mut out = Vec::new();
        let settings = Arc::new(self.settings.clone());
        let mut session = Session::open(self.opening.clone(), &settings, &self.app, now_at(now), &mut out);
        let mut transcript = String::new();
        let expected: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if expected.first().is_some_and(|line| line.starts_with("< {\"action\":4")) {
            write_all(&mut transcript, &mut out);
        }
        out.clear();
        for line in &expected {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<&str> = rest.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let error = |at: usize| words.get(at).map(|code| error(code));
            match word {
                ">" => session.handle(Input::Frame(rest.as_bytes()), &self.app, now_at(now), &mut out),
                "alive" => session.handle(Input::Alive, &self.app, now_at(now), &mut out),
                "sent" => sent = now,
                "stored" => session.published(number(0), Ok(Some(position(number(1)))), &mut out),
                "passed" => session.published(number(0), Ok(None), &mut out),
                "failed" => session.published(number(0), Err(error(1).unwrap()), &mut out),
                "told" => session.presence_done(number(0), error(1).map_or(Ok(()), Err), &mut out),
                "refuse" => session.refuse_attach(words[0], error(1).unwrap(), &mut out),
                "accept" => {
                    let authority = Authority {
                        identity: identity(words[1]),
                        capability: Arc::new(capability(&words[2..].join(" "))),
                        token: None,
                    };
                    session.authorized(Ok((authority, words[0].to_owned())), &self.app, now_at(now), &mut out);
                }
                "reject" => session.authorized(Err(error(0).unwrap()), &self.app, now_at(now), &mut out),
                "permit" => session.permit(Arc::new(capability(rest)), &mut out),
                "hint" => session.hint(&mut out),
                "end" => {
                    let end = End::ALL.into_iter().find(|end| format!("{end:?}") == rest).unwrap();
                    session.end(end, &mut out);
                }
                "wait" => {
                    let until = now + Duration::from_secs_f64(rest.parse().unwrap());
                    while session.deadline() <= until && !session.closed {
                        now = session.deadline();
                        session.handle(Input::Tick { sent }, &self.app, now_at(now), &mut out);
                    }
                    now = until;
                }
                _ => continue,
            }
            writeln!(transcript, "{line}").unwrap();
            write_all(&mut transcript, &mut out);
        }
        assert_eq!(transcript.lines().collect::<Vec<_>>(), expected);
    }
}

fn identity(client: &str) -> Identity {
    match client {
        "-" => Identity::Anonymous,
        "*" => Identity::Any,
        client => Identity::Is(ClientId::new(client).unwrap()),
    }
}

fn position(sequence: u64) -> Position {
    Position { epoch: Epoch::new(0xe1), sequence }
}

fn error(code: &str) -> ErrorInfo {
    let code: u32 = code.parse().unwrap();
    Code::ALL.iter().find(|row| row.number() == code).unwrap().info()
}

fn write_all(transcript: &mut String, out: &mut Vec<Output>) {
    for output in out.drain(..) {
        writeln!(transcript, "{}", shown(&output)).unwrap();
    }
}

fn shown(output: &Output) -> String {
    match output {
        Output::Send(frame) => format!("< {}", shortened(std::str::from_utf8(frame).unwrap())),
        Output::Ping => "ping".to_owned(),
        Output::Attach(attach) => shown_attach(attach),
        Output::Modes { name, modes } => format!("modes {name} {modes}"),
        Output::Detach { name } => format!("detach {name}"),
        Output::Sync { name } => format!("sync {name}"),
        Output::Publish(publish) => shown_publish(publish),
        Output::Presence(presence) => {
            let mut text = format!("presence {} {}", presence.msg_serial, presence.channel);
            for Change { client, action, data } in &presence.changes {
                let said = std::str::from_utf8(&data.data).unwrap();
                write!(text, " {action:?}:{client}:{said}:{}", data.id).unwrap();
                assert!(data.timestamp_ms >= WALL_MS);
            }
            text
        }
        Output::Verify { token } => format!("verify {token}"),
        Output::Denied { denied, channel, error } => format!("denied {denied:?} {channel} {}", error.code),
        Output::Close(parting, _) => format!("close {parting:?}"),
    }
}

fn shown_attach(attach: &Attach) -> String {
    let Attach { name, modes, params, serial, resume, echo, again } = attach;
    let mut text = format!("attach {} {modes}", name.written()).trim_end().to_owned();
    match serial {
        None => {}
        Some(Ok(position)) => write!(text, " after {}", position.sequence).unwrap(),
        Some(Err(_)) => text.push_str(" after nothing known"),
    }
    for (key, value) in params.echoed() {
        write!(text, " {key}={value}").unwrap();
    }
    for (set, note) in [(*resume, "resume"), (!*echo, "no-echo"), (*again, "again")] {
        if set {
            write!(text, " {note}").unwrap();
        }
    }
    text
}

fn shown_publish(publish: &Publish) -> String {
    let Publish { msg_serial, channel, record, key, ephemeral, .. } = publish;
    assert_eq!(record.connection.as_ref(), Some(&connection()));
    assert!(record.timestamp_ms >= WALL_MS);
    let mut text = format!("publish {msg_serial} {channel} {key}");
    for message in &record.messages {
        let client = message.client.as_ref().or(record.client.as_ref());
        let client = client.map(|client| client.as_str()).unwrap_or_default();
        let data = std::str::from_utf8(&message.data).unwrap();
        write!(text, " {}:{data}:{}:{client}", message.name.as_deref().unwrap_or_default(), message.encoding).unwrap();
    }
    if *ephemeral {
        text.push_str(" ephemeral");
    }
    text
}

/// The frame with each error as its code alone, and without what CONNECTED says of limits.
fn shortened(frame: &str) -> String {
    let mut frame = frame.to_owned();
    if let Some(from) = frame.find(",\"maxMessageSize\"") {
        let to = frame[from..].find("},").map_or(frame.len() - 1, |at| from + at);
        let to = frame[from..to].find('}').map_or(to, |at| from + at);
        frame.replace_range(from..to, "");
    }
    if let Some(from) = frame.find("{\"code\":") {
        let to = from + frame[from..].find('}').unwrap() + 1;
        let code: String = frame[from + 8..].chars().take_while(char::is_ascii_digit).collect();
        frame.replace_range(from..to, &code);
    }
    frame
}
