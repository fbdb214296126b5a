//! Presence: who is in a channel, and what its subscribers are told of it.
//!
//! A member is one connection of one user. It is held by the edge that has the connection; while a connection moves to
//! another edge, both hold it, so that nobody sees it go and come. Subscribers follow either members (Ably) or users, whose
//! first connection adds them and whose last one removes them (Pusher). Everybody who applies the same changes to the same
//! snapshot sees the same events, and every user's alternate.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use crate::{ClientId, ConnectionId, EdgeId, Message};

/// One connection of one user in one channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    /// The connection.
    pub connection: ConnectionId,
    /// The user it belongs to.
    pub user: ClientId,
}

/// What a member said of itself when it last entered or updated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberData {
    /// What this saying is called, `connectionId:number:index`: the same again says nothing new. Empty if nobody said it.
    pub id: String,
    /// What it said. Of a Pusher member its `user_info`.
    pub data: Bytes,
    /// How `data` is to be read, as in [`Message::encoding`]; a `user_info` is `json`.
    pub encoding: String,
    /// As in [`Message::extras`].
    pub extras: Bytes,
    /// When, milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

impl MemberData {
    /// What a presence record's only message says, at the record's time.
    pub fn of_message(message: &Message, timestamp_ms: u64) -> Self {
        Self {
            id: message.id.clone().unwrap_or_default(),
            data: message.data.clone(),
            encoding: message.encoding.clone(),
            extras: message.extras.clone(),
            timestamp_ms,
        }
    }

    /// The same as a presence record carries it.
    pub fn to_message(&self) -> Message {
        Message {
            id: (!self.id.is_empty()).then(|| self.id.clone()),
            client: None,
            name: None,
            data: self.data.clone(),
            encoding: self.encoding.clone(),
            extras: self.extras.clone(),
        }
    }
}

/// What happened to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PresenceAction {
    /// It is there.
    Enter,
    /// It is there as before and says something else.
    Update,
    /// It is gone.
    Leave,
}

/// What a presence record tells beside its connection, client and data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceChange {
    /// The edge that holds the member.
    pub edge: EdgeId,
    /// Where the change stands in the cluster's rosters. Of two changes to one member the greater is the newer, in
    /// whatever order they are learned of.
    pub sequence: u64,
    /// What happened.
    pub action: PresenceAction,
    /// Whether it only tells which edge holds the member: as far as whoever wrote it knew, nobody came, changed or went.
    pub quiet: bool,
}

/// A member as the cluster's rosters have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterEntry {
    /// The edge that holds it.
    pub edge: EdgeId,
    /// The member.
    pub member: Member,
    /// What it said.
    pub data: MemberData,
    /// When it was written, as in [`PresenceChange::sequence`].
    pub sequence: u64,
}

/// What those are told who follow members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberEvent {
    /// The member.
    pub member: Member,
    /// What it did.
    pub action: PresenceAction,
    /// What it said. If it left without saying so (its edge is gone), what it said last, with an empty id.
    pub data: MemberData,
}

/// What those are told who follow users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// A user's first connection has come.
    Added {
        /// The user.
        user: ClientId,
        /// What it said.
        data: MemberData,
    },
    /// A user's last connection has gone.
    Removed {
        /// The user.
        user: ClientId,
    },
}

/// What a change to a roster comes to, each in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RosterChange {
    /// By member.
    pub members: Vec<MemberEvent>,
    /// By user.
    pub users: Vec<Transition>,
}

/// Departures that are remembered, so that what is older than they are does not count.
const REMEMBERED: usize = 1024;

/// One channel's members.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// The snapshot this began with knows everything up to here.
    as_of: u64,
    /// Members that are there.
    members: HashMap<Member, Present>,
    users: BTreeMap<ClientId, User>,
    /// Members that have left of late, with the sequence of what said so.
    left: HashMap<(EdgeId, Member), u64>,
    /// Edges that are gone for good: what is still under way from them does not count.
    gone: HashSet<EdgeId>,
}

#[derive(Clone, Debug)]
struct Present {
    /// Which edges hold it, each with the sequence of what says so. Nearly always one.
    holders: Vec<(EdgeId, u64)>,
    data: MemberData,
}

#[derive(Clone, Debug)]
struct User {
    /// Of the connection that came first; stays until the user has fully left.
    data: MemberData,
    connections: usize,
}

