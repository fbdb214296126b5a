use proptest::prelude::*;

use super::*;

fn edge(number: u64) -> EdgeId {
    EdgeId::from_random(number)
}

fn member(connection: &str, user: &str) -> Member {
    Member { connection: ConnectionId::new(connection).unwrap(), user: ClientId::new(user).unwrap() }
}

fn enter(at: u64, sequence: u64) -> PresenceChange {
    PresenceChange { edge: edge(at), sequence, action: PresenceAction::Enter, quiet: false }
}

fn leave(at: u64, sequence: u64) -> PresenceChange {
    PresenceChange { edge: edge(at), sequence, action: PresenceAction::Leave, quiet: false }
}

/// What a member said, called by what it is.
fn said(text: &'static str) -> MemberData {
    MemberData { id: text.to_owned(), data: text.into(), ..MemberData::default() }
}

fn entry(at: u64, connection: &str, user: &str, text: &'static str, sequence: u64) -> RosterEntry {
    RosterEntry { edge: edge(at), member: member(connection, user), data: said(text), sequence }
}

fn added(user: &str, text: &'static str) -> Transition {
    Transition::Added { user: ClientId::new(user).unwrap(), data: said(text) }
}

fn removed(user: &str) -> Transition {
    Transition::Removed { user: ClientId::new(user).unwrap() }
}

/// Spec of the Pusher protocol §18, 14: two tabs of one user are one member.
#[test]
fn the_first_connection_adds_and_the_last_removes() {
    let mut roster = Roster::default();
    let (a, b) = (member("1.1", "ann"), member("1.2", "ann"));
    assert_eq!(roster.apply(&enter(1, 1), a.clone(), said("1")).users, [added("ann", "1")]);
    assert_eq!(roster.apply(&enter(2, 2), b.clone(), said("2")).users, []);
    assert_eq!(roster.apply(&leave(1, 3), a, said("")).users, []);
    // What is known of the user is what its first connection said.
    assert_eq!(roster.user(&b.user), Some(&said("1")));
    assert_eq!(roster.apply(&leave(2, 4), b, said("")).users, [removed("ann")]);
    assert_eq!(roster.users().len(), 0);
}

#[test]
fn changes_count_once_and_old_ones_not_at_all() {
    let mut roster = Roster::new(5, [entry(1, "1.1", "ann", "", 3)]);
    let ann = member("1.1", "ann");
    assert_eq!(roster.apply(&leave(1, 4), ann.clone(), said("")).users, []);
    assert_eq!(roster.apply(&enter(1, 5), member("1.2", "bob"), said("")).users, []);
    assert_eq!(roster.apply(&leave(1, 6), ann.clone(), said("")).users, [removed("ann")]);
    assert_eq!(roster.apply(&leave(1, 6), ann.clone(), said("")).users, []);
    assert_eq!(roster.apply(&enter(1, 8), ann.clone(), said("")).users, [added("ann", "")]);
    assert_eq!(roster.apply(&leave(1, 7), ann.clone(), said("")).users, []);
    assert_eq!(roster.sequence(&ann), Some(8));
    // Also of a member that is not there any more.
    assert_eq!(roster.apply(&leave(1, 9), ann.clone(), said("")).users, [removed("ann")]);
    assert_eq!(roster.apply(&enter(1, 8), ann.clone(), said("")).users, []);
    assert_eq!(roster.reconcile(10, [entry(1, "1.1", "ann", "", 8)]).users, []);
}

#[test]
fn an_edge_that_is_gone_takes_its_members_along_for_good() {
    let mut roster =
        Roster::new(9, [entry(1, "1.1", "ann", "", 1), entry(1, "1.2", "bob", "", 2), entry(2, "2.1", "bob", "", 3)]);
    assert_eq!(roster.edge_gone(&edge(1)).users, [removed("ann")]);
    assert_eq!(roster.apply(&enter(1, 10), member("1.3", "cid"), said("")).users, []);
    assert_eq!(roster.apply(&enter(3, 11), member("1.1", "ann"), said("")).users, [added("ann", "")]);
    assert_eq!(roster.edges(), [&edge(2), &edge(3)].into_iter().collect());
}

#[test]
fn reconciling_tells_only_what_is_different() {
    let mut roster = Roster::new(3, [entry(1, "1.1", "ann", "", 1), entry(1, "1.2", "bob", "", 2)]);
    roster.apply(&enter(1, 9), member("1.3", "cid"), said(""));
    // Ann moved to another edge, Bob is gone, Dora came; Cid came later than this was read.
    let now = [entry(2, "1.1", "ann", "", 6), entry(2, "2.2", "dora", "d", 7)];
    assert_eq!(roster.reconcile(8, now).users, [added("dora", "d"), removed("bob")]);
    let users: Vec<_> = roster.users().map(|(user, _)| user.as_str()).collect();
    assert_eq!(users, ["ann", "cid", "dora"]);
}

