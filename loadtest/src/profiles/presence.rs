//! The presence profile: members come and go at a fixed rate, and watchers are told of each change once and in order.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use auth::Signer;
use clap::Args;
use memchr::memmem;
use serde::Serialize;
use serde_json::json;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{AFTERMATH, Outcome, PREPARATION, defaults, lateness, listen, micros_each};
use crate::client::PATIENCE;
use crate::client::client_frame;
use crate::client::crowd::{Crowd, News};
use crate::client::message::{LEAST_BYTES, Stamp};
use crate::client::protocol::{Protocol, ably_presence, pusher_subscribe, pusher_unsubscribe};
use crate::error::Error;
use crate::measure::audit::Audit;
use crate::measure::latency::Latencies;
use crate::measure::process::Processes;
use crate::measure::schedule::Schedule;
use crate::measure::verdict::Verdict;
use crate::report::{Figures, rounded};
use crate::target::Target;

/// A presence channel for clients of either protocol.
const CHANNEL: &str = "presence-load";
/// How long changes that nobody was told of yet are awaited after the last one.
const GRACE: Duration = Duration::from_secs(10);
/// Of Ably: what a member does.
const ENTER: u8 = 2;
const LEAVE: u8 = 3;

/// Members that come and go, and who watches them.
#[derive(Args, Clone, Debug, Serialize)]
pub(crate) struct PresenceLoad {
    /// How watchers speak, and members unless they are streams, which can only watch: then Ably, in JSON
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// How many watch. Those of the Pusher protocol are one user
    #[arg(long, default_value = "100")]
    pub(crate) watchers: NonZeroU32,
    /// How many come and go in turns. A presence channel takes 100 users of the Pusher protocol
    #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..100))]
    pub(crate) members: u32,
    /// Changes per second, all together
    #[arg(long, default_value = "50")]
    pub(crate) rate: NonZeroU32,
    /// For how many seconds
    #[arg(long, default_value = "10")]
    pub(crate) seconds: NonZeroU32,
}

impl Default for PresenceLoad {
    fn default() -> Self {
        defaults()
    }
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct PresenceResult {
    /// Changes per second by the schedule.
    pub(crate) offered: f64,
    /// Those that were made.
    pub(crate) achieved: f64,
    /// From due to sent. A member leaves only when it knows that it is there, which may be the server's doing.
    pub(crate) lateness: Latencies,
    /// From due to told.
    pub(crate) told: Latencies,
    /// How many changes were told, to all watchers together.
    pub(crate) deliveries: u64,
    /// How many changes were made.
    pub(crate) changes: u64,
    /// CPU time of the nodes meanwhile.
    pub(crate) cpu: Duration,
    verdict: Verdict,
}

/// Lets them come and go.
pub(crate) fn run(target: &Target, load: &PresenceLoad) -> Result<PresenceResult, Error> {
    let nodes = Processes::new(&target.pids);
    let (watching, members) = (load.watchers.get(), load.members);
    nodes.check_open_files(watching.saturating_add(members))?;
    let channels = [CHANNEL.to_owned()];
    let mut watchers = Crowd::new(target, load.protocol, &channels, &vec![vec![0]; watching as usize])?;
    let mut visitors = Visitors::new(target, load)?;
    open_watchers(target, load.protocol, &mut watchers)?;
    visitors.open(target)?;

    let cpu = nodes.cpu()?;
    let schedule = Schedule::new(Instant::now() + PREPARATION, load.rate, load.seconds);
    let mut audit = Audit::new(schedule, members, 1, &vec![vec![0]; watching as usize]);
    let (stop, told) = (AtomicBool::new(false), AtomicU64::new(0));
    let (sent, used) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            listen(&mut watchers, &stop, |watcher, news, now| match news {
                News::Presence(stamp, frame) => {
                    let arrived = audit.arrived(watcher, change(stamp, frame), now);
                    told.fetch_add(u64::from(arrived), Relaxed);
                }
                News::Closed => audit.verdict.closed += 1,
                News::Greeted(_) | News::Subscribed | News::Message(..) | News::Unexpected(_) => {
                    audit.verdict.unexpected += 1;
                }
            })
        });
        let sent = visitors.make_changes(schedule, &told, u64::from(watching));
        let used = nodes.cpu();
        thread::sleep(AFTERMATH);
        stop.store(true, Relaxed);
        reader.join().expect("the reader does not panic")?;
        Ok::<_, Error>((sent?, used?))
    })?;
    let mut verdict = audit.finish(&(sent.changes..schedule.total()).collect());
    verdict.add(&visitors.verdict);
    // A change that could not be made is missed by everyone.
    verdict.refused += schedule.total() - sent.changes;
    Ok(PresenceResult {
        offered: schedule.achieved(schedule.total(), schedule.due(0)),
        achieved: schedule.achieved(sent.changes, sent.last),
        lateness: visitors.lateness,
        told: audit.latencies,
        deliveries: audit.deliveries,
        changes: sent.changes,
        cpu: used.saturating_sub(cpu),
        verdict,
    })
}

