//! Ably clients over WebSockets: connecting, attaching, publishing, coming back, going.

mod ending;
mod handshake;
mod lifecycle;
mod presence;
mod resume;
mod tokens;

use std::collections::VecDeque;

use ably::credentials::{JwtClaims, Seconds};
use ably::{Format, wire};

use super::*;

/// The key of the app, with its secret.
const KEY: &str = "key=app-key:app-secret";

// The actions that are looked at (spec §4.1).
const HEARTBEAT: u64 = 0;
const ACK: u64 = 1;
const NACK: u64 = 2;
const CONNECTED: u64 = 4;
const DISCONNECTED: u64 = 6;
const CLOSED: u64 = 8;
const ERROR: u64 = 9;
const ATTACHED: u64 = 11;
const MESSAGE: u64 = 15;
const AUTH: u64 = 17;

/// An Ably client.
pub(super) struct Realtime {
    socket: WebSocket<TcpStream>,
    format: Format,
    /// From CONNECTED.
    id: String,
    key: String,
    /// Messages that came before the answer to a publish.
    early: VecDeque<Value>,
}

impl Node {
    /// A client that has done nothing but the upgrade.
    pub(super) fn realtime(&self, query: &str) -> Realtime {
        let url = format!("ws://{}/?{query}", self.address);
        let (socket, _) = tungstenite::client::client(url, self.tcp()).unwrap();
        let format = if query.contains("msgpack") { Format::MsgPack } else { Format::Json };
        Realtime { socket, format, id: String::new(), key: String::new(), early: VecDeque::new() }
    }

    /// A client that is connected, and what it was told.
    pub(super) fn connected(&self, query: &str) -> (Realtime, Value) {
        let mut client = self.realtime(query);
        let connected = client.next();
        assert_eq!(connected["action"], CONNECTED, "{connected}");
        client.id = connected["connectionId"].as_str().unwrap().to_owned();
        client.key = connected["connectionDetails"]["connectionKey"].as_str().unwrap().to_owned();
        (client, connected)
    }

    /// What a client is told that does not get in; nothing follows but the close.
    fn refusal(&self, query: &str) -> Value {
        self.realtime(query).last()
    }
}

impl Realtime {
    fn send(&mut self, frame: &Value) {
        let bytes = wire::to_vec(self.format, frame);
        let message = if self.format.is_binary() {
            Message::binary(bytes)
        } else {
            Message::text(String::from_utf8(bytes).unwrap())
        };
        self.socket.send(message).unwrap();
    }

    /// The next frame; `None` when the server has closed.
    fn read(&mut self) -> Option<Value> {
        loop {
            let bytes = match self.socket.read() {
                Ok(Message::Text(text)) if !self.format.is_binary() => text.as_bytes().to_vec(),
                Ok(Message::Binary(bytes)) if self.format.is_binary() => bytes.to_vec(),
                Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Io(_)) => {
                    return None;
                }
                other => panic!("unexpected: {other:?}"),
            };
            return Some(wire::from_slice(self.format, &bytes).unwrap());
        }
    }

    pub(super) fn next(&mut self) -> Value {
        self.read().expect("a frame, not the end")
    }

    /// The next frame with this action, past others.
    fn await_action(&mut self, action: u64) -> Value {
        loop {
            let frame = self.next();
            if frame["action"] == action {
                return frame;
            }
        }
    }

    /// The only frame before the end.
    pub(super) fn last(&mut self) -> Value {
        let frame = self.next();
        assert_eq!(self.read(), None);
        frame
    }

    pub(super) fn attach(&mut self, channel: &str) -> Value {
        self.attach_at(channel, &Value::Null)
    }

    pub(super) fn attach_at(&mut self, channel: &str, serial: &Value) -> Value {
        self.send(&json!({ "action": 10, "channel": channel, "channelSerial": serial }));
        let attached = self.await_action(ATTACHED);
        assert_eq!(attached["channel"], channel);
        attached
    }

    pub(super) fn publish(&mut self, channel: &str, serial: u64, data: &str) {
        let message = json!({ "name": "n", "data": data });
        self.send(&json!({ "action": 15, "channel": channel, "msgSerial": serial, "messages": [message] }));
    }

    /// Reads the answer to a publish; gives the serial of its first message, which may come back before the answer.
    fn acknowledged(&mut self, serial: u64) -> Value {
        let ack = loop {
            let frame = self.next();
            match frame["action"].as_u64() {
                Some(ACK) => break frame,
                Some(MESSAGE) => self.early.push_back(frame),
                _ => {}
            }
        };
        assert_eq!((&ack["msgSerial"], &ack["count"]), (&json!(serial), &json!(1)), "{ack}");
        ack["res"][0]["serials"][0].clone()
    }

    /// The data of the next message.
    pub(super) fn message(&mut self) -> Value {
        let mut message = self.early.pop_front().unwrap_or_else(|| self.await_action(MESSAGE));
        message["messages"][0]["data"].take()
    }

    /// Proves that the connection works, and that nothing of `action` comes before.
    fn check_without(&mut self, action: u64) {
        self.send(&json!({ "action": 0, "id": "check" }));
        loop {
            let frame = self.next();
            if frame["action"] == HEARTBEAT && frame["id"] == "check" {
                return;
            }
            assert_ne!(frame["action"], action, "{frame}");
        }
    }
}

/// A token of the app's key that expires in `seconds`, or did.
fn token(seconds: f64, capability: Option<Value>, client_id: Option<&str>) -> String {
    let now = Duration::from_millis(clock::unix_ms()).as_secs_f64();
    let claims = JwtClaims {
        issued: Seconds::Fraction(now - 10.0),
        expires: Seconds::Fraction(now + seconds),
        capability: capability.map(|capability| capability.to_string()),
        client_id: client_id.map(str::to_owned),
        revocation_key: None,
    };
    let key = &fixtures::app().keys[0];
    claims.sign(&key.name, &key.secret)
}
