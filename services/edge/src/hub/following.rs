//! Beginning to follow a channel: from which place, what is told of that, and how a follower that is behind becomes one
//! that gets everything live.
//!
//! All of it happens under the channel's lock, which every delivery takes, so that nothing falls between what is replayed
//! and what comes live. A follower that is far behind is brought up by a task of its own ([`super::replay`]), in steps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ably::occupancy::Metrics;
use ably::{Back, Code, ErrorInfo, Flags};
use channels::{EventPosition, Position, Record, RecordKind, Roster};
use proto::control::TailKind;

use super::catching_up::refusal;
use super::channel::{Channel, Phase, State, Subscriber, Subscription};
use super::encoded::Messages;
use super::follower::{Attach, Follower, From, Members, Stage, Start};
use super::replay::{Progress, Replay};
use super::{Hub, replay};
use crate::connection::data_bytes;
use crate::connections::Peer;
use crate::metrics::Recovery;
use crate::tail::Told;

/// Records that are replayed while the lock is held once.
const BATCH: usize = 16;

/// How long something may be on its way to a client that is attached. What was sent earlier and is not known to it was
/// thrown away by it.
const IN_FLIGHT_MS: u64 = 5_000;

/// Counts are told no more often than this.
const COUNTED: Duration = Duration::from_millis(300);

/// A replay that has begun: whose, and which.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) key: usize,
    pub(super) turn: u64,
}

impl Subscription {
    /// Attaches once more, with other modes or params, or from another place.
    pub(crate) fn reattach(&self, attach: Attach) {
        let replay = self.channel.reattach(&self.hub, self.key, attach);
        self.hub.replay_missed(&self.channel, replay);
        // It may carry members from now on that other edges hold.
        self.hub.keep_members(&self.channel);
        self.hub.note(&self.channel);
    }

    /// From now on it is granted these modes, of which its client is not told.
    pub(crate) fn set_modes(&self, modes: ably::Modes) {
        let mut state = self.channel.state();
        if let Some(follower) = state.subscribers.get_mut(self.key).and_then(|s| s.follower.as_mut()) {
            follower.modes = modes;
        }
        drop(state);
        self.hub.note(&self.channel);
    }

    /// Tells who is there, as its client has asked to be told.
    pub(crate) fn sync(&self) {
        let begun = self.channel.sync(self.key);
        self.hub.replay_missed(&self.channel, begun);
    }
}

impl State {
    /// The members, if they are known.
    pub(super) fn roster(&self) -> Option<&Roster> {
        self.presence.as_ref()?.roster.as_ref()
    }
}

/// Tells who is there, as long as there is room. Whether that was everybody.
fn push_members(peer: &Peer, follower: &mut Follower, roster: Option<&Roster>) -> bool {
    while let Some(Members { frames, last }) = follower.next_members(roster) {
        if !peer.queue.fits(frames.iter().map(|frame| frame.bytes.len()).sum()) {
            return false;
        }
        frames.into_iter().for_each(|frame| peer.queue.push(frame));
        follower.knows_members(last);
    }
    true
}

impl Channel {
    /// Begins with every follower that waits.
    pub(super) fn begin_all(&self, hub: &Hub, state: &mut State) -> Vec<Begun> {
        let keys: Vec<_> = state.subscribers.iter().map(|(key, _)| key).collect();
        keys.into_iter().filter_map(|key| self.begin(hub, state, key)).collect()
    }

