//! A channel's presence on this node: who is in it as far as its subscribers are to know, and this node's own members.
//!
//! A member is first written into the cluster's roster and then told by a record on the channel itself; its subscription
//! is confirmed when that record comes back in the channel's order, so that what it is told before and after fits
//! together. Leaving goes the same way. The writing is [`super::keeper`]'s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use channels::{
    ChannelName, ClientId, ConnectionId, EdgeId, Member, MemberData, MemberEvent, Position, PresenceAction,
    PresenceChange, Roster, RosterChange, RosterEntry, Transition,
};
use metering::{AppMeter, Refused};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::channel::{Phase, State, Subscriber, Subscription};
use super::encoded::Change;
use super::own::{Asked, MOST_ASKED, Own, Owns, PresenceRefused, Wanted, unspoken_id};
use super::{Channel, Hub};
use crate::connections::Peer;
use crate::queue::Frame;
use crate::websocket::frame;

/// Changes that are kept while the members are being read. If there are more, they are read again.
const MOST_PENDING: usize = 4096;

/// Somebody who is to become a member.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) user: ClientId,
    data: MemberData,
    place: Option<Place>,
}

/// A member's place among those its app may have, given back by dropping it.
#[derive(Debug)]
pub(super) struct Place(Arc<AppMeter>);

impl Place {
    fn take(meter: &Arc<AppMeter>) -> Result<Self, Refused> {
        meter.enter_member()?;
        Ok(Self(Arc::clone(meter)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.left_member();
    }
}

impl Newcomer {
    pub(super) fn new(user: ClientId, data: MemberData) -> Self {
        Self { user, data, place: None }
    }

    /// The member that it becomes as `peer`.
    pub(super) fn member(&self, peer: &Peer) -> Member {
        Member { connection: peer.id.clone(), user: self.user.clone() }
    }

    /// Takes a place for it, unless it has one.
    pub(super) fn take_place(&mut self, meter: &Arc<AppMeter>) -> Result<(), Refused> {
        if self.place.is_none() {
            self.place = Some(Place::take(meter)?);
        }
        Ok(())
    }
}

/// What a client asks for as one of its members.
#[derive(Clone, Debug)]
pub(crate) struct MemberRequest {
    pub(crate) user: ClientId,
    pub(crate) action: PresenceAction,
    /// What it says. Nothing, to leave with what it said last.
    pub(crate) said: MemberData,
}

/// Presence of one channel.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// `None` before it has been read.
    pub(super) roster: Option<Roster>,
    /// Changes that came while it was being read; `None` if there were too many.
    pending: Option<Vec<(PresenceChange, Member, MemberData)>>,
    /// This node's own members.
    pub(super) own: Owns,
    /// Whether the keeper runs.
    pub(super) kept: bool,
}

impl Presence {
    pub(super) fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }

    /// Whether that is a member of this node, or one that is about to leave: it needs no second place.
    pub(super) fn has(&self, member: &Member) -> bool {
        self.own.get(member).is_some()
    }

    /// Notes a new member, which the keeper will write. It has a place, unless [`Self::has`] it already.
    pub(super) fn enter(&mut self, hub: &Hub, member: &Member, newcomer: Newcomer, key: usize) {
        let Newcomer { user, data, place } = newcomer;
        match self.own.get_mut(member) {
            // It left a moment ago and is not gone yet.
            Some(own) => {
                own.carrier = Some(key);
                own.since = Instant::now();
                own.wanted = Wanted::Present;
            }
            None => {
                let id = format!("{}:{}:0", member.connection, hub.next_member());
                let data = MemberData { id, timestamp_ms: clock::unix_ms(), ..data };
                self.insert(hub, &member.connection, Own::new(user, data, place, key));
            }
        }
    }

    fn insert(&mut self, hub: &Hub, connection: &ConnectionId, own: Own) -> &mut Own {
        hub.members.fetch_add(1, Ordering::Relaxed);
        hub.metrics.members.increment(1);
        self.own.insert(connection, own)
    }

    /// Notes that the subscription that a connection's members came by is over.
    pub(super) fn leave(&mut self, connection: &ConnectionId, key: usize, stay: Duration) {
        self.own.of_mut(connection).filter(|own| own.carrier == Some(key)).for_each(|own| own.leave(stay));
    }

