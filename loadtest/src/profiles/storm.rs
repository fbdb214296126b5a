//! The reconnect storm: all clients are on one node, it is killed under them, and all come back to the others. Measured
//! is how long it takes until each has got everything that it missed; nothing may be lost or come twice.
//!
//! Ably clients resume by the serials of their channels, streams by the id of their last event. Those of the Pusher
//! protocol do what `docs/recovery.md` has them do: they ask their backend for the history behind the position that they
//! have, once they are subscribed again, and let live messages wait until they have it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Outcome, PREPARATION, defaults, lateness, micros_each, names};
use crate::client::backend::{Backend, Missed, is_after};
use crate::client::crowd::{Crowd, News};
use crate::client::http::publish;
use crate::client::message::{LEAST_BYTES, Stamp};
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

/// A client that could not connect tries again so much later.
const AGAIN: Duration = Duration::from_secs(1);
/// How long clients may take to catch up, counted from the last publish, before they are given up.
const GRACE: Duration = Duration::from_secs(30);
/// How many connections are begun before what has come is read.
const AT_ONCE: usize = 64;

/// Clients of a node that is killed.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct StormLoad {
    /// How they speak
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many there are
    #[arg(long, default_value = "10000")]
    pub(crate) clients: NonZeroU32,
    /// Over how many channels they are spread, one each
    #[arg(long, default_value = "10")]
    pub(crate) channels: NonZeroU32,
    /// Size of the data of a message in bytes
    #[arg(long, default_value = "128", value_parser = clap::value_parser!(u32).range(i64::from(LEAST_BYTES)..=1_000_000))]
    pub(crate) payload: u32,
    /// Publishes per second, to all channels together
    #[arg(long, default_value = "10")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds before the kill
    #[arg(long, default_value = "3")]
    pub(crate) before: NonZeroU32,
    /// For how many seconds from the kill on
    #[arg(long, default_value = "15")]
    pub(crate) after: NonZeroU32,
    /// Within how many milliseconds all come back, evenly spread
    #[arg(long, default_value = "1000")]
    pub(crate) spread_ms: u32,
}