    /// Begins with the follower at `key`, if it waits and all that it needs is there. Gives a replay that is needed.
    pub(super) fn begin(&self, hub: &Hub, state: &mut State, key: usize) -> Option<Begun> {
        let start = match state.subscribers.get(key)?.follower.as_ref()?.stage {
            Stage::Waiting(start) => start,
            Stage::Replaying | Stage::Live { .. } | Stage::Detached => return None,
        };
        let needs_roster = state.subscribers.get(key)?.follower.as_ref()?.needs_roster();
        if needs_roster && state.roster().is_none() {
            self.want_members(state);
            return None;
        }
        if state.phase != Phase::Live {
            return None;
        }
        if needs_roster {
            self.adopt(hub, state, key);
        }
        let Subscriber { follower: Some(follower), missed, .. } = state.subscribers.get_mut(key)? else { return None };
        let (head, floor) = (state.ring.head().filter(|_| state.stored), state.ring.floor());
        if let Some(why) = refusal(start, head) {
            follower.does_not_catch_up(&hub.metrics, why);
        }
        let (after, replay) = match (start, head) {
            (Start::Now, _) => return self.begin_here(hub, state, key, Flags::default(), None),
            (Start::Unbroken, _) => return self.begin_here(hub, state, key, Flags::RESUMED, None),
            (Start::Lost(code), _) => return self.begin_here(hub, state, key, Flags::default(), Some(code.info())),
            (Start::Rewind, None) => return self.begin_here(hub, state, key, Flags::default(), None),
            (Start::After(_), None) => {
                return self.begin_here(hub, state, key, Flags::default(), Some(Code::ContinuityLost.info()));
            }
            (Start::After(after), Some(head)) if after.position.epoch != head.epoch => {
                return self.begin_here(hub, state, key, Flags::default(), Some(Code::ForeignSerial.info()));
            }
            (Start::After(after), Some(_)) => {
                let reached = floor.is_some_and(|floor| floor.sequence <= after.position.sequence);
                let replay = if reached { Replay::resuming(after) } else { Replay::unsure(after) };
                (reached.then_some((after, None)), replay)
            }
            (Start::Rewind, Some(head)) => match rewound(follower, state.ring.newest_first()) {
                Some((after, truncated)) => (Some((after, truncated.then(too_much))), Replay::rewinding(after, head)),
                None => (None, Replay::unknown(head)),
            },
        };
        follower.stage = Stage::Replaying;
        follower.turn += 1;
        let turn = follower.turn;
        *missed = Some(Box::new(replay));
        if let Some((after, error)) = after {
            let resumed = matches!(start, Start::After(_));
            let backlog = head.is_some_and(|head| after.position.sequence < head.sequence);
            let flags = Flags::default().with(Flags::RESUMED, resumed).with(Flags::HAS_BACKLOG, backlog);
            self.announce(hub, state, key, Some(after.position), flags, error);
            match self.advance_locked(hub, state, key, turn) {
                Progress::Live | Progress::Over => return None,
                Progress::More | Progress::Full | Progress::Behind { .. } | Progress::Rewind { .. } => {}
            }
        }
        Some(Begun { key, turn })
    }

    /// Tells the follower at `key` that it is attached here, who is there, and goes on live.
    fn begin_here(
        &self,
        hub: &Hub,
        state: &mut State,
        key: usize,
        flags: Flags,
        error: Option<ErrorInfo>,
    ) -> Option<Begun> {
        let at = state.ring.head().filter(|_| state.stored);
        self.announce(hub, state, key, at, flags, error);
        self.go_on_live(hub, state, key, None)
    }

    /// ATTACHED, with what there is to be said of its members.
    fn announce(
        &self,
        hub: &Hub,
        state: &mut State,
        key: usize,
        at: Option<Position>,
        flags: Flags,
        error: Option<ErrorInfo>,
    ) {
        let present = state.roster().is_some_and(|roster| roster.members().len() > 0);
        let Some(Subscriber { peer, follower: Some(follower), .. }) = state.subscribers.get_mut(key) else { return };
        follower.forget_base();
        let flags = flags.with(Flags::HAS_PRESENCE, present && follower.follows_members());
        peer.queue.push(follower.attached(at, flags, error));
        // If nobody is there any more by then, that has to be told.
        follower.owes_members |= flags.contains(Flags::HAS_PRESENCE);
        if !std::mem::replace(&mut follower.greeted, true) {
            hub.metrics.subscribed.increment(1);
            let told = Told { kind: TailKind::Subscribed, connection: peer.id.as_str(), ..self.told() };
            hub.tails.tell(&self.app, told);
        }
    }

    /// Who is there, and from now on everything live, but nothing up to `beyond`. If there is no room for all who are
    /// there, it is to be begun to bring the rest.
    fn go_on_live(&self, hub: &Hub, state: &mut State, key: usize, beyond: Option<EventPosition>) -> Option<Begun> {
        let head = state.ring.head();
        let roster = state.presence.as_ref().and_then(|presence| presence.roster.as_ref());
        let Subscriber { peer, follower: Some(follower), missed, .. } = state.subscribers.get_mut(key)? else {
            return None;
        };
        *missed = None;
        follower.stage = Stage::Live { beyond };
        follower.has_caught_up(&hub.metrics);
        if follower.is_counting() {
            hub.news.note(&self.app, &self.name);
        }
        let present = follower.follows_members() && roster.is_some_and(|roster| roster.members().len() > 0);
        if !std::mem::take(&mut follower.owes_members) && !present {
            return None;
        }
        follower.owe_members();
        if push_members(peer, follower, roster) {
            return None;
        }
        *missed = Some(Box::new(Replay::of_members(head)));
        Some(Begun { key, turn: follower.turn })
    }

