//! Telling monitoring what the cluster's streams hold, by the one replica that leads: the answer is the same whoever asks.

use std::convert::Infallible;
use std::time::Duration;

use backbone::Backbone;
use backbone::survey::{Holdings, StreamTier, Survey};
use telemetry::metrics::{
    BACKBONE_CONSUMERS, BACKBONE_STREAM_BYTES, BACKBONE_STREAM_LIMIT_BYTES, BACKBONE_STREAM_MESSAGES,
};
use telemetry::{ABSENT, Gauge};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::link::Link;

/// How often the streams are asked.
const INTERVAL: Duration = Duration::from_secs(30);

/// How often it is looked whether this replica leads: so long at most an old answer stands beside the new leader's.
const LOOK: Duration = Duration::from_secs(1);

/// Asks whenever this replica leads, for ever.
pub(crate) async fn run(backbone: &Backbone, link: &Link) -> Infallible {
    let told: Vec<_> = StreamTier::ALL.into_iter().map(|tier| (tier, Told::new(tier))).collect();
    let tell = |survey: Option<&Survey>| {
        for (tier, told) in &told {
            told.set(survey.and_then(|survey| survey.of(*tier)));
        }
    };
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is known, and when to ask again; only while this replica leads.
    let mut survey: Option<(Survey, Instant)> = None;
    loop {
        let now = ticks.tick().await;
        if !link.is_leader() {
            survey = None;
            tell(None);
            continue;
        }
        let (survey, due) = survey.get_or_insert_with(|| (backbone.survey(), now));
        if now >= *due {
            *due = now + INTERVAL;
            survey.look().await;
            tell(link.is_leader().then_some(survey));
        }
    }
}

/// What is told of one tier.
#[derive(Debug)]
struct Told {
    bytes: Gauge,
    limit_bytes: Gauge,
    messages: Gauge,
    consumers: Gauge,
}

impl Told {
    fn new(tier: StreamTier) -> Self {
        let tier = [tier.name()];
        Self {
            bytes: BACKBONE_STREAM_BYTES.with(tier),
            limit_bytes: BACKBONE_STREAM_LIMIT_BYTES.with(tier),
            messages: BACKBONE_STREAM_MESSAGES.with(tier),
            consumers: BACKBONE_CONSUMERS.with(tier),
        }
    }

    fn set(&self, holdings: Option<Holdings>) {
        // Exact up to 2^53.
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        let number = |number: Option<u64>| number.map_or(ABSENT, |number| number as f64);
        self.bytes.set(number(holdings.map(|holdings| holdings.bytes)));
        self.limit_bytes.set(number(holdings.and_then(|holdings| holdings.limit_bytes)));
        self.messages.set(number(holdings.and_then(|holdings| holdings.messages)));
        self.consumers.set(number(holdings.map(|holdings| holdings.consumers)));
    }
}
