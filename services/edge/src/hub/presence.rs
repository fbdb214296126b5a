//! A channel's presence on this node: who is in it as far as its subscribers are to know, and this node's own members.
//!
//! A member is first written into the cluster's roster and then told by a record on the channel itself; its subscription
//! is confirmed when that record comes back in the channel's order, so that what it is told before and after fits
//! together. Leaving goes the same way. The writing is [`super::keeper`]'s.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use channels::{
    ChannelName, ClientId, ConnectionId, EdgeId, Member, MemberData, PresenceAction, PresenceChange, Roster,
    RosterChange, Transition,
};
use metering::{AppMeter, Refused};
use tokio::time::Instant;

use super::channel::State;
use super::keeper::{Own, Wanted};
use super::{Channel, Hub};
use crate::connections::Peer;
use crate::queue::Frame;
use crate::websocket::frame;

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

impl Drop for Place {
    fn drop(&mut self) {
        self.0.left_member();
    }
}

impl Newcomer {
    pub(super) fn new(user: ClientId, data: MemberData) -> Self {
        Self { user, data, place: None }
    }

    /// Takes a place for it, unless it has one.
    pub(super) fn take_place(&mut self, meter: &Arc<AppMeter>) -> Result<(), Refused> {
        if self.place.is_none() {
            meter.enter_member()?;
            self.place = Some(Place(Arc::clone(meter)));
        }
        Ok(())
    }
}

/// Presence of one channel.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// `None` before the channel is attached.
    pub(super) roster: Option<Roster>,
    /// This node's own members. A connection is one member of a channel.
    pub(super) own: HashMap<ConnectionId, Own>,
    /// Whether the keeper runs.
    pub(super) kept: bool,
}

impl Presence {
    pub(super) fn roster(&self) -> Option<&Roster> {
        self.roster.as_ref()
    }

    /// Whether that connection is a member of this node, or one that is about to leave: it needs no second place.
    pub(super) fn has(&self, connection: &ConnectionId) -> bool {
        self.own.contains_key(connection)
    }

    /// Notes a new member, which the keeper will write. It has a place, unless [`Self::has`] it already.
    pub(super) fn enter(&mut self, hub: &Hub, connection: &ConnectionId, newcomer: Newcomer, key: usize) {
        let Newcomer { user, data, place } = newcomer;
        match self.own.get_mut(connection) {
            // It left a moment ago and is not gone yet.
            Some(own) if own.user == user => {
                own.subscriber = Some(key);
                own.since = Instant::now();
                own.wanted = Wanted::Present;
            }
            Some(own) => {
                own.wanted = Wanted::Until(Instant::now());
                own.next = Some(Box::new((user, data, key)));
            }
            None => {
                self.own.insert(connection.clone(), Own::new(user, data, place, key));
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
    pub(super) fn over(&mut self, hub: &Hub, connection: &ConnectionId) {
        let Some(own) = self.own.remove(connection) else { return };
        match own.next {
            Some(next) => {
                let (user, data, subscriber) = *next;
                self.own.insert(connection.clone(), Own::new(user, data, own.place, subscriber));
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
    pub(super) fn expected(&self) -> usize {
        let Some(roster) = &self.roster else { return 0 };
        let coming = self.own.values().filter(|own| own.subscriber.is_some() && roster.user(&own.user).is_none());
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
        let changed = roster.map(|roster| roster.reconcile(as_of, entries)).unwrap_or_default();
        self.tell_changes(hub, &state, changed);
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
        let changed = roster.map(|roster| roster.edge_gone(edge)).unwrap_or_default();
        self.tell_changes(hub, state, changed);
    }

    /// Takes a change in its place in the channel's order.
    pub(super) fn apply_presence(
        &self,
        hub: &Hub,
        state: &mut State,
        change: &PresenceChange,
        member: Member,
        data: MemberData,
    ) {
        if hub.membership.is_gone(&change.edge) {
            return;
        }
        let Some(roster) = state.presence.as_mut().and_then(|presence| presence.roster.as_mut()) else { return };
        let changed = roster.apply(change, member.clone(), data);
        self.tell_changes(hub, state, changed);
        match change.action {
            PresenceAction::Enter | PresenceAction::Update => self.confirm_member(hub, state, &member),
            // The keeper may have waited for it.
            PresenceAction::Leave => self.members_changed.notify_one(),
        }
    }

    /// Tells the subscribers, but not those that are the user themselves: they know that they are here.
    fn tell_changes(&self, hub: &Hub, state: &State, changed: RosterChange) {
        let RosterChange { users: transitions, .. } = changed;
        if transitions.is_empty() {
            return;
        }
        let own = state.presence.as_ref().map(|presence| &presence.own);
        for transition in transitions {
            let (text, user) = match transition {
                Transition::Added { user, data } => (pusher::member_added(&self.name, &user, &data), user),
                Transition::Removed { user } => (pusher::member_removed(&self.name, &user), user),
            };
            let is_user = |peer: &Peer| own.and_then(|own| own.get(&peer.id)).is_some_and(|own| own.user == user);
            state.tell(&frame::text(&text), |peer| !is_user(peer));
        }
        hub.note(self);
    }

    /// Confirms the subscription of a member of this node, if it waits for that and the roster has it.
    pub(super) fn confirm_member(&self, hub: &Hub, state: &mut State, member: &Member) {
        let limit = hub.apps.get(&self.app).map_or(usize::MAX, |app| app.presence_members(&self.name));
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
}