impl Default for StormLoad {
    fn default() -> Self {
        defaults()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct StormResult {
    /// From the kill until a client had everything that was acknowledged when it was subscribed again.
    pub(crate) caught_up: Latencies,
    /// From the kill until it was subscribed again.
    pub(crate) subscribed: Latencies,
    /// From due to received, of all messages.
    pub(crate) delivered: Latencies,
    /// How many clients caught up.
    pub(crate) clients: u64,
    /// Connections that had to be tried again.
    pub(crate) retries: u64,
    /// Requests for histories, by clients of the Pusher protocol.
    pub(crate) histories: u64,
    /// CPU time of the nodes that are left, from the kill until all had caught up.
    pub(crate) cpu: Duration,
    /// What they grew by, for each client, until the end.
    pub(crate) kib_per_client: f64,
    /// The most memory that one of them ever had.
    pub(crate) peak_mib: f64,
    published: Published,
    verdict: Verdict,
}

/// Publishes, kills the first node, and waits for everyone.
pub(crate) fn run(
    target: &Target,
    load: &StormLoad,
    kill: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<StormResult, Error> {
    let [killed, left @ ..] = &target.addresses[..] else { return Err(Error::TooFewNodes { needed: 2 }) };
    if left.is_empty() || target.pids.len() < target.addresses.len() {
        return Err(Error::TooFewNodes { needed: 2 });
    }
    let count = load.clients.get();
    Processes::new(&target.pids[..1]).check_open_files(count)?;
    let survivors = Processes::new(&target.pids[1..]);
    survivors.check_open_files(count)?;
    let channels = names(load.channels.get());
    let subscriptions: Vec<_> = (0..count).map(|client| vec![client % load.channels]).collect();
    let mut crowd = Crowd::new(target, load.protocol, &channels, &subscriptions)?;
    crowd.resuming = true;
    crowd.open_all(&[*killed])?;

    let sources = u64::from(load.channels.get());
    let request = |number: u64| {
        let source = u32::try_from(number % sources).unwrap_or(0);
        let data = Stamp { source, number: number / sources }.data(load.payload as usize);
        publish(target, left[0], &channels[source as usize], &data)
    };
    let seconds = load.before.saturating_add(load.after.get());
    let requests: Vec<_> = (0..u64::from(load.rate.get()) * u64::from(seconds.get())).map(request).collect();
    // One connection: what is acknowledged is then a beginning of the schedule.
    let mut publishers = Publishers::open(target, &left[..1], 1, None)?;
    let schedule = Schedule::new(Instant::now() + PREPARATION, load.rate, seconds);
    let acknowledged = AtomicU64::new(0);
    let mut storm = Storm {
        load,
        left,
        schedule,
        audit: Audit::new(schedule, load.channels.get(), load.channels.get(), &subscriptions),
        survivors,
        each: (0..count).map(|client| Survivor::new(client % load.channels)).collect(),
        backend: (load.protocol == Protocol::Pusher).then(|| Backend::connect(target, left[0])).transpose()?,
        channels: &channels,
        killed: None,
        retry: VecDeque::new(),
        asking: Vec::new(),
        result: Counts::default(),
    };
    let (published, measured) = thread::scope(|scope| {
        let publisher = scope.spawn(|| publishers.run(schedule, &requests, |_| 0, &mut success, &acknowledged));
        let measured = storm.pass(&mut crowd, kill, &acknowledged);
        (publisher.join().expect("the publisher does not panic"), measured)
    });
    let (published, (cpu, kib)) = (published?, measured?);
    let mut verdict = storm.audit.finish(&published.refused);
    verdict.refused += published.refused.len() as u64;
    verdict.unexpected += published.unexpected;
    Ok(StormResult {
        caught_up: storm.result.caught_up,
        subscribed: storm.result.subscribed,
        delivered: storm.audit.latencies,
        clients: storm.result.clients,
        retries: storm.result.retries,
        histories: storm.backend.map_or(0, |backend| backend.requests),
        cpu,
        kib_per_client: kib / f64::from(count),
        peak_mib: storm.survivors.peak_kib()? as f64 / 1024.0,
        published,
        verdict,
    })
}

/// A storm under way.
struct Storm<'a> {
    load: &'a StormLoad,
    /// The nodes that are not killed.
    left: &'a [SocketAddr],
    schedule: Schedule,
    audit: Audit,
    survivors: Processes,
    each: Vec<Survivor>,
    backend: Option<Backend>,
    channels: &'a [String],
    killed: Option<Instant>,
    /// When which client tries again, in order.
    retry: VecDeque<(Instant, usize)>,
    /// Clients that are to ask for a history.
    asking: Vec<usize>,
    result: Counts,
}

#[derive(Default)]
struct Counts {
    caught_up: Latencies,
    subscribed: Latencies,
    clients: u64,
    retries: u64,
}

/// A client.
struct Survivor {
    channel: u32,
    stage: Stage,
    /// How much was acknowledged when it was subscribed again.
    goal: u64,
    /// Of the Pusher protocol: the position of the last message that it took.
    position: String,
    /// Messages that wait for the history, with their positions: what is published in that time.
    waiting: Vec<(Stamp, String)>,
    /// Live messages up to this position may still come although the history had them, until the first behind it.
    overlap: String,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// On the node that will be killed.
    Before,
    /// Cut off, and not subscribed again.
    Lost,
    /// Subscribed again, and waiting for a history.
    Asking,
    /// Subscribed again, and not up to date.
    Behind,
    /// Up to date.
    Back,
}

impl Survivor {
    fn new(channel: u32) -> Self {
        Self {
            channel,
            stage: Stage::Before,
            goal: 0,
            position: String::new(),
            waiting: Vec::new(),
            overlap: String::new(),
        }
    }
}

/// CPU time from the kill until all had caught up, and KiB that the nodes left grew by from the kill until the end.
type Measured = (Duration, f64);

impl Storm<'_> {
    fn pass(
        &mut self,
        crowd: &mut Crowd,
        kill: &mut dyn FnMut() -> Result<(), Error>,
        acknowledged: &AtomicU64,
    ) -> Result<Measured, Error> {
        let (mut cpu, mut used, mut kib) = (Duration::ZERO, None, 0.0);
        let kill_at = self.schedule.due(u64::from(self.load.rate.get()) * u64::from(self.load.before.get()));
        let end = self.schedule.due(self.schedule.total());
        loop {
            if self.killed.is_none() && Instant::now() >= kill_at {
                (cpu, kib) = (self.survivors.cpu()?, self.survivors.resident_kib()? as f64);
                kill()?;
                self.killed = Some(Instant::now());
            }
            self.reconnect(crowd)?;
            crowd.turn(Duration::from_millis(2), |client, news, now| {
                self.hear(client, &news, now, acknowledged);
            })?;
            self.ask_for_histories()?;
            self.take_histories()?;
            if used.is_none() && self.result.clients == self.each.len() as u64 {
                used = Some(self.survivors.cpu()?.saturating_sub(cpu));
            }
            let over = used.is_some() && acknowledged.load(Relaxed) == self.schedule.total() && self.has_all();
            if over && end.elapsed() > Duration::ZERO || end.elapsed() > GRACE {
                let grown = self.survivors.resident_kib()? as f64 - kib;
                return Ok((used.unwrap_or_default(), grown));
            }
        }
    }

    fn has_all(&self) -> bool {
        (0..self.each.len()).all(|client| self.audit.has_all(client, self.schedule.total()))
    }

    /// Connects those whose time has come.
    fn reconnect(&mut self, crowd: &mut Crowd) -> Result<(), Error> {
        for _ in 0..AT_ONCE {
            if self.retry.front().is_none_or(|(due, _)| *due > Instant::now()) {
                break;
            }
            let Some((_, client)) = self.retry.pop_front() else { break };
            crowd.open(client, self.left[client % self.left.len()])?;
        }
        Ok(())
    }

    fn hear(&mut self, client: usize, news: &News<'_>, now: Instant, acknowledged: &AtomicU64) {
        match *news {
            News::Greeted(_) => {}
            News::Subscribed => self.subscribed(client, now, acknowledged.load(Relaxed)),
            News::Message(stamp, position) => self.message(client, stamp, position.unwrap_or_default(), now),
            News::Presence(..) | News::Unexpected(_) => self.audit.verdict.unexpected += 1,
            News::Closed => self.closed(client, now),
        }
    }

    fn closed(&mut self, client: usize, now: Instant) {
        let stage = &mut self.each[client].stage;
        match (*stage, self.killed) {
            (Stage::Before, Some(killed)) => {
                // Evenly spread by number: all are cut off at once, and none comes back before it knows.
                let share = self.load.spread_ms as usize * client / self.load.clients.get() as usize;
                let due = (killed + Duration::from_millis(share as u64)).max(now);
                let place = self.retry.partition_point(|(other, _)| *other <= due);
                self.retry.insert(place, (due, client));
            }
            (Stage::Lost, _) => {
                self.result.retries += 1;
                let place = self.retry.partition_point(|(other, _)| *other <= now + AGAIN);
                self.retry.insert(place, (now + AGAIN, client));
            }
            (Stage::Before, None) | (Stage::Asking | Stage::Behind | Stage::Back, _) => {
                self.audit.verdict.closed += 1;
            }
        }
        *stage = Stage::Lost;
    }

    fn message(&mut self, client: usize, stamp: Stamp, position: &str, now: Instant) {
        let it = &mut self.each[client];
        if it.stage == Stage::Asking {
            it.waiting.push((stamp, position.to_owned()));
            return;
        }
        if self.backend.is_some() {
            if !it.overlap.is_empty() {
                if !is_after(position, &it.overlap) {
                    return;
                }
                it.overlap = String::new();
            }
            it.position.clear();
            it.position.push_str(position);
        }
        self.audit.arrived(client, stamp, now);
        self.check(client, now);
    }

    fn subscribed(&mut self, client: usize, now: Instant, acknowledged: u64) {
        let it = &mut self.each[client];
        let (Stage::Lost, Some(killed)) = (it.stage, self.killed) else { return };
        self.result.subscribed.record(now - killed);
        it.goal = acknowledged;
        if self.backend.is_some() {
            it.stage = Stage::Asking;
            self.asking.push(client);
        } else {
            it.stage = Stage::Behind;
            self.check(client, now);
        }
    }

    fn ask_for_histories(&mut self) -> Result<(), Error> {
        for client in std::mem::take(&mut self.asking) {
            let it = &self.each[client];
            if let Some(backend) = &mut self.backend {
                backend.ask(client, &self.channels[it.channel as usize], &it.position)?;
            }
        }
        Ok(())
    }

    /// Whether `client` has caught up just now.
    fn check(&mut self, client: usize, now: Instant) {
        let it = &mut self.each[client];
        if let (Stage::Behind, Some(killed)) = (it.stage, self.killed)
            && self.audit.has_all(client, it.goal)
        {
            it.stage = Stage::Back;
            self.result.caught_up.record(now - killed);
            self.result.clients += 1;
        }
    }

    fn take_histories(&mut self) -> Result<(), Error> {
        let mut answers: Vec<(usize, Rc<Missed>)> = Vec::new();
        if let Some(backend) = &mut self.backend {
            backend.turn(|client, missed| answers.push((client, missed.clone())))?;
        }
        for (client, missed) in answers {
            self.take_history(client, &missed)?;
        }
        Ok(())
    }

    /// As the helper of `docs/recovery.md`: what was missed first, then what came meanwhile, unless that was part of it.
    fn take_history(&mut self, client: usize, missed: &Missed) -> Result<(), Error> {
        let now = Instant::now();
        let it = &mut self.each[client];
        if it.stage != Stage::Asking {
            return Ok(());
        }
        self.audit.verdict.unexpected += u64::from(!missed.complete);
        for (stamp, _) in &missed.events {
            match stamp {
                Some(stamp) => drop(self.audit.arrived(client, *stamp, now)),
                None => self.audit.verdict.unexpected += 1,
            }
        }
        it.position.clone_from(&missed.next);
        if let (true, Some(backend)) = (missed.more, &mut self.backend) {
            return backend.ask(client, &self.channels[it.channel as usize], &it.position);
        }
        it.stage = Stage::Behind;
        for (stamp, position) in std::mem::take(&mut it.waiting) {
            if is_after(&position, &it.position) {
                self.audit.arrived(client, stamp, now);
                it.position = position;
            }
        }
        it.overlap.clone_from(&it.position);
        self.check(client, now);
        Ok(())
    }
}

impl StormResult {
    /// From the kill until the last client had caught up.
    pub(crate) fn caught_up_seconds(&self) -> f64 {
        self.caught_up.at(1.0) / 1e3
    }
}

impl Outcome for StormResult {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("all_caught_up_s", rounded(self.caught_up_seconds())),
            ("clients_caught_up", json!(self.clients)),
            ("caught_up_ms", self.caught_up.percentiles()),
            ("subscribed_again_ms", self.subscribed.percentiles()),
            ("connections_tried_again", json!(self.retries)),
            ("histories_read", json!(self.histories)),
            ("delivered_ms", self.delivered.percentiles()),
            ("first_refusal", json!(self.published.refusal.as_deref().unwrap_or("none"))),
            ("cpu_per_client_us", rounded(micros_each(self.cpu, self.clients))),
            ("after_storm_per_client_kib", rounded(self.kib_per_client)),
            ("edge_peak_mib", rounded(self.peak_mib)),
        ];
        figures.extend(lateness(&self.published.lateness));
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.caught_up_seconds()
    }
}
