//! One channel: its subscribers, its ring, and what they are told together.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ably::Modes;
use backbone::facts::Parts;
use channels::{
    AppId, ChannelHash, ChannelKind, ChannelName, ClientId, ConnectionId, Member, MemberData, Position, Record,
    RecordKind, Roster, SlowConsumers,
};
use metering::{AppMeter, Refused};
use parking_lot::{Mutex, MutexGuard};
use proto::control::TailKind;
use slab::Slab;
use tokio::sync::Notify;

use super::cached::Cached;
use super::due::Due;
use super::encoded::Messages;
use super::follower::{Attach, Follower, Medium};
use super::presence::{Newcomer, Presence};
use super::replay::Replay as Missed;
use super::{Hub, Replay, Settings, ring::Ring};
use crate::connection::data_bytes;
use crate::connections::Peer;
use crate::metrics::Recovery;
use crate::queue::{Ending, Frame, Tag, Timing};
use crate::tail::{self, Told};
use crate::trace;
use crate::websocket::frame;

/// A channel that somebody on this node is, or was a moment ago, subscribed to.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) app: AppId,
    pub(crate) name: ChannelName,
    pub(super) kind: ChannelKind,
    /// The name once more, as it stands in frames.
    pub(super) called: Arc<str>,
    /// What its app uses.
    pub(super) meter: Arc<AppMeter>,
    state: Mutex<State>,
    /// How many subscribers `state` holds, to be read without waiting for a fan-out.
    subscriptions: AtomicU64,
    /// How many of them follow over each medium, and how many of these want to know the counts.
    followers: [AtomicU64; Medium::COUNT],
    counted: AtomicU64,
    /// Whether members are followed; never unset.
    pub(super) with_members: AtomicBool,
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
    pub(super) ring: Ring,
    /// Whether what is published is stored, so that a place in the channel's order means something.
    pub(super) stored: bool,
    /// Of presence channels, and of others once somebody follows members.
    pub(super) presence: Option<Box<Presence>>,
    /// Of cache channels that hold an event.
    pub(super) cached: Option<Cached>,
    /// The subscription count that subscribers were last told, and when.
    told_count: Option<(u64, Instant)>,
    /// When followers were last told of the counts that they want to know.
    pub(super) told_metrics: Option<tokio::time::Instant>,
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
    /// Of one that is no Pusher client; it never waits for a confirmation.
    pub(super) follower: Option<Box<Follower>>,
    /// What a follower has missed, while that is being brought to it.
    pub(super) missed: Option<Box<Missed>>,
}

/// Who is to become a subscriber.
#[derive(Debug)]
pub(super) enum Joining {
    /// One of the Pusher protocol, perhaps as a member.
    Pusher(Waits, Option<Newcomer>),
    /// One of the Ably protocol.
    Follower(Box<Attach>),
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
    /// Whether it is a Pusher client that has been confirmed.
    fn is_confirmed(&self) -> bool {
        self.follower.is_none() && self.waits.is_none()
    }

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
    /// Whether its records are stored.
    pub(super) stored: bool,
    /// Its members, if they are followed.
    pub(super) roster: Option<Roster>,
    /// The last event of a cache channel.
    pub(super) cached: Option<Cached>,
}

