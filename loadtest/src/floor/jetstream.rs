//! The floor of an acknowledged publish: the same bytes, at the same moments, straight into the same streams.
//!
//! It publishes beside Fanfare's channels into the streams that Fanfare has made, so that replicas, storage, leaders and
//! republishing are what they are for Fanfare. What Fanfare takes beyond it is HTTP, the check of a signature, and its
//! own work.

use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context};

use crate::error::Error;
use crate::measure::latency::Latencies;
use crate::measure::schedule::Schedule;
use crate::measure::verdict::Verdict;
use crate::profiles::Outcome;
use crate::report::Figures;

/// What the streams of channels are called, without the number of the shard.
const STREAMS: &str = "fanfare-recoverable-";
/// Until the first message is due.
const PREPARATION: Duration = Duration::from_millis(300);

/// What to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BareLoad {
    /// Publishes per second.
    pub(crate) rate: NonZeroU32,
    /// For how many seconds.
    pub(crate) seconds: NonZeroU32,
    /// Bytes of each.
    pub(crate) payload: usize,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Bare {
    /// From due to acknowledged.
    pub(crate) acknowledged: Latencies,
    /// How many were not acknowledged.
    pub(crate) refused: u64,
}

impl Outcome for Bare {
    fn figures(&self) -> Figures {
        let mut figures = vec![("publish_acknowledged_ms", self.acknowledged.percentiles())];
        figures.extend(self.verdict().figures());
        figures
    }

    fn verdict(&self) -> Verdict {
        Verdict { refused: self.refused, ..Verdict::default() }
    }

    fn rank(&self) -> f64 {
        self.acknowledged.at(0.5)
    }
}

/// Publishes to all streams in turn, through the server at `url`; returns when all is answered.
pub(crate) fn run(url: &str, load: BareLoad) -> Result<Bare, Error> {
    let system = || Error::system("starting a NATS client");
    // The client has a thread of its own, as this one sleeps until the next message is due.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(system())?;
    let (context, subjects) = runtime.block_on(connect(url))?;
    let schedule = Schedule::new(Instant::now() + PREPARATION, load.rate, load.seconds);
    let payload = vec![b'x'; load.payload];
    let (sender, answers) = mpsc::channel();
    let mut refused = 0;
    for (number, subject) in (0..schedule.total()).zip(subjects.iter().cycle()) {
        let due = schedule.due(number);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let Ok(answer) = runtime.block_on(context.publish(subject.clone(), payload.clone().into())) else {
            refused += 1;
            continue;
        };
        let sender = sender.clone();
        runtime.spawn(async move {
            let is_stored = answer.await.is_ok();
            // Fails only if nobody waits any more.
            sender.send((due.elapsed(), is_stored)).ok();
        });
    }
    drop(sender);
    let mut acknowledged = Latencies::new();
    for (latency, is_stored) in answers {
        if is_stored {
            acknowledged.record(latency);
        } else {
            refused += 1;
        }
    }
    Ok(Bare { acknowledged, refused })
}

/// A client, and a subject of each stream, which no channel has.
async fn connect(url: &str) -> Result<(Context, Vec<String>), Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Nats(error.to_string());
    let client = async_nats::connect(url).await.map_err(|error| failed(&error))?;
    let context = jetstream::new(client);
    let mut subjects = Vec::new();
    while let Ok(stream) = context.get_stream(format!("{STREAMS}{}", subjects.len())).await {
        let all = stream.cached_info().config.subjects.first().cloned().unwrap_or_default();
        subjects.push(all.replace('>', "floor.load"));
    }
    if subjects.is_empty() {
        return Err(Error::Nats(format!("there is no stream {STREAMS}0")));
    }
    Ok((context, subjects))
}
