//! How long a message takes through the cluster and back, measured by messages of our own: deliveries show it only while
//! there are some, and compare the clocks of two machines.

use std::convert::Infallible;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt as _;
use telemetry::metrics::BACKBONE_LAG_SECONDS;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::debug;

use super::subject::{DELIVERY_PREFIX, Store};
use super::{JetStream, Shared};

/// How often a probe is sent. Each waits in its shard's stream like a message of the recoverable tier: with 64 shards one
/// for each process.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a probe is waited for: longer than an election takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause before the way back is asked for again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Stands where an app's id stands in the subjects of messages. No app has such an id.
const PROBE: &str = "~probe";

impl JetStream {
    /// Measures for ever.
    pub(crate) async fn measure_lag(&self) -> Infallible {
        let shared = &*self.shared;
        let seconds = BACKBONE_LAG_SECONDS.handle();
        let me = format!("{:016x}", rand::random::<u64>());
        let mut back = loop {
            match shared.live.subscribe(format!("{DELIVERY_PREFIX}.*.{PROBE}.{me}")).await {
                Ok(back) => break back,
                Err(error) => debug!(%error, "the lag of the backbone cannot be measured yet"),
            }
            sleep(RETRY_PAUSE).await;
        };
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shards: Vec<_> = shared.shards.shards().collect();
        // Not all processes begin with the same shard.
        let begin = rand::random_range(0..shards.len());
        for (number, shard) in shards.iter().cycle().skip(begin).enumerate() {
            ticks.tick().await;
            let subject = format!("{}.{shard}.{PROBE}.{me}", Store::Recoverable.prefix());
            if let Some(lag) = shared.probe(subject, number, &mut back).await {
                seconds.record(lag.as_secs_f64());
            }
        }
        std::future::pending().await
    }
}

impl Shared {
    /// How long the probe `number` took; [`PATIENCE`] if it did not come back in that time. `None` if it was not sent.
    async fn probe(&self, subject: String, number: usize, back: &mut Subscriber) -> Option<Duration> {
        let payload = Bytes::from(number.to_string());
        let begun = Instant::now();
        // What is sent without a connection would wait for one, and show how long that was away.
        if !self.is_up() || self.live.publish(subject, payload.clone()).await.is_err() {
            return None;
        }
        let arrival = async {
            // Earlier ones may still come.
            while let Some(message) = back.next().await {
                if message.payload == payload {
                    return;
                }
            }
            std::future::pending().await
        };
        Some(timeout(PATIENCE, arrival).await.map_or(PATIENCE, |()| begun.elapsed()))
    }
}
