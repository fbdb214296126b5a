//! Presence: who is in a channel, and what its subscribers are told of it.
//!
//! A member is one connection of one user, held by one edge; subscribers are told of users, whose first connection adds
//! them and whose last one removes them. Everybody who applies the same changes to the same snapshot sees the same
//! transitions, and every user's alternate.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use crate::{ClientId, ConnectionId, EdgeId};

/// One connection of one user in one channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// The connection.
    pub connection: ConnectionId,
    /// The user it belongs to.
    pub user: ClientId,
}

/// What happened to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PresenceAction {
    /// It is there.
    Enter,
    /// It is gone.
    Leave,
}

/// What a presence record tells beside its connection and client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The edge that holds the member.
    pub edge: EdgeId,
    /// Where the change stands in the cluster's rosters. Of two changes to one member the greater is the newer, in
    /// whatever order they are learned of.
    pub sequence: u64,
    /// What happened.
    pub action: PresenceAction,
}

/// A member as the cluster's rosters have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// The edge that holds it.
    pub edge: EdgeId,
    /// The member.
    pub member: Member,
    /// What is known of the user: JSON text, or empty.
    pub info: Bytes,
    /// When it was written, as in [`PresenceChange::sequence`].
    pub sequence: u64,
}

/// What subscribers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A user's first connection has come.
    Added {
        /// The user.
        user: ClientId,
        /// What is known of it.
        info: Bytes,
    },
    /// A user's last connection has gone.
    Removed {
        /// The user.
        user: ClientId,
    },
}

/// Departures that are remembered, so that what is older than they are does not count.
const REMEMBERED: usize = 1024;

/// One channel's members.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// The snapshot this began with knows everything up to here.
    as_of: u64,
    /// Members that are there: which edges hold them, each with the sequence of what says so. Nearly always one.
    members: HashMap<Member, Vec<(EdgeId, u64)>>,
    users: BTreeMap<ClientId, User>,
    /// Members that have left of late, with the sequence of what said so.
    left: HashMap<(EdgeId, Member), u64>,
    /// Edges that are gone for good: what is still under way from them does not count.
    gone: HashSet<EdgeId>,
}

#[derive(Clone, Debug)]
struct User {
    /// Of the connection that came first; stays until the user has fully left.
    info: Bytes,
    connections: usize,
}

impl Roster {
    /// The roster that `entries` make, which hold everything up to `as_of`.
    pub fn new(as_of: u64, entries: impl IntoIterator<Item = RosterEntry>) -> Self {
        let mut roster = Self { as_of, ..Self::default() };
        let mut entries: Vec<_> = entries.into_iter().collect();
        // The first to have come says what is known of its user.
        entries.sort_by_key(|entry| entry.sequence);
        for entry in entries {
            roster.add(entry);
        }
        roster
    }

    /// Applies one change, of which `info` tells what is known of the user. Applying a change twice, or one that is
    /// older than what is known, does nothing.
    pub fn apply(&mut self, change: &PresenceChange, member: Member, info: Bytes) -> Option<Transition> {
        let PresenceChange { edge, sequence, action } = change;
        if *sequence <= self.as_of || self.gone.contains(edge) {
            return None;
        }
        let entry = RosterEntry { edge: edge.clone(), member, info, sequence: *sequence };
        if self.newest(edge, &entry.member).is_some_and(|known| known >= *sequence) {
            return None;
        }
        match action {
            PresenceAction::Enter => self.add(entry),
            PresenceAction::Leave => {
                self.remember(edge.clone(), entry.member.clone(), *sequence);
                self.remove(edge, &entry.member)
            }
        }
    }

    /// Takes note that an edge is gone for good, with all its members.
    pub fn edge_gone(&mut self, edge: &EdgeId) -> Vec<Transition> {
        self.gone.insert(edge.clone());
        let held = self.members.iter().filter(|(_, holders)| holders.iter().any(|(holder, _)| holder == edge));
        let theirs: Vec<_> = held.map(|(member, _)| member.clone()).collect();
        theirs.iter().filter_map(|member| self.remove(edge, member)).collect()
    }

