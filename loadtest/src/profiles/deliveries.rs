//! What all profiles share that publish to subscribers: numbered messages at a fixed rate, and what became of each.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{AFTERMATH, Outcome, PREPARATION, lateness, listen, micros_each, names};
use crate::client::crowd::{Crowd, News};
use crate::client::http::publish;
use crate::client::message::Stamp;
use crate::client::protocol::Protocol;
use crate::client::publisher::{Published, Publishers, success};
use crate::error::Error;
use crate::measure::audit::Audit;
use crate::measure::latency::Latencies;
use crate::measure::process::Processes;
use crate::measure::schedule::Schedule;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::Target;

/// How long what is missing is awaited after the last answer.
const GRACE: Duration = Duration::from_secs(5);
/// How much of the offered rate has to be achieved by a server that keeps up.
const KEPT_UP: f64 = 0.98;

/// Who subscribes to what, and what is published.
#[derive(Debug)]
pub(super) struct Traffic<'a> {
    /// How subscribers speak.
    pub(super) protocol: Protocol,
    /// Names of the channels.
    pub(super) channels: &'a [String],
    /// By subscriber, indexes of its channels.
    pub(super) subscriptions: &'a [Vec<u32>],
    /// How many publishers take turns, as far as order is concerned; a multiple of the channels, which they take turns on.
    pub(super) sources: u32,
    /// Over how many connections they publish.
    pub(super) connections: u32,
    /// Bytes of data, by number of the message, over and over.
    pub(super) sizes: &'a [u32],
    /// Publishes per second, all together.
    pub(super) rate: NonZeroU32,
    /// For how many seconds.
    pub(super) seconds: NonZeroU32,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Deliveries {
    /// Publishes per second by the schedule.
    pub(crate) offered: f64,
    /// Publishes per second that were acknowledged.
    pub(crate) achieved: f64,
    /// From due to sent, from due to acknowledged.
    pub(crate) published: Published,
    /// From due to received.
    pub(crate) delivered: Latencies,
    /// How many messages arrived, at all subscribers together.
    pub(crate) deliveries: u64,
    /// How many were acknowledged.
    pub(crate) publishes: u64,
    /// CPU time of the nodes meanwhile, publishing included.
    pub(crate) cpu: Duration,
    /// The same of the processes that store for them.
    pub(crate) store_cpu: Duration,
    verdict: Verdict,
}

/// Puts `traffic` on `target`.
pub(super) fn measure(target: &Target, traffic: &Traffic<'_>) -> Result<Deliveries, Error> {
    measure_beside(target, traffic, |_| Ok(())).map(|(deliveries, ())| deliveries)
}

/// Has one publisher send messages of these `sizes` to one channel with so many subscribers.
pub(super) fn measure_one_channel(
    target: &Target,
    protocol: Protocol,
    subscribers: NonZeroU32,
    sizes: &[u32],
    rate: NonZeroU32,
    seconds: NonZeroU32,
) -> Result<Deliveries, Error> {
    let traffic = Traffic {
        protocol,
        channels: &names(1),
        subscriptions: &vec![vec![0]; subscribers.get() as usize],
        sources: 1,
        connections: 1,
        sizes,
        rate,
        seconds,
    };
    measure(target, &traffic)
}