proptest! {
    /// Whoever joins late, at any point, ends with the same users, and nobody is told of the same thing twice in a row.
    #[test]
    fn everybody_ends_with_the_same(
        steps in proptest::collection::vec((0_u64..3, 0_usize..4, 0_usize..3, any::<bool>()), 1..60),
        late in 0_usize..60,
        lag in 0_usize..6,
    ) {
        let mut there = BTreeMap::new();
        let mut log = Vec::new();
        let mut sequence = 0;
        let mut snapshot = None;
        for (index, (at, connection, user, comes)) in steps.iter().enumerate() {
            let key = (edge(*at), member(&format!("{at}.{connection}"), &format!("u{user}")));
            sequence += 1;
            let action = if *comes { PresenceAction::Enter } else { PresenceAction::Leave };
            if *comes {
                there.insert(key.clone(), sequence);
            } else {
                there.remove(&key);
            }
            log.push((PresenceChange { edge: key.0, sequence, action, quiet: false }, key.1));
            if index == late.min(steps.len() - 1) {
                let entries: Vec<_> = there.iter().map(|((edge, member), sequence)| RosterEntry {
                    edge: edge.clone(), member: member.clone(), data: said(""), sequence: *sequence,
                }).collect();
                // Its records begin a little before its snapshot.
                snapshot = Some((sequence, entries, (index + 1).saturating_sub(lag)));
            }
        }
        let (as_of, entries, from) = snapshot.unwrap();
        let mut early = Roster::default();
        let mut told: HashMap<ClientId, bool> = HashMap::new();
        for (change, member) in &log {
            for transition in early.apply(change, member.clone(), said("")).users {
                let (user, present) = match transition {
                    Transition::Added { user, .. } => (user, true),
                    Transition::Removed { user } => (user, false),
                };
                prop_assert_ne!(told.insert(user, present).unwrap_or(false), present);
            }
        }
        let mut other = Roster::new(as_of, entries);
        for (change, member) in &log[from..] {
            other.apply(change, member.clone(), said(""));
        }
        let expected: HashSet<_> = there.keys().map(|(_, member)| member.user.clone()).collect();
        for roster in [&early, &other] {
            prop_assert_eq!(&roster.users().map(|(user, _)| user.clone()).collect::<HashSet<_>>(), &expected);
        }
    }
}

/// What is remembered of departures has a bound, and the oldest goes.
#[test]
fn departures_are_forgotten_in_the_end() {
    let mut roster = Roster::default();
    for number in 0..10_000_u64 {
        let ann = member(&format!("1.{number}"), "ann");
        roster.apply(&enter(1, 2 * number + 1), ann.clone(), said(""));
        roster.apply(&leave(1, 2 * number + 2), ann.clone(), said(""));
        assert_eq!(roster.apply(&enter(1, 2 * number + 1), ann, said("")).users, []);
        assert!(roster.left.len() <= REMEMBERED);
    }
}

/// What followers of members are told, as `action user text`.
fn told(changed: &RosterChange) -> Vec<String> {
    let shown = |MemberEvent { member, action, data }: &MemberEvent| {
        format!("{action:?} {} {}", member.user, String::from_utf8_lossy(&data.data))
    };
    changed.members.iter().map(shown).collect()
}

/// Spec of the Ably protocol §7: members are told one by one; saying the same again, as after a resume, tells nothing.
#[test]
fn members_enter_update_and_leave() {
    let mut roster = Roster::default();
    let ann = member("c", "ann");
    let update = PresenceChange { action: PresenceAction::Update, ..enter(1, 2) };
    assert_eq!(told(&roster.apply(&enter(1, 1), ann.clone(), said("1"))), ["Enter ann 1"]);
    assert_eq!(told(&roster.apply(&update, ann.clone(), said("2"))), ["Update ann 2"]);
    assert_eq!(roster.member(&ann), Some(&said("2")));
    assert_eq!(roster.apply(&enter(1, 3), ann.clone(), said("2")), RosterChange::default());
    assert_eq!(told(&roster.apply(&enter(1, 4), ann.clone(), said("4"))), ["Enter ann 4"]);
    assert_eq!(told(&roster.apply(&leave(1, 5), ann.clone(), said("bye"))), ["Leave ann bye"]);
    assert_eq!(roster.members().len(), 0);
}

/// A connection that moves takes its members along without a word, whichever edge speaks first.
#[test]
fn a_member_that_moves_to_another_edge_was_never_away() {
    let mut roster = Roster::new(1, [entry(1, "c", "ann", "1", 1)]);
    let ann = member("c", "ann");
    let hold = PresenceChange { quiet: true, ..enter(2, 2) };
    assert!(!roster.is_held_beside(&edge(1), &ann));
    assert!(roster.is_held_by(&edge(1), &ann) && !roster.is_held_by(&edge(2), &ann));
    assert_eq!(roster.apply(&hold, ann.clone(), said("1")), RosterChange::default());
    assert!(roster.is_held_beside(&edge(1), &ann));
    let latest = roster.sequence(&ann).unwrap();
    assert!(roster.is_held_later(&edge(1), &ann, latest - 1) && !roster.is_held_later(&edge(1), &ann, latest));
    assert!(!roster.is_held_later(&edge(2), &ann, latest - 1), "it is itself");
    let release = PresenceChange { quiet: true, ..leave(1, 3) };
    assert_eq!(roster.apply(&release, ann.clone(), said("")), RosterChange::default());
    assert_eq!(roster.edges(), [&edge(2)].into_iter().collect());
    // Whoever is gone without a word said last what it said last.
    let gone = roster.edge_gone(&edge(2));
    assert_eq!(told(&gone), ["Leave ann 1"]);
    assert_eq!((gone.members[0].data.id.as_str(), gone.users), ("", vec![removed("ann")]));
}