    /// Becomes the roster that `entries` make, which hold everything up to `as_of`; what has changed by that. What was
    /// learned from later changes than those stays.
    pub fn reconcile(&mut self, as_of: u64, entries: impl IntoIterator<Item = RosterEntry>) -> Vec<Transition> {
        let gone = &self.gone;
        let entries: Vec<_> = entries.into_iter().filter(|entry| !gone.contains(&entry.edge)).collect();
        let there: HashSet<_> = entries.iter().map(|entry| (entry.edge.clone(), entry.member.clone())).collect();
        // First who has come: a user that only moved to another edge was never away.
        let mut transitions: Vec<_> = entries.into_iter().filter_map(|entry| self.refresh(entry)).collect();
        let held = self.members.iter().flat_map(|(member, holders)| holders.iter().map(move |holder| (member, holder)));
        let stale = held.filter(|(member, (edge, sequence))| {
            *sequence <= as_of && !there.contains(&(edge.clone(), Member::clone(member)))
        });
        let stale: Vec<_> = stale.map(|(member, (edge, _))| (edge.clone(), member.clone())).collect();
        transitions.extend(stale.iter().filter_map(|(edge, member)| self.remove(edge, member)));
        self.as_of = self.as_of.max(as_of);
        transitions
    }

    /// Users that are present, by id, with what is known of them.
    pub fn users(&self) -> impl ExactSizeIterator<Item = (&ClientId, &Bytes)> {
        self.users.iter().map(|(id, user)| (id, &user.info))
    }

    /// What is known of `user`, if it is present.
    pub fn info(&self, user: &ClientId) -> Option<&Bytes> {
        self.users.get(user).map(|user| &user.info)
    }

    /// How many members `user` is.
    pub fn connections(&self, user: &ClientId) -> usize {
        self.users.get(user).map_or(0, |user| user.connections)
    }

    /// The sequence of the newest that says that `member` is there, if it is.
    pub fn sequence(&self, member: &Member) -> Option<u64> {
        self.members.get(member)?.iter().map(|(_, sequence)| *sequence).max()
    }

    /// The edges that hold members.
    pub fn edges(&self) -> HashSet<&EdgeId> {
        self.members.values().flatten().map(|(edge, _)| edge).collect()
    }

    /// The sequence of the newest that is known of `member` at `edge`.
    fn newest(&self, edge: &EdgeId, member: &Member) -> Option<u64> {
        let holders = self.members.get(member).into_iter().flatten();
        let there = holders.filter(|(holder, _)| holder == edge).map(|(_, sequence)| *sequence).next();
        there.or_else(|| self.left.get(&(edge.clone(), member.clone())).copied())
    }

    fn refresh(&mut self, entry: RosterEntry) -> Option<Transition> {
        match self.newest(&entry.edge, &entry.member) {
            Some(known) if known >= entry.sequence => None,
            Some(_) | None => self.add(entry),
        }
    }

    fn remember(&mut self, edge: EdgeId, member: Member, sequence: u64) {
        if self.left.len() >= REMEMBERED {
            let mut sequences: Vec<_> = self.left.values().copied().collect();
            let (_, median, _) = sequences.select_nth_unstable(REMEMBERED / 2);
            let median = *median;
            self.left.retain(|_, sequence| *sequence > median);
        }
        self.left.insert((edge, member), sequence);
    }

    fn add(&mut self, entry: RosterEntry) -> Option<Transition> {
        let RosterEntry { edge, member, info, sequence } = entry;
        let id = member.user.clone();
        self.left.remove(&(edge.clone(), member.clone()));
        let holders = self.members.entry(member).or_default();
        if let Some(holder) = holders.iter_mut().find(|(holder, _)| *holder == edge) {
            holder.1 = sequence;
            return None;
        }
        holders.push((edge, sequence));
        let mut added = None;
        let user = self.users.entry(id.clone()).or_insert_with(|| {
            added = Some(Transition::Added { user: id, info: info.clone() });
            User { info, connections: 0 }
        });
        user.connections += 1;
        added
    }

    fn remove(&mut self, edge: &EdgeId, member: &Member) -> Option<Transition> {
        let holders = self.members.get_mut(member)?;
        let at = holders.iter().position(|(holder, _)| holder == edge)?;
        holders.swap_remove(at);
        if holders.is_empty() {
            self.members.remove(member);
        }
        let user = self.users.get_mut(&member.user)?;
        user.connections -= 1;
        if user.connections > 0 {
            return None;
        }
        self.users.remove(&member.user);
        Some(Transition::Removed { user: member.user.clone() })
    }
}

#[cfg(test)]
mod tests;
