//! A channel's presence on this node: who is in it as far as its subscribers are to know, and this node's own members.
//!
//! A member is first written into the cluster's roster and then told by a record on the channel itself; its subscription
//! is confirmed when that record comes back in the channel's order, so that what it is told before and after fits
//! together. Leaving goes the same way. One task per channel, the keeper, does the writing: for each member it compares
//! what is wanted with what is written, so that however fast somebody comes and goes, each step waits for the one
//! before.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backbone::{KvError, Publish, facts};
use bytes::Bytes;
use channels::{
    ChannelName, ClientId, ConnectionId, EdgeId, Member, Message, PresenceAction, PresenceChange, Record, RecordKind,
    Roster, Tier, Transition,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::channel::{Phase, State};
use super::{Channel, Hub};
use crate::clock;
use crate::connections::Peer;
use crate::queue::{Ending, Frame};
use crate::websocket::frame;

/// Members of one channel that are entering, and that are leaving, at one time.
const CONCURRENT_WRITES: usize = 32;

/// First and longest pause before a failed write is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Presence of one channel.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// `None` before the channel is attached.
    roster: Option<Roster>,
    /// This node's own members. A connection is one member of a channel.
    own: HashMap<ConnectionId, Own>,
    /// Whether the keeper runs.
    kept: bool,
}

/// A member of this node.
#[derive(Debug)]
struct Own {
    user: ClientId,
    info: Bytes,
    /// Its place among the subscribers, while it is subscribed.
    subscriber: Option<usize>,
    /// When it came; whoever waits for too long is sent elsewhere.
    since: Instant,
    wanted: Wanted,
    /// Where it stands in the roster, as far as is known.
    written: Option<Written>,
    /// What is being written.
    busy: Option<PresenceAction>,
    /// The revision at which it last left: what is older says nothing of where it is now.
    left: u64,
    /// Another user of the same connection, who comes when this one has left: its info and place.
    next: Option<Box<(ClientId, Bytes, usize)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Present,
    /// Its subscription is over; it is to leave then.
    Until(Instant),
}

/// An entry of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    /// The life of this edge under which it stands.
    edge: EdgeId,
    /// Its revision; `None` if the answer to its writing was lost.
    revision: Option<u64>,
}

/// What is to be done for a member.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// It is to be written.
    Enter,
    /// It is to be removed.
    Leave,
    /// It is not in the roster, and is not to be.
    Over,
    /// It has waited for too long.
    TooLate,
    /// Nothing before that time, unless something changes.
    Nothing(Option<Instant>),
}

/// One step of the keeper.
struct Step {
    member: Member,
    change: Change,
}

enum Change {
    /// Into the roster, under this id.
    Enter { edge: EdgeId, info: Bytes },
    /// Out of it.
    Leave(Written),
}

/// What the keeper does next.
enum Next {
    /// These steps; then nothing before that time, unless something changes.
    Steps(Vec<Step>, Option<Instant>),
    /// Nothing any more.
    Done,
}

/// What the keeper knows when it looks at a channel's members.
struct Look {
    now: Instant,
    /// This edge's life; `None` before it has a lease, when its word counts for nothing.
    me: Option<EdgeId>,
    /// Whether the channel is being followed: otherwise nobody can be confirmed.
    live: bool,
    /// Whether the channel is over.
    ended: bool,
    /// How long somebody may wait.
    patience: Duration,
}

impl Own {
    fn new(user: ClientId, info: Bytes, subscriber: usize) -> Self {
        let (since, wanted) = (Instant::now(), Wanted::Present);
        Self { user, info, subscriber: Some(subscriber), since, wanted, written: None, busy: None, left: 0, next: None }
    }

    fn due(&self, look: &Look) -> Due {
        let leaves = match self.wanted {
            Wanted::Present => look.ended,
            Wanted::Until(at) if at <= look.now => true,
            Wanted::Until(at) => return Due::Nothing(Some(at)),
        };
        match &self.written {
            None if leaves => Due::Over,
            Some(_) if leaves => Due::Leave,
            // In another life of this edge; now it is to be written anew.
            Some(written) if look.me.as_ref().is_some_and(|me| *me != written.edge) && look.live => Due::Enter,
            Some(_) => Due::Nothing(None),
            None if look.live && look.me.is_some() => Due::Enter,
            None if self.since + look.patience <= look.now => Due::TooLate,
            None => Due::Nothing(Some(self.since + look.patience)),
        }
    }
}

