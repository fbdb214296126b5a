//! The canary that goes on: attempts at an interval, over connections that it keeps, told as metrics.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clock::Backoff;
use telemetry::admin::{self, Admin};
use telemetry::metrics::{CANARY_ATTEMPTS, CANARY_DELIVERY_SECONDS, CANARY_LAST_SUCCESS};
use telemetry::{Counter, Exporter, Format, Gauge, Histogram, Readiness};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::attempt::{Attempt, Canary};
use super::report::word;
use super::subscriber::Protocol;
use super::trouble::{DELIVERED, RESULTS};
use crate::admin::Failure;
use crate::process::signals::Signals;

/// Before a lost connection is opened again. An attempt that is due does not wait for it.
const REOPEN: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// Goes on until it is told to stop. `listen` is where metrics are.
pub(super) async fn run(canaries: Vec<Canary>, every: Duration, listen: SocketAddr) -> Result<(), Failure> {
    let wrong = |what: &'static str| move |error: io::Error| Failure::Usage(format!("{what}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(wrong("cannot listen on --listen"))?;
    let address = listener.local_addr().map_err(wrong("cannot listen on --listen"))?;
    let mut signals = Signals::listen().map_err(wrong("cannot wait for signals"))?;
    let unusable = |error: &dyn std::error::Error| Failure::Usage(error.to_string());
    let log_filter = telemetry::start_logging(Format::Auto, "info").map_err(|error| unusable(&error))?;
    let version = crate::VERSION;
    let exporter = Exporter::install(version).map_err(|error| unusable(&error))?;
    tracing::info!(%address, version, "canary up");

    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let share = every / u32::try_from(canaries.len().max(1)).unwrap_or(1);
    for (place, canary) in (0..).zip(canaries) {
        // Not all at once: their traffic is spread over the interval.
        tasks.spawn(watch(canary, every, share * place, stop.clone()));
    }
    let (readiness, commit) = (Readiness::new(), crate::COMMIT);
    let admin = Admin { exporter, readiness, log_filter, apps: None, version, commit };
    admin::serve(listener, admin, signals.stop()).await;
    stop.cancel();
    tasks.join_all().await;
    Ok(())
}

async fn watch(mut canary: Canary, every: Duration, first: Duration, stop: CancellationToken) {
    let mut told = Told::new(canary.protocol);
    let mut ticks = interval_at(Instant::now() + first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut backoff = REOPEN;
    loop {
        let due = tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => true,
            () = serve(&mut canary, &mut backoff) => false,
        };
        if due {
            tokio::select! {
                () = stop.cancelled() => return,
                attempt = canary.attempt() => told.attempt(&attempt),
            }
        }
    }
}

/// Serves the connection until an attempt is due, and opens it again when it ends. Ends after each trial to open it.
async fn serve(canary: &mut Canary, backoff: &mut Backoff) {
    if let Some(trouble) = canary.idle().await {
        tracing::debug!(protocol = canary.protocol.name(), reason = %trouble, "connection lost");
    }
    sleep(backoff.pause()).await;
    if canary.connect().await.is_ok() {
        *backoff = REOPEN;
    }
}

/// What is told of one protocol.
struct Told {
    protocol: Protocol,
    attempts: [(&'static str, Counter); RESULTS.len()],
    delivery: Histogram,
    last_success: Gauge,
    last: &'static str,
}

impl Told {
    fn new(protocol: Protocol) -> Self {
        let name = protocol.name();
        // All of them exist from the start: a rate needs a zero to grow from.
        let attempts = RESULTS.map(|result| (result, CANARY_ATTEMPTS.with([name, result])));
        attempts.iter().for_each(|(_, counter)| counter.increment(0));
        let last_success = CANARY_LAST_SUCCESS.with([name]);
        last_success.set(0.0);
        Self { protocol, attempts, delivery: CANARY_DELIVERY_SECONDS.with([name]), last_success, last: DELIVERED }
    }

    fn attempt(&mut self, attempt: &Attempt) {
        let result = word(&attempt.result);
        self.attempts.iter().filter(|(word, _)| *word == result).for_each(|(_, counter)| counter.increment(1));
        attempt.stages.deliver.iter().for_each(|took| self.delivery.record(took.as_secs_f64()));
        let protocol = self.protocol.name();
        match &attempt.result {
            Ok(()) => {
                self.last_success.set(clock::since_epoch().as_secs_f64());
                if self.last != DELIVERED {
                    tracing::info!(protocol, "delivered again");
                }
            }
            // Once, not at every interval; the metrics count.
            Err(trouble) if self.last != result => tracing::warn!(protocol, result, reason = %trouble, "not delivered"),
            Err(trouble) => tracing::debug!(protocol, result, reason = %trouble, "not delivered"),
        }
        self.last = result;
    }
}
