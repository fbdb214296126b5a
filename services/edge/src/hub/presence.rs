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

use backbone::{Publish, facts};
use bytes::Bytes;
use channels::{
    ChannelName, ClientId, ConnectionId, EdgeId, Member, Message, PresenceAction, PresenceChange, Record, RecordKind,
    Roster, Tier, Transition,
};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::channel::{Phase, State};
use super::{Channel, Hub};
use crate::clock;
use crate::queue::{Ending, Frame};
use crate::websocket::frame;

/// Members of one channel that are being written at one time.
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
    wanted: Wanted,
    /// The life of this edge under which it stands in the roster, as far as is known.
    written: Option<EdgeId>,
    /// A write is under way.
    busy: bool,
    /// Another user of the same connection, who comes when this one has left: its info and place.
    next: Option<Box<(ClientId, Bytes, usize)>>,
}

impl Own {
    fn new(user: ClientId, info: Bytes, subscriber: usize) -> Self {
        let wanted = Wanted::Present;
        Self { user, info, subscriber: Some(subscriber), wanted, written: None, busy: false, next: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Present,
    /// Its subscription is over; it is to leave then.
    Until(Instant),
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
    Leave { edge: EdgeId },
}

/// What the keeper does next.
enum Next {
    /// These steps; then nothing before that time, unless something changes.
    Steps(Vec<Step>, Option<Instant>),
    /// Nothing any more.
    Done,
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

    /// Users that are there or about to be.
    fn expected(&self) -> usize {
        let Some(roster) = &self.roster else { return 0 };
        let coming = self.own.values().filter(|own| own.subscriber.is_some() && roster.info(&own.user).is_none());
        roster.users().len() + coming.map(|own| &own.user).collect::<BTreeSet<_>>().len()
    }
}

impl Channel {
    /// Begins with `roster`, or goes on with it: subscribers are told what is different.
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
        self.tell_transitions(hub, &state, transitions, None);
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
        self.tell_transitions(hub, state, transitions, None);
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
        self.tell_transitions(hub, state, transition.into_iter().collect(), Some(&member.connection));
        if change.action == PresenceAction::Enter {
            self.confirm_member(hub, state, &member);
        }
    }

    /// Tells the subscribers, but not the connection that caused it.
    fn tell_transitions(&self, hub: &Hub, state: &State, transitions: Vec<Transition>, cause: Option<&ConnectionId>) {
        if transitions.is_empty() {
            return;
        }
        for transition in transitions {
            let text = match transition {
                Transition::Added { user, info } => pusher::member_added(&self.name, &user, &info),
                Transition::Removed { user } => pusher::member_removed(&self.name, &user),
            };
            state.tell(&frame::text(&text), cause);
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
        if subscriber.waits.is_none() || !roster.edges().into_iter().any(|edge| roster.contains(edge, member)) {
            return;
        }
        if roster.users().len() > limit {
            // Others came first, on other nodes.
            own.wanted = Wanted::Until(Instant::now());
            subscriber.refuse(&self.name);
            self.members_changed.notify_one();
            return;
        }
        subscriber.waits = None;
        let peer = Arc::clone(&subscriber.peer);
        let greeting = presence.greeting(&self.name);
        self.confirm(hub, state, &peer, greeting);
    }

    /// What the keeper is to do.
    fn next_steps(&self, hub: &Hub, under_way: usize) -> Next {
        let mut state = self.state();
        let live = state.phase == Phase::Live;
        let ended = state.phase == Phase::Ended;
        let limit = hub.apps.get(&self.app).map_or(usize::MAX, |app| app.limits.presence_members);
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return Next::Done };
        let (now, me) = (Instant::now(), hub.membership.life());
        let mut excess = presence.expected().saturating_sub(limit);
        let Presence { roster, own, .. } = &mut **presence;
        let (mut steps, mut wake) = (Vec::new(), None::<Instant>);
        let mut over = Vec::new();
        for (connection, member) in own.iter_mut().filter(|(_, member)| !member.busy) {
            let leaves = match member.wanted {
                Wanted::Present => ended,
                Wanted::Until(at) if at <= now => true,
                Wanted::Until(at) => {
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                    false
                }
            };
            let change = match &member.written {
                None if leaves => {
                    over.push(connection.clone());
                    continue;
                }
                Some(edge) if leaves => Change::Leave { edge: edge.clone() },
                Some(edge) if me.as_ref() == Some(edge) => continue,
                // While nobody follows the channel nobody can be confirmed.
                Some(_) | None if !live || member.wanted != Wanted::Present => continue,
                Some(_) | None => {
                    // Before it has a lease, this edge's word counts for nothing.
                    let Some(me) = &me else { continue };
                    let present = roster.as_ref().and_then(|roster| roster.info(&member.user));
                    if present.is_none() && excess > 0 {
                        excess -= 1;
                        if let Some(subscriber) = member.subscriber.and_then(|key| subscribers.get_mut(key)) {
                            subscriber.refuse(&self.name);
                        }
                        over.push(connection.clone());
                        continue;
                    }
                    // What is known of a user is what its first connection said.
                    let info = present.unwrap_or(&member.info).clone();
                    Change::Enter { edge: me.clone(), info }
                }
            };
            if under_way + steps.len() >= CONCURRENT_WRITES {
                break;
            }
            member.busy = true;
            let member = Member { connection: connection.clone(), user: member.user.clone() };
            steps.push(Step { member, change });
        }
        let again = !over.is_empty();
        over.iter().for_each(|connection| presence.over(hub, connection));
        presence.kept = !presence.own.is_empty();
        // Who was waiting behind one that is over has its turn now.
        let wake = if again { Some(now) } else { wake };
        if presence.kept { Next::Steps(steps, wake) } else { Next::Done }
    }

    /// Notes how a step ended.
    fn step_done(&self, hub: &Hub, step: Step, done: bool) {
        let mut state = self.state();
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return };
        let Some(own) = presence.own.get_mut(&step.member.connection) else { return };
        own.busy = false;
        match step.change {
            Change::Enter { edge, .. } => {
                // Also if it failed: the entry may have been written.
                own.written = Some(edge);
                if !done {
                    own.wanted = Wanted::Until(Instant::now());
                    if let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get(key)) {
                        subscriber.peer.queue.end(Ending::Unavailable);
                        hub.metrics.subscribe_unavailable.increment(1);
                    }
                }
            }
            Change::Leave { .. } => own.written = None,
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

    /// Writes one step into the roster, and tells the channel. Whether that succeeded in time.
    async fn take_step(&self, channel: &Channel, step: &Step) -> bool {
        let (edge, action, info) = match &step.change {
            Change::Enter { edge, info } => (edge, PresenceAction::Enter, info.clone()),
            Change::Leave { edge } => (edge, PresenceAction::Leave, Bytes::new()),
        };
        let key = facts::roster_key(&channel.app, &channel.name, edge, &step.member);
        let mut pause = BACKOFF.0;
        let mut sequence = None;
        let begun = Instant::now();
        loop {
            if sequence.is_none() {
                let written = match action {
                    PresenceAction::Enter => {
                        let value = facts::encode_member(&channel.name, &step.member, &info);
                        self.roster.put(&key, value).await
                    }
                    PresenceAction::Leave => self.roster.remove(&key, None).await,
                };
                match written {
                    Ok(revision) => sequence = Some(revision),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::debug!(error, channel = %channel.name, "a member could not be written yet");
                    }
                }
            }
            if let Some(sequence) = sequence
                && self.tell_change(channel, step, PresenceChange { edge: edge.clone(), sequence, action }, &info).await
            {
                return true;
            }
            // Somebody waits for an entry; a departure has all the time there is.
            if action == PresenceAction::Enter && begun.elapsed() >= self.settings.attach_timeout {
                return false;
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(BACKOFF.1);
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
        let (steps, wake) = match channel.next_steps(hub, under_way.len()) {
            Next::Steps(steps, wake) => (steps, wake),
            Next::Done => return,
        };
        for step in steps {
            under_way.push(async move {
                let done = hub.take_step(channel, &step).await;
                (step, done)
            });
        }
        let wake = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((step, done)) = under_way.next() => channel.step_done(hub, step, done),
            () = channel.members_changed.notified() => {}
            () = wake => {}
            // As another edge, all has to be written anew.
            _ = lives.changed() => {}
        }
    }
}