impl RosterChange {
    fn event(&mut self, member: Member, action: PresenceAction, data: MemberData) {
        self.members.push(MemberEvent { member, action, data });
    }
}

impl Roster {
    /// The roster that `entries` make, which hold everything up to `as_of`.
    pub fn new(as_of: u64, entries: impl IntoIterator<Item = RosterEntry>) -> Self {
        let mut roster = Self { as_of, ..Self::default() };
        let mut entries: Vec<_> = entries.into_iter().collect();
        // The first to have come says what is known of its user.
        entries.sort_by_key(|entry| entry.sequence);
        let mut unheard = RosterChange::default();
        for entry in entries {
            roster.put(entry, PresenceAction::Enter, &mut unheard);
        }
        roster
    }

    /// Applies one change, with what the member said. Applying a change twice, or one that is older than what is known,
    /// does nothing.
    pub fn apply(&mut self, change: &PresenceChange, member: Member, data: MemberData) -> RosterChange {
        let mut changed = RosterChange::default();
        let PresenceChange { edge, sequence, action, .. } = change;
        if *sequence <= self.as_of || self.gone.contains(edge) {
            return changed;
        }
        if self.newest(edge, &member).is_some_and(|known| known >= *sequence) {
            return changed;
        }
        match action {
            PresenceAction::Enter | PresenceAction::Update => {
                let entry = RosterEntry { edge: edge.clone(), member, data, sequence: *sequence };
                self.put(entry, *action, &mut changed);
            }
            PresenceAction::Leave => {
                self.remember(edge.clone(), member.clone(), *sequence);
                self.remove(edge, &member, Some(data), &mut changed);
            }
        }
        changed
    }

    /// Takes note that an edge is gone for good, with all its members.
    pub fn edge_gone(&mut self, edge: &EdgeId) -> RosterChange {
        self.gone.insert(edge.clone());
        let held = self.members.iter().filter(|(_, present)| present.holders.iter().any(|(holder, _)| holder == edge));
        let theirs: Vec<_> = held.map(|(member, _)| member.clone()).collect();
        let mut changed = RosterChange::default();
        theirs.iter().for_each(|member| self.remove(edge, member, None, &mut changed));
        changed
    }

    /// Becomes the roster that `entries` make, which hold everything up to `as_of`; what has changed by that. What was
    /// learned from later changes than those stays.
    pub fn reconcile(&mut self, as_of: u64, entries: impl IntoIterator<Item = RosterEntry>) -> RosterChange {
        let mut changed = RosterChange::default();
        let gone = &self.gone;
        let entries: Vec<_> = entries.into_iter().filter(|entry| !gone.contains(&entry.edge)).collect();
        let there: HashSet<_> = entries.iter().map(|entry| (entry.edge.clone(), entry.member.clone())).collect();
        // First who has come: a user that only moved to another edge was never away.
        for entry in entries {
            if self.newest(&entry.edge, &entry.member).is_none_or(|known| known < entry.sequence) {
                let action = if self.members.contains_key(&entry.member) {
                    PresenceAction::Update
                } else {
                    PresenceAction::Enter
                };
                self.put(entry, action, &mut changed);
            }
        }
        let holders = |(member, present): (&Member, &Present)| {
            let holders = present.holders.iter().filter(|(edge, sequence)| {
                *sequence <= as_of && !there.contains(&(edge.clone(), Member::clone(member)))
            });
            holders.map(|(edge, _)| (edge.clone(), member.clone())).collect::<Vec<_>>()
        };
        let stale: Vec<_> = self.members.iter().flat_map(holders).collect();
        stale.iter().for_each(|(edge, member)| self.remove(edge, member, None, &mut changed));
        self.as_of = self.as_of.max(as_of);
        changed
    }

    /// Users that are present, by id, with what they said when they came.
    pub fn users(&self) -> impl ExactSizeIterator<Item = (&ClientId, &MemberData)> {
        self.users.iter().map(|(id, user)| (id, &user.data))
    }

    /// What `user` said when it came, if it is present.
    pub fn user(&self, user: &ClientId) -> Option<&MemberData> {
        self.users.get(user).map(|user| &user.data)
    }

