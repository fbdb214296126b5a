//! What the leader puts in order now and then. Nothing depends on when, or on there being only one that does it.

use std::convert::Infallible;
use std::time::Duration;

use backbone::registry::Registry;
use clock::unix_ms;
use tokio::time::{MissedTickBehavior, interval};

use crate::link::Link;

/// How often.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Forgets secrets that were replaced and sign nothing any more, for ever.
pub(crate) async fn run(registry: &Registry, link: &Link) -> Infallible {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !link.is_leader() {
            continue;
        }
        match registry.sweep_expired(unix_ms()).await {
            Ok(0) => {}
            Ok(apps) => tracing::info!(apps, "forgot secrets that were replaced and have expired"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "secrets that have expired are not forgotten yet");
            }
        }
    }
}
