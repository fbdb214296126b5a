//! The fairness profile: what a tenant notices of another that is over its quota.
//!
//! One app publishes at a steady rate to some subscribers: alone, beside another app that publishes at its limit, and
//! beside the same app at a multiple of it. The three take turns, so that what else the machine does touches them alike.
//! The generator works for both apps, on the same machine: what it takes itself is part of what is measured.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use channels::{AppId, KeyName, Secret};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::deliveries::{Traffic, measure_beside};
use super::{Outcome as _, defaults, names};
use crate::client::http::publish;
use crate::client::message::{LEAST_BYTES, Stamp};
use crate::client::protocol::Protocol;
use crate::client::publisher::{Published, Publishers, success};
use crate::error::Error;
use crate::measure::latency::Latencies;
use crate::measure::schedule::Schedule;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::Target;

/// Between two turns: by then the bucket of the other app is full again.
const PAUSE: Duration = Duration::from_millis(1_200);

/// An app, and another. The settings of the other one fit the seed in `docs/operations/quotas.md`.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct FairnessLoad {
    /// How subscribers speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many subscribers the app has
    #[arg(long, default_value = "50")]
    pub(crate) subscribers: NonZeroU32,
    /// Its publishes per second
    #[arg(long, default_value = "100")]
    pub(crate) rate: NonZeroU32,
    /// The other app
    #[arg(long, default_value = "1002", value_parser = AppId::new)]
    #[serde(skip)]
    pub(crate) other_app: AppId,
    /// Name of its key
    #[arg(long, default_value = "other-key", value_parser = KeyName::new)]
    #[serde(skip)]
    pub(crate) other_key: KeyName,
    /// Secret of its key
    #[arg(long, env = "LOADTEST_OTHER_SECRET", hide_env_values = true, default_value = "other-secret", value_parser = secret)]
    #[serde(skip)]
    pub(crate) other_secret: Secret,
    /// Its quota of messages per second
    #[arg(long, default_value = "100")]
    pub(crate) other_limit: NonZeroU32,
    /// How many times as much it publishes
    #[arg(long, default_value = "10")]
    pub(crate) times: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// For how many seconds each turn
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
    /// How many rounds of all turns
    #[arg(long, default_value = "3")]
    pub(crate) rounds: NonZeroU32,
}

impl Default for FairnessLoad {
    fn default() -> Self {
        defaults()
    }
}

fn secret(text: &str) -> Result<Secret, &'static str> {
    Secret::new(text).ok_or("a secret cannot be empty")
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct FairnessResult {
    turns: [Turn; 3],
}

/// Takes turns.
pub(crate) fn run(target: &Target, load: &FairnessLoad) -> Result<FairnessResult, Error> {
    let limit = load.other_limit.get();
    let mut turns = [
        Turn::new("alone", 0),
        Turn::new("beside_one_at_its_limit", limit),
        Turn::new("beside_one_far_over", limit.saturating_mul(load.times.get())),
    ];
    for _ in 0..load.rounds.get() {
        for turn in &mut turns {
            thread::sleep(PAUSE);
            turn.take(target, load)?;
        }
    }
    Ok(FairnessResult { turns })
}

impl FairnessResult {
    /// For the report, a column for each way to be beside the other.
    pub(crate) fn columns(&self) -> Vec<(String, Figures)> {
        let alone = (self.turns[0].acknowledged.at(0.99), self.turns[0].delivered.at(0.99));
        self.turns.iter().map(|turn| (turn.name.to_owned(), turn.figures(alone))).collect()
    }

    /// Whether all went well for the app that keeps its limit. Refusals of the other one are what is wanted.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        self.turns.iter().for_each(|turn| verdict.add(&turn.verdict));
        verdict
    }
}

/// One way to be beside the other, and what came of all rounds of it.
#[derive(Debug)]
struct Turn {
    name: &'static str,
    /// Publishes per second of the other app.
    other_rate: u32,
    acknowledged: Latencies,
    delivered: Latencies,
    verdict: Verdict,
    /// What the other app sent, how much of it was refused, and why.
    other: (u64, u64, Option<String>),
    cpu: Duration,
}

impl Turn {
    fn new(name: &'static str, other_rate: u32) -> Self {
        Self {
            name,
            other_rate,
            acknowledged: Latencies::new(),
            delivered: Latencies::new(),
            verdict: Verdict::default(),
            other: (0, 0, None),
            cpu: Duration::ZERO,
        }
    }

    /// One round.
    fn take(&mut self, target: &Target, load: &FairnessLoad) -> Result<(), Error> {
        let traffic = Traffic {
            protocol: load.protocol,
            channels: &names(1),
            subscriptions: &vec![vec![0]; load.subscribers.get() as usize],
            sources: 1,
            connections: 1,
            sizes: &[load.payload],
            rate: load.rate,
            seconds: load.seconds,
        };
        let other = Target {
            app: load.other_app.clone(),
            key: load.other_key.clone(),
            secret: load.other_secret.clone(),
            ..target.clone()
        };
        let other_rate = NonZeroU32::new(self.other_rate);
        let beside = |start| other_rate.map(|rate| publish_beside(&other, load, rate, start)).transpose();
        let (deliveries, other) = measure_beside(target, &traffic, beside)?;
        self.cpu += deliveries.cpu;
        self.acknowledged.add(&deliveries.published.acknowledged);
        self.delivered.add(&deliveries.delivered);
        self.verdict.add(&deliveries.verdict());
        if let Some(other) = other {
            self.other.0 += u64::from(self.other_rate) * u64::from(load.seconds.get());
            self.other.1 += other.refused.len() as u64;
            self.other.2 = self.other.2.take().or(other.refusal);
        }
        Ok(())
    }

    /// What came of it; `alone` are the 99th percentiles without another app.
    fn figures(&self, alone: (f64, f64)) -> Figures {
        let mut figures = vec![
            ("publish_acknowledged_ms", self.acknowledged.percentiles()),
            ("delivered_ms", self.delivered.percentiles()),
            ("publish_p99_over_alone", rounded(self.acknowledged.at(0.99) / alone.0)),
            ("delivered_p99_over_alone", rounded(self.delivered.at(0.99) / alone.1)),
            ("other_publishes", json!(self.other.0)),
            ("other_refused", json!(self.other.1)),
            ("other_first_refusal", json!(self.other.2.as_deref().unwrap_or("none"))),
            ("server_cpu_seconds", rounded(self.cpu.as_secs_f64())),
        ];
        figures.extend(self.verdict.figures());
        figures
    }
}

fn publish_beside(other: &Target, load: &FairnessLoad, rate: NonZeroU32, start: Instant) -> Result<Published, Error> {
    let schedule = Schedule::new(start, rate, load.seconds);
    let data = |number| Stamp { source: 0, number }.data(load.payload as usize);
    let request = |number| publish(other, other.addresses[0], "other", &data(number));
    let requests: Vec<_> = (0..schedule.total()).map(request).collect();
    let mut publishers = Publishers::open(other, &other.addresses[..1], 1, None)?;
    publishers.run(schedule, &requests, |_| 0, &mut success, &AtomicU64::new(0))
}
