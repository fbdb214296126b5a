//! Limits of messages a second over a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

mod support;

use channels::Quota;
use proptest::prelude::*;
use support::{Cluster, Leader, STEPS_A_SECOND, assert_near, steady, varying};

fn limited(limit: u64) -> Quota {
    Quota { messages_in_per_second: Some(limit), ..Quota::default() }
}

#[test]
fn a_steady_load_gets_the_limit_wherever_it_is() {
    for offered in [[500.0, 0.0, 0.0], [50.0, 60.0, 70.0], [10.0, 95.0, 10.0], [1.0, 1.0, 300.0], [0.0, 200.0, 200.0]] {
        let mut cluster = Cluster::new(3, limited(100));
        cluster.publish(5, &offered, &mut varying(7));
        for _ in 0..10 {
            let passed = cluster.publish(10, &offered, &mut varying(11));
            assert_near(passed as f64, 1_000.0, 0.05, &format!("{offered:?}"));
        }
    }
}

#[test]
fn a_load_below_the_limit_passes() {
    // Half of it anywhere, and bursts at a small limit.
    for (limit, offered) in [(100, [50.0, 0.0, 0.0]), (100, [40.0, 30.0, 20.0]), (1_000, [900.0, 0.0, 9.0])] {
        let mut cluster = Cluster::new(3, limited(limit));
        cluster.publish(5, &offered, &mut varying(3));
        let passed = cluster.publish(60, &offered, &mut varying(5));
        assert_near(passed as f64, offered.iter().sum::<f64>() * 60.0, 0.05, &format!("{offered:?} of {limit}"));
    }
}

#[test]
fn busy_nodes_get_equal_parts() {
    let mut cluster = Cluster::new(3, limited(300));
    cluster.publish(5, &[1_000.0, 10.0, 200.0], &mut steady());
    let before: Vec<u64> = (0..3).map(|node| published(&cluster, node)).collect();
    cluster.publish(20, &[1_000.0, 10.0, 200.0], &mut steady());
    let rates: Vec<f64> = (0..3).map(|node| (published(&cluster, node) - before[node]) as f64 / 20.0).collect();
    assert_near(rates[1], 10.0, 0.05, "a small demand is met");
    assert_near(rates[0], 145.0, 0.05, "the rest is divided");
    assert_near(rates[2], 145.0, 0.05, "the rest is divided");
}

/// What was counted on `node` this minute and before.
fn published(cluster: &Cluster, node: usize) -> u64 {
    cluster.nodes[node]
        .meters
        .minutes()
        .iter()
        .flat_map(|minute| &minute.apps)
        .map(|(_, row)| row.counts.messages_in)
        .sum()
}

#[test]
fn a_load_that_moves_takes_its_share_along() {
    for (limit, times) in [(10, 2.0), (100, 2.0), (5_000, 2.0), (100, 50.0), (100, 1.0)] {
        let load = limit as f64 * times;
        let mut cluster = Cluster::new(3, limited(limit));
        cluster.publish(10, &[load, 0.0, 0.0], &mut varying(1));
        // Anywhere between two rounds.
        cluster.run(STEPS_A_SECOND / 3, |_| {});
        cluster.publish(3, &[0.0, load, 0.0], &mut varying(2));
        let passed = cluster.publish(5, &[0.0, load, 0.0], &mut varying(2));
        assert_near(passed as f64, limit as f64 * 5.0, 0.15, &format!("limit {limit}"));
        let passed = cluster.publish(10, &[0.0, load, 0.0], &mut varying(2));
        assert_near(passed as f64, limit as f64 * 10.0, 0.05, &format!("limit {limit}, later"));
    }
}

#[test]
fn without_a_leader_everybody_keeps_to_a_part() {
    let mut cluster = Cluster::new(4, limited(100));
    let offered = [1_000.0, 0.0, 0.0, 0.0];
    cluster.publish(10, &offered, &mut steady());
    let leaders = std::mem::take(&mut cluster.leaders);
    // While shares last nothing changes, or an election of the leader would be felt.
    assert_near(cluster.publish(9, &offered, &mut steady()) as f64, 900.0, 0.05, "with the last shares");
    cluster.publish(3, &offered, &mut steady());
    assert_near(cluster.publish(10, &offered, &mut steady()) as f64, 250.0, 0.05, "one busy node has its part");
    let everywhere = [1_000.0; 4];
    cluster.publish(5, &everywhere, &mut steady());
    assert_near(cluster.publish(10, &everywhere, &mut steady()) as f64, 1_000.0, 0.05, "all together have the limit");
    cluster.leaders = leaders;
    cluster.publish(3, &offered, &mut steady());
    assert_near(cluster.publish(10, &offered, &mut steady()) as f64, 1_000.0, 0.05, "with a leader again");
}

