//! The rows: which profile with which load, and the goal.

use std::num::NonZeroU32;

use serde_json::json;

use super::table::{Goal, Row};
use super::turns::{Compared, Contestants};
use super::{Settings, knee};
use crate::client::protocol::Protocol;
use crate::error::Error;
use crate::floor::jetstream::{self, BareLoad};
use crate::measure::latency::Latencies;
use crate::measure::verdict::Verdict;
use crate::profiles::Outcome;
use crate::profiles::acknowledge::{self, AcknowledgeLoad};
use crate::profiles::channels::{self, ChannelsLoad};
use crate::profiles::connect::{self, ConnectLoad};
use crate::profiles::deliveries::Deliveries;
use crate::profiles::fanout::{self, FanoutLoad};
use crate::profiles::idle::{self, IdleLoad};
use crate::profiles::publish::{self, PublishLoad};
use crate::profiles::storm::{self, StormLoad};
use crate::report::{Figures, object};
use crate::servers::{self, Fanfare, Form, Running};
use crate::target::Target;

/// What an edge may take while 5,000 clients of another come to it.
const STORM_MEMORY_MIB: u32 = 256;

type Measure = fn(&Settings) -> Result<Vec<Row>, Error>;

/// All, by the names by which one is asked for.
pub(super) const ROWS: [(&str, Measure); 13] = [
    ("fanout-1000", |settings| fan_out(settings, "fanout-1000", 1_000, 50)),
    ("fanout-10000", |settings| fan_out(settings, "fanout-10000", 10_000, 5)),
    ("channels", many_channels),
    ("idle", |settings| idle(settings, "idle", true, false)),
    ("idle-own", |settings| idle(settings, "idle-own", false, false)),
    ("idle-tls", |settings| idle(settings, "idle-tls", true, true)),
    ("idle-own-tls", |settings| idle(settings, "idle-own-tls", false, true)),
    ("connect", connect),
    ("acknowledge", acknowledge),
    ("publish", publish),
    ("latency", latency),
    ("storm", |settings| storm(settings, "storm", Protocol::Pusher)),
    ("storm-ably", |settings| storm(settings, "storm-ably", Protocol::AblyJson)),
];

/// Publishes per second at which acknowledgements are looked at, and how they are called.
const RATES: [(&str, u32); 2] = [("low", 50), ("high", 500)];

fn fan_out(settings: &Settings, name: &'static str, subscribers: u32, rate: u32) -> Result<Vec<Row>, Error> {
    let load = FanoutLoad {
        subscribers: count(settings.clients(subscribers)),
        rate: count(rate),
        seconds: count(settings.seconds(8)),
        ..FanoutLoad::default()
    };
    let compared = Contestants::start(settings, false)?.compare(settings.rounds(), |on| fanout::run(on, &load))?;
    let title = format!("CPU per delivery, 1 × {} at {rate}/s", load.subscribers);
    Ok(vec![row(name, title, "µs", Goal::Ratio(1.3), &compared)])
}

fn many_channels(settings: &Settings) -> Result<Vec<Row>, Error> {
    let connections = settings.clients(1_000);
    let load = ChannelsLoad {
        connections: count(connections),
        // Each connection is in 20, and each channel has 100 subscribers.
        channels: count(connections / 5),
        seconds: count(settings.seconds(8)),
        ..ChannelsLoad::default()
    };
    let compared = Contestants::start(settings, false)?.compare(settings.rounds(), |on| channels::run(on, &load))?;
    let title = format!("CPU per delivery, {} messages/s to each of {connections} from different channels", load.each);
    Ok(vec![row("channels", title, "µs", Goal::Ratio(1.5), &compared)])
}

fn idle(settings: &Settings, name: &'static str, is_shared: bool, tls: bool) -> Result<Vec<Row>, Error> {
    let load = IdleLoad {
        connections: count(settings.clients(10_000)),
        channels: is_shared.then(|| count(1)),
        settle: settings.seconds(6),
        ..IdleLoad::default()
    };
    // New servers, and once: memory that was in use before is not taken again.
    let compared = Contestants::start(settings, tls)?.compare(1, |on| idle::run(on, &load))?;
    let title = format!(
        "memory per idle connection, {}, {}, {}",
        load.connections,
        if tls { "TLS" } else { "plain" },
        if is_shared { "one channel" } else { "a channel each" },
    );
    Ok(vec![row(name, title, "KiB", Goal::Figure(if tls { 24.0 } else { 8.0 }), &compared)])
}

fn connect(settings: &Settings) -> Result<Vec<Row>, Error> {
    let load = ConnectLoad { connections: count(settings.clients(2_000)), ..ConnectLoad::default() };
    let compared = Contestants::start(settings, false)?.compare(settings.rounds(), |on| connect::run(on, &load))?;
    let title = format!("CPU per connect and subscribe, {}", load.connections);
    Ok(vec![row("connect", title, "µs", Goal::Ratio(3.0), &compared)])
}

fn publish(settings: &Settings) -> Result<Vec<Row>, Error> {
    let load = PublishLoad { seconds: count(settings.seconds(5)), ..PublishLoad::default() };
    let compared = Contestants::start(settings, false)?.compare(settings.rounds(), |on| publish::run(on, &load))?;
    let title = "CPU per HTTP publish, keep-alive, signed, 128 B, closed loop".to_owned();
    Ok(vec![row("publish", title, "µs", Goal::Figure(60.0), &compared)])
}