/// A connection's subscription to a channel. Dropping it leaves the channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(super) hub: Arc<Hub>,
    pub(super) channel: Arc<Channel>,
    pub(super) key: usize,
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
    Ended(Box<Joining>),
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
            stored: false,
            presence: kind.is_presence().then(Box::default),
            cached: None,
            told_count: None,
            told_metrics: None,
            untold: false,
        };
        Self {
            app: meter.app().clone(),
            called: name.as_str().into(),
            name,
            kind,
            meter,
            state: Mutex::new(state),
            subscriptions: AtomicU64::new(0),
            followers: Default::default(),
            counted: AtomicU64::new(0),
            with_members: AtomicBool::new(kind.is_presence()),
            look: Notify::new(),
            members_changed: Notify::new(),
        }
    }

    /// What it goes by in logs.
    pub(super) fn hash(&self) -> ChannelHash {
        ChannelHash::of(&self.app, &self.name)
    }

    /// The state, under the lock that every fan-out takes.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Adds a subscriber.
    pub(super) fn join(
        self: &Arc<Self>,
        hub: &Arc<Hub>,
        peer: &Arc<Peer>,
        mut joining: Joining,
    ) -> Result<Subscription, NotJoined> {
        let mut state = self.state.lock();
        if state.phase == Phase::Ended {
            return Err(NotJoined::Ended(Box::new(joining)));
        }
        if let (Some(presence), Joining::Pusher(_, Some(newcomer))) = (&state.presence, &mut joining)
            && !presence.has(&newcomer.member(peer))
        {
            newcomer.take_place(&self.meter)?;
        }
        let mut replay = None;
        let key = match joining {
            Joining::Pusher(waits, newcomer) => {
                let waits = match waits {
                    // Under the lock, so before any later record.
                    Waits::ForChannel(confirmation) if state.phase == Phase::Live => {
                        self.confirm(hub, &mut state, peer, *confirmation);
                        None
                    }
                    waits => Some(waits),
                };
                let subscriber = Subscriber { peer: Arc::clone(peer), waits, follower: None, missed: None };
                let key = state.subscribers.insert(subscriber);
                if let (Some(presence), Some(newcomer)) = (&mut state.presence, newcomer) {
                    let member = newcomer.member(peer);
                    presence.enter(hub, &member, newcomer, key);
                    // It may have left a moment ago, and not be gone yet.
                    self.confirm_member(hub, &mut state, &member);
                }
                key
            }
            Joining::Follower(attach) => {
                let from = attach.from;
                let mut follower = Box::new(Follower::new(*attach));
                follower.comes_back(from, &hub.metrics);
                self.count_follower(&follower, 1);
                let subscriber =
                    Subscriber { peer: Arc::clone(peer), waits: None, follower: Some(follower), missed: None };
                let key = state.subscribers.insert(subscriber);
                self.carry_on(&mut state, key);
                replay = self.begin(hub, &mut state, key);
                key
            }
        };
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
        hub.replay_missed(self, replay);
        if self.follows_members() {
            hub.keep_members(self);
        }
        hub.note(self);
        Ok(Subscription { hub: Arc::clone(hub), channel: Arc::clone(self), key, stay: Duration::ZERO })
    }

    fn leave(self: &Arc<Self>, hub: &Arc<Hub>, key: usize, stay: Duration) {
        let mut state = self.state.lock();
        let Subscriber { peer, waits, mut follower, missed: _ } = state.subscribers.remove(key);
        if let Some(follower) = &mut follower {
            self.count_follower(follower, -1);
            follower.does_not_catch_up(&hub.metrics, Recovery::Abandoned);
        }
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
        if self.follows_members() {
            hub.keep_members(self);
        }
        hub.note(self);
    }

    /// Whether its members are followed, too.
    pub(super) fn follows_members(&self) -> bool {
        self.with_members.load(Ordering::Relaxed)
    }

    /// Notes that there is one more such follower, or one less.
    pub(super) fn count_follower(&self, follower: &Follower, by: i64) {
        let add = |count: &AtomicU64| count.fetch_add(by.cast_unsigned(), Ordering::Relaxed);
        add(&self.followers[follower.medium.index()]);
        if follower.is_counting() {
            add(&self.counted);
        }
    }

    /// Whether some follower wants to know how many there are.
    pub(super) fn is_counted(&self) -> bool {
        self.counted.load(Ordering::Relaxed) > 0
    }

    /// The media over which somebody follows.
    pub(super) fn media(&self) -> impl Iterator<Item = Medium> {
        Medium::ALL.into_iter().filter(|medium| self.followers[medium.index()].load(Ordering::Relaxed) > 0)
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
        let own = state.presence.iter().flat_map(|presence| presence.own.iter());
        own.filter(|(_, own)| own.user == *user).map(|(connection, _)| connection.clone()).collect()
    }

    /// The users present in the cluster, if this node follows them.
    pub(super) fn users(&self) -> Option<Vec<ClientId>> {
        let state = self.state.lock();
        let roster = state.presence.as_ref()?.roster()?;
        Some(roster.users().map(|(user, _)| user.clone()).collect())
    }

    /// The members present in the cluster, if this node follows them.
    pub(super) fn members(&self) -> Option<Vec<(Member, MemberData)>> {
        let state = self.state.lock();
        Some(state.roster()?.members().map(|(member, data)| (member.clone(), data.clone())).collect())
    }

    /// How those take part who are subscribed here.
    pub(super) fn parts(&self) -> Parts {
        let state = self.state.lock();
        let mut parts = Parts::default();
        if let Some(presence) = &state.presence {
            parts.presence_members = presence.own.len() as u64;
            parts.presence_connections = presence.own.connections() as u64;
        }
        for (_, subscriber) in &state.subscribers {
            let Some(follower) = &subscriber.follower else {
                parts.subscribers += 1;
                parts.presence_subscribers += u64::from(self.kind.is_presence());
                continue;
            };
            let has = |mode| u64::from(follower.modes.contains(mode));
            parts.publishers += has(Modes::PUBLISH);
            parts.subscribers += has(Modes::SUBSCRIBE);
            parts.presence_subscribers += has(Modes::PRESENCE_SUBSCRIBE);
        }
        parts
    }

    /// How many they are, in a presence channel.
    pub(super) fn user_count(&self) -> Option<u64> {
        if !self.kind.is_presence() {
            return None;
        }
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
    pub(super) fn go_live(self: &Arc<Self>, hub: &Arc<Hub>, loaded: Loaded) {
        let mut state = self.state.lock();
        let Loaded { head, stored, roster, cached } = loaded;
        state.phase = Phase::Live;
        state.ring.restart(head);
        state.stored = stored;
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
        let replays = self.begin_all(hub, &mut state);
        drop(state);
        replays.into_iter().for_each(|replay| hub.replay_missed(self, Some(replay)));
        // There may be members by now that their connections have left elsewhere.
        hub.keep_members(self);
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

    /// Takes a record in its place in the channel's order. Those who get it are `due`.
    pub(super) fn deliver(&self, hub: &Hub, due: &mut Due, position: Option<Position>, record: &Arc<Record>) {
        let received = Instant::now();
        let messages = Messages::new(&self.called, position, record);
        // Nobody can be owed the record who is not subscribed by now: it was published before. Encoded before the lock is
        // taken, for whoever is there.
        let pusher = OnceCell::new();
        if let RecordKind::Messages | RecordKind::ClientEvent = record.kind {
            for medium in self.media() {
                messages.whole(medium);
            }
            if self.has_pusher_clients() {
                pusher.get_or_init(|| self.event(hub, position, record));
            }
        }
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
                    self.apply_presence(hub, &mut state, position, change, member, data);
                }
                return;
            }
            (RecordKind::Messages, Some(position)) if self.kind.is_cache() => {
                state.cached = Some(Cached { position, record: Arc::clone(record) });
            }
            (RecordKind::Messages | RecordKind::ClientEvent, _) => {}
        }
        if state.subscribers.is_empty() {
            return;
        }
        // One delivery of each record is measured: any more would cost every delivery. Which one goes round.
        let measured = position.map_or(record.timestamp_ms, |position| position.sequence);
        let measured = usize::try_from(measured).unwrap_or_default() % state.subscribers.len().max(1);
        let (mut reached, mut delivered) = (0_u64, 0_u64);
        let (mut bytes, whole_bytes) = (0_u64, data_bytes(record));
        let taps = hub.tails.of(&self.app);
        let event = record.messages.first().and_then(|message| message.name.as_deref()).unwrap_or_default();
        let told = Told { kind: TailKind::Delivered, event, ..self.told() };
        for (index, (_, subscriber)) in state.subscribers.iter_mut().enumerate() {
            let Subscriber { peer, waits, follower, .. } = subscriber;
            let (frame, left_out) = match follower {
                Some(follower) if !follower.is_due(position) => continue,
                Some(follower) => {
                    let skip = follower.take_skip(position);
                    let frame = follower.messages(&peer.id, &messages, skip);
                    let left_out = if frame.is_none() { "left out, as it asked" } else { "" };
                    (frame, left_out)
                }
                None if record.connection.as_ref().is_some_and(|other| *other == peer.id) => {
                    (None, "left out, as its sender asked")
                }
                None => {
                    let frame = pusher.get_or_init(|| self.event(hub, position, record));
                    ((frame.messages > 0 && waits.is_none()).then(|| frame.clone()), "")
                }
            };
            let count = frame.as_ref().map_or(0, |frame| u64::from(frame.messages));
            for tap in &taps {
                tail::tell_of_one(tap, Told { connection: peer.id.as_str(), reason: left_out, count, ..told });
            }
            let Some(mut frame) = frame else { continue };
            if index == measured {
                let timing = Some(Timing { accepted_ms: record.timestamp_ms, queued: Instant::now() });
                frame.tag = Some(Arc::new(Tag { timing, ..frame.tag.as_deref().cloned().unwrap_or_default() }));
            }
            due.push(peer, frame);
            reached += 1;
            delivered += count;
            // Of part of a record, about its part.
            bytes += whole_bytes * count.min(record.messages.len() as u64) / (record.messages.len() as u64).max(1);
        }
        drop(state);
        trace::fan_out(&self.app, &self.name, record, received, reached);
        taps.iter().for_each(|tap| tail::tell(tap, Told { count: reached, ..told }));
        if delivered > 0 {
            self.meter.delivered(delivered, bytes, received);
        }
        // Exact up to 2^53.
        #[expect(clippy::cast_precision_loss, reason = "a histogram is of floats")]
        hub.metrics.fanout_size.record(reached as f64);
        hub.metrics.delivery_fanout.record(received.elapsed().as_secs_f64());
        hub.metrics.delivery_backbone.record(clock::seconds_since(record.timestamp_ms));
    }

    /// Whether some subscriber is no follower, as far as is known without the lock.
    fn has_pusher_clients(&self) -> bool {
        let followers: u64 = self.followers.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        self.subscriptions() > followers
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
        let tag = replaceable.map(|name| Arc::new(Tag { replaceable: Some(name), ..Tag::default() }));
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
        if !state.subscribers.iter().any(|(_, subscriber)| subscriber.is_confirmed()) {
            return None;
        }
        state.told_count = Some((count, Instant::now()));
        state.untold = false;
        let frame = frame::text(&pusher::subscription_count(&self.name, count));
        state.tell(&frame, |_| true);
        None
    }

    /// Ends every Pusher client's connection: stock ones know no other sign that messages may be missing. They come back at
    /// once, subscribe anew, and applications that care load what they missed on `connected`. Followers are told so on the
    /// channel, and stay.
    pub(super) fn tell_missed(self: &Arc<Self>, hub: &Arc<Hub>, resumes: Position) {
        let mut state = self.state.lock();
        state.ring.restart(resumes);
        state.end_pusher_clients(Ending::Missed);
        let replays = self.tell_followers_missed(hub, &mut state, resumes);
        drop(state);
        replays.into_iter().for_each(|replay| hub.replay_missed(self, Some(replay)));
    }

    /// Goes back to where it came from: Pusher clients that are there are told to reconnect; followers, and whoever comes,
    /// wait.
    pub(super) fn start_over(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Attaching;
        self.hold_followers(&mut state);
        state.ring.stop();
        state.end_pusher_clients(Ending::Missed);
    }

    /// Gives up: whoever waits is sent to another node.
    pub(super) fn fail(&self, hub: &Hub) -> bool {
        let mut state = self.state.lock();
        state.phase = Phase::Ended;
        state.farewells = Vec::new();
        state.end_pusher_clients(Ending::Unavailable);
        let waiting = state.subscribers.iter().filter(|(_, subscriber)| subscriber.waits.is_some()).count();
        let detached = self.detach_followers(hub, &mut state);
        hub.metrics.subscribe_unavailable.increment((waiting + detached) as u64);
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
    /// Hands `frame` to every confirmed Pusher client that is `meant`.
    pub(super) fn tell(&self, frame: &Frame, meant: impl Fn(&Peer) -> bool) {
        let confirmed = self.subscribers.iter().filter(|(_, subscriber)| subscriber.is_confirmed());
        for (_, subscriber) in confirmed.filter(|(_, subscriber)| meant(&subscriber.peer)) {
            subscriber.peer.queue.push(frame.clone());
        }
    }

    fn end_pusher_clients(&self, ending: Ending) {
        let clients = self.subscribers.iter().filter(|(_, subscriber)| subscriber.follower.is_none());
        clients.for_each(|(_, subscriber)| subscriber.peer.queue.end(ending));
    }
}
