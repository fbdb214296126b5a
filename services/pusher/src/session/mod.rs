//! One connection's state machine: text frames, times and changes of its app come in; frames, subscriptions and client
//! events go out.
//!
//! Owns what a connection is subscribed to, who it is known as, its liveness and its client event rate. Deliberately
//! knows nothing of sockets, the hub, other connections or the clock: the edge does what the outputs say, in their
//! order. Who else is present, or online, is nothing a session knows either.

mod client_event;
mod complaint;
mod denied;
mod identity;
mod sign_in;
mod subscribe;
mod timing;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use channels::{App, ChannelName, ClientId, KeyName, Rate, Record};

use crate::frame::{self, ClientFrame};
use crate::handshake::push_close;
use crate::{CloseCode, ProtocolVersion, SocketId};
use complaint::Complaint;
pub use denied::{Cause, Denied};
use identity::Identity;
use timing::Millis;

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

/// The moment at which something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For what lasts.
    pub instant: Instant,
    /// For what others have dated: milliseconds since the Unix epoch.
    pub unix_ms: u64,
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
        /// The channel it was asked for, as the client wrote it.
        channel: String,
        /// Why it is denied, as the frame says it.
        reason: String,
    },
    /// Register with the hub, which sends `confirmation` as soon as every later message of the channel is sure to come,
    /// and before any of them. It sends it also when an unsubscribe is already on its way: pusher-js waits for it.
    /// If a quota of the app is in the way, say so by [`Session::refuse_subscription`].
    Subscribe {
        /// The channel.
        channel: ChannelName,
        /// A text frame.
        confirmation: String,
    },
    /// Let the connection be present in the channel, and send it [`crate::presence_succeeded`] as soon as it is among
    /// the members and every later message is sure to come. If there is no room, say so by [`Session::refuse_join`], or
    /// by [`Session::refuse_subscription`] if that is for a quota of the app.
    Join {
        /// A presence channel.
        channel: ChannelName,
        /// Whom it is present as.
        user: ClientId,
        /// What is known of that user: JSON text exactly as received, or empty.
        info: Bytes,
    },
    /// Take leave of the channel, and of its members if it was joined.
    Unsubscribe {
        /// The channel.
        channel: ChannelName,
    },
    /// Publish a client event to the other subscribers. The record's `timestamp_ms` is 0: the edge, which has a clock,
    /// fills it in. If a quota of the app is in the way, say so by [`Session::refuse_client_event`].
    Publish {
        /// The channel.
        channel: ChannelName,
        /// A record of [`channels::RecordKind::ClientEvent`], from this connection.
        record: Record,
    },
    /// The connection belongs to `user` from now on, which it has been told. Comes once more if it signs in again as
    /// the same user; then this watchlist replaces the one before.
    SignIn {
        /// Who has signed in.
        user: ClientId,
        /// Whose presence it wants to be told of by [`crate::watchlist_events`], as often as it was given; empty unless
        /// the app lets users watch others.
        watchlist: Vec<ClientId>,
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
    /// It has signed in, or was let into a channel that takes a signature.
    authorized: bool,
    activity_timeout: Millis,
    pong_timeout: Millis,
    /// How soon after `opened` it has to be authorized, if its app wants that.
    authorization_timeout: Option<Millis>,
    opened: Instant,
    /// When silence is next looked at.
    silent_at: Instant,
    /// Ordered rather than hashed: small when empty, and nobody can choose names that collide.
    channels: BTreeSet<ChannelName>,
    client_events: Rate,
    identity: Option<Box<Identity>>,
}

impl Session {
    /// Starts a session of the key `key` of `app`; the greeting is the first output.
    pub fn open(
        socket_id: SocketId,
        key: KeyName,
        protocol: ProtocolVersion,
        app: &App,
        settings: &Settings,
        now: Instant,
        out: &mut Vec<Output>,
    ) -> Self {
        let seconds = settings.activity_timeout.as_secs();
        out.push(Output::Send(frame::connection_established(socket_id.as_str(), seconds)));
        let activity_timeout = Millis::from(settings.activity_timeout);
        Self {
            socket_id,
            key,
            protocol,
            closed: false,
            pinged: false,
            authorized: false,
            activity_timeout,
            pong_timeout: settings.pong_timeout.into(),
            authorization_timeout: app.pusher.authorized_connections.map(Millis::from),
            opened: now,
            silent_at: now + activity_timeout.get(),
            channels: BTreeSet::new(),
            client_events: Rate::default(),
            identity: None,
        }
    }

