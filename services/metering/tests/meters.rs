//! The table of meters: usage by the minute, reports, terms, and what is forgotten.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

mod support;

use std::time::{Duration, Instant};

use channels::{Quota, QuotaKind};
use metering::usage::{AppMinute, fold};
use metering::{Live, Meters, NamedApps, Portion, SHARE_TTL, Share};
use support::{START_MS, app};

const SECOND: Duration = Duration::from_secs(1);

/// A process whose clocks the test moves.
struct Process {
    meters: Meters,
    now: Instant,
    unix_ms: u64,
}

impl Process {
    fn new() -> Self {
        let now = Instant::now();
        let process = Self { meters: Meters::new(now), now, unix_ms: START_MS };
        process.meters.tick(now, START_MS, Live::default());
        process
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += SECOND;
            self.unix_ms += 1_000;
            self.meters.tick(self.now, self.unix_ms, Live { edges: 2, workers: 2 });
        }
    }

    fn messages_in(&self) -> Vec<(u64, bool, u64)> {
        let sum = |rows: &[(_, AppMinute)]| rows.iter().map(|(_, row)| row.counts.messages_in).sum();
        let minutes = self.meters.minutes();
        minutes.iter().map(|minute| (minute.minute - START_MS / 60_000, minute.closed, sum(&minute.apps))).collect()
    }
}

#[test]
fn every_message_is_in_one_minute() {
    let mut process = Process::new();
    let meter = process.meters.meter(&app("app", Quota::default()));
    assert_eq!(process.messages_in(), []);
    for _ in 0..100 {
        meter.publish(3, 10, None, process.now).unwrap();
        process.pass(1);
    }
    assert_eq!(process.messages_in(), [(0, true, 180), (1, false, 120)]);
    process.pass(30);
    assert_eq!(process.messages_in(), [(0, true, 180), (1, true, 120)]);
    process.meters.confirm(START_MS / 60_000);
    assert_eq!(process.messages_in(), [(1, true, 120)]);
    process.meters.confirm(START_MS / 60_000 + 1);
    assert_eq!(process.messages_in(), []);
}

#[test]
fn a_clock_that_is_set_back_writes_over_nothing() {
    let mut process = Process::new();
    let meter = process.meters.meter(&app("app", Quota::default()));
    meter.publish(1, 0, None, process.now).unwrap();
    process.pass(90);
    meter.publish(10, 0, None, process.now).unwrap();
    process.unix_ms -= 60_000;
    process.pass(5);
    meter.publish(100, 0, None, process.now).unwrap();
    process.pass(90);
    assert_eq!(process.messages_in(), [(0, true, 1), (1, true, 110)]);
}

#[test]
fn a_minute_has_peaks_and_samples() {
    let mut process = Process::new();
    let meter = process.meters.meter(&app("app", Quota::default()));
    process.pass(6);
    (0..3).for_each(|_| meter.connect().unwrap());
    process.pass(5);
    (0..5).for_each(|_| meter.connect().unwrap());
    (0..6).for_each(|_| meter.disconnected());
    meter.set_channels(7);
    meter.set_channels(1);
    meter.count_webhook(true);
    meter.count_webhook(false);
    meter.refused(QuotaKind::Channels);
    process.pass(20);
    let minutes = process.meters.minutes();
    let row = &minutes[0].apps[0].1;
    assert_eq!(row.connections, [0, 0, 3, 2, 2, 2, 2]);
    assert_eq!((row.counts.peak_connections, row.counts.peak_channels, row.counts.connections_opened), (8, 7, 8));
    assert_eq!((row.counts.webhooks_delivered, row.counts.webhooks_failed), (1, 1));
    assert_eq!(row.counts.refused.iter().collect::<Vec<_>>(), [(QuotaKind::Channels, 1)]);
    assert_eq!(fold([row]).peak_connections, 8);
    // What is still there is the next minute's peak, too.
    process.pass(60);
    let next = &process.meters.minutes()[1].apps[0].1;
    assert_eq!((next.counts.peak_connections, next.counts.peak_channels, next.counts.connections_opened), (2, 1, 0));
}

