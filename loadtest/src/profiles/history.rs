//! The history profile: reads of a channel's past at a fixed rate. Every answer has to hold all that was published, in
//! order.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Outcome, PREPARATION, defaults, lateness, micros_each};
use crate::client::http::{publish, signed};
use crate::client::message::{LEAST_BYTES, Stamp, stamps};
use crate::client::protocol::Protocol;
use crate::client::publisher::{Published, Publishers, success};
use crate::error::Error;
use crate::measure::process::Processes;
use crate::measure::schedule::Schedule;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::{Surface, Target};

/// Of the publishes that fill the channels: unhurried.
const FILLING: NonZeroU32 = NonZeroU32::new(500).expect("more than none");

/// Readers of what is there.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct HistoryLoad {
    /// How many channels there are, read in turns
    #[arg(long, default_value = "10")]
    pub(crate) channels: NonZeroU32,
    /// How many messages each has, and a read asks for. A channel keeps 100 unless it is set up otherwise
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) messages: u32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// Over how many connections reads go
    #[arg(long, default_value = "4")]
    pub(crate) connections: NonZeroU32,
    /// Reads per second, all together
    #[arg(long, default_value = "50")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for HistoryLoad {
    fn default() -> Self {
        defaults()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct HistoryResult {
    /// Reads per second by the schedule.
    pub(crate) offered: f64,
    /// Those that were answered.
    pub(crate) achieved: f64,
    /// From due to sent, from due to answered.
    pub(crate) read: Published,
    /// How many were answered.
    pub(crate) reads: u64,
    /// CPU time of the nodes meanwhile.
    pub(crate) cpu: Duration,
    /// The same of the processes that store for them.
    pub(crate) store_cpu: Duration,
    verdict: Verdict,
}

/// Fills the channels, and reads them.
pub(crate) fn run(target: &Target, load: &HistoryLoad) -> Result<HistoryResult, Error> {
    if target.surface == Surface::Pusher {
        return Err(Error::Unspoken { server: target.name.clone(), protocol: Protocol::Pusher });
    }
    let (nodes, stores) = (Processes::new(&target.pids), Processes::new(&target.stores));
    // What earlier runs left must not be read, too.
    let run = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
    let channels: Vec<_> = (0..load.channels.get()).map(|channel| format!("history-{run}-{channel}")).collect();
    let (count, lines) = (channels.len(), load.connections.get() as usize);
    let address = target.addresses[0];
    let place = |number: u64, count: usize| usize::try_from(number % count as u64).unwrap_or(0);
    let mut publishers = Publishers::open(target, &target.addresses, lines, None)?;

    let fill = u64::from(load.messages) * count as u64;
    let stamp =
        |number: u64| Stamp { source: u32::try_from(place(number, count)).unwrap_or(0), number: number / count as u64 };
    let filling: Vec<_> = (0..fill)
        .map(|number| {
            publish(target, address, &channels[place(number, count)], &stamp(number).data(load.payload as usize))
        })
        .collect();
    let schedule = Schedule::of(Instant::now() + PREPARATION, FILLING, fill);
    let filled =
        publishers.run(schedule, &filling, |number| place(number, count) % lines, &mut success, &AtomicU64::new(0))?;
    if let Some(refusal) = filled.refusal {
        return Err(Error::Unwelcome { awaited: "publishes that fill the channels", received: refusal });
    }

    let limit = load.messages.to_string();
    let request = |number: u64| {
        let path = format!("/channels/{}/events", channels[place(number, count)]);
        signed(target, address, "GET", &path, &[("limit", &limit)], b"")
    };
    let total = u64::from(load.rate.get()) * u64::from(load.seconds.get());
    let requests: Vec<_> = (0..total).map(request).collect();
    let (cpu, store_cpu) = (nodes.cpu()?, stores.cpu()?);
    let schedule = Schedule::new(Instant::now() + PREPARATION, load.rate, load.seconds);
    let mut verdict = Verdict::default();
    let mut check = |number: u64, status: u16, body: &[u8]| {
        success(number, status, body)?;
        let source = u32::try_from(place(number, count)).unwrap_or(0);
        verdict.add(&whole(body, source, load.messages.into()));
        Ok(())
    };
    let read = publishers.run(schedule, &requests, |number| place(number, lines), &mut check, &AtomicU64::new(0))?;
    let (cpu, store_cpu) = (nodes.cpu()?.saturating_sub(cpu), stores.cpu()?.saturating_sub(store_cpu));
    let refused = read.refused.len() as u64;
    verdict.add(&Verdict { refused, unexpected: read.unexpected, ..Verdict::default() });
    Ok(HistoryResult {
        offered: schedule.achieved(total, schedule.due(0)),
        achieved: schedule.achieved(total - refused, read.last),
        reads: total - refused,
        cpu,
        store_cpu,
        verdict,
        read,
    })
}

/// Holds an answer against what it has to have: messages 0 to `count` of `source`, oldest first.
fn whole(body: &[u8], source: u32, count: u64) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen = vec![false; usize::try_from(count).unwrap_or(0)];
    let mut highest = None;
    for stamp in stamps(body) {
        let known = stamp.filter(|stamp| stamp.source == source);
        let Some((number, slot)) =
            known.and_then(|stamp| Some((stamp.number, seen.get_mut(usize::try_from(stamp.number).ok()?)?)))
        else {
            verdict.unexpected += 1;
            continue;
        };
        if std::mem::replace(slot, true) {
            verdict.duplicate += 1;
        } else if highest > Some(number) {
            verdict.reordered += 1;
        }
        highest = highest.max(Some(number));
    }
    verdict.lost = seen.iter().filter(|seen| !**seen).count() as u64;
    verdict
}

impl HistoryResult {
    /// CPU time of the nodes for each read.
    pub(crate) fn cpu_per_read_us(&self) -> f64 {
        micros_each(self.cpu, self.reads)
    }
}

impl Outcome for HistoryResult {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("reads_offered_per_second", rounded(self.offered)),
            ("reads_achieved_per_second", rounded(self.achieved)),
            ("first_refusal", json!(self.read.refusal.as_deref().unwrap_or("none"))),
            ("answered_ms", self.read.acknowledged.percentiles()),
            ("cpu_seconds", rounded(self.cpu.as_secs_f64())),
            ("store_cpu_seconds", rounded(self.store_cpu.as_secs_f64())),
            ("cpu_per_read_us", rounded(self.cpu_per_read_us())),
        ];
        figures.extend(lateness(&self.read.lateness));
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.cpu_per_read_us()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_its_faults_are_counted() {
        let body = |numbers: &[u64]| {
            let data: Vec<_> = numbers.iter().map(|number| Stamp { source: 3, number: *number }.data(48)).collect();
            serde_json::json!({ "events": data }).to_string().into_bytes()
        };
        assert!(whole(&body(&[0, 1, 2]), 3, 3).is_clean());
        let expected = Verdict { lost: 1, duplicate: 1, reordered: 1, unexpected: 1, ..Verdict::default() };
        assert_eq!(whole(&body(&[2, 0, 0, 9]), 3, 3), expected);
        assert_eq!(whole(&body(&[0]), 4, 1), Verdict { lost: 1, unexpected: 1, ..Verdict::default() });
    }
}