/// The same as [`measure`] while `beside` does something else, in a thread of its own, from the given moment on.
pub(super) fn measure_beside<T: Send>(
    target: &Target,
    traffic: &Traffic<'_>,
    beside: impl FnOnce(Instant) -> Result<T, Error> + Send,
) -> Result<(Deliveries, T), Error> {
    let (nodes, stores) = (Processes::new(&target.pids), Processes::new(&target.stores));
    let count = u32::try_from(traffic.subscriptions.len()).unwrap_or(u32::MAX);
    nodes.check_open_files(count.saturating_add(traffic.connections))?;
    let mut crowd = Crowd::new(target, traffic.protocol, traffic.channels, traffic.subscriptions)?;
    crowd.open_all(&target.addresses)?;
    let lines = traffic.connections as usize;
    let mut publishers = Publishers::open(target, &target.addresses, lines, None)?;
    let requests = traffic.requests(target);

    let (cpu, store_cpu) = (nodes.cpu()?, stores.cpu()?);
    let start = Instant::now() + PREPARATION;
    let schedule = Schedule::new(start, traffic.rate, traffic.seconds);
    let channels = u32::try_from(traffic.channels.len()).unwrap_or(u32::MAX);
    let mut audit = Audit::new(schedule, traffic.sources, channels, traffic.subscriptions);
    let (stop, arrived, done) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let sources = u64::from(traffic.sources);
    let line = |number: u64| usize::try_from(number % sources).unwrap_or(0) % lines;
    let (published, used, other) = thread::scope(|scope| {
        let beside = scope.spawn(|| beside(start));
        let reader = scope.spawn(|| {
            listen(&mut crowd, &stop, |subscriber, news, now| match news {
                News::Message(stamp, _) => {
                    arrived.fetch_add(u64::from(audit.arrived(subscriber, stamp, now)), Relaxed);
                }
                News::Closed => audit.verdict.closed += 1,
                News::Greeted(_) | News::Subscribed | News::Presence(..) | News::Unexpected(_) => {
                    audit.verdict.unexpected += 1;
                }
            })
        });
        let published = publishers.run(schedule, &requests, line, &mut success, &done);
        if let Ok(published) = &published {
            let expected = traffic.expected(schedule.total(), published);
            let deadline = Instant::now() + GRACE;
            while arrived.load(Relaxed) < expected && Instant::now() < deadline && !reader.is_finished() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let used = nodes.cpu().and_then(|nodes| Ok((nodes, stores.cpu()?)));
        thread::sleep(AFTERMATH);
        stop.store(true, Relaxed);
        reader.join().expect("the reader does not panic")?;
        let other = beside.join().expect("what goes on beside does not panic")?;
        Ok::<_, Error>((published?, used?, other))
    })?;
    let mut verdict = audit.finish(&published.refused);
    verdict.refused += published.refused.len() as u64;
    verdict.unexpected += published.unexpected;
    let publishes = schedule.total() - published.refused.len() as u64;
    let deliveries = Deliveries {
        offered: schedule.achieved(schedule.total(), schedule.due(0)),
        achieved: schedule.achieved(publishes, published.last),
        published,
        delivered: audit.latencies,
        deliveries: audit.deliveries,
        publishes,
        cpu: used.0.saturating_sub(cpu),
        store_cpu: used.1.saturating_sub(store_cpu),
        verdict,
    };
    Ok((deliveries, other))
}

impl Traffic<'_> {
    fn requests(&self, target: &Target) -> Vec<Vec<u8>> {
        let (address, sources) = (target.addresses[0], u64::from(self.sources));
        let request = |number: u64| {
            let source = u32::try_from(number % sources).unwrap_or(0);
            let size = self.sizes[usize::try_from(number / sources).unwrap_or(0) % self.sizes.len()];
            let channel = &self.channels[source as usize % self.channels.len()];
            publish(target, address, channel, &Stamp { source, number: number / sources }.data(size as usize))
        };
        (0..u64::from(self.rate.get()) * u64::from(self.seconds.get())).map(request).collect()
    }

    /// How many deliveries `total` messages make, but for those that were refused.
    fn expected(&self, total: u64, published: &Published) -> u64 {
        let mut subscribers = vec![0_u64; self.channels.len()];
        self.subscriptions.iter().flatten().for_each(|channel| subscribers[*channel as usize] += 1);
        let channel = |number: u64| usize::try_from(number % u64::from(self.sources)).unwrap_or(0) % subscribers.len();
        (0..total).filter(|number| !published.refused.contains(number)).map(|number| subscribers[channel(number)]).sum()
    }
}

impl Deliveries {
    /// CPU time of the nodes for each delivery, with its share of publishing.
    pub(crate) fn cpu_per_delivery_us(&self) -> f64 {
        micros_each(self.cpu, self.deliveries)
    }

    /// The 99th percentile of the time from due to delivered.
    pub(crate) fn delivered_p99_ms(&self) -> f64 {
        self.delivered.at(0.99)
    }

    /// Whether the server took what was offered, and delivered all of it.
    pub(crate) fn keeps_up(&self) -> bool {
        self.verdict.is_clean() && self.achieved >= KEPT_UP * self.offered
    }
}

impl Outcome for Deliveries {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("publishes_offered_per_second", rounded(self.offered)),
            ("publishes_achieved_per_second", rounded(self.achieved)),
            ("first_refusal", json!(self.published.refusal.as_deref().unwrap_or("none"))),
            ("publish_acknowledged_ms", self.published.acknowledged.percentiles()),
            ("delivered_ms", self.delivered.percentiles()),
            ("deliveries", json!(self.deliveries)),
            ("cpu_seconds", rounded(self.cpu.as_secs_f64())),
            ("store_cpu_seconds", rounded(self.store_cpu.as_secs_f64())),
            ("cpu_per_delivery_us", rounded(self.cpu_per_delivery_us())),
            ("cpu_per_publish_us", rounded(micros_each(self.cpu, self.publishes))),
        ];
        figures.extend(lateness(&self.published.lateness));
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.cpu_per_delivery_us()
    }
}
