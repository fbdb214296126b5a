use std::sync::Arc;

use super::*;

fn meter(quota: Quota) -> AppMeter {
    AppMeter::new(AppId::new("app").unwrap(), quota, None, Live::default(), Instant::now())
}

#[test]
fn an_app_without_a_quota_is_only_counted() {
    let meter = meter(Quota::default());
    let now = Instant::now();
    for _ in 0..10_000 {
        meter.publish(100, 1_000, Some(Duration::from_secs(86_400)), now).unwrap();
        meter.delivered(10_000, 100_000, now);
        meter.connect().unwrap();
        meter.enter_member().unwrap();
        meter.webhook(now).unwrap();
    }
    let totals = meter.counters.totals();
    assert_eq!((totals.counts.messages_in, totals.counts.messages_out), (1_000_000, 100_000_000));
    assert_eq!((meter.connections(), meter.presence_members(), totals.webhooks_wanted), (10_000, 10_000, 10_000));
}

#[test]
fn a_publish_larger_than_the_rate_passes_seldom() {
    let meter = meter(Quota { messages_in_per_second: Some(50), ..Quota::default() });
    let now = Instant::now();
    meter.publish(100, 0, None, now).unwrap();
    let refused = meter.publish(100, 0, None, now).unwrap_err();
    assert_eq!((refused.quota, refused.shared, refused.retry_after.as_secs()), (QuotaKind::MessagesIn, true, 2));
    meter.publish(100, 0, None, now + refused.retry_after).unwrap();
}

#[test]
fn members_have_a_quota_of_their_own() {
    let meter = meter(Quota { presence_members: Some(1), ..Quota::default() });
    meter.enter_member().unwrap();
    let refused = meter.enter_member().unwrap_err();
    assert_eq!((refused.quota, refused.shared), (QuotaKind::PresenceMembers, true));
    meter.left_member();
    meter.enter_member().unwrap();
}

#[test]
fn the_leader_may_stop_publishes() {
    let meter = meter(Quota { messages_out_per_second: Some(100), ..Quota::default() });
    let now = Instant::now();
    let share = Share {
        messages_out_per_second: Some(100.0),
        out_blocked_for: Duration::from_millis(1_500),
        ..Share::default()
    };
    meter.apply(share, now);
    let refused = meter.publish(1, 1, None, now).unwrap_err();
    assert_eq!((refused.quota, refused.retry_after), (QuotaKind::MessagesOut, Duration::from_millis(1_500)));
    meter.publish(1, 1, None, now + refused.retry_after).unwrap();
    meter.apply(Share { out_blocked_for: Duration::ZERO, ..share }, now);
    meter.publish(1, 1, None, now).unwrap();
}

#[test]
fn many_threads_take_no_more_than_there_is() {
    let meter =
        Arc::new(meter(Quota { connections: Some(1_000), messages_in_per_second: Some(500), ..Quota::default() }));
    let now = Instant::now();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let meter = Arc::clone(&meter);
            std::thread::spawn(move || {
                let connected = (0..1_000).filter(|_| meter.connect().is_ok()).count();
                let published = (0..1_000).filter(|_| meter.publish(1, 1, None, now).is_ok()).count();
                (connected, published)
            })
        })
        .collect();
    let (connected, published) = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .fold((0, 0), |(connections, publishes), (one, other)| (connections + one, publishes + other));
    assert_eq!((connected, published), (1_000, 500));
    assert_eq!(meter.minute().counts.peak_connections, 1_000);
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_publish_to_several_channels_is_stored_whole_or_not_at_all() {
    let meter = meter(Quota { history_bytes: Some(100), messages_in_per_second: Some(10), ..Quota::default() });
    let now = Instant::now();
    let refused = meter.publish_all(3, 150, &[(DAY, 60), (2 * DAY, 60)], now).unwrap_err();
    assert_eq!(refused.quota, QuotaKind::HistoryBytes);
    // Nothing is left of that.
    meter.publish_all(3, 150, &[(DAY, 60), (2 * DAY, 40), (Duration::from_secs(60), 50)], now).unwrap();
    assert_eq!(meter.publish(1, 1, Some(DAY), now).unwrap_err().quota, QuotaKind::HistoryBytes);
    meter.publish(7, 1, None, now).unwrap();
    let totals = meter.counters.totals();
    assert_eq!((totals.counts.messages_in, totals.counts.bytes_in, totals.history_bytes_wanted), (10, 151, 221));
}

#[test]
fn what_could_not_be_published_is_not_counted() {
    let meter = meter(Quota { history_bytes: Some(100), ..Quota::default() });
    let now = Instant::now();
    meter.publish(2, 100, Some(DAY), now).unwrap();
    meter.unpublished(1, 60, &[(DAY, 60)]);
    let totals = meter.counters.totals();
    assert_eq!((totals.counts.messages_in, totals.counts.bytes_in, totals.messages_in_wanted), (1, 40, 2));
    meter.publish(1, 60, Some(DAY), now).unwrap();
    assert_eq!(meter.stored.take_recent(0).iter().map(|(_, bytes)| bytes).sum::<u64>(), 100);
}

#[test]
fn who_may_not_publish_anything_is_told_before_it_is_known_what() {
    let meter = meter(Quota { messages_in_per_second: Some(10), ..Quota::default() });
    let now = Instant::now();
    for _ in 0..3 {
        meter.may_publish(now).unwrap();
    }
    meter.publish(10, 0, None, now).unwrap();
    let refused = meter.may_publish(now).unwrap_err();
    assert_eq!(refused.quota, QuotaKind::MessagesIn);
    meter.may_publish(now + refused.retry_after).unwrap();
    let totals = meter.counters.totals();
    assert_eq!((totals.counts.refused.get(QuotaKind::MessagesIn), totals.messages_in_wanted), (1, 11));
}
