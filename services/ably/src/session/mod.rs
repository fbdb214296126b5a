//! One connection's state machine: frames, times, results and changes of what it may come in; frames, attachments,
//! publishes and changes of presence go out.
//!
//! Owns what a connection is attached to and by which modes, who it acts as, what its frames are answered, its liveness,
//! its token's life and its rate. Deliberately knows nothing of sockets, the hub, other connections, storage or the clock:
//! the edge does what the outputs say, in their order. Messages, presence of others and ATTACHED come to the client from
//! the hub, past the session.

mod answers;
mod attach;
mod denied;
mod end;
mod output;
mod presence;
mod publish;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use channels::{App, Capability, ConnectionId, Position, Rate};

use crate::encode::{self, Connected};
use crate::wire::{Action, ClientFrame, Field, Format, decode};
use crate::{Code, ErrorInfo, Identity};
use answers::Answers;
use attach::Attachment;
pub use denied::{Cause, Denied};
use end::last_frame;
pub use end::{End, Parting};
pub use output::{Attach, Change, Output, Presence, Publish};
pub use token::Validity;
use token::{Due, Token};

/// What holds for every session of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest silence of the server: then it sends a heartbeat, or a ping to clients that see those. Zero for no
    /// promise. Default 15 s.
    pub max_idle_interval: Duration,
    /// The longest silence of the client: then it is sent a ping. Default 60 s.
    pub activity_timeout: Duration,
    /// How long the server then waits for any sign of life. Default 30 s.
    pub pong_timeout: Duration,
    /// How long a connection may be away and be resumed, as clients are told. Default 120 s.
    pub connection_state_ttl: Duration,
    /// Largest frame, as clients are told. Default 262 144 bytes.
    pub frame_bytes: usize,
    /// Most channels one connection may be attached to. Default 200.
    pub channels: usize,
    /// Most messages of one publish, and presence items of one frame. Default 1000.
    pub messages_per_publish: usize,
    /// Most frames without an answer; then no more are read. Default 128.
    pub in_flight: usize,
    /// Publishes and changes of presence in a second. Default 50.
    pub inbound_per_second: u32,
    /// How many of them may come at once: after a resume clients send again whatever has no answer. Default 1000.
    pub inbound_burst: u32,
    /// Messages in a second that clients are told they get at most. Default 1000.
    pub outbound_per_second: u32,
    /// The node, as clients are told.
    pub server_id: Arc<str>,
}

impl Default for Settings {
    /// The figures of the hosted service (spec §18).
    fn default() -> Self {
        Self {
            max_idle_interval: Duration::from_secs(15),
            activity_timeout: Duration::from_secs(60),
            pong_timeout: Duration::from_secs(30),
            connection_state_ttl: Duration::from_secs(120),
            frame_bytes: 262_144,
            channels: 200,
            messages_per_publish: 1000,
            in_flight: 128,
            inbound_per_second: 50,
            inbound_burst: 1000,
            outbound_per_second: 1000,
            server_id: "edge".into(),
        }
    }
}

/// Frames of any kind may come this many times as fast as publishes; who is faster is a flood.
const FLOOD: u32 = 10;

/// The moment at which something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For what lasts.
    pub instant: Instant,
    /// For what others have dated: milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// Who a connection is, and what it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Whom it may act as. Where the connection's query names a client, that one.
    pub identity: Identity,
    /// What it may: of a token, as far as its key does, too.
    pub capability: Arc<Capability>,
    /// How long its token holds; none for a key.
    pub token: Option<Validity>,
}

/// A connection that was admitted.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The same as before, if it was resumed.
    pub connection: ConnectionId,
    /// What its client may resume it by. New each time.
    pub key: String,
    /// How its frames are written.
    pub format: Format,
    /// Whether it wants HEARTBEAT frames, as who does not see pings.
    pub heartbeats: bool,
    /// Whether it gets its own messages.
    pub echo: bool,
    /// Who it is.
    pub authority: Authority,
    /// Why it is not the connection it asked to be: 80018, 80008.
    pub error: Option<ErrorInfo>,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// A text or binary frame.
    Frame(&'a [u8]),
    /// Another sign of life: a WebSocket ping (which the edge answers) or pong.
    Alive,
    /// The time [`Session::deadline`] named has come. An early or late tick does no harm.
    Tick {
        /// When anything was last written to the client, by whomever.
        sent: Instant,
    },
}

