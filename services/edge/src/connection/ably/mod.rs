//! One Ably connection: what it is attached to, what it publishes, who it may act as, how it ends.
//!
//! A connection outlives its transports: `opening` decides whether a socket is a new connection or one that its client had,
//! here or on another node ([`crate::resume`]). The task never waits for anything but its client, its queue and what it
//! has under way; publishes run side by side, in order for each channel, and while there are as many as may be the client
//! is not read.

mod opening;
mod task;
mod under_way;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ably::credentials::{Credentials, Granted};
use ably::meta::Event;
use ably::session::{self, Attach, Authority, Denied, End, Input, Now, Opening as Greeting, Output, Parting, Validity};
use ably::session::{Session, Settings};
use ably::{Code, ErrorInfo, Identity};
use backbone::{PublishError, Published};
use channels::{App, KeyName};
use proto::control::TailKind;
use telemetry::Counter;

use self::under_way::{Done, UnderWay};
use super::{Core, NO_CODE};
use crate::authentication::{self, Authenticated};
use crate::connections::Client;
use crate::hub::{From, Medium, Subscription};
use crate::meta;
use crate::metrics::{Protocol, Transport};
use crate::queue::{Aside, Ending, Frame, Notices};
use crate::resume::Held;
use crate::server::Shared;
use crate::tail::Told;
use crate::websocket::frame;
use opening::Opening;
pub(crate) use task::{Task, open};

/// A connection with a session.
struct Connection {
    session: Session,
    /// What the session wants done next.
    outputs: Vec<Output>,
    /// By the names that the client wrote.
    attachments: BTreeMap<Arc<str>, Subscription>,
    /// What has no answer yet; nothing while there is nothing.
    under_way: Option<Box<UnderWay>>,
    /// The key that it was let in by, or that made its token.
    key: KeyName,
    /// What its token grants, if it is one.
    token: Option<Box<Granted>>,
    /// Who it says it is when it connects.
    client_id: Option<Box<str>>,
    /// Whether it was on another transport before.
    resumed: bool,
    held: Held,
    core: Core,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    /// The session has said its last word, perhaps for this reason.
    Said { parting: Parting, error: Option<ErrorInfo>, flush: bool, readable: bool, drained: bool },
    /// The client closed its socket without a word, with this code if it gave one.
    ByClient(Option<u16>),
    /// The client is gone.
    Lost,
}

impl Ended {
    /// By a CLOSE of the client's.
    const CLOSED: Self =
        Self::Said { parting: Parting::Closed, error: None, flush: true, readable: true, drained: false };

    /// The code it ended with.
    fn code(&self) -> Option<u32> {
        match self {
            Self::Said { error, .. } => Some(error.as_ref().map_or(1000, |error| error.code)),
            Self::ByClient(code) => Some(code.unwrap_or(NO_CODE).into()),
            Self::Lost => None,
        }
    }

    /// Why, for operators.
    fn reason(&self) -> Cow<'static, str> {
        match self {
            Self::Said { error: Some(error), .. } => error.message.clone(),
            Self::Said { error: None, .. } | Self::ByClient(_) => "by the client".into(),
            Self::Lost => "the client is gone".into(),
        }
    }

    /// Whether what is queued is still to be written.
    fn flushes(&self) -> bool {
        match self {
            Self::Said { flush, .. } => *flush,
            Self::ByClient(_) | Self::Lost => false,
        }
    }
}

fn now() -> Now {
    Now { instant: Instant::now(), unix_ms: clock::unix_ms() }
}

/// The settings of a node's sessions.
pub(crate) fn settings(config: &crate::Config, server_id: &str) -> Settings {
    Settings {
        max_idle_interval: config.ably_max_idle_interval,
        connection_state_ttl: config.ably_connection_state_ttl,
        server_id: server_id.into(),
        ..Settings::default()
    }
}

/// What a session has to know of what was granted to a client that acts as `identity`.
fn authority(granted: &Granted, identity: Identity) -> Authority {
    let token = granted.token.as_ref();
    let token = token.map(|token| Validity { issued_ms: token.issued_ms, expires_ms: token.expires_ms });
    Authority { identity, capability: Arc::new(granted.capability.clone()), token }
}

