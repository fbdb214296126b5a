//! The connect storm: connections at a fixed rate, each subscribed as soon as it can be.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{LOOK_UP, Outcome, PREPARATION, defaults, lateness, micros_each, names};
use crate::client::PATIENCE;
use crate::client::crowd::{Crowd, News};
use crate::client::protocol::Protocol;
use crate::error::Error;
use crate::measure::latency::Latencies;
use crate::measure::process::Processes;
use crate::measure::schedule::Schedule;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::Target;

/// Connections that come one after the other.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct ConnectLoad {
    /// How they speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many
    #[arg(long, default_value = "2000")]
    pub(crate) connections: NonZeroU32,
    /// How many come in a second
    #[arg(long, default_value = "500")]
    pub(crate) rate: NonZeroU32,
    /// Over how many channels they are spread
    #[arg(long, default_value = "1")]
    pub(crate) channels: NonZeroU32,
}

impl Default for ConnectLoad {
    fn default() -> Self {
        defaults()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct ConnectResult {
    /// Connections per second by the schedule.
    pub(crate) offered: f64,
    /// Those that were subscribed.
    pub(crate) achieved: f64,
    /// From due to begun: by how much the generator was late.
    pub(crate) lateness: Latencies,
    /// From due to subscribed.
    pub(crate) subscribed: Latencies,
    /// How many were.
    pub(crate) connects: u64,
    /// CPU time of the nodes meanwhile.
    pub(crate) cpu: Duration,
    verdict: Verdict,
}

/// Lets them come.
pub(crate) fn run(target: &Target, load: &ConnectLoad) -> Result<ConnectResult, Error> {
    let nodes = Processes::new(&target.pids);
    let count = load.connections.get();
    nodes.check_open_files(count)?;
    let channels = load.channels.get();
    let subscriptions: Vec<_> = (0..count).map(|n| vec![n % channels]).collect();
    let mut crowd = Crowd::new(target, load.protocol, &names(channels), &subscriptions)?;
    let cpu = nodes.cpu()?;
    let schedule = Schedule::of(Instant::now() + PREPARATION, load.rate, count.into());
    let mut result = ConnectResult {
        offered: schedule.achieved(schedule.total(), schedule.due(0)),
        achieved: 0.0,
        lateness: Latencies::new(),
        subscribed: Latencies::new(),
        connects: 0,
        cpu,
        verdict: Verdict::default(),
    };
    let (mut next, mut last) = (0, schedule.due(0));
    while result.connects + result.verdict.closed < schedule.total() {
        while next < schedule.total() && schedule.due(next) <= Instant::now() {
            result.lateness.record(schedule.due(next).elapsed());
            let client = usize::try_from(next).unwrap_or(usize::MAX);
            crowd.open(client, target.addresses[client % target.addresses.len()])?;
            next += 1;
        }
        let wait = if next < schedule.total() {
            schedule.due(next).saturating_duration_since(Instant::now())
        } else {
            LOOK_UP
        };
        crowd.turn(wait, |client, news, now| match news {
            News::Greeted(_) => {}
            News::Subscribed => {
                result.connects += 1;
                last = now;
                result.subscribed.record(now.saturating_duration_since(schedule.due(client as u64)));
            }
            News::Message(..) | News::Presence(..) | News::Unexpected(_) => result.verdict.unexpected += 1,
            News::Closed => result.verdict.closed += 1,
        })?;
        if Instant::now().saturating_duration_since(last.max(schedule.due(next.saturating_sub(1)))) > PATIENCE {
            result.verdict.lost = schedule.total() - result.connects - result.verdict.closed;
            break;
        }
    }
    result.cpu = nodes.cpu()?.saturating_sub(cpu);
    result.achieved = schedule.achieved(result.connects, last);
    Ok(result)
}

impl ConnectResult {
    /// CPU time of the nodes for each connection that is subscribed.
    pub(crate) fn cpu_per_connect_us(&self) -> f64 {
        micros_each(self.cpu, self.connects)
    }
}

impl Outcome for ConnectResult {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("connects_offered_per_second", rounded(self.offered)),
            ("connects_achieved_per_second", rounded(self.achieved)),
            ("connects", json!(self.connects)),
            ("subscribed_ms", self.subscribed.percentiles()),
            ("cpu_seconds", rounded(self.cpu.as_secs_f64())),
            ("cpu_per_connect_us", rounded(self.cpu_per_connect_us())),
        ];
        figures.extend(lateness(&self.lateness));
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.cpu_per_connect_us()
    }
}
