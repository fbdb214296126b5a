//! Metrics by app: from what the meters count to the page that monitoring reads.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use backbone::registry::Apps;
use metering::{Meters, NamedApps, Told};
use parking_lot::Mutex;
use telemetry::metrics::app as catalogue;
use telemetry::{Exposition, Metric};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the meters are looked at, whether or not anybody reads the page: well within the five minutes after which
/// the meter of an idle app is forgotten.
const INTERVAL: Duration = Duration::from_secs(30);

/// What there is to tell of each app. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct AppMetrics {
    named: Arc<Mutex<NamedApps>>,
    /// Once there are any.
    source: Arc<OnceLock<(Arc<Meters>, Apps)>>,
}

impl AppMetrics {
    /// Names for `most` apps.
    pub(super) fn new(most: usize) -> Self {
        Self { named: Arc::new(Mutex::new(NamedApps::new(most, Instant::now()))), source: Arc::default() }
    }

    /// Looks at `meters` until `stop`.
    pub(super) async fn run(self, meters: Arc<Meters>, apps: Apps, stop: CancellationToken) {
        // Once for each process.
        self.source.set((meters, apps)).ok();
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.look(),
            }
        }
    }

    fn look(&self) {
        let Some((meters, apps)) = self.source.get().filter(|(_, apps)| apps.is_ready()) else { return };
        let snapshot = apps.snapshot();
        // An app that this process cannot read is not gone.
        let all_known = snapshot.unreadable() == 0;
        let all = snapshot.len() + snapshot.unreadable();
        let exists = |app: &_| !all_known || snapshot.get(app).is_some();
        self.named.lock().look(&meters.totals(), all, exists, Instant::now());
    }

    /// The page, as things are now.
    pub(super) fn render(&self) -> String {
        self.look();
        let named = self.named.lock();
        let mut page = Exposition::default();
        let mut all = |metric: &'static Metric, value: fn(&Told) -> u64| {
            let mut samples = page.metric(metric);
            for (app, told) in named.told() {
                samples.add(&[app], value(told));
            }
        };
        all(&catalogue::CONNECTIONS, |told| told.levels.connections);
        all(&catalogue::CONNECTIONS_PEAK, |told| told.counts.peak_connections);
        all(&catalogue::CONNECTIONS_OPENED, |told| told.counts.connections_opened);
        all(&catalogue::PRESENCE_MEMBERS, |told| told.levels.presence_members);
        all(&catalogue::CHANNELS, |told| told.levels.channels);
        all(&catalogue::MESSAGES_IN, |told| told.counts.messages_in);
        all(&catalogue::PUBLISHED_BYTES, |told| told.counts.bytes_in);
        all(&catalogue::MESSAGES_OUT, |told| told.counts.messages_out);
        all(&catalogue::DELIVERED_BYTES, |told| told.counts.bytes_out);
        let mut rejected = page.metric(&catalogue::QUOTA_REJECTED);
        for (app, told) in named.told() {
            for (quota, count) in told.counts.refused.iter() {
                rejected.add(&[app, quota.name()], count);
            }
        }
        let mut requests = page.metric(&catalogue::WEBHOOK_REQUESTS);
        for (app, told) in named.told() {
            requests.add(&[app, "delivered"], told.counts.webhooks_delivered);
            requests.add(&[app, "failed"], told.counts.webhooks_failed);
        }
        page.metric(&catalogue::IN_OTHER).add(&[], named.others());
        page.into_text()
    }
}

#[cfg(test)]
mod tests {
    use backbone::registry::Registry;
    use backbone::sealing::ClusterKeys;
    use backbone::{Backbone, Config};
    use channels::{App, AppId, Limits, Namespaces, PusherSettings, Quota, QuotaKind};
    use tokio::task::JoinSet;

    use super::*;

    fn app(id: &str) -> App {
        App {
            id: AppId::new(id).unwrap(),
            name: id.to_owned(),
            enabled: true,
            keys: Vec::new(),
            pusher: PusherSettings::default(),
            limits: Limits::default(),
            quota: Quota::default(),
            namespaces: Namespaces::default(),
            webhooks: Vec::new(),
        }
    }

    #[tokio::test]
    async fn the_page_follows_the_meters_and_the_registry() {
        let registry = Registry::new(&Backbone::memory(&Config::default()), Arc::new(ClusterKeys::generate()));
        for id in ["101", "102"] {
            registry.create(app(id), 1).await.unwrap();
        }
        let apps = Apps::watch(registry.clone());
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        tasks.spawn(apps.run(stop.clone()));
        let metrics = AppMetrics::new(2);
        assert!(metrics.render().contains("fanfare_app_connections{app=\"other\"} 0\n"), "before there are meters");
        let meters = Arc::new(Meters::new(Instant::now()));
        tasks.spawn(metrics.clone().run(Arc::clone(&meters), apps.clone(), stop.clone()));
        apps.ready().await;

        let (one, two) = (meters.meter(&app("101")), meters.meter(&app("102")));
        one.connect().unwrap();
        one.publish(3, 30, None, Instant::now()).unwrap();
        two.delivered(4, 40, Instant::now());
        two.refused(QuotaKind::Connections);
        two.count_webhook(false);
        testkit::eventually("both apps to be told of", || async { metrics.render().contains("\"102\"").then_some(()) })
            .await;
        let page = metrics.render();
        for line in [
            "fanfare_app_connections{app=\"101\"} 1",
            "fanfare_app_connections_peak{app=\"101\"} 1",
            "fanfare_app_connections_opened_total{app=\"101\"} 1",
            "fanfare_app_messages_in_total{app=\"101\"} 3",
            "fanfare_app_published_bytes_total{app=\"101\"} 30",
            "fanfare_app_messages_out_total{app=\"102\"} 4",
            "fanfare_app_delivered_bytes_total{app=\"102\"} 40",
            "fanfare_app_quota_rejected_total{app=\"102\",quota=\"connections\"} 1",
            "fanfare_app_webhook_requests_total{app=\"102\",result=\"failed\"} 1",
            "fanfare_app_messages_in_total{app=\"other\"} 0",
            "fanfare_apps_in_other 0",
        ] {
            assert!(page.lines().any(|each| each == line), "{line} in {page}");
        }
        let told = |page: &str| {
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(str::to_owned).collect::<Vec<_>>()
        };
        let rows = telemetry::metrics::app_catalogue();
        assert_eq!(told(&page), rows.map(|row| format!("{} {}", row.name, row.kind.word())).collect::<Vec<_>>());

        registry.delete(&app("102").id).await.unwrap();
        testkit::eventually("the removed app to be gone", || async {
            (!metrics.render().contains("\"102\"")).then_some(())
        })
        .await;
        two.delivered(1, 1, Instant::now());
        assert!(metrics.render().contains("fanfare_app_messages_out_total{app=\"other\"} 1\n"));
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    }
}