impl Connection {
    /// A connection that is part of the node from now on.
    fn open(shared: Arc<Shared>, opening: Opening) -> Self {
        let Opening { admission, connect, format, app, granted, identity, claim, resumed, error, begun, address } =
            opening;
        let client = Client::new(Protocol::Ably, granted.key.clone(), Transport::WebSocket, address);
        let greeting = Greeting {
            connection: claim.connection().clone(),
            key: claim.key(&app.id, &identity),
            format,
            heartbeats: connect.heartbeats,
            echo: connect.echo,
            authority: authority(&granted, identity),
            error,
        };
        let mut outputs = Vec::new();
        let session = Session::open(greeting, &shared.ably, &app, now(), &mut outputs);
        let core = Core::open(shared, admission, session.connection().clone(), client, begun);
        let connection = Self {
            held: claim.hold(&core.peer),
            session,
            outputs,
            attachments: BTreeMap::new(),
            under_way: None,
            key: granted.key.clone(),
            token: granted.token.is_some().then(|| Box::new(granted)),
            client_id: connect.client_id.map(Into::into),
            resumed,
            core,
        };
        connection.show_client();
        if !resumed {
            let peer = &connection.core.peer;
            let opened = Event::ConnectionOpened(meta::connection(peer));
            connection.core.shared.meta.tell(&connection.core.shared, &app, &opened);
        }
        connection
    }

    /// Has metachannels told of its end.
    fn tell_end(&self, ended: &Ended) {
        let Core { shared, peer, .. } = &self.core;
        let (closed, error) = match ended {
            Ended::Said { parting, error, .. } => (*parting == Parting::Closed, error.as_ref()),
            Ended::ByClient(_) | Ended::Lost => (false, None),
        };
        if !closed {
            return shared.meta.away(shared, peer, self.held.generation(), error.cloned());
        }
        if let Some(app) = self.app() {
            shared.meta.tell(shared, &app, &Event::ConnectionClosed(meta::connection(peer), error));
        }
    }

    /// Lets operators see who it is.
    fn show_client(&self) {
        if let Identity::Is(client) = self.session.identity() {
            self.core.peer.set_user(client);
        }
    }

    fn app(&self) -> Option<Arc<App>> {
        self.core.shared.apps.get(&self.core.peer.app)
    }

    /// Says when the session next wants a tick.
    fn set_deadline(&self) {
        self.core.shared.connections.set_deadline(&self.core.peer, self.session.deadline());
    }

    /// Whether its client is to be read.
    fn reads(&self) -> bool {
        self.session.accepts_frames() && self.under_way.as_ref().is_none_or(|under_way| under_way.has_room())
    }

    fn handle(&mut self, input: Input<'_>) {
        match self.app() {
            Some(app) => self.session.handle(input, &app, now(), &mut self.outputs),
            None => self.session.end(End::AppDeleted, &mut self.outputs),
        }
    }

    /// Takes what the rest of the node wants.
    fn heed(&mut self, notices: Notices) -> Option<Ended> {
        if let Some(ending) = notices.ending {
            return Some(self.end(match ending {
                Ending::TooSlow => {
                    self.core.shared.metrics.slow_consumers.increment(1);
                    End::TooSlow
                }
                Ending::Unavailable | Ending::Missed => End::Unavailable,
                Ending::Draining => End::Draining,
                Ending::Terminated => End::Terminated,
                Ending::Superseded => End::Superseded,
                Ending::Closed { for_good: true } => End::ClosedForGood,
                Ending::Closed { for_good: false } => End::ClosedForNow,
            }));
        }
        if notices.aside {
            self.listen();
        }
        if notices.recheck {
            self.recheck();
        }
        if notices.tick {
            self.handle(Input::Tick { sent: self.core.peer.queue.written_at() });
        }
        None
    }

    /// Ends it for a reason of the node's.
    fn end(&mut self, end: End) -> Ended {
        self.session.end(end, &mut self.outputs);
        Ended::Said {
            parting: end.parting(),
            error: Some(end.error()),
            // Who does not read would not read the rest either.
            flush: end != End::TooSlow,
            // What it sends makes no sense.
            readable: end != End::Protocol,
            drained: end == End::Draining,
        }
    }

    /// Forgets the channels that the hub had to give up, of which the client has been told.
    fn listen(&mut self) {
        // The rest is about kinds of subscriptions that this protocol has not.
        let Aside { detached, refused: _, replaced: _ } = self.core.peer.queue.take_aside();
        for (name, place) in detached {
            // It may have been left in the meantime, and come back.
            if self.attachments.get(&name).is_some_and(|attachment| attachment.is_at(place)) {
                self.attachments.remove(&name);
                self.session.forget(&name);
            }
        }
        self.count_attachments();
    }

