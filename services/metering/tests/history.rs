//! Limits of stored bytes over a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

mod support;

use std::time::Duration;

use channels::{AppId, Quota, QuotaKind};
use metering::{Expiries, PERSISTENT_AFTER, Report, Sharing};
use support::{Cluster, START_MS, STEPS_A_SECOND, assert_near};

const LIMIT: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

fn limited() -> Quota {
    Quota { history_bytes: Some(LIMIT), ..Quota::default() }
}

/// Stores 100 bytes a step on each of `nodes`; returns what was stored.
fn store(cluster: &mut Cluster, seconds: u64, nodes: &[usize], kept: Duration) -> u64 {
    let mut stored = 0;
    cluster.run(seconds * STEPS_A_SECOND, |cluster| {
        for node in nodes {
            stored += 100 * u64::from(cluster.meter(*node).publish(1, 100, Some(kept), cluster.now()).is_ok());
        }
    });
    stored
}

#[test]
fn the_cluster_stores_what_it_may_and_not_more() {
    for nodes in [&[0][..], &[0, 1, 2], &[1, 2]] {
        let mut cluster = Cluster::new(3, limited());
        let stored = store(&mut cluster, 120, nodes, HOUR);
        assert_near(stored as f64, LIMIT as f64, 0.05, &format!("on {nodes:?}"));
        let refused = cluster.meter(0).publish(1, 50_000, Some(HOUR), cluster.now()).unwrap_err();
        assert_eq!((refused.quota, refused.shared), (QuotaKind::HistoryBytes, true));
        cluster.meter(0).publish(1, 50_000, Some(PERSISTENT_AFTER), cluster.now()).unwrap();
        cluster.meter(0).publish(1, 50_000, None, cluster.now()).unwrap();
    }
}

#[test]
fn what_expires_may_be_stored_again() {
    let mut cluster = Cluster::new(2, limited());
    let kept = Duration::from_secs(16 * 60);
    assert_near(store(&mut cluster, 100, &[0], kept) as f64, LIMIT as f64, 0.05, "at first");
    assert_eq!(store(&mut cluster, 60, &[0], kept), 0);
    cluster.run(16 * 60 * STEPS_A_SECOND, |_| {});
    assert_near(store(&mut cluster, 100, &[1], kept) as f64, LIMIT as f64, 0.05, "when it has expired");
}

#[test]
fn without_a_leader_a_node_keeps_to_its_part_and_gets_it_back() {
    let mut cluster = Cluster::new(4, limited());
    cluster.leaders.clear();
    let kept = Duration::from_secs(16 * 60);
    assert_near(store(&mut cluster, 60, &[0], kept) as f64, LIMIT as f64 / 4.0, 0.05, "a quarter");
    assert_eq!(store(&mut cluster, 10, &[0], kept), 0);
    cluster.run(17 * 60 * STEPS_A_SECOND, |_| {});
    assert_near(store(&mut cluster, 60, &[0], kept) as f64, LIMIT as f64 / 4.0, 0.05, "again");
}

#[test]
fn a_refused_publish_stores_nothing() {
    let quota = Quota { messages_in_per_second: Some(1), ..limited() };
    let mut cluster = Cluster::new(1, quota);
    let meter = cluster.meter(0);
    meter.publish(1, 10, Some(HOUR), cluster.now()).unwrap();
    for _ in 0..100 {
        assert_eq!(meter.publish(1, 900_000, Some(HOUR), cluster.now()).unwrap_err().quota, QuotaKind::MessagesIn);
    }
    cluster.run(2 * STEPS_A_SECOND, |_| {});
    meter.publish(1, 900_000, Some(HOUR), cluster.now()).unwrap();
}

#[test]
fn a_new_leader_goes_on_with_what_was_stored() {
    let app = AppId::new("app").unwrap();
    let mut sharing = Sharing::default();
    let stored: Expiries = [(START_MS / 60_000 + 60, 900)].into_iter().collect();
    sharing.restore(&app, &stored);
    sharing.restore(&app, &stored);
    let kept: Vec<_> = sharing.stored().map(|(app, stored)| (app.clone(), stored.clone())).collect();
    assert_eq!(kept, [(app, stored)]);
    let now = std::time::Instant::now();
    sharing.report(&"node".into(), &Report::default(), now);
    sharing.forget_idle(now, START_MS + 61 * 60_000);
    assert_eq!(sharing.stored().count(), 0);
}
