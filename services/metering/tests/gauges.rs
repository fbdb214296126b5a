//! Limits of connections over a simulated cluster. Members of presence channels go the same way.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

mod support;

use channels::{Quota, QuotaKind};
use proptest::prelude::*;
use support::{Cluster, STEPS_A_SECOND, varying};

fn limited(limit: u64) -> Quota {
    Quota { connections: Some(limit), ..Quota::default() }
}

/// Tries to connect, whether it is let in or not.
fn knock(cluster: &Cluster, node: usize) {
    cluster.connect(node);
}

/// Tries on `node` once a second, as a client that comes back does, until it is let in.
fn seconds_until_connected(cluster: &mut Cluster, node: usize) -> Option<u64> {
    (0..10).find(|_| {
        let connected = cluster.connect(node);
        if !connected {
            cluster.run(STEPS_A_SECOND, |_| {});
        }
        connected
    })
}

#[test]
fn two_connections_over_three_nodes_are_wherever_they_are_wanted() {
    for nodes in [[0, 0], [0, 1], [2, 2], [1, 2]] {
        let mut cluster = Cluster::new(3, limited(2));
        for node in nodes {
            let waited = seconds_until_connected(&mut cluster, node);
            assert!(waited.is_some_and(|seconds| seconds <= 4), "{nodes:?}: {waited:?}");
        }
        cluster.run(3 * STEPS_A_SECOND, |_| {});
        for node in 0..3 {
            let refused = cluster.meter(node).connect().unwrap_err();
            assert_eq!((refused.quota, refused.shared), (QuotaKind::Connections, true), "{nodes:?} on {node}");
        }
        // One goes, and its place is wanted elsewhere.
        cluster.meter(nodes[0]).disconnected();
        let elsewhere = (nodes[0] + 1) % 3;
        let waited = seconds_until_connected(&mut cluster, elsewhere);
        assert!(waited.is_some_and(|seconds| seconds <= 4), "{nodes:?} to {elsewhere}: {waited:?}");
        assert_eq!(cluster.connections(), 2);
    }
}

#[test]
fn a_used_up_share_is_not_the_end_while_others_are_free() {
    let mut cluster = Cluster::new(3, limited(300));
    assert!(cluster.connect(0));
    cluster.run(3 * STEPS_A_SECOND, |_| {});
    let refused = loop {
        match cluster.meter(0).connect() {
            Ok(()) => {}
            Err(refused) => break refused,
        }
    };
    assert!(!refused.shared && refused.retry_after.as_secs() <= 2, "{refused:?}");
    let at_once = cluster.connections();
    assert!((90..=200).contains(&at_once), "{at_once}");
    // All of it is wanted here, and comes within a few rounds.
    for _ in 0..4 {
        cluster.run(STEPS_A_SECOND, |cluster| knock(cluster, 0));
    }
    assert_eq!(cluster.connections(), 300);
    assert!(cluster.meter(0).connect().unwrap_err().shared);
}

#[test]
fn a_limit_below_what_is_used_lets_nobody_in_and_throws_nobody_out() {
    let mut cluster = Cluster::new(2, limited(100));
    cluster.run(4 * STEPS_A_SECOND, |cluster| knock(cluster, 0));
    let before = cluster.connections();
    assert!(before > 90, "{before}");
    cluster.app.quota = limited(10);
    cluster.nodes.iter().for_each(|node| node.meters.update(&cluster.app));
    assert!(!cluster.connect(0));
    cluster.run(3 * STEPS_A_SECOND, |_| {});
    assert!(!cluster.connect(0) && !cluster.connect(1));
    assert_eq!(cluster.connections(), before);
}

#[test]
fn without_a_leader_everybody_keeps_to_a_part_and_nobody_to_nothing() {
    let mut cluster = Cluster::new(3, limited(4));
    cluster.leaders.clear();
    cluster.run(12 * STEPS_A_SECOND, |_| {});
    for node in 0..3 {
        assert!(cluster.connect(node) && cluster.connect(node));
        let refused = cluster.meter(node).connect().unwrap_err();
        assert!(!refused.shared, "nobody knows whether the app is full");
    }
}

#[test]
fn connections_of_a_node_that_is_silent_still_count() {
    let mut cluster = Cluster::new(2, limited(10));
    for _ in 0..4 {
        cluster.run(STEPS_A_SECOND, |cluster| knock(cluster, 0));
    }
    assert_eq!(cluster.connections(), 10);
    cluster.leaders[0].hears = vec![1];
    for _ in 0..15 {
        cluster.run(STEPS_A_SECOND, |cluster| assert!(!cluster.connect(1)));
    }
    // It is dead, not only silent.
    cluster.nodes[0].alive = false;
    for _ in 0..3 {
        cluster.run(STEPS_A_SECOND, |cluster| knock(cluster, 1));
    }
    assert_eq!(cluster.connections(), 10);
}

#[test]
fn alone_the_whole_limit_is_here_at_once() {
    let mut cluster = Cluster::new(1, limited(50));
    cluster.leaders.clear();
    assert!((0..50).all(|_| cluster.connect(0)));
    assert!(cluster.meter(0).connect().unwrap_err().shared);
    cluster.meter(0).disconnected();
    assert!(cluster.connect(0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Connections come and go everywhere: with a leader there are never more than the limit, and an app that wants all
    /// of it gets it.
    #[test]
    fn never_above_the_limit(limit in 1u64..400, phases in prop::collection::vec(prop::collection::vec(0.0f64..1.0, 5), 2..6), seed in any::<u64>()) {
        let mut cluster = Cluster::new(5, limited(limit));
        let mut random = varying(seed);
        // Everybody knows the app, and what there is of it comes from the leader.
        (0..5).for_each(|node| drop(cluster.meter(node)));
        cluster.meter(0).refused(QuotaKind::MessageSize);
        cluster.run(2 * STEPS_A_SECOND, |_| {});
        for phase in phases {
            for _ in 0..3 * STEPS_A_SECOND {
                for (node, wish) in phase.iter().enumerate() {
                    let here = cluster.meter(node).connections();
                    if random() < *wish * 0.5 {
                        knock(&cluster, node);
                    } else if here > 0 && random() < 0.2 {
                        cluster.meter(node).disconnected();
                    }
                }
                cluster.run(1, |_| {});
                prop_assert!(cluster.connections() <= limit, "{} > {limit}", cluster.connections());
            }
        }
        for _ in 0..8 * STEPS_A_SECOND {
            knock(&cluster, 3);
            cluster.run(1, |_| {});
        }
        // Whoever has it keeps it, the rest goes to who wants it.
        prop_assert!(cluster.connections() * 100 >= limit * 95, "{} of {limit}", cluster.connections());
    }
}
