//! Limits of deliveries over a simulated cluster: nothing is dropped, publishes pay.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

mod support;

use channels::{Quota, QuotaKind};
use support::{Cluster, STEPS_A_SECOND, assert_near};

fn limited(limit: u64) -> Quota {
    Quota { messages_out_per_second: Some(limit), ..Quota::default() }
}

/// Publishes on node `publisher` for `seconds`, `offered` messages a step, each delivered to as many subscribers as
/// `fan_out` says on each node. Returns deliveries.
fn publish(cluster: &mut Cluster, publisher: usize, seconds: u64, offered: u64, fan_out: [u64; 3]) -> u64 {
    let mut delivered = 0;
    cluster.run(seconds * STEPS_A_SECOND, |cluster| {
        for _ in 0..offered {
            if cluster.meter(publisher).publish(1, 10, None, cluster.now()).is_ok() {
                for (node, subscribers) in fan_out.into_iter().enumerate() {
                    cluster.meter(node).delivered(subscribers, 10 * subscribers, cluster.now());
                    delivered += subscribers;
                }
            }
        }
    });
    delivered
}

#[test]
fn deliveries_are_the_limit_wherever_subscribers_are() {
    for (limit, offered, fan_out) in [
        (1_000, 1, [10, 0, 0]),
        (1_000, 1, [0, 10, 0]),
        (1_000, 1, [5, 5, 5]),
        (1_000, 3, [1, 0, 100]),
        (20_000, 1, [50, 70, 90]),
    ] {
        let name = format!("{limit}, {offered} to {fan_out:?}");
        let mut cluster = Cluster::new(3, limited(limit));
        // The first second is over before anybody knows how many deliveries a publish makes, and is paid for.
        let first = publish(&mut cluster, 0, 2, offered, fan_out);
        let repaid = first / limit + 3;
        let total = first + publish(&mut cluster, 0, repaid, offered, fan_out);
        assert!(total <= limit * (repaid + 4), "{name}: {total} in {} s", repaid + 2);
        for _ in 0..10 {
            assert_near(publish(&mut cluster, 0, 10, offered, fan_out) as f64, limit as f64 * 10.0, 0.05, &name);
        }
        // Somebody else publishes, on another node.
        publish(&mut cluster, 1, 3, offered, fan_out);
        assert_near(publish(&mut cluster, 1, 5, offered, fan_out) as f64, limit as f64 * 5.0, 0.15, &name);
        assert_near(publish(&mut cluster, 1, 10, offered, fan_out) as f64, limit as f64 * 10.0, 0.05, &name);
    }
}

#[test]
fn more_subscribers_slow_the_publisher_down() {
    let mut cluster = Cluster::new(3, limited(1_000));
    publish(&mut cluster, 0, 20, 1, [0, 10, 0]);
    let mut total = publish(&mut cluster, 0, 10, 1, [0, 40, 0]);
    total += publish(&mut cluster, 0, 10, 1, [0, 10, 30]);
    total += publish(&mut cluster, 0, 10, 1, [0, 4, 3]);
    assert_near(total as f64, 30_000.0, 0.1, "as subscribers come and go");
}

#[test]
fn below_the_limit_nothing_is_refused() {
    let mut cluster = Cluster::new(3, limited(1_000));
    assert_eq!(publish(&mut cluster, 0, 60, 1, [1, 1, 2]), 60 * STEPS_A_SECOND * 4);
}

#[test]
fn without_a_leader_a_node_keeps_to_its_part() {
    let mut cluster = Cluster::new(3, limited(900));
    cluster.leaders.clear();
    publish(&mut cluster, 0, 15, 1, [10, 0, 0]);
    assert_near(publish(&mut cluster, 0, 100, 1, [10, 0, 0]) as f64, 300.0 * 100.0, 0.05, "one node of three");
}

#[test]
fn the_refusal_says_when_the_debt_is_repaid() {
    let mut cluster = Cluster::new(1, limited(100));
    cluster.meter(0).delivered(400, 0, cluster.now());
    let refused = cluster.meter(0).publish(1, 1, None, cluster.now()).unwrap_err();
    assert_eq!((refused.quota, refused.retry_after.as_secs()), (QuotaKind::MessagesOut, 3));
    cluster.run(3 * STEPS_A_SECOND + 1, |_| {});
    cluster.meter(0).publish(1, 1, None, cluster.now()).unwrap();
}