    /// Looks at its app and its token again, which may have changed, or have been revoked.
    fn recheck(&mut self) {
        let Some(app) = self.app() else { return self.session.end(End::AppDeleted, &mut self.outputs) };
        if !app.enabled {
            return self.session.end(End::AppDisabled, &mut self.outputs);
        }
        let Some(key) = app.key(self.key.as_str()) else {
            return self.session.end(End::KeyRevoked, &mut self.outputs);
        };
        let Some(token) = &self.token else {
            return self.session.permit(Arc::new(key.capability.clone()), &mut self.outputs);
        };
        match authentication::revoked_from(&self.core.shared, token) {
            Some(at_ms) if at_ms <= clock::unix_ms() => self.session.end(End::TokenRevoked, &mut self.outputs),
            // There is a while left to come with another one.
            Some(_) => self.session.hint(&mut self.outputs),
            None => {
                let capability = key.capability.intersection(&token.capability);
                self.session.permit(Arc::new(capability), &mut self.outputs);
            }
        }
    }

    /// Does what the session says; `ping` is how the client is asked for a sign of life.
    fn obey(&mut self, mut ping: impl FnMut()) -> Option<Ended> {
        // What cannot be done has the session say something more.
        while !self.outputs.is_empty() {
            for output in std::mem::take(&mut self.outputs) {
                if let Some(ended) = self.obey_one(output, &mut ping) {
                    return Some(ended);
                }
            }
        }
        None
    }

    fn obey_one(&mut self, output: Output, ping: &mut impl FnMut()) -> Option<Ended> {
        match output {
            Output::Send(payload) => self.core.peer.queue.push(frame::ably(self.session.format(), &payload)),
            Output::Ping => ping(),
            Output::Attach(attach) => self.attach(*attach),
            Output::Modes { name, modes } => {
                if let Some(attachment) = self.attachments.get(&name) {
                    attachment.set_modes(modes);
                }
            }
            Output::Detach { name } => {
                self.attachments.remove(&name);
                self.count_attachments();
                self.core.tell(Told { kind: TailKind::Unsubscribed, channel: &name, ..self.core.told() });
            }
            Output::Sync { name } => {
                if let Some(attachment) = self.attachments.get(&name) {
                    attachment.sync();
                }
            }
            Output::Publish(publish) => self.publish(*publish),
            Output::Presence(presence) => self.change_presence(*presence),
            Output::Verify { token } => self.verify(&token),
            Output::Denied { denied, channel, error } => self.deny(denied, &channel, &error),
            Output::Close(parting, error) => {
                return Some(Ended::Said { parting, error, flush: true, readable: true, drained: false });
            }
        }
        None
    }

    fn count_attachments(&self) {
        self.core.peer.set_subscriptions(self.attachments.len());
    }

    fn attach(&mut self, attach: Attach) {
        let Attach { name, modes, params, serial, resume, echo, again: _ } = attach;
        let written = Arc::clone(name.written());
        let from = match serial {
            Some(Ok(position)) => From::After(position.into()),
            Some(Err(_)) => From::Unreadable,
            None if resume => From::NowWithoutRewind,
            None => From::Now,
        };
        let medium = Medium::WebSocket(self.session.format());
        let attach = crate::hub::Attach { name, medium, modes, params, echo, from, resumed: self.resumed };
        if let Some(attachment) = self.attachments.get(&written) {
            return attachment.reattach(attach);
        }
        match self.core.shared.hub.attach(&self.core.peer, attach) {
            Ok(attachment) => {
                self.attachments.insert(written, attachment);
                self.count_attachments();
            }
            Err(refused) => {
                let error = Code::ChannelQuota.says(refused.to_string());
                self.session.refuse_attach(&written, error, &mut self.outputs);
            }
        }
    }

    /// Judges the token of an AUTH.
    fn verify(&mut self, token: &str) {
        let Some(app) = self.app() else { return self.session.end(End::AppDeleted, &mut self.outputs) };
        let judged = self.judge(token).map(|(granted, identity)| {
            let authority = authority(&granted, identity.clone());
            self.key = granted.key.clone();
            self.token = granted.token.is_some().then(|| Box::new(granted));
            (authority, self.held.key(&identity))
        });
        self.session.authorized(judged, &app, now(), &mut self.outputs);
        self.show_client();
        // Its key may have changed while it was looked at.
        self.core.peer.queue.recheck();
    }

