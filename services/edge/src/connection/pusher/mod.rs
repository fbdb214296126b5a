//! One Pusher connection, whatever carries it: what it is subscribed to, what it publishes, how it ends.
//!
//! The transports, `websocket` and `xhr`, each run a task that reads its client's frames into the session through here
//! and writes what the queue holds. The task never waits for anything but its client, its queue and the client event it
//! is publishing; while that one is under way the client is not read, which keeps its events in order and holds back a
//! client that publishes faster than the backbone takes.

mod opening;
mod websocket;
pub(crate) mod xhr;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backbone::{Publish, PublishError, Published};
use channels::{ChannelName, QuotaKind, Record, Tier, WebhookEvent};
use metering::Refused;
use proto::control::TailKind;
use pusher::{Cause, Class, CloseCode, Denied, Input, Now, Output, Session, SocketId};
use telemetry::Counter;

use super::{Core, NO_CODE, data_bytes};
use crate::connections::Client;
use crate::hub::Subscription;
use crate::metrics::{Protocol, PublishResult, Transport};
use crate::queue::{Aside, Ending, Frame, Notices};
use crate::server::Shared;
use crate::tail::Told;
use crate::trace;
use crate::users::SignedIn;
use crate::webhooks::Webhooks;
use crate::websocket::frame;
pub(crate) use opening::{Opening, admit};
pub(crate) use websocket::WebSocketTask;

type Publishing = Pin<Box<dyn Future<Output = Result<Published, PublishError>> + Send>>;

/// A connection with a session.
struct Connection {
    session: Session,
    /// What the session wants done next.
    outputs: Vec<Output>,
    subscriptions: BTreeMap<ChannelName, Subscription>,
    /// Set once its client has signed in.
    signed_in: Option<Box<SignedIn>>,
    /// The client event being published.
    publishing: Option<(Instant, Publishing)>,
    /// Those behind it. At most as many as one frame makes: nothing is read while one is under way.
    waiting: VecDeque<(ChannelName, Record)>,
    core: Core,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The session, or this node, closes it. With `flush`, after what is queued.
    Close { code: CloseCode, flush: bool },
    /// The client closed it, with this code if it gave one.
    ByClient(Option<u16>),
    /// The client is gone.
    Lost,
}

impl Ended {
    /// The code it ended with.
    fn code(self) -> Option<u16> {
        match self {
            Self::Close { code, .. } => Some(code.number()),
            Self::ByClient(code) => Some(code.unwrap_or(NO_CODE)),
            Self::Lost => None,
        }
    }

    /// Why, for operators.
    fn reason(self) -> &'static str {
        match self {
            Self::Close { code, .. } => code.reason(),
            Self::ByClient(_) => "by the client",
            Self::Lost => "the client is gone",
        }
    }

    /// Whether what is queued is still to be written.
    fn flushes(self) -> bool {
        match self {
            Self::Close { flush, .. } => flush,
            Self::ByClient(_) | Self::Lost => false,
        }
    }
}

impl Connection {
    /// A connection that is part of the node from now on.
    fn open(shared: Arc<Shared>, transport: Transport, opening: Opening) -> Self {
        let Opening { admission, handshake, app, begun, address } = opening;
        let mut outputs = Vec::new();
        let client = Client::new(Protocol::Pusher, handshake.key.clone(), transport, address);
        let session = Session::open(
            SocketId::new(rand::random(), rand::random()),
            handshake.key,
            handshake.protocol,
            &app,
            &shared.session_settings(),
            Instant::now(),
            &mut outputs,
        );
        let id = session.socket_id().connection().clone();
        Self {
            session,
            outputs,
            subscriptions: BTreeMap::new(),
            signed_in: None,
            publishing: None,
            waiting: VecDeque::new(),
            core: Core::open(shared, admission, id, client, begun),
        }
    }