/// At half the rate that the floor can carry.
fn latency(settings: &Settings) -> Result<Vec<Row>, Error> {
    let contestants = Contestants::start(settings, false)?;
    let subscribers = count(settings.clients(1_000));
    let seconds = |full| count(settings.seconds(full));
    let probe = FanoutLoad { subscribers, rate: count(40), seconds: seconds(3), ..FanoutLoad::default() };
    let knee = if settings.quick { probe.rate } else { knee::find(contestants.floor(), &probe)? };
    let load = FanoutLoad { rate: count(knee.get() / 2), seconds: seconds(8), ..probe };
    let by_latency = |on: &Target| fanout::run(on, &load).map(ByLatency);
    let compared = contestants.compare(settings.rounds(), by_latency)?;
    let title = format!("delivery p99, 1 × {subscribers} at {}/s, half of the floor's knee", load.rate);
    Ok(vec![row("latency", title, "ms", Goal::Ratio(1.5), &compared)])
}

/// Deliveries of which the latency counts.
struct ByLatency(Deliveries);

impl Outcome for ByLatency {
    fn figures(&self) -> Figures {
        self.0.figures()
    }

    fn verdict(&self) -> Verdict {
        self.0.verdict()
    }

    fn rank(&self) -> f64 {
        self.0.delivered_p99_ms()
    }
}

/// Fanfare on three nodes beside a bare publish into the same streams, each time through another node.
fn acknowledge(settings: &Settings) -> Result<Vec<Row>, Error> {
    let cluster = cluster(settings, None)?;
    let (urls, mut rows) = (cluster.nats_urls(), Vec::new());
    for (name, rate) in RATES {
        let seconds = count(settings.seconds(8));
        let load = AcknowledgeLoad { rate: count(rate), seconds, ..AcknowledgeLoad::default() };
        let bare_load = BareLoad { rate: load.rate, seconds, payload: load.payload as usize };
        let (mut fanfare, mut floor, mut verdict) = (Latencies::new(), Latencies::new(), Verdict::default());
        for round in 0..settings.rounds() as usize {
            let node = round % urls.len();
            let bare = jetstream::run(&urls[node], bare_load)?;
            floor.add(&bare.acknowledged);
            verdict.add(&bare.verdict());
            let addresses = vec![cluster.target().addresses[node]];
            let result = acknowledge::run(&Target { addresses, ..cluster.target().clone() }, &load)?;
            fanfare.add(&result.published.acknowledged);
            verdict.add(&result.verdict());
        }
        for (quantile, title) in [(0.5, "p50"), (0.99, "p99")] {
            rows.push(Row {
                name: "acknowledge",
                title: format!("publish acknowledged {title}, R3, {name} rate ({rate}/s)"),
                unit: "ms",
                fanfare: fanfare.at(quantile),
                floor: Some(floor.at(quantile)),
                peers: none_of(settings, "has no copies"),
                goal: Goal::Ratio(1.3),
                verdict,
                details: json!({"fanfare": fanfare.percentiles(), "floor": floor.percentiles()}),
            });
        }
    }
    Ok(rows)
}

/// As the documentation has clients do it: those of Ably resume, those of Pusher ask for the history.
fn storm(settings: &Settings, name: &'static str, protocol: Protocol) -> Result<Vec<Row>, Error> {
    let cluster = cluster(settings, Some(STORM_MEMORY_MIB))?;
    let load = StormLoad { protocol, clients: count(settings.clients(10_000)), ..StormLoad::default() };
    let target = cluster.target();
    let result = storm::run(target, &load, &mut || servers::kill(target.pids[0]))?;
    let row = |what: &str, unit, fanfare, goal| Row {
        name,
        title: format!("{} {} on a killed edge of three: {what}", load.clients, clients(protocol)),
        unit,
        fanfare,
        floor: None,
        peers: none_of(settings, "has no recovery"),
        goal: Goal::Figure(goal),
        verdict: result.verdict(),
        details: json!({"fanfare": object(&result.figures())}),
    };
    let peak = format!("most memory of an edge, limited to {STORM_MEMORY_MIB} MiB");
    Ok(vec![
        row("all caught up", "s", result.rank(), 10.0),
        row(&peak, "MiB", result.peak_mib, f64::from(STORM_MEMORY_MIB)),
    ])
}

/// Three edges on three NATS servers.
fn cluster(settings: &Settings, memory_limit_mib: Option<u32>) -> Result<Running, Error> {
    Fanfare { program: settings.program.clone(), form: Form::Cluster, tls: false, memory_limit_mib }.start()
}

fn clients(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Pusher => "clients of Pusher, which ask for the history,",
        Protocol::AblyJson | Protocol::AblyMsgpack => "clients of Ably, which resume,",
        Protocol::Sse => "event streams, which resume,",
    }
}

fn row<R: Outcome>(name: &'static str, title: String, unit: &'static str, goal: Goal, compared: &Compared<R>) -> Row {
    Row {
        name,
        title,
        unit,
        fanfare: compared.fanfare.rank(),
        floor: Some(compared.floor.rank()),
        peers: compared.peers.iter().map(|peer| peer.as_ref().map(R::rank).map_err(Clone::clone)).collect(),
        goal,
        verdict: compared.verdict,
        details: compared.details(),
    }
}

/// What stands in the columns of peers where there is nothing to compare.
fn none_of(settings: &Settings, reason: &str) -> Vec<Result<f64, String>> {
    settings.peers.iter().map(|_| Err(reason.to_owned())).collect()
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}