#[test]
fn a_report_tells_what_happened_since_the_last() {
    let mut process = Process::new();
    let quota = Quota { messages_in_per_second: Some(2), connections: Some(1), ..Quota::default() };
    let meter = process.meters.meter(&app("app", quota));
    let quiet = process.meters.meter(&app("quiet", Quota::default()));
    meter.publish(2, 20, Some(SECOND * 3_600), process.now).unwrap();
    meter.publish(5, 50, Some(SECOND * 3_600), process.now).unwrap_err();
    meter.connect().unwrap();
    meter.connect().unwrap_err();
    meter.delivered(9, 90, process.now);
    process.pass(2);
    let report = process.meters.report(process.now, process.unix_ms);
    assert_eq!(report.interval, 2 * SECOND);
    let [said] = &report.apps[..] else { panic!("{report:?}") };
    assert_eq!((said.counts.messages_in, said.messages_in_wanted, said.history_bytes_wanted), (2, 7, 70));
    assert_eq!((said.connections, said.counts.messages_out, said.counts.bytes_out), (1, 9, 90));
    assert_eq!(said.history_bytes.iter().map(|(_, bytes)| bytes).sum::<u64>(), 20);
    let refused: Vec<_> = said.counts.refused.iter().collect();
    assert_eq!(refused, [(QuotaKind::Connections, 1), (QuotaKind::MessagesIn, 1)]);
    process.pass(1);
    let report = process.meters.report(process.now, process.unix_ms);
    let [said] = &report.apps[..] else { panic!("an open connection is something to say") };
    assert_eq!((said.connections, said.counts.messages_in, said.messages_in_wanted), (1, 0, 0));
    meter.disconnected();
    assert_eq!(process.meters.report(process.now, process.unix_ms).apps, []);
    drop(quiet);
}

#[test]
fn the_greatest_term_counts_while_it_is_heard() {
    let mut process = Process::new();
    let app = app("app", Quota { connections: Some(100), ..Quota::default() });
    let meter = process.meters.meter(&app);
    let share = |share| [(app.id.clone(), Share { connections: Some(Portion { share, free: 1 }), ..Share::default() })];
    let room = |meter: &metering::AppMeter| {
        let room = (0..).take_while(|_| meter.connect().is_ok()).count();
        (0..room).for_each(|_| meter.disconnected());
        room
    };
    assert!(process.meters.apply(7, share(3), process.now));
    assert!(!process.meters.apply(6, share(9), process.now), "a leader that was replaced");
    assert_eq!(room(&meter), 3);
    assert!(process.meters.apply(8, share(4), process.now));
    assert_eq!(room(&meter), 4);
    process.pass(SHARE_TTL.as_secs());
    assert_eq!(room(&meter), 4);
    process.pass(1);
    assert_eq!(room(&meter), 50, "half the limit on one of two nodes");
    assert!(process.meters.apply(1, share(5), process.now), "terms began anew, as in a cluster that was restored");
    assert_eq!(room(&meter), 5);
}

#[test]
fn a_share_may_come_before_the_app() {
    let process = Process::new();
    let app = app("app", Quota { connections: Some(100), ..Quota::default() });
    let share = Share { connections: Some(Portion { share: 2, free: 0 }), ..Share::default() };
    process.meters.apply(1, [(app.id.clone(), share)], process.now);
    let meter = process.meters.meter(&app);
    assert!(meter.connect().is_ok() && meter.connect().is_ok());
    assert!(meter.connect().unwrap_err().shared);
}

