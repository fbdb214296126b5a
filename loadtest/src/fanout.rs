//! The fan-out profile: what a delivery costs in CPU, and how long it takes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use auth::Signer;
use serde_json::json;

use crate::cli::Fanout;
use crate::connection::open_all;
use crate::error::Error;
use crate::floor::Floor;
use crate::machine;
use crate::process::Processes;
use crate::publisher::{Published, Publishing};
use crate::receiver::{Received, receive};
use crate::report::{Figures, Report, rounded};
use crate::schedule::Schedule;

/// Between the last subscription and the first message: the schedule starts with all threads waiting for it.
const PREPARATION: Duration = Duration::from_millis(300);
/// How long what is missing is awaited after the last answer.
const GRACE: Duration = Duration::from_secs(10);
/// A message sent this much after it was due counts as late: it is far above what waking a thread takes.
const LATE: Duration = Duration::from_millis(1);

/// Measures the server, and the floor if asked to, in turns, so that what else the machine does touches both.
pub(crate) fn run(settings: &Fanout) -> Result<Report, Error> {
    let machine = machine::figures()?;
    let (mut server, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds.get() {
        if settings.floor {
            floor.push(measure_floor(settings)?);
        }
        server.push(measure(settings, &settings.common.address, &Processes::new(&settings.common.pid))?);
    }
    let (cpu, figures) = median(server);
    let mut columns = vec![("server", figures)];
    if settings.floor {
        let (floor_cpu, figures) = median(floor);
        columns[0].1.push(("cpu_per_delivery_over_floor", rounded(cpu / floor_cpu)));
        columns.push(("floor", figures));
    }
    let (server_version, settings) = (settings.common.server_version.clone(), json!(settings));
    Ok(Report { profile: "fanout", server_version, machine, settings, columns })
}

/// The CPU per delivery of the round that is the median by it, and the figures of that round.
fn median(mut rounds: Vec<Measured>) -> (f64, Figures) {
    rounds.sort_by(|a, b| a.cpu_per_delivery().total_cmp(&b.cpu_per_delivery()));
    let middle = &rounds[rounds.len() / 2];
    let mut figures = middle.figures();
    let all: Vec<_> = rounds.iter().map(|round| rounded(round.cpu_per_delivery())).collect();
    figures.push(("cpu_per_delivery_all_rounds_us", json!(all)));
    (middle.cpu_per_delivery(), figures)
}

fn measure_floor(settings: &Fanout) -> Result<Measured, Error> {
    let floor = Floor::start()?;
    measure(settings, &[floor.address], &Processes::new(&[floor.pid()]))
}

/// What came of one run.
struct Measured {
    schedule: Schedule,
    published: Published,
    received: Received,
    deliveries: u64,
    cpu: Duration,
}

fn measure(settings: &Fanout, addresses: &[SocketAddr], server: &Processes) -> Result<Measured, Error> {
    let subscribers = settings.subscribers.get();
    server.check_open_files(subscribers)?;
    let (mut connections, _) = open_all(addresses, &settings.common, subscribers, |_| settings.channel.clone())?;

    let cpu_before = server.cpu()?;
    let schedule = Schedule::new(Instant::now() + PREPARATION, settings.rate, settings.seconds);
    let publishing = Publishing {
        address: addresses[0],
        app: &settings.app,
        signer: Signer::new(settings.common.key.clone(), settings.secret.clone()),
        channel: &settings.channel,
        payload: settings.payload as usize,
        schedule,
    };
    let (stop, delivered) = (AtomicBool::new(false), AtomicU64::new(0));
    let (published, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&mut connections, schedule, publishing.payload, &stop, &delivered));
        let published = publishing.run();
        if let Ok(published) = &published {
            let expected = (schedule.total() - published.refused.len() as u64) * u64::from(subscribers);
            let deadline = Instant::now() + GRACE;
            while delivered.load(Relaxed) < expected && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
        stop.store(true, Relaxed);
        let received = receiver.join().expect("the receiver does not panic");
        Ok::<_, Error>((published?, received?))
    })?;
    let cpu = server.cpu()?.saturating_sub(cpu_before);
    Ok(Measured { schedule, published, received, deliveries: delivered.into_inner(), cpu })
}

impl Measured {
    /// In microseconds.
    fn cpu_per_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries as f64
    }

    /// Latencies count from the moment at which a message was due.
    fn figures(&self) -> Figures {
        let Self { schedule, published, received, deliveries, cpu } = self;
        let total = schedule.total();
        let acknowledged = total - published.refused.len() as u64;
        vec![
            ("publishes_offered_per_second", rounded(schedule.achieved(total, schedule.due(0)))),
            ("publishes_achieved_per_second", rounded(schedule.achieved(acknowledged, published.last))),
            ("publishes_refused", json!(published.refused.len())),
            ("first_refusal", json!(published.refusal.as_deref().unwrap_or("none"))),
            ("sent_over_1_ms_late", json!(published.lateness.longer_than(LATE))),
            ("sent_latest_ms", json!(published.lateness.at(1.0))),
            ("publish_acknowledged_ms", published.acknowledged.percentiles()),
            ("delivered_ms", received.latencies.percentiles()),
            ("deliveries", json!(deliveries)),
            ("lost", json!(received.lost(total, &published.refused))),
            ("duplicate", json!(received.duplicate)),
            ("reordered", json!(received.reordered)),
            ("unexpected", json!(received.unexpected)),
            ("closed_by_server", json!(received.closed)),
            ("cpu_seconds", rounded(cpu.as_secs_f64())),
            ("cpu_per_delivery_us", rounded(self.cpu_per_delivery())),
        ]
    }
}