    /// Says when the session next wants a tick.
    fn set_deadline(&self) {
        self.core.shared.connections.set_deadline(&self.core.peer, self.session.deadline());
    }

    fn handle(&mut self, input: Input<'_>) {
        match self.core.shared.apps.get(&self.core.peer.app) {
            Some(app) => {
                let now = Now { instant: Instant::now(), unix_ms: clock::unix_ms() };
                self.session.handle(input, &app, now, &mut self.outputs);
            }
            None => self.session.recheck(None, &mut self.outputs),
        }
    }

    /// Takes what the rest of the node wants.
    fn heed(&mut self, notices: Notices) -> Option<Ended> {
        match notices.ending {
            None => {}
            Some(Ending::TooSlow) => {
                self.core.shared.metrics.slow_consumers.increment(1);
                return Some(self.close(CloseCode::TooSlow));
            }
            Some(Ending::Unavailable | Ending::Superseded) => return Some(self.close(CloseCode::Unavailable)),
            Some(Ending::Draining) => return Some(self.close(CloseCode::Draining)),
            Some(Ending::Missed) => return Some(self.close(CloseCode::Missed)),
            Some(Ending::Terminated) => return Some(self.close(CloseCode::Terminated)),
            Some(Ending::Closed { for_good: true }) => return Some(self.close(CloseCode::ClosedForGood)),
            Some(Ending::Closed { for_good: false }) => return Some(self.close(CloseCode::ClosedForNow)),
        }
        if notices.aside {
            self.listen();
        }
        if notices.recheck {
            let app = self.core.shared.apps.get(&self.core.peer.app);
            self.session.recheck(app.as_deref(), &mut self.outputs);
        }
        if notices.tick {
            self.handle(Input::Tick);
        }
        None
    }

    /// Counts what newer messages have replaced, and tells the session which channels turned out to be full.
    fn listen(&mut self) {
        let Aside { refused, replaced, detached: _ } = self.core.peer.queue.take_aside();
        if !replaced.is_empty() {
            self.core.shared.metrics.coalesced.increment(1);
            self.core.shared.metrics.discarded_coalesced.increment(replaced.values().sum());
        }
        for (channel, count) in &replaced {
            let reason = "not read fast enough, newer ones took their place";
            let told =
                Told { kind: TailKind::Dropped, channel: channel.as_str(), reason, count: *count, ..self.core.told() };
            self.core.tell(told);
        }
        for (channel, place) in refused {
            // It may have left in the meantime, and come back.
            if self.subscriptions.get(&channel).is_some_and(|subscription| subscription.is_at(place))
                && self.subscriptions.remove(&channel).is_some()
                && let Some(app) = self.core.shared.apps.get(&self.core.peer.app)
            {
                self.session.refuse_join(&channel, &app, &mut self.outputs);
            }
        }
        self.core.peer.set_subscriptions(self.subscriptions.len());
    }

    /// Has the session close, for a reason of this node's.
    fn close(&mut self, code: CloseCode) -> Ended {
        self.session.close(code, &mut self.outputs);
        // Who does not read would not read the rest either.
        Ended::Close { code, flush: code != CloseCode::TooSlow }
    }

    /// Does what the session says; `ping` is how the transport asks its client for a sign of life.
    fn obey(&mut self, mut ping: impl FnMut()) -> Option<Ended> {
        // What a quota is in the way of has the session say something more, which is never in the way of anything.
        while !self.outputs.is_empty() {
            if let Some(ended) = self.obey_once(&mut ping) {
                return Some(ended);
            }
        }
        self.publish_next();
        None
    }