    /// Begins to tell the follower at `key` who is there.
    fn sync(&self, key: usize) -> Option<Begun> {
        let mut state = self.state();
        let State { subscribers, presence, ring, .. } = &mut *state;
        let Subscriber { peer, follower: Some(follower), missed, .. } = subscribers.get_mut(key)? else { return None };
        if !follower.follows_members() || !matches!(follower.stage, Stage::Live { .. }) {
            return None;
        }
        follower.owe_members();
        let roster = presence.as_ref().and_then(|presence| presence.roster.as_ref());
        // One that is under way begins anew.
        if missed.is_some() || push_members(peer, follower, roster) {
            return None;
        }
        *missed = Some(Box::new(Replay::of_members(ring.head())));
        Some(Begun { key, turn: follower.turn })
    }

    /// One step of a replay: whatever of the backlog there is at hand and room for.
    pub(super) fn advance(&self, hub: &Hub, begun: Begun) -> Progress {
        let mut state = self.state();
        self.advance_locked(hub, &mut state, begun.key, begun.turn)
    }

    fn advance_locked(&self, hub: &Hub, state: &mut State, key: usize, turn: u64) -> Progress {
        let head = state.ring.head();
        let roster = state.presence.as_ref().and_then(|presence| presence.roster.as_ref());
        let Some((peer, follower, missed)) = replaying(state.subscribers.get_mut(key), turn) else {
            return Progress::Over;
        };
        if peer.queue.is_over() {
            return Progress::Over;
        }
        if matches!(follower.stage, Stage::Live { .. }) {
            if !push_members(peer, follower, roster) {
                return Progress::Full;
            }
            if let Some(subscriber) = state.subscribers.get_mut(key) {
                subscriber.missed = None;
            }
            return Progress::Live;
        }
        let Some(after) = missed.after else {
            let (Some(rewind), Some(head)) = (follower.rewind(), missed.with_presence_beyond) else {
                return Progress::Over;
            };
            return Progress::Rewind { rewind, head };
        };
        let mut records: VecDeque<_> = match missed.page.front() {
            Some(_) => missed.page.drain(..missed.page.len().min(BATCH)).collect(),
            None => match state.ring.after(after.position, BATCH) {
                Some(replay) if missed.announced => replay.records.into(),
                Some(_) | None => return Progress::Behind { after, floor: state.ring.floor() },
            },
        };
        if records.is_empty() {
            let ahead = after.skip > 0 || head.is_none_or(|head| head.sequence < after.position.sequence);
            let beyond = ahead.then_some(after);
            return if self.go_on_live(hub, state, key, beyond).is_some() { Progress::Full } else { Progress::Live };
        }
        let (mut messages, mut bytes) = (0, 0);
        let mut full = false;
        while let Some((at, record)) = records.front() {
            // About what it will take, and in JSON, which takes more.
            let size = usize::try_from(data_bytes(record)).unwrap_or(usize::MAX);
            full = !peer.queue.fits(size.saturating_add(size / 2).saturating_add(512 * record.messages.len()));
            if full {
                break;
            }
            let replay = &mut *missed;
            let skip = replay.after.map_or(0, |after| after.skip as usize);
            let with_presence = replay.with_presence_beyond.is_none_or(|beyond| at.sequence > beyond.sequence);
            let encoded = Messages::new(&self.called, Some(*at), record);
            if let Some(frame) = follower.replayed(&peer.id, &encoded, skip, with_presence) {
                if !matches!(record.kind, RecordKind::Presence(_)) {
                    messages += u64::from(frame.messages);
                    bytes += size as u64;
                }
                peer.queue.push(frame);
            }
            replay.after = Some((*at).into());
            records.pop_front();
        }
        if messages > 0 {
            self.meter.delivered(messages, bytes, Instant::now());
            follower.was_brought(messages);
        }
        if full {
            records.into_iter().rev().for_each(|record| missed.page.push_front(record));
            return Progress::Full;
        }
        Progress::More
    }