#[test]
fn two_leaders_that_hear_different_nodes_give_no_more_than_the_limit() {
    let mut cluster = Cluster::new(3, limited(300));
    let everywhere = [1_000.0; 3];
    cluster.publish(5, &everywhere, &mut steady());
    cluster.leaders = vec![Leader::new(1, [0]), Leader::new(2, [1, 2])];
    cluster.publish(5, &everywhere, &mut steady());
    assert_near(cluster.publish(20, &everywhere, &mut steady()) as f64, 6_000.0, 0.05, "all are busy");
    let passed = cluster.publish(20, &[1_000.0, 1_000.0, 0.0], &mut steady());
    assert!((5_000..=6_300).contains(&passed), "two nodes have theirs and the third's: {passed}");
    assert!(cluster.most_in(10) <= 3_000 + 600, "{}", cluster.most_in(10));
}

#[test]
fn two_leaders_that_hear_everybody_give_no_more_than_the_limit() {
    let mut cluster = Cluster::new(3, limited(300));
    cluster.leaders.push(Leader::new(2, 0..3));
    let offered = [1_000.0, 1_000.0, 100.0];
    cluster.publish(5, &offered, &mut varying(9));
    assert_near(cluster.publish(20, &offered, &mut varying(4)) as f64, 6_000.0, 0.05, "the newer leader's word counts");
}

#[test]
fn a_node_that_dies_leaves_its_share_to_the_others() {
    let mut cluster = Cluster::new(3, limited(300));
    cluster.publish(5, &[1_000.0, 0.0, 0.0], &mut steady());
    cluster.nodes[0].alive = false;
    cluster.publish(3, &[0.0, 1_000.0, 0.0], &mut steady());
    assert_near(
        cluster.publish(10, &[0.0, 1_000.0, 0.0], &mut steady()) as f64,
        3_000.0,
        0.05,
        "what it had has moved",
    );
}

#[test]
fn nothing_passes_a_limit_of_zero_and_everything_no_limit() {
    let mut cluster = Cluster::new(3, limited(0));
    assert_eq!(cluster.publish(5, &[100.0; 3], &mut steady()), 0);
    let mut cluster = Cluster::new(3, Quota::default());
    assert_eq!(cluster.publish(5, &[100.0; 3], &mut steady()), 1_500);
}

#[test]
fn a_new_limit_counts_at_once() {
    let mut cluster = Cluster::new(2, limited(1_000));
    cluster.publish(5, &[2_000.0, 0.0], &mut steady());
    cluster.app.quota = limited(10);
    cluster.nodes.iter().for_each(|node| node.meters.update(&cluster.app));
    let passed = cluster.publish(10, &[2_000.0, 0.0], &mut steady());
    assert!((95..=120).contains(&passed), "{passed}");
    cluster.app.quota = Quota::default();
    cluster.nodes.iter().for_each(|node| node.meters.update(&cluster.app));
    assert_eq!(cluster.publish(1, &[2_000.0, 0.0], &mut steady()), 2_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the load does, any ten seconds see at most ten seconds of the limit and what buckets had kept: a second
    /// of each node's share, at least one message, and what a fallback before the first share allowed.
    #[test]
    fn never_above_the_limit(
        limit in 5u64..2_000,
        loads in prop::collection::vec(prop::collection::vec(0.0f64..2.0, 4), 3..8),
        seed in any::<u64>(),
    ) {
        let mut cluster = Cluster::new(4, limited(limit));
        let mut jitter = varying(seed);
        cluster.publish(2, &[0.0; 4], &mut jitter);
        for load in loads {
            let offered: Vec<f64> = load.iter().map(|part| part * limit as f64).collect();
            cluster.publish(4, &offered, &mut jitter);
        }
        // A node's bucket keeps the most its share was before it shrank, so that a load which jumps finds two kept
        // seconds at most.
        let most = limit * 10 + limit * 2 + 4;
        prop_assert!(cluster.most_in(10) <= most, "{} > {}", cluster.most_in(10), most);
    }
}