/// A connection that is told CONNECTED and is not over.
#[derive(Debug)]
pub struct Session {
    connection: ConnectionId,
    settings: Arc<Settings>,
    identity: Identity,
    capability: Arc<Capability>,
    token: Option<Token>,
    format: Format,
    heartbeats: bool,
    echo: bool,
    closed: bool,
    /// A ping is out and nothing has been heard since.
    pinged: bool,
    /// The last moment that was told it, by both clocks.
    now: Now,
    /// When something was last known to be sent.
    sent: Instant,
    /// When silence of the client is next looked at.
    silent_at: Instant,
    /// By the name as the client wrote it. Ordered rather than hashed: small when empty, and nobody can choose names that
    /// collide.
    channels: BTreeMap<Arc<str>, Attachment>,
    answers: Answers,
    publishes: Rate,
    frames: Rate,
}

impl Session {
    /// Starts a session; CONNECTED is the first output.
    pub fn open(opening: Opening, settings: &Arc<Settings>, app: &App, now: Now, out: &mut Vec<Output>) -> Self {
        let Opening { connection, key, format, heartbeats, echo, authority, error } = opening;
        let session = Self {
            connection,
            settings: settings.clone(),
            identity: authority.identity,
            capability: authority.capability,
            token: authority.token.map(Token::from),
            format,
            heartbeats,
            echo,
            closed: false,
            pinged: false,
            now,
            sent: now.instant,
            silent_at: now.instant + settings.activity_timeout,
            channels: BTreeMap::new(),
            answers: Answers::default(),
            publishes: Rate::default(),
            frames: Rate::default(),
        };
        session.greet(&key, error.as_ref(), app, out);
        session
    }

    /// Takes `input`. `app` is the app as it is now.
    pub fn handle(&mut self, input: Input<'_>, app: &App, now: Now, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        self.now = now;
        match input {
            Input::Tick { sent } => self.tick(sent, out),
            Input::Alive => self.heard(),
            Input::Frame(bytes) => {
                self.heard();
                self.frame(bytes, app, out);
            }
        }
    }

    /// When [`Input::Tick`] is next due. Everything that is heard or sent moves it, so rather than set a timer anew each
    /// time, let it fire and look here again.
    pub fn deadline(&self) -> Instant {
        let idle_at = self.idle_at().unwrap_or(self.silent_at);
        let at = self.silent_at.min(idle_at);
        let Some(token) = &self.token else { return at };
        at.min(self.now.instant + Duration::from_millis(token.next_ms().saturating_sub(self.now.unix_ms)))
    }

    /// Whether frames are to be read now. If not, there are as many under way as may be; read on when results came.
    pub fn accepts_frames(&self) -> bool {
        self.answers.len() < self.settings.in_flight
    }

    /// Its public id.
    pub fn connection(&self) -> &ConnectionId {
        &self.connection
    }

    /// Whom it may act as.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How its frames are written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What it is attached to, by the names its client wrote.
    pub fn attachments(&self) -> impl Iterator<Item = &Arc<str>> {
        self.channels.keys()
    }

    /// Whether it is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The publish `msg_serial` was acknowledged by the backbone, with where it stands unless it is not stored; or was
    /// not done.
    pub fn published(&mut self, msg_serial: u64, result: Result<Option<Position>, ErrorInfo>, out: &mut Vec<Output>) {
        if self.answers.published(msg_serial, result) {
            self.answer(out);
        }
    }

    /// The change of presence `msg_serial` is told to everybody, or was not done.
    pub fn presence_done(&mut self, msg_serial: u64, result: Result<(), ErrorInfo>, out: &mut Vec<Output>) {
        if self.answers.entered(msg_serial, result) {
            self.answer(out);
        }
    }