/// Which change a frame tells of: with Pusher a member has the number of its coming, with Ably each change its own.
fn change(stamp: Stamp, frame: &[u8]) -> Stamp {
    let gone = memmem::find(frame, b"\"event\":\"pusher_internal:member_removed\"").is_some();
    Stamp { number: stamp.number + u64::from(gone), ..stamp }
}

/// Connects and subscribes all watchers.
fn open_watchers(target: &Target, protocol: Protocol, watchers: &mut Crowd) -> Result<(), Error> {
    if protocol != Protocol::Pusher {
        return watchers.open_all(&target.addresses).map(drop);
    }
    let signer = Signer::new(target.key.clone(), target.secret.clone());
    for watcher in 0..watchers.len() {
        watchers.open(watcher, target.addresses[watcher % target.addresses.len()])?;
    }
    watchers.subscribing = false;
    let (mut subscribed, deadline) = (0, Instant::now() + PATIENCE);
    while subscribed < watchers.len() {
        let (mut greeted, mut failure) = (Vec::new(), None);
        watchers.turn(Duration::from_millis(20), |watcher, news, _| match news {
            News::Greeted(socket) => greeted.push((watcher, entrance(&signer, socket, "watcher"))),
            News::Subscribed => subscribed += 1,
            News::Message(..) | News::Presence(..) => {}
            News::Unexpected(frame) => failure = Some(String::from_utf8_lossy(frame).into_owned()),
            News::Closed => failure = Some("the end of the connection".to_owned()),
        })?;
        for (watcher, frame) in greeted {
            watchers.send(watcher, &frame)?;
        }
        if Instant::now() > deadline {
            failure.get_or_insert_with(|| "nothing in time".to_owned());
        }
        if let Some(received) = failure {
            return Err(Error::Unwelcome { awaited: "a watcher's subscription", received });
        }
    }
    Ok(())
}

/// The frame by which a client of the Pusher protocol enters as `user`.
fn entrance(signer: &Signer, socket: Option<&str>, user: &str) -> Vec<u8> {
    let member = json!({ "user_id": user }).to_string();
    let auth = signer.channel(socket.unwrap_or_default(), CHANNEL, Some(&member));
    client_frame(OpCode::Data(Data::Text), pusher_subscribe(CHANNEL, Some((&auth, &member))).as_bytes())
}

/// Those who come and go.
struct Visitors {
    crowd: Crowd,
    protocol: Protocol,
    signer: Signer,
    each: Vec<Visitor>,
    lateness: Latencies,
    verdict: Verdict,
}

/// One of them.
#[derive(Default)]
struct Visitor {
    /// Ids of Pusher connections are signed.
    socket: Option<String>,
    ready: bool,
    /// Number of the coming that is not confirmed yet.
    coming: Option<u64>,
    /// Changes that are due.
    due: VecDeque<u64>,
}

/// How many changes were made, and when the last was.
struct Sent {
    changes: u64,
    last: Instant,
}

impl Visitors {
    fn new(target: &Target, load: &PresenceLoad) -> Result<Self, Error> {
        let protocol = if load.protocol == Protocol::Sse { Protocol::AblyJson } else { load.protocol };
        let count = load.members as usize;
        let mut crowd = Crowd::new(target, protocol, &[CHANNEL.to_owned()], &vec![vec![0]; count])?;
        crowd.subscribing = protocol != Protocol::Pusher;
        Ok(Self {
            crowd,
            protocol,
            signer: Signer::new(target.key.clone(), target.secret.clone()),
            each: (0..count).map(|_| Visitor::default()).collect(),
            lateness: Latencies::new(),
            verdict: Verdict::default(),
        })
    }