#[test]
fn idle_apps_are_forgotten_and_their_usage_is_not() {
    let mut process = Process::new();
    let busy = app("busy", Quota::default());
    let held = app("held", Quota::default());
    let idle = app("idle", Quota::default());
    process.meters.meter(&busy).connect().unwrap();
    let held = process.meters.meter(&held);
    process.meters.meter(&idle).publish(1, 1, None, process.now).unwrap();
    process.pass(400);
    assert!(process.meters.get(&idle.id).is_none());
    assert!(process.meters.get(&busy.id).is_some() && process.meters.get(held.app()).is_some());
    assert_eq!(process.messages_in()[0], (0, true, 1));
}

#[test]
fn unconfirmed_minutes_are_kept_for_a_day() {
    let mut process = Process::new();
    let meter = process.meters.meter(&app("app", Quota::default()));
    meter.connect().unwrap();
    process.pass(25 * 3_600);
    let minutes = process.meters.minutes();
    assert_eq!(minutes.iter().filter(|minute| minute.closed).count(), 24 * 60);
    assert_eq!(minutes[0].minute, START_MS / 60_000 + 60);
}

#[test]
fn webhooks_wait_their_turn() {
    let mut process = Process::new();
    let meter = process.meters.meter(&app("app", Quota { webhooks_per_second: Some(2), ..Quota::default() }));
    process.pass(1);
    // Two workers, half the rate each.
    meter.webhook(process.now).unwrap();
    let refused = meter.webhook(process.now).unwrap_err();
    assert_eq!((refused.quota, refused.shared), (QuotaKind::Webhooks, false));
    meter.webhook(process.now + refused.retry_after).unwrap();
}

#[test]
fn a_refusal_is_urgent_only_where_another_node_may_have_room() {
    let process = Process::new();
    let app = app("app", Quota { connections: Some(2), ..Quota::default() });
    let meter = process.meters.meter(&app);
    let grant = |share, free| {
        let share = Share { connections: Some(Portion { share, free }), ..Share::default() };
        process.meters.apply(1, [(app.id.clone(), share)], process.now);
    };
    grant(1, 1);
    meter.connect().unwrap();
    assert!(!process.meters.take_short());
    meter.connect().unwrap_err();
    assert!(process.meters.take_short());
    assert!(!process.meters.take_short(), "once");
    grant(1, 0);
    meter.connect().unwrap_err();
    assert!(!process.meters.take_short(), "the app is at its limit");
}

/// What monitoring is told of an app goes on across the meters that it has had.
#[test]
fn totals_are_of_a_meter_and_names_outlive_it() {
    let mut process = Process::new();
    let mut named = NamedApps::new(3, process.now);
    let look = |process: &Process, named: &mut NamedApps| {
        named.look(&process.meters.totals(), 1, |_| true, process.now);
        let (name, told) = named.told().next().unwrap();
        assert_eq!(name, "app");
        told.clone()
    };
    let quota = Quota { messages_in_per_second: Some(10), ..Quota::default() };
    let meter = process.meters.meter(&app("app", quota.clone()));
    meter.connect().unwrap();
    meter.publish(3, 30, None, process.now).unwrap();
    meter.delivered(6, 60, process.now);
    meter.publish(100, 30, None, process.now).unwrap_err();
    meter.count_webhook(false);
    let told = look(&process, &mut named);
    assert_eq!((told.levels.connections, told.counts.peak_connections, told.counts.connections_opened), (1, 1, 1));
    assert_eq!((told.counts.messages_in, told.counts.bytes_in), (3, 30));
    assert_eq!((told.counts.messages_out, told.counts.bytes_out, told.counts.webhooks_failed), (6, 60, 1));
    assert_eq!(told.counts.refused.get(QuotaKind::MessagesIn), 1);

    meter.disconnected();
    drop(meter);
    process.pass(400);
    assert!(process.meters.is_empty(), "an idle app's meter is forgotten");
    assert_eq!(look(&process, &mut named).counts.messages_in, 3);
    process.meters.meter(&app("app", quota)).publish(1, 1, None, process.now).unwrap();
    let told = look(&process, &mut named);
    assert_eq!((told.counts.messages_in, told.levels.connections), (4, 0));
}