    /// The token of an [`Output::Verify`] was judged. With the new authority comes the connection's new key.
    pub fn authorized(
        &mut self,
        result: Result<(Authority, String), ErrorInfo>,
        app: &App,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if self.closed {
            return;
        }
        self.now = now;
        // A connection that is one client's stays so.
        let fixed = match &self.identity {
            Identity::Is(client) => Some(client.as_str()),
            Identity::Any | Identity::Anonymous => None,
        };
        let judged = result.and_then(|(authority, key)| {
            let identity = authority.identity.connecting_as(fixed)?;
            Ok((identity, authority.capability, authority.token, key))
        });
        match judged {
            Err(error) => self.fail(&error, out),
            Ok((identity, capability, token, key)) => {
                self.identity = identity;
                self.token = token.map(Token::from);
                self.greet(&key, None, app, out);
                self.permit(capability, out);
            }
        }
    }

    /// Asks the client for a new token: the one it has will be revoked.
    pub fn hint(&self, out: &mut Vec<Output>) {
        if !self.closed {
            out.push(Output::Send(encode::auth(self.format)));
        }
    }

    /// Ends it for a reason of the server's.
    pub fn end(&mut self, end: End, out: &mut Vec<Output>) {
        self.last(end.parting(), &end.error(), out);
    }

    /// Ends it for good, with an ERROR.
    pub fn fail(&mut self, error: &ErrorInfo, out: &mut Vec<Output>) {
        self.last(Parting::Closed, error, out);
    }

    /// Ends it so that its client comes back, with a DISCONNECTED.
    pub fn disconnect(&mut self, error: &ErrorInfo, out: &mut Vec<Output>) {
        self.last(Parting::Kept, error, out);
    }

    fn last(&mut self, parting: Parting, error: &ErrorInfo, out: &mut Vec<Output>) {
        if !self.closed {
            self.closed = true;
            out.push(Output::Send(last_frame(self.format, parting, error)));
            out.push(Output::Close(parting, Some(error.clone())));
        }
    }

    fn greet(&self, key: &str, error: Option<&ErrorInfo>, app: &App, out: &mut Vec<Output>) {
        let settings = &self.settings;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let connected = Connected {
            connection_id: self.connection.as_str(),
            connection_key: key,
            client_id: self.identity.shown(),
            max_message_size: app.limits.message_bytes as u64,
            max_frame_size: settings.frame_bytes as u64,
            max_inbound_rate: settings.inbound_per_second.into(),
            max_outbound_rate: settings.outbound_per_second.into(),
            connection_state_ttl_ms: millis(settings.connection_state_ttl),
            max_idle_interval_ms: millis(settings.max_idle_interval),
            server_id: &settings.server_id,
            error,
        };
        out.push(Output::Send(encode::connected(self.format, &connected)));
    }

    fn heard(&mut self) {
        self.pinged = false;
        self.silent_at = self.now.instant + self.settings.activity_timeout;
    }

    /// When the server has been silent for as long as it may.
    fn idle_at(&self) -> Option<Instant> {
        let interval = self.settings.max_idle_interval;
        (!interval.is_zero()).then(|| self.sent + interval)
    }

    fn tick(&mut self, sent: Instant, out: &mut Vec<Output>) {
        let now = self.now.instant;
        match self.token.as_mut().and_then(|token| token.due(self.now.unix_ms)) {
            Some(Due::Expiry) => return self.end(End::TokenExpired, out),
            Some(Due::Hint) => self.hint(out),
            None => {}
        }
        self.sent = self.sent.max(sent);
        let silent = self.silent_at <= now;
        if silent && self.pinged {
            return self.end(End::Silent, out);
        }
        let idle = self.idle_at().is_some_and(|at| at <= now);
        if idle && self.heartbeats {
            out.push(Output::Send(encode::heartbeat(self.format, None)));
        }
        if silent || (idle && !self.heartbeats) {
            out.push(Output::Ping);
        }
        if idle {
            self.sent = now;
        }
        if silent {
            self.pinged = true;
            self.silent_at = now + self.settings.pong_timeout;
        }
    }

