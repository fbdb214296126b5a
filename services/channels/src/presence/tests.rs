use proptest::prelude::*;

use super::*;

fn edge(number: u64) -> EdgeId {
    EdgeId::from_random(number)
}

fn member(connection: &str, user: &str) -> Member {
    Member { connection: ConnectionId::new(connection).unwrap(), user: ClientId::new(user).unwrap() }
}

fn enter(at: u64, sequence: u64) -> PresenceChange {
    PresenceChange { edge: edge(at), sequence, action: PresenceAction::Enter }
}

fn leave(at: u64, sequence: u64) -> PresenceChange {
    PresenceChange { edge: edge(at), sequence, action: PresenceAction::Leave }
}

fn entry(at: u64, connection: &str, user: &str, info: &'static str, sequence: u64) -> RosterEntry {
    RosterEntry { edge: edge(at), member: member(connection, user), info: info.into(), sequence }
}

fn added(user: &str, info: &'static str) -> Transition {
    Transition::Added { user: ClientId::new(user).unwrap(), info: info.into() }
}

fn removed(user: &str) -> Transition {
    Transition::Removed { user: ClientId::new(user).unwrap() }
}

/// Spec of the Pusher protocol §18, 14: two tabs of one user are one member.
#[test]
fn the_first_connection_adds_and_the_last_removes() {
    let mut roster = Roster::default();
    let (a, b) = (member("1.1", "ann"), member("1.2", "ann"));
    assert_eq!(roster.apply(&enter(1, 1), a.clone(), "1".into()), Some(added("ann", "1")));
    assert_eq!(roster.apply(&enter(2, 2), b.clone(), "2".into()), None);
    assert_eq!(roster.apply(&leave(1, 3), a, Bytes::new()), None);
    // What is known of the user is what its first connection said.
    assert_eq!(roster.info(&b.user).unwrap(), "1");
    assert_eq!(roster.apply(&leave(2, 4), b, Bytes::new()), Some(removed("ann")));
    assert_eq!(roster.users().len(), 0);
}

#[test]
fn changes_count_once_and_old_ones_not_at_all() {
    let mut roster = Roster::new(5, [entry(1, "1.1", "ann", "", 3)]);
    let ann = member("1.1", "ann");
    assert_eq!(roster.apply(&leave(1, 4), ann.clone(), Bytes::new()), None);
    assert_eq!(roster.apply(&enter(1, 5), member("1.2", "bob"), Bytes::new()), None);
    assert_eq!(roster.apply(&leave(1, 6), ann.clone(), Bytes::new()), Some(removed("ann")));
    assert_eq!(roster.apply(&leave(1, 6), ann.clone(), Bytes::new()), None);
    assert_eq!(roster.apply(&enter(1, 8), ann.clone(), Bytes::new()), Some(added("ann", "")));
    assert_eq!(roster.apply(&leave(1, 7), ann.clone(), Bytes::new()), None);
    assert_eq!(roster.sequence(&ann), Some(8));
    // Also of a member that is not there any more.
    assert_eq!(roster.apply(&leave(1, 9), ann.clone(), Bytes::new()), Some(removed("ann")));
    assert_eq!(roster.apply(&enter(1, 8), ann.clone(), Bytes::new()), None);
    assert_eq!(roster.reconcile(10, [entry(1, "1.1", "ann", "", 8)]), []);
}

#[test]
fn an_edge_that_is_gone_takes_its_members_along_for_good() {
    let mut roster =
        Roster::new(9, [entry(1, "1.1", "ann", "", 1), entry(1, "1.2", "bob", "", 2), entry(2, "2.1", "bob", "", 3)]);
    assert_eq!(roster.edge_gone(&edge(1)), [removed("ann")]);
    assert_eq!(roster.apply(&enter(1, 10), member("1.3", "cid"), Bytes::new()), None);
    assert_eq!(roster.apply(&enter(3, 11), member("1.1", "ann"), Bytes::new()), Some(added("ann", "")));
    assert_eq!(roster.edges(), [&edge(2), &edge(3)].into_iter().collect());
}

#[test]
fn reconciling_tells_only_what_is_different() {
    let mut roster = Roster::new(3, [entry(1, "1.1", "ann", "", 1), entry(1, "1.2", "bob", "", 2)]);
    roster.apply(&enter(1, 9), member("1.3", "cid"), Bytes::new());
    // Ann moved to another edge, Bob is gone, Dora came; Cid came later than this was read.
    let now = [entry(2, "1.1", "ann", "", 6), entry(2, "2.2", "dora", "d", 7)];
    assert_eq!(roster.reconcile(8, now), [added("dora", "d"), removed("bob")]);
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
            log.push((PresenceChange { edge: key.0, sequence, action }, key.1));
            if index == late.min(steps.len() - 1) {
                let entries: Vec<_> = there.iter().map(|((edge, member), sequence)| RosterEntry {
                    edge: edge.clone(), member: member.clone(), info: Bytes::new(), sequence: *sequence,
                }).collect();
                // Its records begin a little before its snapshot.
                snapshot = Some((sequence, entries, (index + 1).saturating_sub(lag)));
            }
        }
        let (as_of, entries, from) = snapshot.unwrap();
        let mut early = Roster::default();
        let mut told: HashMap<ClientId, bool> = HashMap::new();
        for (change, member) in &log {
            if let Some(transition) = early.apply(change, member.clone(), Bytes::new()) {
                let (user, present) = match transition {
                    Transition::Added { user, .. } => (user, true),
                    Transition::Removed { user } => (user, false),
                };
                prop_assert_ne!(told.insert(user, present).unwrap_or(false), present);
            }
        }
        let mut other = Roster::new(as_of, entries);
        for (change, member) in &log[from..] {
            other.apply(change, member.clone(), Bytes::new());
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
        roster.apply(&enter(1, 2 * number + 1), ann.clone(), Bytes::new());
        roster.apply(&leave(1, 2 * number + 2), ann.clone(), Bytes::new());
        assert_eq!(roster.apply(&enter(1, 2 * number + 1), ann, Bytes::new()), None);
        assert!(roster.left.len() <= REMEMBERED);
    }
}
