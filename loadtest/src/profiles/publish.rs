//! The publish profile: what a publish over HTTP costs when the next one follows at once. Nobody subscribes.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Outcome, defaults, micros_each, names};
use crate::client::http::publish;
use crate::client::message::{LEAST_BYTES, Stamp};
use crate::client::publisher::{Publishers, success};
use crate::error::Error;
use crate::measure::latency::Latencies;
use crate::measure::process::Processes;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::Target;

/// How many requests are made beforehand, to be sent over and over.
const REQUESTS: u64 = 5_000;

/// Publishers that wait for each answer.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct PublishLoad {
    /// How many connections publish, each one request at a time
    #[arg(long, default_value = "1")]
    pub(crate) connections: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// For how many seconds
    #[arg(long, default_value = "5")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for PublishLoad {
    fn default() -> Self {
        defaults()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct PublishResult {
    /// As fast as it went.
    pub(crate) publishes_per_second: f64,
    /// From sent to acknowledged.
    pub(crate) acknowledged: Latencies,
    /// How many were answered.
    pub(crate) publishes: u64,
    /// CPU time of the nodes meanwhile.
    pub(crate) cpu: Duration,
    /// The same of the processes that store for them.
    pub(crate) store_cpu: Duration,
    refusal: Option<String>,
    verdict: Verdict,
}

/// Publishes as fast as it goes.
pub(crate) fn run(target: &Target, load: &PublishLoad) -> Result<PublishResult, Error> {
    let (nodes, stores) = (Processes::new(&target.pids), Processes::new(&target.stores));
    let channel = &names(1)[0];
    let data = |number| Stamp { source: 0, number }.data(load.payload as usize);
    let requests: Vec<_> =
        (0..REQUESTS).map(|number| publish(target, target.addresses[0], channel, &data(number))).collect();
    let mut publishers = Publishers::open(target, &target.addresses[..1], load.connections.get() as usize, None)?;
    let (cpu, store_cpu) = (nodes.cpu()?, stores.cpu()?);
    let seconds = Duration::from_secs(load.seconds.get().into());
    let (published, answered) = publishers.saturate(&requests, seconds, &mut success)?;
    let (cpu, store_cpu) = (nodes.cpu()?.saturating_sub(cpu), stores.cpu()?.saturating_sub(store_cpu));
    Ok(PublishResult {
        publishes_per_second: answered as f64 / seconds.as_secs_f64(),
        publishes: answered,
        acknowledged: published.acknowledged,
        cpu,
        store_cpu,
        refusal: published.refusal,
        verdict: Verdict { refused: published.refused.len() as u64, ..Verdict::default() },
    })
}

impl PublishResult {
    /// CPU time of the nodes for each publish.
    pub(crate) fn cpu_per_publish_us(&self) -> f64 {
        micros_each(self.cpu, self.publishes)
    }
}

impl Outcome for PublishResult {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("publishes", json!(self.publishes)),
            ("publishes_per_second", rounded(self.publishes_per_second)),
            ("first_refusal", json!(self.refusal.as_deref().unwrap_or("none"))),
            ("publish_acknowledged_ms", self.acknowledged.percentiles()),
            ("cpu_seconds", rounded(self.cpu.as_secs_f64())),
            ("store_cpu_seconds", rounded(self.store_cpu.as_secs_f64())),
            ("cpu_per_publish_us", rounded(self.cpu_per_publish_us())),
        ];
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.cpu_per_publish_us()
    }
}