    fn frame(&mut self, bytes: &[u8], app: &App, out: &mut Vec<Output>) {
        let settings = &self.settings;
        let (rate, burst) = (settings.inbound_per_second, settings.inbound_burst);
        if !self.frames.take(rate.saturating_mul(FLOOD), burst.saturating_mul(FLOOD), self.now.instant) {
            return self.end(End::Flood, out);
        }
        let Ok(frame) = decode(self.format, bytes) else { return self.end(End::Protocol, out) };
        let Some(action) = frame.action() else { return };
        match action {
            Action::Heartbeat => {
                let id = frame.id.given().map(AsRef::as_ref);
                out.push(Output::Send(encode::heartbeat(self.format, id)));
            }
            Action::Close => {
                self.closed = true;
                out.push(Output::Send(encode::closed(self.format)));
                out.push(Output::Close(Parting::Closed, None));
            }
            Action::Attach => self.attach(&frame, out),
            Action::Detach => self.detach(&frame, out),
            Action::Sync => self.sync(&frame, out),
            Action::Auth => self.auth(&frame, out),
            Action::Message => self.acknowledged(&frame, Denied::Publish, out, |session, serial, out| {
                session.publish(&frame, serial, app, out)
            }),
            Action::Presence => self.acknowledged(&frame, Denied::Presence, out, |session, serial, out| {
                session.presence(&frame, serial, app, out)
            }),
            Action::Annotation => {
                self.acknowledged(&frame, Denied::Publish, out, |_, _, _| Err(Code::NotMutable.into()));
            }
            Action::Object => {
                self.acknowledged(&frame, Denied::Publish, out, |_, _, _| Err(Code::Objects.into()));
            }
            // What nobody uses, and what only servers say.
            Action::Connect
            | Action::Disconnect
            | Action::Activate
            | Action::Ack
            | Action::Nack
            | Action::Connected
            | Action::Disconnected
            | Action::Closed
            | Action::Error
            | Action::Attached
            | Action::Detached
            | Action::ObjectSync => {}
        }
    }

    /// Does with `act` what a frame asks that gets an answer by its msgSerial, or notes its refusal.
    fn acknowledged(
        &mut self,
        frame: &ClientFrame<'_>,
        denied: fn(Cause) -> Denied,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Self, u64, &mut Vec<Output>) -> Result<(), ErrorInfo>,
    ) {
        let Some(serial) = self.answers.serial(frame.msg_serial.given().copied()) else { return };
        if self.answers.len() >= self.settings.in_flight.saturating_mul(2) {
            return self.end(End::Flood, out);
        }
        let settings = &self.settings;
        let done = if !self.accepts_frames() {
            Err(Code::Busy.into())
        } else if !self.publishes.take(settings.inbound_per_second, settings.inbound_burst, self.now.instant) {
            Err(Code::ConnectionRate.into())
        } else {
            act(self, serial, out)
        };
        if let Err(error) = done {
            let channel = written(frame).to_owned();
            out.push(Output::Denied { denied: denied(Cause::of(&error)), channel, error: error.clone() });
            self.answers.refused(serial, error);
        }
        self.answer(out);
    }

    /// Sends the answers that are due.
    fn answer(&mut self, out: &mut Vec<Output>) {
        if self.closed {
            return;
        }
        while let Some(frame) = self.answers.next_frame(self.format) {
            out.push(Output::Send(frame));
        }
    }

    fn auth(&mut self, frame: &ClientFrame<'_>, out: &mut Vec<Output>) {
        let token = frame.auth.as_ref().map_or(&Field::Absent, |auth| &auth.access_token);
        match token {
            Field::Given(token) => out.push(Output::Verify { token: token.to_string() }),
            Field::Absent | Field::Wrong => self.fail(&Code::InvalidToken.says("AUTH without an access token"), out),
        }
    }
}

/// The channel that a frame is about, as its client wrote it.
fn written<'a>(frame: &'a ClientFrame<'_>) -> &'a str {
    frame.channel.given().map_or("", AsRef::as_ref)
}

#[cfg(test)]
mod tests;
