//! What a replica has not been told yet of the apps.

use std::collections::HashMap;
use std::time::Duration;

use metering::Report;
use parking_lot::Mutex;
use proto::control::AppReport;
use tokio::sync::Notify;

use crate::report::{self, Load};

/// Reports on their way to one replica. Those that come while it cannot be told are added up, so that what was counted
/// is told once and never lost: there is at most one row for each app, however long that takes.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pending: Mutex<Pending>,
    filled: Notify,
}

/// Everything that a replica is to be told.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    apps: HashMap<String, AppReport>,
    /// How much time it covers.
    pub(crate) interval: Duration,
    pub(crate) load: Load,
}

impl Outbox {
    /// Adds what was counted since the report before.
    pub(crate) fn add(&self, reported: &Report, load: &Load) {
        let mut pending = self.pending.lock();
        // An app that is not in a report has nothing at this moment.
        pending.apps.values_mut().for_each(report::clear_gauges);
        for app in &reported.apps {
            report::merge(pending.apps.entry(app.app.to_string()).or_default(), app);
        }
        pending.interval += reported.interval;
        pending.load.clone_from(load);
        drop(pending);
        self.filled.notify_one();
    }

    /// Waits until there is something to tell.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes it.
    pub(crate) fn take(&self) -> Pending {
        std::mem::take(&mut *self.pending.lock())
    }
}

impl Pending {
    /// Its apps.
    pub(crate) fn into_apps(self) -> Vec<AppReport> {
        self.apps.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use channels::AppId;
    use metering::usage::Counts;

    use super::*;

    fn reported(apps: &[(&str, u64, u64)]) -> Report {
        let app = |(app, connections, messages_in): &(&str, u64, u64)| metering::AppReport {
            app: AppId::new(app).unwrap(),
            connections: *connections,
            presence_members: 0,
            channels: 0,
            counts: Counts { messages_in: *messages_in, ..Counts::default() },
            messages_in_wanted: *messages_in,
            webhooks_wanted: 0,
            history_bytes_wanted: 0,
            history_bytes: vec![(7, *messages_in)],
        };
        Report { interval: Duration::from_secs(1), apps: apps.iter().map(app).collect() }
    }

    #[test]
    fn what_waits_adds_up_and_what_is_there_is_the_newest() {
        let outbox = Outbox::default();
        outbox.add(&reported(&[("a", 5, 10), ("b", 2, 1)]), &Load::default());
        outbox.add(&reported(&[("a", 7, 20)]), &Load::default());
        let pending = outbox.take();
        assert_eq!(pending.interval, Duration::from_secs(2));
        let (a, b) = (&pending.apps["a"], &pending.apps["b"]);
        assert_eq!((a.connections, a.messages_in, a.history_bytes[&7]), (7, 30, 30));
        assert_eq!((b.connections, b.messages_in), (0, 1), "it is not in the newest report");
        assert!(outbox.take().into_apps().is_empty());
    }
}