impl Presence {
    pub(super) fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }

    /// Notes a new member, which the keeper will write.
    pub(super) fn enter(&mut self, hub: &Hub, connection: &ConnectionId, user: ClientId, info: Bytes, key: usize) {
        match self.own.get_mut(connection) {
            // It left a moment ago and is not gone yet.
            Some(own) if own.user == user => {
                own.subscriber = Some(key);
                own.since = Instant::now();
                own.wanted = Wanted::Present;
            }
            Some(own) => {
                own.wanted = Wanted::Until(Instant::now());
                own.next = Some(Box::new((user, info, key)));
            }
            None => {
                self.own.insert(connection.clone(), Own::new(user, info, key));
                hub.members.fetch_add(1, Ordering::Relaxed);
                hub.metrics.members.increment(1);
            }
        }
    }

    /// Notes that a member's subscription is over.
    pub(super) fn leave(&mut self, connection: &ConnectionId, key: usize, stay: Duration) {
        let Some(own) = self.own.get_mut(connection) else { return };
        if own.next.as_ref().is_some_and(|next| next.2 == key) {
            own.next = None;
        } else if own.subscriber == Some(key) {
            own.subscriber = None;
            own.wanted = Wanted::Until(Instant::now() + stay);
        }
    }

    /// Forgets a member that is out of the roster.
    fn over(&mut self, hub: &Hub, connection: &ConnectionId) {
        let Some(own) = self.own.remove(connection) else { return };
        match own.next {
            Some(next) => {
                let (user, info, subscriber) = *next;
                self.own.insert(connection.clone(), Own::new(user, info, subscriber));
            }
            None => {
                hub.members.fetch_sub(1, Ordering::Relaxed);
                hub.metrics.members.decrement(1);
            }
        }
    }

    /// The confirmation of a member's subscription: who is there.
    pub(super) fn greeting(&self, channel: &ChannelName) -> Frame {
        let empty = Roster::default();
        let roster = self.roster.as_ref().unwrap_or(&empty);
        frame::text(&pusher::presence_succeeded(channel, roster.users()))
    }

    /// Whether this node has no member in it, not even one that is still leaving.
    pub(super) fn is_vacant(&self) -> bool {
        self.own.is_empty()
    }

    /// Users that are there or about to be.
    fn expected(&self) -> usize {
        let Some(roster) = &self.roster else { return 0 };
        let coming = self.own.values().filter(|own| own.subscriber.is_some() && roster.info(&own.user).is_none());
        roster.users().len() + coming.map(|own| &own.user).collect::<BTreeSet<_>>().len()
    }
}

impl Channel {
    /// Begins with `loaded`. Whoever was confirmed before has been sent away.
    pub(super) fn roster_loaded(&self, hub: &Hub, state: &mut State, loaded: Roster) {
        let Some(presence) = &mut state.presence else { return };
        presence.roster = Some(loaded);
        let waiting: Vec<_> = presence.own.iter().filter(|(_, own)| own.subscriber.is_some()).collect();
        let members: Vec<_> = waiting
            .into_iter()
            .map(|(connection, own)| Member { connection: connection.clone(), user: own.user.clone() })
            .collect();
        for member in members {
            self.confirm_member(hub, state, &member);
        }
        // An edge may have gone while the roster was being read; whoever learns it later finds the roster here.
        let roster = state.presence.as_ref().and_then(|presence| presence.roster.as_ref());
        let edges = roster.into_iter().flat_map(Roster::edges);
        let gone: Vec<_> = edges.filter(|edge| hub.membership.is_gone(edge)).cloned().collect();
        gone.iter().for_each(|edge| self.forget_edge(hub, state, edge));
        hub.note(self);
    }

    /// Brings the roster in line with one that was read anew.
    pub(super) fn reconcile(&self, hub: &Hub, as_of: u64, entries: Vec<channels::RosterEntry>) {
        let mut state = self.state();
        let roster = state.presence.as_mut().and_then(|presence| presence.roster.as_mut());
        let transitions = roster.map(|roster| roster.reconcile(as_of, entries)).unwrap_or_default();
        self.tell_transitions(hub, &state, transitions);
    }

    /// Takes the members of an edge that is gone out of the roster.
    pub(super) fn edge_gone(&self, hub: &Hub, edge: &EdgeId) {
        let mut state = self.state();
        self.forget_edge(hub, &mut state, edge);
    }

