//! The load profiles, a file each. A profile takes a load, puts it on a target, and answers figures and a verdict.

pub(crate) mod acknowledge;
pub(crate) mod channels;
pub(crate) mod connect;
pub(crate) mod deliveries;
pub(crate) mod fairness;
pub(crate) mod fanout;
pub(crate) mod history;
pub(crate) mod idle;
pub(crate) mod presence;
pub(crate) mod publish;
pub(crate) mod publishers;
pub(crate) mod sizes;
pub(crate) mod storm;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::client::crowd::{Crowd, News};
use crate::error::Error;
use crate::measure::latency::Latencies;
use crate::measure::verdict::Verdict;
use crate::report::Figures;

/// Between the last preparation and the first message: a schedule starts with all threads waiting for it.
const PREPARATION: Duration = Duration::from_millis(300);
/// A request sent this much after it was due counts as late: it is far above what waking a thread takes.
const LATE: Duration = Duration::from_millis(1);
/// How soon a reader with nothing to read sees that it shall stop.
const LOOK_UP: Duration = Duration::from_millis(20);
/// How long is listened for what should not come, after all has come that should.
const AFTERMATH: Duration = Duration::from_millis(100);

/// What came of one run of a profile.
pub(crate) trait Outcome {
    /// For the report, the verdict's among them.
    fn figures(&self) -> Figures;
    /// Whether all went as it has to.
    fn verdict(&self) -> Verdict;
    /// By what the median of several runs is taken.
    fn rank(&self) -> f64;
}

/// A load as it is if the command line says nothing.
fn defaults<L: Args>() -> L {
    let matches = L::augment_args(clap::Command::new("load")).get_matches_from(["load"]);
    L::from_arg_matches(&matches).expect("every setting of a load has a default")
}

/// How late the generator was.
fn lateness(lateness: &Latencies) -> Figures {
    vec![("sent_over_1_ms_late", json!(lateness.longer_than(LATE))), ("sent_latest_ms", json!(lateness.at(1.0)))]
}

/// Microseconds of `time` for each of `count`.
fn micros_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Lets `crowd` read until told to `stop`.
fn listen(crowd: &mut Crowd, stop: &AtomicBool, mut hear: impl FnMut(usize, News<'_>, Instant)) -> Result<(), Error> {
    while !stop.load(Relaxed) {
        crowd.turn(LOOK_UP, &mut hear)?;
    }
    Ok(())
}

/// Channel names.
fn names(count: u32) -> Vec<String> {
    (0..count).map(|channel| format!("loadtest-{channel}")).collect()
}
