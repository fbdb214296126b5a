//! The fairness profile: what a tenant notices of another that is over its quota.
//!
//! One app publishes at a steady rate to some subscribers: alone, beside another app that publishes at its limit, and
//! beside the same app at a multiple of it. The three take turns, so that what else the machine does touches them alike.
//! The generator works for both apps, on the same machine: what it takes itself is part of what is measured.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use auth::Signer;
use serde_json::json;

use crate::cli::Fairness;
use crate::connection::open_all;
use crate::error::Error;
use crate::http::Broken;
use crate::latency::Latencies;
use crate::machine;
use crate::process::Processes;
use crate::publisher::{Published, Publishing};
use crate::receiver::receive;
use crate::report::{Figures, Report, rounded};
use crate::schedule::Schedule;

/// Of the app that is measured.
const CHANNEL: &str = "loadtest";
/// From the last subscription to the first message, and between two turns: by then the bucket of the other app is full.
const PREPARATION: Duration = Duration::from_millis(1_500);
/// How long what is missing is awaited after the last answer.
const GRACE: Duration = Duration::from_secs(5);

/// Takes turns, and compares.
pub(crate) fn run(settings: &Fairness) -> Result<Report, Error> {
    let machine = machine::figures()?;
    let server = Processes::new(&settings.common.pid);
    let limit = settings.other_limit.get();
    let mut turns = [
        Turn::new("alone", 0),
        Turn::new("beside_one_at_its_limit", limit),
        Turn::new("beside_one_far_over", limit.saturating_mul(settings.times.get())),
    ];
    for _ in 0..settings.rounds.get() {
        for turn in &mut turns {
            turn.take(settings, &server)?;
        }
    }
    let alone = (turns[0].acknowledged.at(0.99), turns[0].delivered.at(0.99));
    let columns = turns.iter().map(|turn| (turn.name, turn.figures(alone))).collect();
    let (server_version, settings) = (settings.common.server_version.clone(), json!(settings));
    Ok(Report { profile: "fairness", server_version, machine, settings, columns })
}

/// One way to be beside the other, and what came of all rounds of it.
struct Turn {
    name: &'static str,
    /// Publishes per second of the other app.
    other_rate: u32,
    acknowledged: Latencies,
    delivered: Latencies,
    refused: usize,
    lost: usize,
    other: Other,
    cpu: Duration,
}

/// What the other app got.
#[derive(Default)]
struct Other {
    sent: u64,
    refused: u64,
    refusal: Option<String>,
}

impl Turn {
    fn new(name: &'static str, other_rate: u32) -> Self {
        Self {
            name,
            other_rate,
            acknowledged: Latencies::new(),
            delivered: Latencies::new(),
            refused: 0,
            lost: 0,
            other: Other::default(),
            cpu: Duration::ZERO,
        }
    }

    /// One round.
    fn take(&mut self, settings: &Fairness, server: &Processes) -> Result<(), Error> {
        let address = settings.common.address[0];
        let (mut subscribers, _) =
            open_all(&settings.common.address, &settings.common, settings.subscribers.get(), |_| CHANNEL.to_owned())?;
        let start = Instant::now() + PREPARATION;
        let payload = settings.payload as usize;
        let schedule = Schedule::new(start, settings.rate, settings.seconds);
        let signer = Signer::new(settings.common.key.clone(), settings.secret.clone());
        let publishing = Publishing { address, app: &settings.app, signer, channel: CHANNEL, payload, schedule };
        let other = NonZeroU32::new(self.other_rate).map(|rate| Publishing {
            address,
            app: &settings.other_app,
            signer: Signer::new(settings.other_key.clone(), settings.other_secret.clone()),
            channel: "other",
            payload,
            schedule: Schedule::new(start, rate, settings.seconds),
        });
        let (stop, delivered) = (AtomicBool::new(false), AtomicU64::new(0));
        let before = server.cpu()?;
        let (published, other, received) = thread::scope(|scope| {
            let receiver = scope.spawn(|| receive(&mut subscribers, schedule, payload, &stop, &delivered));
            let other = scope.spawn(|| other.as_ref().map(Publishing::run).transpose());
            let published = publishing.run();
            if let Ok(published) = &published {
                let expected =
                    (schedule.total() - published.refused.len() as u64) * u64::from(settings.subscribers.get());
                let deadline = Instant::now() + GRACE;
                while delivered.load(Relaxed) < expected && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
            }
            stop.store(true, Relaxed);
            let received = receiver.join().expect("the receiver does not panic");
            let other: Result<Option<Published>, Broken> = other.join().expect("the publisher does not panic");
            Ok::<_, Error>((published?, other?, received?))
        })?;
        self.cpu += server.cpu()?.saturating_sub(before);
        self.lost += received.lost(schedule.total(), &published.refused);
        self.refused += published.refused.len();
        self.acknowledged.add(&published.acknowledged);
        self.delivered.add(&received.latencies);
        if let Some(other) = other {
            self.other.sent += u64::from(self.other_rate) * u64::from(settings.seconds.get());
            self.other.refused += other.refused.len() as u64;
            self.other.refusal = self.other.refusal.take().or(other.refusal);
        }
        Ok(())
    }

    /// What came of it; `alone` are the 99th percentiles without another app.
    fn figures(&self, alone: (f64, f64)) -> Figures {
        vec![
            ("publish_acknowledged_ms", self.acknowledged.percentiles()),
            ("delivered_ms", self.delivered.percentiles()),
            ("publish_p99_over_alone", rounded(self.acknowledged.at(0.99) / alone.0)),
            ("delivered_p99_over_alone", rounded(self.delivered.at(0.99) / alone.1)),
            ("publishes_refused", json!(self.refused)),
            ("lost", json!(self.lost)),
            ("other_publishes", json!(self.other.sent)),
            ("other_refused", json!(self.other.refused)),
            ("other_first_refusal", json!(self.other.refusal.as_deref().unwrap_or("none"))),
            ("server_cpu_seconds", rounded(self.cpu.as_secs_f64())),
        ]
    }
}