    /// The edges that hold members.
    pub(super) fn member_edges(&self) -> Vec<EdgeId> {
        let state = self.state();
        let roster = state.presence.as_ref().and_then(|presence| presence.roster.as_ref());
        roster.into_iter().flat_map(Roster::edges).cloned().collect()
    }

    fn forget_edge(&self, hub: &Hub, state: &mut State, edge: &EdgeId) {
        let roster = state.presence.as_mut().and_then(|presence| presence.roster.as_mut());
        let transitions = roster.map(|roster| roster.edge_gone(edge)).unwrap_or_default();
        self.tell_transitions(hub, state, transitions);
    }

    /// Takes a change in its place in the channel's order.
    pub(super) fn apply_presence(
        &self,
        hub: &Hub,
        state: &mut State,
        change: &PresenceChange,
        member: Member,
        info: Bytes,
    ) {
        if hub.membership.is_gone(&change.edge) {
            return;
        }
        let Some(roster) = state.presence.as_mut().and_then(|presence| presence.roster.as_mut()) else { return };
        let transition = roster.apply(change, member.clone(), info);
        self.tell_transitions(hub, state, transition.into_iter().collect());
        match change.action {
            PresenceAction::Enter => self.confirm_member(hub, state, &member),
            // The keeper may have waited for it.
            PresenceAction::Leave => self.members_changed.notify_one(),
        }
    }

    /// Tells the subscribers, but not those that are the user themselves: they know that they are here.
    fn tell_transitions(&self, hub: &Hub, state: &State, transitions: Vec<Transition>) {
        if transitions.is_empty() {
            return;
        }
        let own = state.presence.as_ref().map(|presence| &presence.own);
        for transition in transitions {
            let (text, user) = match transition {
                Transition::Added { user, info } => (pusher::member_added(&self.name, &user, &info), user),
                Transition::Removed { user } => (pusher::member_removed(&self.name, &user), user),
            };
            let is_user = |peer: &Peer| own.and_then(|own| own.get(&peer.id)).is_some_and(|own| own.user == user);
            state.tell(&frame::text(&text), |peer| !is_user(peer));
        }
        hub.note(self);
    }

