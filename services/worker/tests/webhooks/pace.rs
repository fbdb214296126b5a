//! The quota of webhook requests: what is over waits, and nothing is lost.

use std::time::{Duration, Instant};

use channels::{Quota, QuotaKind};

use crate::on_both;
use crate::support::*;

on_both!(requests_keep_to_the_quota);

/// A second's worth at once, then one every 100 ms: 30 requests take two seconds. Two webhooks share the quota.
async fn requests_keep_to_the_quota(variant: Variant) {
    let (one, other) = (Hook::start(Manner::Answer(200)).await, Hook::start(Manner::Answer(200)).await);
    let site = Site::start(variant, vec![webhook(&one), webhook(&other)]).await;
    site.set_quota(Quota { webhooks_per_second: Some(10), ..Quota::default() }).await;
    for number in 0..15 {
        site.client_event(&format!("private-{number}"), "x").await;
    }
    let begun = Instant::now();
    let _worker = site.work(config());
    let (told, told_other) = (one.wait_for(15).await, other.wait_for(15).await);
    let took = begun.elapsed();
    assert_eq!((told.len(), told_other.len()), (15, 15), "each event once, to each");
    assert!(took >= Duration::from_millis(1900), "{took:?}");
    // The last answers may still be on their way.
    testkit::eventually("thirty deliveries counted", || async {
        (site.meters.totals()[0].counts.webhooks_delivered == 30).then_some(())
    })
    .await;
    let report = site.meters.report(Instant::now(), 0);
    let counts = &report.apps[0].counts;
    assert!(counts.refused.get(QuotaKind::Webhooks) > 0, "{counts:?}");
    assert!(report.apps[0].webhooks_wanted >= 30);
    assert_eq!((counts.webhooks_delivered, counts.webhooks_failed), (30, 0));
}

/// Every attempt, by how it was answered.
#[tokio::test]
async fn attempts_are_counted() {
    let hook = Hook::start(Manner::Answer(200)).await;
    hook.first([Manner::Answer(500), Manner::Answer(500)]);
    let site = Site::start(Variant::Memory, vec![webhook(&hook)]).await;
    let _worker = site.work(config());
    site.client_event("private-a", "x").await;
    hook.wait_for_requests(3).await;
    let counts = testkit::eventually("three attempts counted", || async {
        let counts = site.meters.minutes().first().map(|minute| minute.apps[0].1.counts.clone());
        counts.filter(|counts| counts.webhooks_delivered == 1)
    });
    site.meters.tick(Instant::now(), unix_ms(), metering::Live::default());
    assert_eq!(counts.await.webhooks_failed, 2);
}
