//! One channel: its subscribers, its ring, and what they are told together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use channels::{
    AppId, ChannelKind, ChannelName, ClientId, ConnectionId, Member, MemberData, Position, Record, RecordKind, Roster,
    SlowConsumers,
};
use metering::{AppMeter, Refused};
use parking_lot::{Mutex, MutexGuard};
use proto::control::TailKind;
use slab::Slab;
use tokio::sync::Notify;

use super::cached::Cached;
use super::presence::{Newcomer, Presence};
use super::{Hub, Replay, Settings, ring::Ring};
use crate::clock;
use crate::connection::data_bytes;
use crate::connections::Peer;
use crate::queue::{Ending, Frame, Tag, Timing};
use crate::tail::{self, Told};
use crate::websocket::frame;

/// A channel that somebody on this node is, or was a moment ago, subscribed to.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) app: AppId,
    pub(crate) name: ChannelName,
    pub(super) kind: ChannelKind,
    /// What its app uses.
    meter: Arc<AppMeter>,
    state: Mutex<State>,
    /// How many subscribers `state` holds, to be read without waiting for a fan-out.
    subscriptions: AtomicU64,
    /// Wakes the task: the last subscriber left, or the app has changed.
    pub(super) look: Notify,
    /// Wakes the keeper of this node's members.
    pub(super) members_changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) subscribers: Slab<Subscriber>,
    /// Confirmations owed to those who left before the channel was attached: pusher-js waits for them. At most one per
    /// connection, so that subscribing and leaving in a loop costs no memory.
    pub(super) farewells: Vec<(Arc<Peer>, Frame)>,
    ring: Ring,
    /// Of presence channels.
    pub(super) presence: Option<Box<Presence>>,
    /// Of cache channels that hold an event.
    pub(super) cached: Option<Cached>,
    /// The subscription count that subscribers were last told, and when.
    told_count: Option<(u64, Instant)>,
    /// Whether somebody has come since then, who knows no count.
    untold: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Subscribers wait for their confirmation.
    Attaching,
    /// Subscribers get every record.
    Live,
    /// Over: no longer in the hub's map.
    Ended,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) peer: Arc<Peer>,
    /// Until it is confirmed it gets nothing else.
    pub(super) waits: Option<Waits>,
}

/// What a subscriber waits for.
#[derive(Debug)]
pub(super) enum Waits {
    /// That the channel is live; then it is sent this.
    ForChannel(Box<Frame>),
    /// That it is a member; then it is sent who else is.
    ForEntry,
    /// Nothing any more: there was no room for it, and its session is being told.
    Refused,
}

impl Subscriber {
    /// Lets its session know that there is no room for it, at its `place`, in `channel`.
    pub(super) fn refuse(&mut self, channel: &ChannelName, place: Option<usize>) {
        self.waits = Some(Waits::Refused);
        self.peer.queue.refuse(channel, place.unwrap_or(usize::MAX));
    }
}

/// What a channel begins its life with, beside its records.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The newest position when its records begin.
    pub(super) head: Position,
    /// Of a presence channel.
    pub(super) roster: Option<Roster>,
    /// The last event of a cache channel.
    pub(super) cached: Option<Cached>,
}

/// A connection's subscription to a channel. Dropping it leaves the channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    channel: Arc<Channel>,
    key: usize,
    /// How long a member stays after it has left.
    stay: Duration,
}

impl Subscription {
    /// Has the member stay for a while after the subscription is over: its user may be about to come back.
    pub(crate) fn stay_for(&mut self, stay: Duration) {
        self.stay = stay;
    }

    /// Whether this is the subscription at `place` among the channel's.
    pub(crate) fn is_at(&self, place: usize) -> bool {
        self.key == place
    }
}

/// Why there is no subscription.
#[derive(Debug)]
pub(super) enum NotJoined {
    /// The channel is over; what it was given back.
    Ended(Box<(Waits, Option<Newcomer>)>),
    /// A quota of the app is used up.
    Refused(Refused),
}

impl From<Refused> for NotJoined {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.channel.leave(&self.hub, self.key, self.stay);
    }
}

impl Channel {
    /// A channel of the app that `meter` is of, before it is attached.
    pub(super) fn new(meter: Arc<AppMeter>, name: ChannelName, settings: &Settings) -> Self {
        let kind = ChannelKind::of(name.as_str());
        let state = State {
            phase: Phase::Attaching,
            subscribers: Slab::new(),
            farewells: Vec::new(),
            ring: Ring::new(settings.ring_messages, settings.ring_bytes),
            presence: kind.is_presence().then(Box::default),
            cached: None,
            told_count: None,
            untold: false,
        };
        Self {
            app: meter.app().clone(),
            name,
            kind,
            meter,
            state: Mutex::new(state),
            subscriptions: AtomicU64::new(0),
            look: Notify::new(),
            members_changed: Notify::new(),
        }
    }