    fn obey_once(&mut self, ping: &mut impl FnMut()) -> Option<Ended> {
        for output in std::mem::take(&mut self.outputs) {
            match output {
                Output::Send(text) => self.core.peer.queue.push(frame::text(&text)),
                Output::Deny { text, denied, channel, reason } => {
                    self.deny(denied, &channel, &reason);
                    self.core.peer.queue.push(frame::text(&text));
                }
                Output::Subscribe { channel, confirmation } => {
                    let subscription =
                        self.core.shared.hub.subscribe(&self.core.peer, &channel, frame::text(&confirmation));
                    self.subscribed(channel, subscription);
                }
                Output::Join { channel, user, info } => {
                    let subscription = self.core.shared.hub.enter(&self.core.peer, &channel, user, info);
                    self.subscribed(channel, subscription);
                }
                Output::Unsubscribe { channel } => {
                    drop(self.subscriptions.remove(&channel));
                    self.core.peer.set_subscriptions(self.subscriptions.len());
                    self.core.tell(Told {
                        kind: TailKind::Unsubscribed,
                        channel: channel.as_str(),
                        ..self.core.told()
                    });
                }
                Output::SignIn { user, watchlist } => {
                    self.core.peer.set_user(&user);
                    self.core.tell(Told { kind: TailKind::SignedIn, user: user.as_str(), ..self.core.told() });
                    // First out, then in: signing in again may bring another watchlist.
                    self.signed_in = None;
                    let Shared { users, occupancy, apps, .. } = &*self.core.shared;
                    let counted = apps.get(&self.core.peer.app).is_some_and(|app| app.pusher.watchlist);
                    let signed_in = users.sign_in(occupancy, &self.core.peer, user, watchlist, counted);
                    self.signed_in = Some(Box::new(signed_in));
                }
                Output::Publish { channel, record } => {
                    match self.core.peer.meter.publish_all(1, data_bytes(&record), &[], Instant::now()) {
                        Ok(()) => self.waiting.push_back((channel, record)),
                        Err(refused) => {
                            self.core.shared.metrics.over_quota(refused.quota);
                            self.session.refuse_client_event(&channel, refused.to_string(), &mut self.outputs);
                        }
                    }
                }
                Output::Ping => ping(),
                Output::Close(code) => return Some(Ended::Close { code, flush: true }),
            }
        }
        None
    }

    fn subscribed(&mut self, channel: ChannelName, subscription: Result<Subscription, Refused>) {
        match subscription {
            Ok(subscription) => {
                drop(self.subscriptions.insert(channel, subscription));
                self.core.peer.set_subscriptions(self.subscriptions.len());
            }
            Err(refused) => self.session.refuse_subscription(&channel, refused.to_string(), &mut self.outputs),
        }
    }

    /// Counts what the session denies its client.
    fn deny(&self, denied: Denied, channel: &str, reason: &str) {
        let kind = match denied {
            Denied::Subscribe(_) => TailKind::SubscribeRefused,
            Denied::ClientEvent(_) => TailKind::PublishRefused,
        };
        self.core.tell(Told { kind, channel, reason, ..self.core.told() });
        self.core.shared.metrics.deny(denied);
        if denied == Denied::ClientEvent(Cause::TooLarge) {
            self.core.shared.metrics.over_quota(QuotaKind::MessageSize);
            self.core.peer.meter.refused(QuotaKind::MessageSize);
        }
    }