    /// Takes a page of the channel's history that was read for a replay.
    pub(super) fn take_page(&self, hub: &Hub, begun: Begun, page: replay::Page) {
        let mut state = self.state();
        let (floor, head) = (state.ring.floor(), state.ring.head());
        let Some((_, follower, missed)) = replaying(state.subscribers.get_mut(begun.key), begun.turn) else { return };
        let Some(after) = missed.after else { return };
        follower.was_read(page.complete);
        let first = page.records.first().map(|(at, _)| *at);
        // Where a rewind begins was found by reading what there is.
        let complete = page.complete || missed.rewinds;
        let next = match (first, floor) {
            // Right in front of the oldest that is left.
            (Some(first), _) if !complete => Position { sequence: first.sequence.saturating_sub(1), ..first }.into(),
            // Nothing lies between there and what this node holds.
            (None, Some(floor)) if !page.more && floor.sequence > after.position.sequence => floor.into(),
            (Some(_) | None, _) => after,
        };
        missed.after = Some(next);
        missed.page.extend(page.records);
        if std::mem::replace(&mut missed.announced, true) && complete {
            return;
        }
        let (resumed, truncated) = (complete && !missed.rewinds, missed.rewinds && missed.truncated);
        let backlog = first.is_some() || head.is_some_and(|head| head.sequence > next.position.sequence);
        let flags = Flags::default().with(Flags::RESUMED, resumed).with(Flags::HAS_BACKLOG, backlog);
        let error = if complete { truncated.then(too_much) } else { Some(Code::ContinuityLost.info()) };
        let at = if complete { after } else { next };
        self.announce(hub, &mut state, begun.key, Some(at.position), flags, error);
    }

    /// Takes where a rewind begins, as the channel's history says.
    pub(super) fn take_rewind(&self, begun: Begun, after: EventPosition, truncated: bool) {
        let mut state = self.state();
        if let Some((_, _, missed)) = replaying(state.subscribers.get_mut(begun.key), begun.turn) {
            missed.after = Some(after);
            missed.truncated = truncated;
        }
    }

    /// Has a replay that cannot be begin here instead.
    pub(super) fn begin_instead(&self, hub: &Hub, begun: Begun, start: Start) -> Option<Begun> {
        let mut state = self.state();
        replaying(state.subscribers.get_mut(begun.key), begun.turn)?;
        let subscriber = state.subscribers.get_mut(begun.key)?;
        subscriber.missed = None;
        subscriber.follower.as_mut()?.wait(start);
        self.begin(hub, &mut state, begun.key)
    }

    /// Detaches a follower whose replay cannot be read.
    pub(super) fn give_up(&self, hub: &Hub, begun: Begun) {
        let mut state = self.state();
        if replaying(state.subscribers.get_mut(begun.key), begun.turn).is_some()
            && let Some(subscriber) = state.subscribers.get_mut(begun.key)
        {
            detach(hub, begun.key, subscriber);
            hub.metrics.subscribe_unavailable.increment(1);
        }
    }

    /// Where a replay's queue is.
    pub(super) fn peer_of(&self, begun: Begun) -> Option<Arc<Peer>> {
        let mut state = self.state();
        replaying(state.subscribers.get_mut(begun.key), begun.turn).map(|(peer, ..)| Arc::clone(peer))
    }

    fn reattach(&self, hub: &Hub, key: usize, attach: Attach) -> Option<Begun> {
        let mut state = self.state();
        let seen = self.seen(&state, key);
        let is_on_its_way = |place| is_on_its_way(&state.ring, place);
        let Subscriber { follower: Some(follower), .. } = state.subscribers.get(key)? else { return None };
        let unbroken = || match (follower.stage, seen) {
            (Stage::Waiting(start), _) => start,
            (Stage::Replaying | Stage::Live { .. }, Some(seen)) => Start::After(seen),
            (Stage::Live { .. }, None) => Start::Unbroken,
            // It was not yet told where it begins.
            (Stage::Replaying | Stage::Detached, _) => attach.from.start(&attach.params),
        };
        let is_live = matches!(follower.stage, Stage::Live { .. });
        let (start, comes_from) = match attach.from {
            From::Now | From::NowWithoutRewind => (unbroken(), From::Now),
            From::Unreadable => (Start::Lost(Code::ForeignSerial), From::Unreadable),
            // It has missed nothing.
            From::After(place) if is_live && !follower.takes_deltas() && is_on_its_way(place) => {
                (unbroken(), From::Now)
            }
            From::After(place) => (Start::After(place), From::After(place)),
        };
        let Subscriber { follower: Some(follower), missed, .. } = state.subscribers.get_mut(key)? else { return None };
        *missed = None;
        self.count_follower(follower, -1);
        follower.comes_back(comes_from, &hub.metrics);
        follower.again(attach, start);
        self.count_follower(follower, 1);
        if state.phase == Phase::Ended {
            // Its connection has not heard yet.
            detach(hub, key, state.subscribers.get_mut(key)?);
        }
        self.begin(hub, &mut state, key)
    }