    /// The state, under the lock that every fan-out takes.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds a subscriber, which `waits` for its confirmation.
    pub(super) fn join(
        self: &Arc<Self>,
        hub: &Arc<Hub>,
        peer: &Arc<Peer>,
        waits: Waits,
        mut newcomer: Option<Newcomer>,
    ) -> Result<Subscription, NotJoined> {
        let mut state = self.state.lock();
        if state.phase == Phase::Ended {
            return Err(NotJoined::Ended(Box::new((waits, newcomer))));
        }
        if let (Some(presence), Some(newcomer)) = (&state.presence, &mut newcomer)
            && !presence.has(&peer.id)
        {
            newcomer.take_place(&self.meter)?;
        }
        let waits = match waits {
            // Under the lock, so before any later record.
            Waits::ForChannel(confirmation) if state.phase == Phase::Live => {
                self.confirm(hub, &mut state, peer, *confirmation);
                None
            }
            waits => Some(waits),
        };
        let key = state.subscribers.insert(Subscriber { peer: Arc::clone(peer), waits });
        if let (Some(presence), Some(newcomer)) = (&mut state.presence, newcomer) {
            let user = newcomer.user.clone();
            presence.enter(hub, &peer.id, newcomer, key);
            // It may have left a moment ago, and not be gone yet.
            self.confirm_member(hub, &mut state, &Member { connection: peer.id.clone(), user });
        }
        let before = self.subscriptions.fetch_add(1, Ordering::Relaxed);
        drop(state);
        hub.metrics.subscriptions.of(self.kind).increment(1);
        hub.subscriptions.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            hub.occupied_channels.fetch_add(1, Ordering::Relaxed);
            hub.metrics.channels.of(self.kind).increment(1);
            // While nobody was here nobody looked at the tier.
            self.look();
        }
        if self.kind.is_presence() {
            hub.keep_members(self);
        }
        hub.note(self);
        Ok(Subscription { hub: Arc::clone(hub), channel: Arc::clone(self), key, stay: Duration::ZERO })
    }

    fn leave(self: &Arc<Self>, hub: &Arc<Hub>, key: usize, stay: Duration) {
        let mut state = self.state.lock();
        let Subscriber { peer, waits } = state.subscribers.remove(key);
        if let Some(presence) = &mut state.presence {
            presence.leave(&peer.id, key, stay);
        }
        // pusher-js waits for its confirmation before it leaves; others may not, and are owed it all the same.
        let owed = match waits {
            None | Some(Waits::Refused) => None,
            Some(Waits::ForChannel(confirmation)) => Some(*confirmation),
            Some(Waits::ForEntry) => state.presence.as_ref().map(|presence| presence.greeting(&self.name)),
        };
        if let Some(confirmation) = owed {
            if state.phase == Phase::Live {
                peer.queue.push(confirmation);
            } else if !state.farewells.iter().any(|(other, _)| Arc::ptr_eq(other, &peer)) {
                state.farewells.push((peer, confirmation));
            }
        }
        let left = self.subscriptions.fetch_sub(1, Ordering::Relaxed) - 1;
        drop(state);
        hub.occupied.leave(&self.meter, &self.name);
        hub.metrics.subscriptions.of(self.kind).decrement(1);
        hub.subscriptions.fetch_sub(1, Ordering::Relaxed);
        if left == 0 {
            hub.occupied_channels.fetch_sub(1, Ordering::Relaxed);
            hub.metrics.channels.of(self.kind).decrement(1);
            self.look();
        }
        if self.kind.is_presence() {
            hub.keep_members(self);
        }
        hub.note(self);
    }

    /// Has the task look at what changed.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// How many connections are subscribed.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// The connections that are subscribed.
    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.state.lock().subscribers.iter().map(|(_, subscriber)| Arc::clone(&subscriber.peer)).collect()
    }

    /// Whether `peer` is subscribed.
    pub(super) fn has(&self, peer: &Arc<Peer>) -> bool {
        self.state.lock().subscribers.iter().any(|(_, subscriber)| Arc::ptr_eq(&subscriber.peer, peer))
    }

    /// The connections of this node that are present as `user`.
    pub(super) fn present_as(&self, user: &ClientId) -> Vec<ConnectionId> {
        let state = self.state.lock();
        let own = state.presence.iter().flat_map(|presence| &presence.own);
        own.filter(|(_, own)| own.user == *user).map(|(connection, _)| connection.clone()).collect()
    }

    /// The users present in the cluster, if this node follows them.
    pub(super) fn users(&self) -> Option<Vec<ClientId>> {
        let state = self.state.lock();
        let roster = state.presence.as_ref()?.roster()?;
        Some(roster.users().map(|(user, _)| user.clone()).collect())
    }

    /// How many they are.
    pub(super) fn user_count(&self) -> Option<u64> {
        let state = self.state.lock();
        Some(state.presence.as_ref()?.roster()?.users().len() as u64)
    }

    /// The last event, if this is a cache channel and this node follows it; `Some(None)` if it is known to hold none.
    pub(super) fn cached(&self) -> Option<Option<Cached>> {
        let state = self.state.lock();
        (self.kind.is_cache() && state.phase == Phase::Live).then(|| state.cached.clone())
    }

    pub(super) fn replay(&self, after: Position, limit: usize) -> Option<Replay> {
        self.state.lock().ring.after(after, limit)
    }

    /// Lets everybody in who waits for the channel.
    pub(super) fn go_live(&self, hub: &Hub, loaded: Loaded) {
        let mut state = self.state.lock();
        let Loaded { head, roster, cached } = loaded;
        state.phase = Phase::Live;
        state.ring.restart(head);
        state.cached = cached;
        for (peer, confirmation) in std::mem::take(&mut state.farewells) {
            peer.queue.push(confirmation);
        }
        let mut waiting = Vec::new();
        for (_, subscriber) in &mut state.subscribers {
            match subscriber.waits.take() {
                Some(Waits::ForChannel(confirmation)) => {
                    waiting.push((Arc::clone(&subscriber.peer), *confirmation));
                }
                other => subscriber.waits = other,
            }
        }
        for (peer, confirmation) in waiting {
            self.confirm(hub, &mut state, &peer, confirmation);
        }
        if let Some(roster) = roster {
            self.roster_loaded(hub, &mut state, roster);
        }
        drop(state);
        self.members_changed.notify_one();
        // Who was just confirmed is to know how many there are.
        hub.note(self);
    }

    /// Tells a subscriber that it is one, and the last event of a cache channel.
    pub(super) fn confirm(&self, hub: &Hub, state: &mut State, peer: &Peer, confirmation: Frame) {
        peer.queue.push(confirmation);
        state.untold = true;
        hub.metrics.subscribed.increment(1);
        let told = Told { kind: TailKind::Subscribed, connection: peer.id.as_str(), ..self.told() };
        hub.tails.tell(&self.app, told);
        if self.kind.is_cache() {
            let (frame, event_bytes) = hub.cached_frame(self, state.cached.as_ref());
            if let Some(bytes) = event_bytes {
                self.meter.delivered(1, bytes as u64, Instant::now());
            }
            peer.queue.push(frame);
        }
    }

    /// Takes a record in its place in the channel's order.
    pub(super) fn deliver(&self, hub: &Hub, position: Option<Position>, record: &Arc<Record>) {
        let received = Instant::now();
        // Nobody can be owed the record who is not subscribed by now: it was published before.
        let frame = (self.subscriptions() > 0).then(|| self.event(hub, position, record));
        let mut state = self.state.lock();
        if let Some(position) = position {
            state.ring.push(position, Arc::clone(record));
        }
        match (&record.kind, position) {
            (RecordKind::Presence(change), _) => {
                if let (Some(connection), Some(user)) = (&record.connection, &record.client) {
                    let member = Member { connection: connection.clone(), user: user.clone() };
                    let said = record.messages.first();
                    let data = said.map(|said| MemberData::of_message(said, record.timestamp_ms)).unwrap_or_default();
                    self.apply_presence(hub, &mut state, change, member, data);
                }
                return;
            }
            (RecordKind::Messages, Some(position)) if self.kind.is_cache() => {
                state.cached = Some(Cached { position, record: Arc::clone(record) });
            }
            (RecordKind::Messages | RecordKind::ClientEvent, _) => {}
        }
        let Some(frame) = frame.filter(|frame| frame.messages > 0) else { return };
        let messages = u64::from(frame.messages);
        // One delivery of each record is measured: any more would cost every delivery. Which one goes round.
        let measured = position.map_or(record.timestamp_ms, |position| position.sequence);
        let measured = usize::try_from(measured).unwrap_or_default() % state.subscribers.len().max(1);
        let mut size = 0_u64;
        let taps = hub.tails.of(&self.app);
        let event = record.messages.first().and_then(|message| message.name.as_deref()).unwrap_or_default();
        let told = Told { kind: TailKind::Delivered, event, ..self.told() };
        for (index, (_, subscriber)) in state.subscribers.iter().enumerate() {
            let peer = &subscriber.peer;
            let left_out = record.connection.as_ref().is_some_and(|other| *other == peer.id);
            for tap in &taps {
                let reason = if left_out { "left out, as its sender asked" } else { "" };
                let count = if left_out { 0 } else { messages };
                tail::tell_of_one(tap, Told { connection: peer.id.as_str(), reason, count, ..told });
            }
            if subscriber.waits.is_some() || left_out {
                continue;
            }
            let mut frame = frame.clone();
            if index == measured {
                let timing = Some(Timing { accepted_ms: record.timestamp_ms, queued: Instant::now() });
                frame.tag = Some(Arc::new(Tag { timing, ..frame.tag.as_deref().cloned().unwrap_or_default() }));
            }
            peer.queue.push(frame);
            size += 1;
        }
        drop(state);
        taps.iter().for_each(|tap| tail::tell(tap, Told { count: size, ..told }));
        if size > 0 {
            self.meter.delivered(size * messages, size * data_bytes(record), received);
        }
        // Exact up to 2^53.
        #[expect(clippy::cast_precision_loss, reason = "a histogram is of floats")]
        hub.metrics.fanout_size.record(size as f64);
        hub.metrics.delivery_fanout.record(received.elapsed().as_secs_f64());
        hub.metrics.delivery_backbone.record(clock::seconds_since(record.timestamp_ms));
    }

    /// What those who tail are told of the channel.
    pub(super) fn told(&self) -> Told<'_> {
        Told { channel: self.name.as_str(), ..Told::default() }
    }

    /// The events of `record`, for every subscriber.
    fn event(&self, hub: &Hub, position: Option<Position>, record: &Record) -> Frame {
        let Some(app) = hub.apps.get(&self.app) else { return Frame::default() };
        let position = position.filter(|_| app.pusher.positions);
        let replaceable = match app.slow_consumers(&self.name) {
            SlowConsumers::Disconnect => None,
            SlowConsumers::KeepLatest => Some(self.name.clone()),
        };
        let tag = replaceable.map(|name| Arc::new(Tag { replaceable: Some(name), timing: None }));
        Frame { tag, ..frame::texts(&pusher::encode_record(&self.name, record, position)) }
    }

    /// Tells all subscribers how many they are in the cluster, if that is news. When to try again, if it is too early.
    pub(super) fn tell_count(&self, count: u64) -> Option<Instant> {
        /// Above so many subscribers each change is told no more often than this.
        const SELDOM: (u64, Duration) = (100, Duration::from_secs(5));
        let mut state = self.state.lock();
        if let Some((told, at)) = state.told_count {
            if told == count && !state.untold {
                return None;
            }
            if count > SELDOM.0 && at.elapsed() < SELDOM.1 {
                return Some(at + SELDOM.1);
            }
        }
        // Who waits to be confirmed is told then.
        if state.subscribers.iter().all(|(_, subscriber)| subscriber.waits.is_some()) {
            return None;
        }
        state.told_count = Some((count, Instant::now()));
        state.untold = false;
        let frame = frame::text(&pusher::subscription_count(&self.name, count));
        state.tell(&frame, |_| true);
        None
    }

    /// Ends every subscriber's connection: stock Pusher clients know no other sign that messages may be missing. They
    /// come back at once, subscribe anew, and applications that care load what they missed on `connected`.
    pub(super) fn tell_missed(&self, resumes: Position) {
        let mut state = self.state.lock();
        state.ring.restart(resumes);
        state.end_all(Ending::Missed);
    }

    /// Goes back to where it came from: whoever is there is told to reconnect, whoever comes waits.
    pub(super) fn start_over(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Attaching;
        state.ring.stop();
        state.end_all(Ending::Missed);
    }

    /// Gives up: whoever waits is sent to another node.
    pub(super) fn fail(&self, hub: &Hub) -> bool {
        let mut state = self.state.lock();
        state.phase = Phase::Ended;
        state.farewells = Vec::new();
        state.end_all(Ending::Unavailable);
        let waiting = state.subscribers.iter().filter(|(_, subscriber)| subscriber.waits.is_some()).count();
        hub.metrics.subscribe_unavailable.increment(waiting as u64);
        true
    }

    /// Ends it if nobody is subscribed, and no member is still leaving: who comes back must find it here.
    pub(super) fn end_if_vacant(&self) -> bool {
        let mut state = self.state.lock();
        let left = state.presence.as_ref().is_none_or(|presence| presence.is_vacant());
        if state.subscribers.is_empty() && left {
            state.phase = Phase::Ended;
        }
        state.phase == Phase::Ended
    }
}

impl State {
    /// Hands `frame` to every confirmed subscriber that is `meant`.
    pub(super) fn tell(&self, frame: &Frame, meant: impl Fn(&Peer) -> bool) {
        let confirmed = self.subscribers.iter().filter(|(_, subscriber)| subscriber.waits.is_none());
        for (_, subscriber) in confirmed.filter(|(_, subscriber)| meant(&subscriber.peer)) {
            subscriber.peer.queue.push(frame.clone());
        }
    }

    fn end_all(&self, ending: Ending) {
        self.subscribers.iter().for_each(|(_, subscriber)| subscriber.peer.queue.end(ending));
    }
}