    /// How many members `user` is.
    pub fn connections(&self, user: &ClientId) -> usize {
        self.users.get(user).map_or(0, |user| user.connections)
    }

    /// Members that are present, in no order, with what they said last.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&Member, &MemberData)> {
        self.members.iter().map(|(member, present)| (member, &present.data))
    }

    /// What `member` said last, if it is present.
    pub fn member(&self, member: &Member) -> Option<&MemberData> {
        self.members.get(member).map(|present| &present.data)
    }

    /// Whether an edge other than `edge` holds `member`, too.
    pub fn is_held_beside(&self, edge: &EdgeId, member: &Member) -> bool {
        self.members.get(member).is_some_and(|present| present.holders.iter().any(|(holder, _)| holder != edge))
    }

    /// Whether an edge other than `edge` has come to hold `member` after `sequence`: its connection has moved there.
    pub fn is_held_later(&self, edge: &EdgeId, member: &Member, sequence: u64) -> bool {
        let later = |(holder, since): &(EdgeId, u64)| holder != edge && *since > sequence;
        self.members.get(member).is_some_and(|present| present.holders.iter().any(later))
    }

    /// Whether `edge` holds `member`.
    pub fn is_held_by(&self, edge: &EdgeId, member: &Member) -> bool {
        self.members.get(member).is_some_and(|present| present.holders.iter().any(|(holder, _)| holder == edge))
    }

    /// The sequence of the newest that says that `member` is there, if it is.
    pub fn sequence(&self, member: &Member) -> Option<u64> {
        self.members.get(member)?.holders.iter().map(|(_, sequence)| *sequence).max()
    }

    /// The edges that hold members.
    pub fn edges(&self) -> HashSet<&EdgeId> {
        self.members.values().flat_map(|present| &present.holders).map(|(edge, _)| edge).collect()
    }

    /// The sequence of the newest that is known of `member` at `edge`.
    fn newest(&self, edge: &EdgeId, member: &Member) -> Option<u64> {
        let holders = self.members.get(member).into_iter().flat_map(|present| &present.holders);
        let there = holders.filter(|(holder, _)| holder == edge).map(|(_, sequence)| *sequence).next();
        there.or_else(|| self.left.get(&(edge.clone(), member.clone())).copied())
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

    /// Notes that an edge holds a member that said something, which is news unless it is known to have said just that.
    fn put(&mut self, entry: RosterEntry, action: PresenceAction, changed: &mut RosterChange) {
        let RosterEntry { edge, member, data, sequence } = entry;
        self.left.remove(&(edge.clone(), member.clone()));
        let Some(present) = self.members.get_mut(&member) else {
            let user = self.users.entry(member.user.clone()).or_insert_with(|| {
                changed.users.push(Transition::Added { user: member.user.clone(), data: data.clone() });
                User { data: data.clone(), connections: 0 }
            });
            user.connections += 1;
            changed.event(member.clone(), action, data.clone());
            self.members.insert(member, Present { holders: vec![(edge, sequence)], data });
            return;
        };
        let newest = present.holders.iter().map(|(_, known)| *known).max() < Some(sequence);
        match present.holders.iter_mut().find(|(holder, _)| *holder == edge) {
            Some(holder) => holder.1 = sequence,
            None => present.holders.push((edge, sequence)),
        }
        if newest && present.data.id != data.id {
            present.data = data.clone();
            changed.event(member, action, data);
        }
    }

    /// Notes that an edge does not hold a member any more, which has `said` why if it did.
    fn remove(&mut self, edge: &EdgeId, member: &Member, said: Option<MemberData>, changed: &mut RosterChange) {
        let Some(present) = self.members.get_mut(member) else { return };
        let Some(at) = present.holders.iter().position(|(holder, _)| holder == edge) else { return };
        present.holders.swap_remove(at);
        if !present.holders.is_empty() {
            return;
        }
        if let Some(present) = self.members.remove(member) {
            let data = said.unwrap_or_else(|| MemberData { id: String::new(), ..present.data });
            changed.event(member.clone(), PresenceAction::Leave, data);
        }
        let Some(user) = self.users.get_mut(&member.user) else { return };
        user.connections -= 1;
        if user.connections == 0 {
            self.users.remove(&member.user);
            changed.users.push(Transition::Removed { user: member.user.clone() });
        }
    }
}

#[cfg(test)]
mod tests;