    /// What the follower at `key` has got everything up to, if the channel has positions.
    fn seen(&self, state: &State, key: usize) -> Option<EventPosition> {
        let head = state.ring.head().filter(|_| state.stored)?;
        let Subscriber { follower: Some(follower), missed, .. } = state.subscribers.get(key)? else { return None };
        match follower.stage {
            Stage::Live { beyond } => {
                let ahead = |beyond: &EventPosition| {
                    beyond.position.epoch == head.epoch && beyond.position.sequence >= head.sequence
                };
                Some(beyond.filter(ahead).unwrap_or(head.into()))
            }
            Stage::Replaying => missed.as_ref()?.after,
            Stage::Waiting(_) | Stage::Detached => None,
        }
    }

    /// Has followers wait until the channel is there again, and go on from where they are.
    pub(super) fn hold_followers(&self, state: &mut State) {
        let keys: Vec<_> = state.subscribers.iter().map(|(key, _)| key).collect();
        for key in keys {
            let seen = self.seen(state, key);
            let Some(Subscriber { follower: Some(follower), missed, .. }) = state.subscribers.get_mut(key) else {
                continue;
            };
            let start = match follower.stage {
                Stage::Waiting(_) | Stage::Detached => continue,
                // It was to be told from where it rewinds.
                Stage::Replaying if seen.is_none() => Start::Rewind,
                Stage::Replaying | Stage::Live { .. } => seen.map_or(Start::Lost(Code::ContinuityLost), Start::After),
            };
            *missed = None;
            follower.wait(start);
        }
    }

    /// Tells live followers that something is missing, and goes on with what comes behind `resumes`. Replays find out by
    /// themselves.
    pub(super) fn tell_followers_missed(&self, hub: &Hub, state: &mut State, resumes: Position) -> Vec<Begun> {
        let mut begun = Vec::new();
        let keys: Vec<_> = state.subscribers.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(follower) = state.subscribers.get_mut(key).and_then(|subscriber| subscriber.follower.as_mut())
            else {
                continue;
            };
            let had = |EventPosition { position: beyond, .. }| {
                beyond.epoch == resumes.epoch && beyond.sequence >= resumes.sequence
            };
            let missed = match follower.stage {
                Stage::Live { beyond } => !beyond.is_some_and(had),
                Stage::Waiting(_) | Stage::Replaying | Stage::Detached => false,
            };
            if missed {
                follower.wait(Start::Lost(Code::ContinuityLost));
                begun.extend(self.begin(hub, state, key));
            }
        }
        begun
    }

    /// Detaches all followers; gives how many.
    pub(super) fn detach_followers(&self, hub: &Hub, state: &mut State) -> usize {
        let followers = state.subscribers.iter_mut().filter(|(_, subscriber)| subscriber.follower.is_some());
        followers.map(|(key, subscriber)| detach(hub, key, subscriber)).count()
    }

    /// Tells followers that want to know it how many take part, if that is news. When to try again, if it is too early.
    pub(super) fn tell_metrics(&self, metrics: &Metrics) -> Option<tokio::time::Instant> {
        let mut state = self.state();
        let (now, now_ms) = (tokio::time::Instant::now(), clock::unix_ms());
        let id = format!("{:016x}:0", rand::random::<u64>());
        // Who has just come is told at once, if only what is news to it alone.
        let next = state.told_metrics.map(|told| told + COUNTED).filter(|next| *next > now);
        let (mut any, mut later) = (false, false);
        for (_, subscriber) in &mut state.subscribers {
            let Subscriber { peer, follower: Some(follower), .. } = subscriber else { continue };
            if !matches!(follower.stage, Stage::Live { .. }) || !follower.lacks_counts(metrics) {
                continue;
            }
            if next.is_some() && follower.knows_counts() {
                later = true;
            } else if let Some(frame) = follower.counted(&id, now_ms, metrics) {
                any |= next.is_none();
                peer.queue.push(frame);
            }
        }
        if any {
            state.told_metrics = Some(now);
        }
        next.filter(|_| later)
    }
}