    fn judge(&self, token: &str) -> Result<(Granted, Identity), ErrorInfo> {
        let credentials = Credentials::from_token(token)?;
        let Authenticated { app, granted } =
            authentication::authenticate(&self.core.shared, &credentials, clock::unix_ms())?;
        if app.id != self.core.peer.app {
            return Err(Code::Incompatible.says("the token is of another app"));
        }
        let mut identity = granted.identity.clone().connecting_as(self.client_id.as_deref())?;
        if let Identity::Is(client) = self.session.identity() {
            // One client's connection stays so.
            identity = identity.connecting_as(Some(client.as_str()))?;
        }
        Ok((granted, identity))
    }

    /// Counts what the session denies its client.
    fn deny(&self, denied: Denied, channel: &str, error: &ErrorInfo) {
        let kind = match denied {
            Denied::Attach(_) => TailKind::SubscribeRefused,
            Denied::Publish(_) | Denied::Presence(_) => TailKind::PublishRefused,
        };
        let (code, reason) = (error.code, &*error.message);
        self.core.tell(Told { kind, channel, code, reason, ..self.core.told() });
        let Core { shared, peer, .. } = &self.core;
        shared.metrics.deny_ably(denied);
        if let Some(app) = self.app() {
            let name = ably::Name::parse(channel).ok();
            let channel = name.as_ref().map(ably::Name::base);
            shared.meta.tell(shared, &app, &Event::Error(error, Some(meta::connection(peer)), channel));
        }
        if denied == Denied::Publish(session::Cause::TooLarge) {
            let kind = channels::QuotaKind::MessageSize;
            self.core.shared.metrics.over_quota(kind);
            self.core.peer.meter.refused(kind);
        }
    }

    /// Leaves the channels and closes the queue. Gives what is still to be written before the close.
    fn leave(&mut self, ended: &Ended) -> VecDeque<Frame> {
        let stay = self.members_stay(ended);
        self.attachments.values_mut().for_each(|attachment| attachment.stay_for(stay));
        self.attachments.clear();
        let mut rest = self.core.close_queue(ended.flushes(), self.discarded(ended));
        for output in self.outputs.drain(..) {
            if let Output::Send(payload) = output {
                rest.push_back(frame::ably(self.session.format(), &payload));
            }
        }
        rest
    }

    /// How long its members stay in their channels: whoever is about to come back was never away.
    fn members_stay(&self, ended: &Ended) -> Duration {
        let config = &self.core.shared.config;
        match ended {
            Ended::Said { parting: Parting::Closed, .. } => Duration::ZERO,
            Ended::Said { drained: true, .. } => config.ably_presence_grace.max(config.presence_handover),
            Ended::Said { parting: Parting::Kept, .. } | Ended::ByClient(_) | Ended::Lost => config.ably_presence_grace,
        }
    }

    /// The counter for messages that do not get to a client whose connection ended like this.
    fn discarded(&self, ended: &Ended) -> &Counter {
        let metrics = &self.core.shared.metrics;
        match ended {
            Ended::Said { flush: false, .. } => &metrics.discarded_slow,
            Ended::Said { drained: true, .. } => &metrics.discarded_draining,
            Ended::Said { .. } | Ended::ByClient(_) | Ended::Lost => &metrics.discarded_closed,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without a farewell it was cut off, like a client whose network went away.
        let stay = self.members_stay(&Ended::Lost);
        self.attachments.values_mut().for_each(|attachment| attachment.stay_for(stay));
    }
}

/// What a client is told of a publish that was not done.
fn told(error: &PublishError) -> ErrorInfo {
    match error {
        PublishError::TooLarge => Code::TooLarge.says(error.to_string()),
        PublishError::Unavailable => Code::Unavailable.says(error.to_string()),
        PublishError::UnknownOutcome => Code::Timeout.says(error.to_string()),
    }
}

impl Connection {
    fn done(&mut self, done: Done) {
        match done {
            Done::Published { msg_serial, result } => {
                let result = result.map(|Published { position, .. }| position).map_err(|error| told(&error));
                self.session.published(msg_serial, result, &mut self.outputs);
            }
            Done::Entered { msg_serial, result } => {
                self.session.presence_done(msg_serial, result, &mut self.outputs);
            }
        }
        self.under_way.take_if(|under_way| under_way.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each connection, of which a node holds a hundred thousand and more.
    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Task>() <= 1024, "{} bytes", size_of::<Task>());
    }
}