    fn publish_next(&mut self) {
        if self.publishing.is_some() {
            return;
        }
        let Some((channel, mut record)) = self.waiting.pop_front() else { return };
        record.timestamp_ms = clock::unix_ms();
        let mut publish = Publish {
            app: self.core.peer.app.clone(),
            channel,
            // Client events are never stored.
            tier: Tier::Ephemeral,
            record,
            idempotency: None,
        };
        let (shared, peer) = (Arc::clone(&self.core.shared), Arc::clone(&self.core.peer));
        let tailed = shared.tails.any().then(|| Box::new((publish.channel.clone(), event_name(&publish.record))));
        let bytes = data_bytes(&publish.record);
        let app = self.core.shared.apps.get(&self.core.peer.app);
        let told = app.filter(|app| Webhooks::wanted(app, WebhookEvent::ClientEvent, &publish.channel));
        let webhooks = told.map(|app| (app, Arc::clone(&self.core.shared.webhooks), publish.clone()));
        let begun = Instant::now();
        let mut span = trace::publish("client_event", &publish.app, None, begun);
        if let Some(span) = span.as_deref_mut() {
            trace::hand_on(span, std::iter::once(&mut publish));
        }
        let publishing = async move {
            let result = shared.backbone.publish(publish).await;
            if let Some(mut span) = span {
                trace::published(&mut span, &result);
            }
            if let Some(tailed) = tailed {
                let (channel, event) = &*tailed;
                let told = Told { connection: peer.id.as_str(), event, ..Told::default() };
                shared.tell_published(&peer.app, channel, told, &result);
            }
            match (&result, webhooks) {
                (Ok(_), Some((app, webhooks, published))) => {
                    webhooks.client_event(&app, &published.channel, &published.record).await;
                }
                (Ok(_), None) | (Err(PublishError::UnknownOutcome), _) => {}
                (Err(PublishError::TooLarge | PublishError::Unavailable), _) => peer.meter.unpublished(1, bytes, &[]),
            }
            result
        };
        self.publishing = Some((begun, Box::pin(publishing)));
    }

    /// A client event has no answer, so a lost one is only counted: its promise is "at most once".
    fn published(&mut self, result: &Result<Published, PublishError>) {
        let publishes = &self.core.shared.metrics.client_events;
        if let Some((begun, _)) = self.publishing.take() {
            publishes.seconds.record(begun.elapsed().as_secs_f64());
        }
        publishes.result(PublishResult::of(result)).increment(1);
        self.publish_next();
    }

    /// Leaves the channels and closes the queue. Gives what is still to be written before the close: the rest of the
    /// queue, if it is to be flushed, and the session's last words.
    fn leave(&mut self, ended: Ended) -> VecDeque<Frame> {
        let stay = self.members_stay(ended);
        self.subscriptions.values_mut().for_each(|subscription| subscription.stay_for(stay));
        self.subscriptions.clear();
        self.signed_in = None;
        let mut rest = self.core.close_queue(ended.flushes(), self.discarded(ended));
        for output in self.outputs.drain(..) {
            if let Output::Send(text) = output {
                rest.push_back(frame::text(&text));
            }
        }
        rest
    }

    /// How long its members stay in their channels: whoever is about to come back was never away.
    fn members_stay(&self, ended: Ended) -> Duration {
        let config = &self.core.shared.config;
        match ended {
            Ended::Lost => config.presence_grace,
            Ended::ByClient(_) => Duration::ZERO,
            Ended::Close { code: CloseCode::Draining, .. } => config.presence_handover,
            Ended::Close { code, .. } if matches!(code.class(), Class::BackOff | Class::Reconnect) => {
                config.presence_grace
            }
            Ended::Close { .. } => Duration::ZERO,
        }
    }

    /// Counts its end.
    fn count_out(&self, ended: Ended) {
        self.core.count_out(ended.code().map(u32::from), ended.reason());
    }

    /// The counter for messages that do not get to a client whose connection ended like this.
    fn discarded(&self, ended: Ended) -> &Counter {
        let metrics = &self.core.shared.metrics;
        match ended {
            Ended::Close { code: CloseCode::TooSlow, .. } => &metrics.discarded_slow,
            Ended::Close { code: CloseCode::Draining, .. } => &metrics.discarded_draining,
            Ended::Close { .. } | Ended::ByClient(_) | Ended::Lost => &metrics.discarded_closed,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Without a farewell it was cut off, like a client whose network went away.
        let stay = self.members_stay(Ended::Lost);
        self.subscriptions.values_mut().for_each(|subscription| subscription.stay_for(stay));
    }
}

/// The name of a record's event, or of its first.
fn event_name(record: &Record) -> String {
    record.messages.first().and_then(|message| message.name.clone()).unwrap_or_default()
}
