//! Watches over what every role depends on: tells readiness and metrics whether the backbone is there, how far it is
//! behind, and how old the copy of the apps is.

use std::convert::Infallible;
use std::time::Duration;

use backbone::Backbone;
use backbone::registry::Apps;
use telemetry::Check;
use telemetry::metrics::{BACKBONE_UP, CONTROL_SNAPSHOT_AGE_SECONDS};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long the backbone may be away before new clients are sent elsewhere. The election of a NATS leader takes 4 to 9
/// seconds, and a fleet that stops being ready for each would turn a blink into a storm.
const GRACE: Duration = Duration::from_secs(15);

/// Runs until `stop`.
pub(super) async fn run(backbone: Backbone, apps: Apps, check: Check, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        never = backbone.measure_lag() => match never {},
        never = watch(&backbone, &apps, &check) => match never {},
    }
}

async fn watch(backbone: &Backbone, apps: &Apps, check: &Check) -> Infallible {
    let up = BACKBONE_UP.handle();
    let age = CONTROL_SNAPSHOT_AGE_SECONDS.handle();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_up = Instant::now();
    loop {
        ticks.tick().await;
        let is_up = backbone.is_up();
        up.set(if is_up { 1.0 } else { 0.0 });
        if let Some(since) = apps.age() {
            age.set(since.as_secs_f64());
        }
        if is_up {
            last_up = Instant::now();
        }
        if !apps.is_ready() {
            check.set_not_ready("reading apps and keys");
        } else if let Some(reason) = backbone.failure() {
            // It does not come back by itself.
            check.set_not_ready(reason.to_owned());
        } else if last_up.elapsed() < GRACE {
            check.set_ready();
        } else {
            check.set_not_ready("no connection to NATS");
        }
    }
}