    /// Takes `input`. `app` is the app as it is now; if it no longer admits this connection, the session closes.
    pub fn handle(&mut self, input: Input<'_>, app: &App, now: Now, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        match input {
            Input::Tick => {
                self.recheck(Some(app), out);
                self.tick(now.instant, out);
            }
            Input::Alive => self.heard(now.instant),
            Input::Binary => self.close(CloseCode::NotText, out),
            Input::Text(text) => {
                self.heard(now.instant);
                self.recheck(Some(app), out);
                if !self.closed {
                    self.text(text, app, now, out);
                }
            }
        }
    }

    /// When [`Input::Tick`] is next due. Everything that is heard moves it, so rather than set a timer anew each time,
    /// let it fire and look here again. A [`Session::recheck`] may bring it forward.
    pub fn deadline(&self) -> Instant {
        self.unauthorized_at().map_or(self.silent_at, |at| at.min(self.silent_at))
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

    /// The user it has signed in as.
    pub fn user(&self) -> Option<&ClientId> {
        self.identity.as_ref()?.user.as_ref().map(|user| &user.id)
    }

    /// Closes it for a reason of the server's.
    pub fn close(&mut self, code: CloseCode, out: &mut Vec<Output>) {
        if !self.closed {
            self.closed = true;
            push_close(code, Some(self.protocol), out);
        }
    }

    /// Takes note of its app as it is now (`None`: deleted), and closes it if that no longer admits it. A key whose
    /// capability shrank keeps what it subscribed to before, and who has signed in stays so.
    pub fn recheck(&mut self, app: Option<&App>, out: &mut Vec<Output>) {
        match app {
            None => self.close(CloseCode::AppDeleted, out),
            Some(app) if !app.enabled => self.close(CloseCode::AppDisabled, out),
            Some(app) if app.key(self.key.as_str()).is_none() => self.close(CloseCode::KeyRevoked, out),
            Some(app) => self.authorization_timeout = app.pusher.authorized_connections.map(Millis::from),
        }
    }

    /// Closes it with an error that clients of every version get as an event, too.
    fn fail(&mut self, code: CloseCode, message: &str, out: &mut Vec<Output>) {
        self.closed = true;
        out.push(Output::Send(frame::error(Some(code.number()), message)));
        out.push(Output::Close(code));
    }

    fn heard(&mut self, now: Instant) {
        self.pinged = false;
        self.silent_at = now + self.activity_timeout.get();
    }

    /// When it is closed unless it is authorized by then.
    fn unauthorized_at(&self) -> Option<Instant> {
        let timeout = self.authorization_timeout.filter(|_| !self.authorized)?;
        Some(self.opened + timeout.get())
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.unauthorized_at().is_some_and(|at| at <= now) {
            return self.close(CloseCode::Unauthorized, out);
        }
        if now < self.silent_at {
            return;
        }
        if self.pinged {
            return self.close(CloseCode::PongTimeout, out);
        }
        self.pinged = true;
        self.silent_at = now + self.pong_timeout.get();
        out.push(Output::Ping);
    }

    fn text(&mut self, text: &str, app: &App, now: Now, out: &mut Vec<Output>) {
        let frame = ClientFrame::parse(text);
        let done = match &frame {
            Ok(ClientFrame::Ping) => {
                out.push(Output::Send(frame::pong()));
                Ok(())
            }
            Ok(ClientFrame::Pong) => Ok(()),
            Ok(ClientFrame::Subscribe(request)) => self.subscribe(request, app, now.unix_ms, out),
            Ok(ClientFrame::Unsubscribe { channel }) => {
                self.unsubscribe(channel, out);
                Ok(())
            }
            Ok(ClientFrame::SignIn(request)) => self.sign_in(request, app, now.unix_ms, out),
            Ok(ClientFrame::Event(event)) => self.client_event(event, app, now.instant, out),
            Err(unusable) => Err(Complaint::Frame(unusable.clone())),
        };
        if let Err(complaint) = done {
            let channel = frame.as_ref().ok().and_then(ClientFrame::channel).unwrap_or_default();
            out.push(complaint.output(channel));
        }
    }
}

#[cfg(test)]
mod tests;