    /// Confirms the subscription of a member of this node, if it waits for that and the roster has it.
    pub(super) fn confirm_member(&self, hub: &Hub, state: &mut State, member: &Member) {
        let limit = hub.apps.get(&self.app).map_or(usize::MAX, |app| app.limits.presence_members);
        let State { presence: Some(presence), subscribers, .. } = state else { return };
        let Some(own) = presence.own.get_mut(&member.connection).filter(|own| own.user == member.user) else { return };
        let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get_mut(key)) else { return };
        let Some(roster) = &presence.roster else { return };
        // An entry that is being removed, or was, and is only still here, is no membership: the next one is.
        let is_in = roster.sequence(member).is_some_and(|sequence| sequence > own.left);
        if subscriber.waits.is_none() || !is_in || own.busy == Some(PresenceAction::Leave) {
            return;
        }
        if roster.users().len() > limit && roster.connections(&member.user) == 1 {
            // It brought a new user, and others came first, on other nodes.
            own.wanted = Wanted::Until(Instant::now());
            subscriber.refuse(&self.name, own.subscriber);
            self.members_changed.notify_one();
            return;
        }
        subscriber.waits = None;
        let peer = Arc::clone(&subscriber.peer);
        let greeting = presence.greeting(&self.name);
        self.confirm(hub, state, &peer, greeting);
    }

    /// What the keeper is to do.
    fn next_steps(&self, hub: &Hub) -> Next {
        let limit = hub.apps.get(&self.app).map_or(usize::MAX, |app| app.limits.presence_members);
        let mut state = self.state();
        let look = Look {
            now: Instant::now(),
            me: hub.membership.life(),
            live: state.phase == Phase::Live,
            ended: state.phase == Phase::Ended,
            patience: hub.settings.attach_timeout,
        };
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return Next::Done };
        let mut excess = presence.expected().saturating_sub(limit);
        let busy = |action| presence.own.values().filter(|own| own.busy == Some(action)).count();
        // Those who come are not to wait for those who go.
        let (mut entering, mut leaving) = (busy(PresenceAction::Enter), busy(PresenceAction::Leave));
        let Presence { roster, own, .. } = &mut **presence;
        let (mut steps, mut over, mut wake) = (Vec::new(), Vec::new(), None::<Instant>);
        for (connection, own) in own.iter_mut().filter(|(_, own)| own.busy.is_none()) {
            let change = match own.due(&look) {
                Due::Nothing(None) => continue,
                Due::Nothing(Some(at)) => {
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                    continue;
                }
                Due::Over => {
                    // Until its departure has come back, or whoever comes next would be taken for it.
                    let member = Member { connection: connection.clone(), user: own.user.clone() };
                    if !look.live || roster.as_ref().is_none_or(|roster| roster.sequence(&member).is_none()) {
                        over.push(connection.clone());
                    }
                    continue;
                }
                Due::TooLate => {
                    if let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get(key)) {
                        subscriber.peer.queue.end(Ending::Unavailable);
                        hub.metrics.subscribe_unavailable.increment(1);
                    }
                    over.push(connection.clone());
                    continue;
                }
                Due::Enter => {
                    let present = roster.as_ref().and_then(|roster| roster.info(&own.user));
                    if present.is_none() && excess > 0 {
                        excess -= 1;
                        if let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get_mut(key)) {
                            subscriber.refuse(&self.name, own.subscriber);
                        }
                        over.push(connection.clone());
                        continue;
                    }
                    let (Some(edge), true) = (look.me.clone(), entering < CONCURRENT_WRITES) else { continue };
                    entering += 1;
                    own.busy = Some(PresenceAction::Enter);
                    // What is known of a user is what its first connection said.
                    Change::Enter { edge, info: present.unwrap_or(&own.info).clone() }
                }
                Due::Leave => {
                    let (Some(written), true) = (own.written.clone(), leaving < CONCURRENT_WRITES) else { continue };
                    leaving += 1;
                    own.busy = Some(PresenceAction::Leave);
                    Change::Leave(written)
                }
            };
            let member = Member { connection: connection.clone(), user: own.user.clone() };
            steps.push(Step { member, change });
        }
        // Who was waiting behind one that is over has its turn now.
        let wake = if over.is_empty() { wake } else { Some(look.now) };
        over.iter().for_each(|connection| presence.over(hub, connection));
        presence.kept = !presence.own.is_empty();
        if presence.kept { Next::Steps(steps, wake) } else { Next::Done }
    }

    /// Notes how a step ended: with the revision of the change, or not at all.
    fn step_done(&self, hub: &Hub, step: Step, revision: Option<u64>) {
        let mut state = self.state();
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return };
        let Some(own) = presence.own.get_mut(&step.member.connection) else { return };
        own.busy = None;
        match step.change {
            Change::Enter { edge, .. } => {
                // Also if it failed: the entry may have been written.
                own.written = Some(Written { edge, revision });
                if revision.is_none() {
                    own.wanted = Wanted::Until(Instant::now());
                    if let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get(key)) {
                        subscriber.peer.queue.end(Ending::Unavailable);
                        hub.metrics.subscribe_unavailable.increment(1);
                    }
                }
            }
            Change::Leave(_) => {
                own.written = None;
                own.left = revision.unwrap_or(own.left);
            }
        }
    }
}

impl Hub {
    /// Has the channel's members written as they are wanted.
    pub(super) fn keep_members(self: &Arc<Self>, channel: &Arc<Channel>) {
        channel.members_changed.notify_one();
        let mut state = channel.state();
        let Some(presence) = &mut state.presence else { return };
        if !presence.own.is_empty() && !std::mem::replace(&mut presence.kept, true) {
            drop(state);
            self.tasks.spawn(keep(Arc::clone(self), Arc::clone(channel)));
        }
    }

