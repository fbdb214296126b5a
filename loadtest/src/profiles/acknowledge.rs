//! The acknowledgement profile: how long a publish takes until it is acknowledged, at a rate of choice. Nobody
//! subscribes, so that nothing else is measured.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::{Outcome, PREPARATION, defaults, lateness, micros_each, names};
use crate::client::http::publish;
use crate::client::message::{LEAST_BYTES, Stamp};
use crate::client::protocol::{Protocol, ably_publish};
use crate::client::publisher::{Published, Publishers, success};
use crate::error::Error;
use crate::measure::process::Processes;
use crate::measure::schedule::Schedule;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::Target;

/// How publishers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Through {
    /// The HTTP API of Pusher
    #[default]
    Http,
    /// An Ably connection, in JSON
    AblyJson,
    /// An Ably connection, in MessagePack
    AblyMsgpack,
}

impl Through {
    fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Http => None,
            Self::AblyJson => Some(Protocol::AblyJson),
            Self::AblyMsgpack => Some(Protocol::AblyMsgpack),
        }
    }
}

/// Publishers that do not wait for answers.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct AcknowledgeLoad {
    /// How they speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) through: Through,
    /// Over how many connections, taking turns. An Ably connection may send 50 frames a second
    #[arg(long, default_value = "4")]
    pub(crate) connections: NonZeroU32,
    /// Over how many channels they are spread
    #[arg(long, default_value = "4")]
    pub(crate) channels: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// Publishes per second, all together
    #[arg(long, default_value = "100")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for AcknowledgeLoad {
    fn default() -> Self {
        defaults()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct AcknowledgeResult {
    /// Publishes per second by the schedule.
    pub(crate) offered: f64,
    /// Those that were acknowledged.
    pub(crate) achieved: f64,
    /// From due to sent, from due to acknowledged.
    pub(crate) published: Published,
    /// How many were acknowledged.
    pub(crate) publishes: u64,
    /// CPU time of the nodes meanwhile.
    pub(crate) cpu: Duration,
    /// The same of the processes that store for them.
    pub(crate) store_cpu: Duration,
    verdict: Verdict,
}

/// Publishes at the rate.
pub(crate) fn run(target: &Target, load: &AcknowledgeLoad) -> Result<AcknowledgeResult, Error> {
    let (nodes, stores) = (Processes::new(&target.pids), Processes::new(&target.stores));
    let (lines, channels) = (u64::from(load.connections.get()), names(load.channels.get()));
    let total = u64::from(load.rate.get()) * u64::from(load.seconds.get());
    let place = |number: u64, count: u64| usize::try_from(number % count).unwrap_or(0);
    let request = |number: u64| {
        let data = Stamp { source: 0, number }.data(load.payload as usize);
        let channel = &channels[place(number, channels.len() as u64)];
        match load.through {
            Through::Http => {
                let address = target.addresses[place(number, lines) % target.addresses.len()];
                publish(target, address, channel, &data)
            }
            Through::AblyJson => ably_publish(false, channel, number / lines, data),
            Through::AblyMsgpack => ably_publish(true, channel, number / lines, data),
        }
    };
    let requests: Vec<_> = (0..total).map(request).collect();
    let count = load.connections.get() as usize;
    let mut publishers = Publishers::open(target, &target.addresses, count, load.through.protocol())?;
    let (cpu, store_cpu) = (nodes.cpu()?, stores.cpu()?);
    let schedule = Schedule::new(Instant::now() + PREPARATION, load.rate, load.seconds);
    let line = |number| place(number, lines);
    let published = publishers.run(schedule, &requests, line, &mut success, &AtomicU64::new(0))?;
    let (cpu, store_cpu) = (nodes.cpu()?.saturating_sub(cpu), stores.cpu()?.saturating_sub(store_cpu));
    let refused = published.refused.len() as u64;
    Ok(AcknowledgeResult {
        offered: schedule.achieved(total, schedule.due(0)),
        achieved: schedule.achieved(total - refused, published.last),
        publishes: total - refused,
        cpu,
        store_cpu,
        verdict: Verdict { refused, unexpected: published.unexpected, ..Verdict::default() },
        published,
    })
}

impl AcknowledgeResult {
    /// CPU time of the nodes for each publish.
    pub(crate) fn cpu_per_publish_us(&self) -> f64 {
        micros_each(self.cpu, self.publishes)
    }
}

impl Outcome for AcknowledgeResult {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("publishes_offered_per_second", rounded(self.offered)),
            ("publishes_achieved_per_second", rounded(self.achieved)),
            ("first_refusal", json!(self.published.refusal.as_deref().unwrap_or("none"))),
            ("publish_acknowledged_ms", self.published.acknowledged.percentiles()),
            ("cpu_seconds", rounded(self.cpu.as_secs_f64())),
            ("store_cpu_seconds", rounded(self.store_cpu.as_secs_f64())),
            ("cpu_per_publish_us", rounded(self.cpu_per_publish_us())),
        ];
        figures.extend(lateness(&self.published.lateness));
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.published.acknowledged.at(0.5)
    }
}
