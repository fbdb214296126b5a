//! How old the oldest event is that nobody has delivered yet: whether delivery is behind, and by how much.
//!
//! The queue knows, since an event leaves it only when it is delivered or a dead letter. Every worker asks, whether it acts
//! or not: when none acts is when it matters most.

use std::convert::Infallible;
use std::time::Duration;

use backbone::Queue;
use telemetry::Gauge;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the queue is asked.
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps `oldest` current for ever.
pub(crate) async fn watch(queue: Queue, oldest: &Gauge) -> Infallible {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When the oldest event was pushed; what the queue said last is taken to hold while it does not answer.
    let mut pushed: Option<Instant> = None;
    loop {
        ticks.tick().await;
        match queue.oldest().await {
            Ok(age) => pushed = age.and_then(|age| Instant::now().checked_sub(age)),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the age of webhook events is not known");
            }
        }
        oldest.set(pushed.map_or(0.0, |pushed| pushed.elapsed().as_secs_f64()));
    }
}