    /// Writes one step into the roster, and tells the channel. Gives the revision, or nothing if that did not succeed in
    /// time.
    async fn take_step(&self, channel: &Channel, step: &Step) -> Option<u64> {
        let (edge, action, info) = match &step.change {
            Change::Enter { edge, info } => (edge, PresenceAction::Enter, info.clone()),
            Change::Leave(written) => (&written.edge, PresenceAction::Leave, Bytes::new()),
        };
        let key = facts::roster_key(&channel.app, &channel.name, edge, &step.member);
        let mut pause = BACKOFF.0;
        let mut revision = None;
        let begun = Instant::now();
        loop {
            if revision.is_none() {
                let written = match &step.change {
                    Change::Enter { info, .. } => {
                        self.write_entry(&key, facts::encode_member(&channel.name, &step.member, info)).await
                    }
                    Change::Leave(written) => self.remove_entry(&key, written.revision).await,
                };
                match written {
                    Ok(written) => revision = Some(written),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::debug!(error, channel = %channel.name, "a member could not be written yet");
                    }
                }
            }
            if let Some(sequence) = revision {
                let change = PresenceChange { edge: edge.clone(), sequence, action };
                if self.tell_change(channel, step, change, &info).await {
                    return revision;
                }
            }
            // Somebody waits for an entry; a departure has all the time there is.
            if action == PresenceAction::Enter && begun.elapsed() >= self.settings.attach_timeout {
                return None;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// Writes an entry that must not be there yet: should an attempt be delivered late, when its member has long left, it
    /// must not bring it back.
    async fn write_entry(&self, key: &str, value: Bytes) -> Result<u64, KvError> {
        match self.roster.create(key, value.clone()).await {
            Err(KvError::Exists) => match self.roster.get(key).await? {
                // An earlier attempt, whose answer was lost.
                Some(entry) if entry.value == value => Ok(entry.revision),
                Some(entry) => self.roster.update(key, value, entry.revision).await,
                None => Err(KvError::Conflict),
            },
            result => result,
        }
    }

    /// Removes the entry as it stands at `revision`, or as it is if that is not known. Nothing else: an attempt that is
    /// delivered late must not remove what was written since.
    async fn remove_entry(&self, key: &str, revision: Option<u64>) -> Result<u64, KvError> {
        let known = match revision {
            Some(revision) => self.roster.remove(key, Some(revision)).await,
            None => Err(KvError::Conflict),
        };
        match known {
            Err(KvError::Conflict | KvError::Exists) => match self.roster.get(key).await? {
                Some(entry) => self.roster.remove(key, Some(entry.revision)).await,
                // An earlier attempt, whose answer was lost, or nothing was ever written.
                None => match self.roster.revision(key).await? {
                    Some(revision) => Ok(revision),
                    None => self.roster.remove(key, None).await,
                },
            },
            result => result,
        }
    }

    /// Publishes the change on the channel.
    async fn tell_change(&self, channel: &Channel, step: &Step, change: PresenceChange, info: &Bytes) -> bool {
        let tier = self.tier(channel);
        let record = Record {
            kind: RecordKind::Presence(change.clone()),
            connection: Some(step.member.connection.clone()),
            client: Some(step.member.user.clone()),
            timestamp_ms: clock::unix_ms(),
            messages: vec![Message { name: None, data: info.clone(), encoding: String::new(), extras: Bytes::new() }],
        };
        let (app, name) = (channel.app.clone(), channel.name.clone());
        let publish = Publish { app, channel: name, tier, record, idempotency: None };
        let published = self.backbone.publish(publish).await;
        if published.is_ok() && tier == Tier::Ephemeral {
            // Nobody repairs what is lost on the way, so it does not have to come back to count here.
            let mut state = channel.state();
            channel.apply_presence(self, &mut state, &change, step.member.clone(), info.clone());
        }
        published.is_ok()
    }
}

/// The keeper of a channel's members.
async fn keep(hub: Arc<Hub>, channel: Arc<Channel>) {
    let stop = hub.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_all(&hub, &channel) => {}
    }
}

async fn keep_all(hub: &Arc<Hub>, channel: &Arc<Channel>) {
    let mut lives = hub.membership.lives();
    let mut under_way = FuturesUnordered::new();
    loop {
        let (steps, wake) = match channel.next_steps(hub) {
            Next::Steps(steps, wake) => (steps, wake),
            Next::Done => return,
        };
        for step in steps {
            under_way.push(async move {
                let revision = hub.take_step(channel, &step).await;
                (step, revision)
            });
        }
        let wake = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((step, revision)) = under_way.next() => {
                channel.step_done(hub, step, revision);
                // Others may have ended as well: one look at all members serves them all.
                while let Some(Some((step, revision))) = under_way.next().now_or_never() {
                    channel.step_done(hub, step, revision);
                }
            }
            () = channel.members_changed.notified() => {}
            () = wake => {}
            // As another edge, all has to be written anew.
            _ = lives.changed() => {}
        }
    }
}