/// Whether what comes behind `place` was sent so lately that it may still be on its way.
fn is_on_its_way(ring: &super::ring::Ring, place: EventPosition) -> bool {
    match ring.after(place.position, 1).map(|replay| replay.records.into_iter().next()) {
        Some(Some((_, record))) => record.timestamp_ms + IN_FLIGHT_MS > clock::unix_ms(),
        // Nothing came behind it.
        Some(None) => true,
        None => false,
    }
}

/// The parts of a subscriber that is being replayed, for the `turn`th time.
fn replaying(subscriber: Option<&mut Subscriber>, turn: u64) -> Option<(&mut Arc<Peer>, &mut Follower, &mut Replay)> {
    let Subscriber { peer, follower: Some(follower), missed: Some(missed), .. } = subscriber? else { return None };
    (follower.turn == turn).then_some((peer, &mut **follower, &mut **missed))
}

fn detach(hub: &Hub, key: usize, subscriber: &mut Subscriber) {
    let Subscriber { peer, follower: Some(follower), missed, .. } = subscriber else { return };
    *missed = None;
    follower.does_not_catch_up(&hub.metrics, Recovery::Unavailable);
    follower.stage = Stage::Detached;
    follower.turn += 1;
    peer.queue.push(follower.detached(Code::Unavailable.info()));
    peer.queue.detached(follower.name.written(), key);
}

/// Where a rewind begins, if that lies within `newest`, which are the newest first; and whether there is more than it may
/// bring.
fn rewound<'a>(
    follower: &Follower,
    newest: impl Iterator<Item = &'a (Position, Arc<Record>)>,
) -> Option<(EventPosition, bool)> {
    let rewind = follower.rewind()?;
    let mut search = Search::new(&rewind, since(&rewind, clock::unix_ms()));
    newest.into_iter().find_map(|(at, record)| search.take(*at, record))
}

/// The time that a rewind goes back to, in ms; `None` if it only counts messages.
pub(super) fn since(rewind: &ably::Rewind, now_ms: u64) -> Option<u64> {
    match rewind.back {
        Back::Messages(_) => None,
        Back::Time(back) => Some(now_ms.saturating_sub(clock::millis(back))),
    }
}

fn too_much() -> ErrorInfo {
    Code::BacklogTooLarge.says("there is more than is rewound")
}

/// Looks for the place where a rewind begins, from the newest record back.
pub(super) struct Search {
    left: usize,
    since_ms: Option<u64>,
    /// Whether it may be that more was asked for than is brought.
    may_be_more: bool,
    /// In front of the oldest record that is in it.
    pub(super) begins: Option<EventPosition>,
}

impl Search {
    pub(super) fn new(rewind: &ably::Rewind, since_ms: Option<u64>) -> Self {
        let may_be_more = match rewind.back {
            Back::Messages(count) => count > rewind.limit,
            Back::Time(_) => true,
        };
        Self { left: rewind.limit, since_ms, may_be_more, begins: None }
    }

    /// Looks at the next older record. Gives the place, once it is certain, and whether there was more than is brought.
    pub(super) fn take(&mut self, at: Position, record: &Record) -> Option<(EventPosition, bool)> {
        if self.since_ms.is_some_and(|since| record.timestamp_ms < since) {
            return Some((self.begins.unwrap_or(at.into()), false));
        }
        if record.kind != RecordKind::Messages {
            return None;
        }
        if self.left == 0 {
            return self.begins.map(|begins| (begins, true));
        }
        let skip = record.messages.len().saturating_sub(self.left);
        self.left -= record.messages.len() - skip;
        let before = Position { sequence: at.sequence.saturating_sub(1), ..at };
        let begins = EventPosition { position: before, skip: u32::try_from(skip).unwrap_or(u32::MAX) };
        self.begins = Some(begins);
        // Only one more shows whether there is more.
        let done = self.left == 0 && (skip > 0 || !self.may_be_more);
        done.then_some((begins, skip > 0 && self.may_be_more))
    }
}