    /// Forgets a member that is out of the roster.
    pub(super) fn over(&mut self, hub: &Hub, member: &Member) {
        if self.own.remove(member).is_some() {
            hub.members.fetch_sub(1, Ordering::Relaxed);
            hub.metrics.members.decrement(1);
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
    pub(super) fn expected(&self) -> usize {
        let Some(roster) = &self.roster else { return 0 };
        let own = self.own.iter().map(|(_, own)| own);
        let coming = own.filter(|own| own.is_coming() && roster.user(&own.user).is_none());
        roster.users().len() + coming.map(|own| &own.user).collect::<BTreeSet<_>>().len()
    }
}

impl Subscription {
    /// Does what its client asks as one of its members. Ready when that is written and told on the channel. The place in
    /// line is taken by the call: what is asked about one member is done in that order, and also if nobody waits for it.
    pub(crate) fn presence(
        &self,
        request: MemberRequest,
    ) -> impl Future<Output = Result<(), PresenceRefused>> + Send + use<> {
        let (done, answer) = oneshot::channel();
        self.channel.ask(&self.hub, self.key, request, done);
        self.hub.keep_members(&self.channel);
        async move { answer.await.unwrap_or(Err(PresenceRefused::Unavailable)) }
    }
}

impl Channel {
    /// Has the members read, if they are not known.
    pub(super) fn want_members(&self, state: &mut State) {
        let presence = state.presence.get_or_insert_default();
        self.with_members.store(true, Ordering::Relaxed);
        if presence.roster.is_none() {
            presence.pending.get_or_insert_default();
            self.look();
        }
    }

    /// Whether the members are followed and not known yet.
    pub(super) fn lacks_members(&self) -> bool {
        self.state().presence.as_ref().is_some_and(|presence| presence.roster.is_none())
    }

    /// Takes the members as they were read, when the channel was live already.
    pub(super) fn members_read(self: &Arc<Self>, hub: &Arc<Hub>, as_of: u64, entries: Vec<RosterEntry>) {
        let mut state = self.state();
        let Some(presence) = &mut state.presence else { return };
        if presence.roster.is_some() {
            drop(state);
            return self.reconcile(hub, as_of, entries);
        }
        let Some(pending) = presence.pending.take() else {
            // Too much has happened meanwhile: once more.
            presence.pending = Some(Vec::new());
            return self.look();
        };
        let mut roster = Roster::new(as_of, entries);
        for (change, member, data) in pending {
            // Nobody has been told of anything.
            drop(roster.apply(&change, member, data));
        }
        self.roster_loaded(hub, &mut state, roster);
        let replays = self.begin_all(hub, &mut state);
        drop(state);
        replays.into_iter().for_each(|replay| hub.replay_missed(self, Some(replay)));
        hub.keep_members(self);
    }

    /// Begins with `loaded`. Whoever was confirmed before has been sent away.
    pub(super) fn roster_loaded(&self, hub: &Hub, state: &mut State, loaded: Roster) {
        let Some(presence) = &mut state.presence else { return };
        presence.roster = Some(loaded);
        presence.pending = None;
        let owns = presence.own.iter();
        let members: Vec<_> = owns.map(|(id, own)| Member { connection: id.clone(), user: own.user.clone() }).collect();
        for member in members {
            self.confirm_member(hub, state, &member);
        }
        // An edge may have gone while the roster was being read; whoever learns it later finds the roster here.
        let edges = state.roster().into_iter().flat_map(Roster::edges);
        let gone: Vec<_> = edges.filter(|edge| hub.membership.is_gone(edge)).cloned().collect();
        gone.iter().for_each(|edge| self.forget_edge(hub, state, edge));
        hub.note(self);
    }

    /// Brings the roster in line with one that was read anew.
    pub(super) fn reconcile(&self, hub: &Hub, as_of: u64, entries: Vec<RosterEntry>) {
        let mut state = self.state();
        let roster = state.presence.as_mut().and_then(|presence| presence.roster.as_mut());
        let changed = roster.map(|roster| roster.reconcile(as_of, entries)).unwrap_or_default();
        self.tell_changes(hub, &state, None, changed);
        self.members_changed.notify_one();
    }

    /// Takes the members of an edge that is gone out of the roster. Whether there were any.
    pub(super) fn edge_gone(&self, hub: &Hub, edge: &EdgeId) -> bool {
        let mut state = self.state();
        let held = state.roster().is_some_and(|roster| roster.edges().contains(edge));
        self.forget_edge(hub, &mut state, edge);
        held
    }

    /// The edges that hold members.
    pub(super) fn member_edges(&self) -> Vec<EdgeId> {
        let state = self.state();
        state.roster().into_iter().flat_map(Roster::edges).cloned().collect()
    }

    fn forget_edge(&self, hub: &Hub, state: &mut State, edge: &EdgeId) {
        let roster = state.presence.as_mut().and_then(|presence| presence.roster.as_mut());
        let changed = roster.map(|roster| roster.edge_gone(edge)).unwrap_or_default();
        self.tell_changes(hub, state, None, changed);
    }

    /// Takes a change in its place in the channel's order.
    pub(super) fn apply_presence(
        &self,
        hub: &Hub,
        state: &mut State,
        at: Option<Position>,
        change: &PresenceChange,
        member: Member,
        data: MemberData,
    ) {
        if hub.membership.is_gone(&change.edge) {
            return;
        }
        let Some(presence) = &mut state.presence else { return };
        let Some(roster) = &mut presence.roster else {
            if let Some(pending) = &mut presence.pending {
                pending.push((change.clone(), member, data));
                if pending.len() > MOST_PENDING {
                    presence.pending = None;
                }
            }
            return;
        };
        let changed = roster.apply(change, member.clone(), data);
        if let Some(own) = presence.own.get_mut(&member) {
            let elsewhere = own.written.as_ref().is_none_or(|written| written.edge != change.edge);
            let said = change.action == PresenceAction::Leave && !change.quiet;
            if said && elsewhere && matches!(own.wanted, Wanted::Until(_)) {
                // It has gone from where its connection is now.
                own.wanted = Wanted::Until(Instant::now());
            }
            // The keeper may have waited for it.
            self.members_changed.notify_one();
        }
        self.tell_changes(hub, state, at, changed);
        match change.action {
            PresenceAction::Enter | PresenceAction::Update => self.confirm_member(hub, state, &member),
            PresenceAction::Leave => {}
        }
    }

    /// Tells followers of members, and Pusher clients of users; but not those that are the user themselves: they know that
    /// they are here.
    fn tell_changes(&self, hub: &Hub, state: &State, at: Option<Position>, changed: RosterChange) {
        let RosterChange { users: transitions, members } = changed;
        let mut counts = !transitions.is_empty();
        let own = state.presence.as_ref().map(|presence| &presence.own);
        for transition in transitions {
            let (text, user) = match transition {
                Transition::Added { user, data } => (pusher::member_added(&self.name, &user, &data), user),
                Transition::Removed { user } => (pusher::member_removed(&self.name, &user), user),
            };
            if self.kind.is_presence() {
                let is_user = |peer: &Peer| own.is_some_and(|own| own.of(&peer.id).any(|own| own.user == user));
                state.tell(&frame::text(&text), |peer| !is_user(peer));
            }
        }
        for mut event in members {
            counts |= event.action != PresenceAction::Update;
            if event.data.id.is_empty() {
                event.data.id = unspoken_id(&hub.membership.me());
                event.data.timestamp_ms = event.data.timestamp_ms.max(clock::unix_ms());
            }
            self.tell_followers(state, at, &event);
        }
        if counts {
            hub.note(self);
        }
    }

    fn tell_followers(&self, state: &State, at: Option<Position>, event: &MemberEvent) {
        let change = Change::new(&self.called, at, event);
        for (_, subscriber) in &state.subscribers {
            let Subscriber { peer, follower: Some(follower), .. } = subscriber else { continue };
            if follower.is_due(at)
                && let Some(frame) = follower.presence(&peer.id, &change)
            {
                peer.queue.push(frame);
            }
        }
    }

    /// Confirms the subscription of a member of this node, or what its client asked for, if it waits for that and the
    /// roster has it.
    pub(super) fn confirm_member(&self, hub: &Hub, state: &mut State, member: &Member) {
        let limit = hub.apps.get(&self.app).map_or(usize::MAX, |app| app.presence_members(&self.name));
        let State { presence: Some(presence), subscribers, .. } = state else { return };
        let Some(own) = presence.own.get_mut(member) else { return };
        let Some(roster) = &presence.roster else { return };
        // It brought a new user, and others came first, on other nodes.
        let excess = roster.users().len() > limit && roster.connections(&member.user) == 1;
        let sequence = roster.sequence(member);
        if let Some((_, asked)) = own.told.take_if(|(revision, _)| sequence >= Some(*revision)) {
            if excess {
                own.ask_first(Asked::departure());
            }
            asked.answer(if excess { Err(PresenceRefused::Full) } else { Ok(()) });
            self.members_changed.notify_one();
            return;
        }
        let Some(subscriber) = own.carrier.and_then(|key| subscribers.get_mut(key)) else { return };
        // An entry that is being removed, or was, and is only still here, is no membership: the next one is.
        let is_in = sequence.is_some_and(|sequence| sequence > own.left);
        if subscriber.waits.is_none() || !is_in || own.busy == Some(PresenceAction::Leave) {
            return;
        }
        if excess {
            own.wanted = Wanted::Until(Instant::now());
            subscriber.refuse(&self.name, own.carrier);
            self.members_changed.notify_one();
            return;
        }
        subscriber.waits = None;
        let peer = Arc::clone(&subscriber.peer);
        let greeting = presence.greeting(&self.name);
        self.confirm(hub, state, &peer, greeting);
    }

    /// Notes what a client asks for as one of its members.
    fn ask(&self, hub: &Hub, key: usize, request: MemberRequest, done: oneshot::Sender<Result<(), PresenceRefused>>) {
        let MemberRequest { user, action, said } = request;
        let asked = Asked { done: Some(done), ..Asked::new(action, said, false) };
        let mut state = self.state();
        if state.phase == Phase::Ended || !state.subscribers.contains(key) {
            return asked.answer(Err(PresenceRefused::Unavailable));
        }
        self.want_members(&mut state);
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return };
        let member = Member { connection: subscribers[key].peer.id.clone(), user };
        let own = match presence.own.get_mut(&member) {
            Some(own) => own,
            None => presence.insert(hub, &member.connection, Own::client_led(member.user.clone(), key)),
        };
        if own.asked.as_ref().is_some_and(|asked| asked.len() >= MOST_ASKED) {
            return asked.answer(Err(PresenceRefused::Busy));
        }
        if action != PresenceAction::Leave && own.place.is_none() {
            match Place::take(&self.meter) {
                Ok(place) => own.place = Some(place),
                Err(refused) => {
                    hub.metrics.over_quota(refused.quota);
                    return asked.answer(Err(PresenceRefused::OverQuota(refused)));
                }
            }
        }
        own.carrier = Some(key);
        own.wanted = Wanted::Present;
        if let Some(queue) = &mut own.asked {
            queue.push_back(asked);
        }
    }

    /// Has the subscription at `key` carry the members that its connection left behind when it was lost.
    pub(super) fn carry_on(&self, state: &mut State, key: usize) {
        let State { presence: Some(presence), subscribers, .. } = state else { return };
        let Some(peer) = subscribers.get(key).map(|subscriber| &subscriber.peer) else { return };
        for own in presence.own.of_mut(&peer.id) {
            // Or it is a former transport of the connection, which has not noticed yet.
            let former = own.carrier.and_then(|carrier| subscribers.get(carrier));
            let lost = match own.wanted {
                Wanted::Until(at) => at > Instant::now(),
                Wanted::Present => former.is_some_and(|former| !Arc::ptr_eq(&former.peer, peer)),
            };
            if lost {
                own.carrier = Some(key);
                own.wanted = Wanted::Present;
            }
        }
    }

    /// Has the subscription at `key` take over the members of its connection that other edges hold.
    pub(super) fn adopt(&self, hub: &Hub, state: &mut State, key: usize) {
        let State { presence: Some(presence), subscribers, .. } = state else { return };
        let Some(Subscriber { peer, follower: Some(follower), .. }) = subscribers.get_mut(key) else { return };
        if !std::mem::take(&mut follower.resumed) {
            return;
        }
        let roster = presence.roster.iter().flat_map(Roster::members);
        let left_behind = roster.filter(|(member, _)| member.connection == peer.id);
        let left_behind: Vec<_> = left_behind.map(|(member, said)| (member.clone(), said.clone())).collect();
        for (member, said) in left_behind {
            let own = match presence.own.get_mut(&member) {
                // It is being let go, since its connection was elsewhere for a while.
                Some(own) if own.busy == Some(PresenceAction::Leave) && own.next_asked().is_none() => own,
                Some(own) if own.written.is_some() || own.busy.is_some() => continue,
                Some(own) => own,
                None => presence.insert(hub, &member.connection, Own::client_led(member.user.clone(), key)),
            };
            // It has its place where it was.
            own.place = own.place.take().or_else(|| Place::take(&self.meter).ok());
            own.carrier = Some(key);
            own.wanted = Wanted::Present;
            own.ask_first(Asked::new(PresenceAction::Enter, said, true));
        }
        self.members_changed.notify_one();
    }
}
