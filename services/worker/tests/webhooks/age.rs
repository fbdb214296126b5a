//! What monitoring is told of how far delivery is behind.

use telemetry::Exporter;
use testkit::eventually;

use crate::on_both;
use crate::support::*;

on_both!(the_oldest_event_shows_until_it_is_delivered);

/// What a line of the exposition says.
fn value(exporter: &Exporter, name: &str) -> Option<f64> {
    exporter.render().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

async fn the_oldest_event_shows_until_it_is_delivered(variant: Variant) {
    let hook = Hook::start(Manner::Answer(500)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let work = || {
        let (recorder, exporter) = Exporter::build().unwrap();
        (metrics::with_local_recorder(&recorder, || site.work(config())), exporter)
    };
    let (acting, exporter) = work();
    eventually("a worker to act", || async { value(&exporter, "fanfare_worker_active ").filter(|up| *up > 0.0) }).await;
    let (_waiting, other) = work();
    eventually("nothing to be waiting", || async { value(&other, "fanfare_webhook_oldest_seconds ") }).await;
    assert_eq!(value(&exporter, "fanfare_webhook_oldest_seconds "), Some(0.0));

    site.client_event("private-a", "x").await;
    for worker in [&exporter, &other] {
        eventually("the event to show its age", || async {
            value(worker, "fanfare_webhook_oldest_seconds ").filter(|age| *age > 0.0)
        })
        .await;
    }
    eventually("an attempt", || async {
        value(&exporter, "fanfare_webhook_requests_total{result=\"status\"}").filter(|attempts| *attempts > 0.0)
    })
    .await;

    hook.set(Manner::Answer(200));
    for worker in [&exporter, &other] {
        eventually("nothing to be behind", || async {
            value(worker, "fanfare_webhook_oldest_seconds ").filter(|age| *age == 0.0)
        })
        .await;
    }
    let requests = |result: &str| value(&exporter, &format!("fanfare_webhook_requests_total{{result=\"{result}\"}}"));
    let all = requests("status").unwrap() + requests("delivered").unwrap();
    assert_eq!(value(&exporter, "fanfare_webhook_request_seconds_count "), Some(all), "each attempt took some time");
    acting.stop().await;
}
