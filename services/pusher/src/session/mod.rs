//! One connection's state machine: text frames, times and changes of its app come in; frames, subscriptions and client
//! events go out.
//!
//! Owns what a connection is subscribed to, its liveness and its client event rate. Deliberately knows nothing of
//! sockets, the hub, other connections or the clock: the edge does what the outputs say, in their order.

mod client_event;
mod complaint;
mod denied;
mod rate;
mod subscribe;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use channels::{App, ChannelName, KeyName, Record};

use crate::frame::{self, ClientFrame};
use crate::handshake::push_close;
use crate::{CloseCode, ProtocolVersion, SocketId};
use complaint::Complaint;
pub use denied::{Cause, Denied};
use rate::Rate;

/// Times of every session of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Silence after which the server sends a ping. The greeting tells it to clients in whole seconds, at least 1, and
    /// they ping after as long a silence of the server. Default 120 s, as hosted Pusher's.
    pub activity_timeout: Duration,
    /// How long the server then waits for any sign of life. Default 30 s, as in the clients.
    pub pong_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { activity_timeout: Duration::from_secs(120), pong_timeout: Duration::from_secs(30) }
    }
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary,
    /// Another sign of life: a WebSocket ping (which the edge answers) or pong, or any bytes.
    Alive,
    /// The time [`Session::deadline`] named has come. An early or late tick does no harm.
    Tick,
}

/// What the edge has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this text frame.
    Send(String),
    /// Send this text frame, and count what it denies.
    Deny {
        /// The frame.
        text: String,
        /// What was asked for.
        denied: Denied,
    },
    /// Register with the hub, which sends `confirmation` as soon as every later message of the channel is sure to come,
    /// and before any of them. It sends it also when an unsubscribe is already on its way: pusher-js waits for it.
    Subscribe {
        /// The channel.
        channel: ChannelName,
        /// A text frame.
        confirmation: String,
    },
    /// Take leave of the channel.
    Unsubscribe {
        /// The channel.
        channel: ChannelName,
    },
    /// Publish a client event to the other subscribers. The record's `timestamp_ms` is 0: the edge, which has a clock,
    /// fills it in.
    Publish {
        /// The channel.
        channel: ChannelName,
        /// A record of [`channels::RecordKind::ClientEvent`], from this connection.
        record: Record,
    },
    /// Send a WebSocket ping frame. Not a `pusher:ping` event: Java and Swift do not answer that one.
    Ping,
    /// Send a close frame with this number and reason. Nothing follows; the session's channels are left without a word.
    Close(CloseCode),
}

/// A connection that was greeted and is not closed.
#[derive(Debug)]
pub struct Session {
    socket_id: SocketId,
    key: KeyName,
    protocol: ProtocolVersion,
    closed: bool,
    /// A ping is out and nothing has been heard since.
    pinged: bool,
    deadline: Instant,
    settings: Settings,
    /// Ordered rather than hashed: small when empty, and nobody can choose names that collide.
    channels: BTreeSet<ChannelName>,
    client_events: Rate,
}

impl Session {
    /// Starts a session of the key `key`; the greeting is the first output.
    pub fn open(
        socket_id: SocketId,
        key: KeyName,
        protocol: ProtocolVersion,
        settings: &Settings,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Self {
        let seconds = settings.activity_timeout.as_secs();
        out.push(Output::Send(frame::connection_established(socket_id.as_str(), seconds)));
        Self {
            socket_id,
            key,
            protocol,
            closed: false,
            pinged: false,
            deadline: now + settings.activity_timeout,
            settings: *settings,
            channels: BTreeSet::new(),
            client_events: Rate::default(),
        }
    }

    /// Takes `input`. `app` is the app as it is now; if it no longer admits this connection, the session closes.
    pub fn handle(&mut self, input: Input<'_>, app: &App, now: Instant, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        match input {
            Input::Tick => self.tick(now, out),
            Input::Alive => self.heard(now),
            Input::Binary => self.close(CloseCode::NotText, out),
            Input::Text(text) => {
                self.heard(now);
                self.recheck(Some(app), out);
                if !self.closed {
                    self.text(text, app, now, out);
                }
            }
        }
    }

    /// When [`Input::Tick`] is next due. Everything that is heard moves it, so rather than set a timer anew each time,
    /// let it fire and look here again.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Its socket id.
    pub fn socket_id(&self) -> &SocketId {
        &self.socket_id
    }

    /// The name of the key it connected with.
    pub fn key(&self) -> &KeyName {
        &self.key
    }

    /// What it is subscribed to.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelName> {
        self.channels.iter()
    }

    /// Closes it for a reason of the server's.
    pub fn close(&mut self, code: CloseCode, out: &mut Vec<Output>) {
        if !self.closed {
            self.closed = true;
            push_close(code, Some(self.protocol), out);
        }
    }

    /// Closes it if its app, as it is now (`None`: deleted), no longer admits it. A key whose capability shrank keeps
    /// what it subscribed to before.
    pub fn recheck(&mut self, app: Option<&App>, out: &mut Vec<Output>) {
        match app {
            None => self.close(CloseCode::AppDeleted, out),
            Some(app) if !app.enabled => self.close(CloseCode::AppDisabled, out),
            Some(app) if app.key(self.key.as_str()).is_none() => self.close(CloseCode::KeyRevoked, out),
            Some(_) => {}
        }
    }

    fn heard(&mut self, now: Instant) {
        self.pinged = false;
        self.deadline = now + self.settings.activity_timeout;
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if now < self.deadline {
            return;
        }
        if self.pinged {
            return self.close(CloseCode::PongTimeout, out);
        }
        self.pinged = true;
        self.deadline = now + self.settings.pong_timeout;
        out.push(Output::Ping);
    }

    fn text(&mut self, text: &str, app: &App, now: Instant, out: &mut Vec<Output>) {
        let done = match ClientFrame::parse(text) {
            Ok(ClientFrame::Ping) => {
                out.push(Output::Send(frame::pong()));
                Ok(())
            }
            Ok(ClientFrame::Pong) => Ok(()),
            Ok(ClientFrame::Subscribe(request)) => self.subscribe(&request, app, out),
            Ok(ClientFrame::Unsubscribe { channel }) => {
                self.unsubscribe(&channel, out);
                Ok(())
            }
            Ok(ClientFrame::SignIn) => Err(Complaint::SignInNotSupported),
            Ok(ClientFrame::Event(event)) => self.client_event(&event, app, now, out),
            Err(unusable) => Err(Complaint::Frame(unusable)),
        };
        if let Err(complaint) = done {
            let code = complaint.code().map(|code| code.number());
            let text = frame::error(code, &complaint.to_string());
            out.push(match complaint.denied() {
                Some(denied) => Output::Deny { text, denied },
                None => Output::Send(text),
            });
        }
    }
}

#[cfg(test)]
mod tests;