    fn open(&mut self, target: &Target) -> Result<(), Error> {
        for visitor in 0..self.crowd.len() {
            self.crowd.open(visitor, target.addresses[visitor % target.addresses.len()])?;
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.each.iter().all(|visitor| visitor.ready) {
            self.turn(Duration::from_millis(20))?;
            if Instant::now() > deadline || !self.verdict.is_clean() {
                return Err(Error::Unwelcome { awaited: "members' connections", received: "not all".to_owned() });
            }
        }
        Ok(())
    }

    fn turn(&mut self, longest: Duration) -> Result<(), Error> {
        let Self { crowd, each, verdict, protocol, .. } = self;
        crowd.turn(longest, |index, news, _| {
            let visitor = &mut each[index];
            match news {
                News::Greeted(socket) if *protocol == Protocol::Pusher => {
                    visitor.socket = socket.map(str::to_owned);
                    visitor.ready = true;
                }
                News::Greeted(_) | News::Message(..) => {}
                News::Subscribed => {
                    visitor.ready = true;
                    visitor.coming = None;
                }
                News::Presence(stamp, _) => {
                    if stamp.source as usize == index && visitor.coming == Some(stamp.number) {
                        visitor.coming = None;
                    }
                }
                News::Unexpected(_) => verdict.unexpected += 1,
                News::Closed => verdict.closed += 1,
            }
        })
    }

    /// Makes all changes of `schedule`, and waits until `told` says that `watchers` know of each.
    fn make_changes(&mut self, schedule: Schedule, told: &AtomicU64, watchers: u64) -> Result<Sent, Error> {
        let (mut next, mut sent) = (0, Sent { changes: 0, last: schedule.due(0) });
        let members = self.each.len() as u64;
        loop {
            let now = Instant::now();
            while next < schedule.total() && schedule.due(next) <= now {
                self.each[usize::try_from(next % members).unwrap_or(0)].due.push_back(next);
                next += 1;
            }
            for index in 0..self.each.len() {
                while self.each[index].coming.is_none() {
                    let Some(number) = self.each[index].due.pop_front() else { break };
                    self.lateness.record(schedule.due(number).elapsed());
                    self.change(index, number / members)?;
                    sent = Sent { changes: sent.changes + 1, last: Instant::now() };
                }
            }
            let over = next == schedule.total() && told.load(Relaxed) >= sent.changes * watchers;
            let given_up = schedule.due(schedule.total()).elapsed() > GRACE;
            if over && sent.changes == schedule.total() || given_up {
                return Ok(sent);
            }
            let wait = schedule.due(next).saturating_duration_since(Instant::now());
            self.turn(wait.clamp(Duration::from_micros(1), Duration::from_millis(5)))?;
        }
    }

    /// Lets a visitor make its `number`th change: come with even numbers, and leave with odd ones.
    fn change(&mut self, index: usize, number: u64) -> Result<(), Error> {
        let comes = number.is_multiple_of(2);
        let stamp = Stamp { source: u32::try_from(index).unwrap_or(0), number };
        let visitor = &mut self.each[index];
        visitor.coming = comes.then_some(number);
        let data = stamp.data(LEAST_BYTES as usize);
        let packed = self.protocol == Protocol::AblyMsgpack;
        let frame = match self.protocol {
            Protocol::Pusher if comes => entrance(&self.signer, visitor.socket.as_deref(), &data),
            Protocol::Pusher => client_frame(OpCode::Data(Data::Text), pusher_unsubscribe(CHANNEL).as_bytes()),
            Protocol::AblyJson | Protocol::AblyMsgpack | Protocol::Sse => {
                let action = if comes { ENTER } else { LEAVE };
                ably_presence(packed, CHANNEL, number, action, format!("member-{index}"), data)
            }
        };
        self.crowd.send(index, &frame)
    }
}

impl PresenceResult {
    /// CPU time of the nodes for each change, with telling it to all.
    pub(crate) fn cpu_per_change_us(&self) -> f64 {
        micros_each(self.cpu, self.changes)
    }
}

impl Outcome for PresenceResult {
    fn figures(&self) -> Figures {
        let mut figures = vec![
            ("changes_offered_per_second", rounded(self.offered)),
            ("changes_achieved_per_second", rounded(self.achieved)),
            ("told_ms", self.told.percentiles()),
            ("deliveries", json!(self.deliveries)),
            ("cpu_seconds", rounded(self.cpu.as_secs_f64())),
            ("cpu_per_change_us", rounded(self.cpu_per_change_us())),
        ];
        figures.extend(lateness(&self.lateness));
        figures.extend(self.verdict.figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn rank(&self) -> f64 {
        self.cpu_per_change_us()
    }
}
