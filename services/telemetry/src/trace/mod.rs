//! Traces: what becomes of one publish on every node that it concerns, told to an OpenTelemetry collector over OTLP.
//!
//! Owns which traces are begun, how a span says which trace it belongs to, and the way to the collector. Knows nothing of
//! what spans are about. Off until [`start`] is called: then everything here is one look at a static, and no spans.
//!
//! Nobody ever waits for the collector. Spans go through a queue that drops what finds no room, and counts it.

mod context;
mod otlp;
mod queue;
mod sampling;
mod span;

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use metrics::Counter;

use self::context::Context;
pub use self::otlp::{Exporter, StartError};
use self::queue::Queue;
use self::sampling::{Decision, Sampler};
pub use self::span::{Kind, Span, Value};

/// Where traces go, and which.
#[derive(Clone)]
pub struct Config {
    /// The collector's URL for OTLP over gRPC, with `http` or `https`.
    pub endpoint: String,
    /// PEM file with the authorities that may have signed its certificate; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Sent with each export. May be secret.
    pub headers: Vec<(String, String)>,
    /// Which share is traced of what nobody decides about who asks for it.
    pub sample_ratio: f64,
    /// Most traces that begin in a second because somebody asks for them, and most because of the ratio.
    pub max_per_second: u32,
    /// What is said of this process, by names of OpenTelemetry's conventions.
    pub resource: Vec<(&'static str, String)>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The process's own, as its logs and metrics are.
static TRACER: OnceLock<Tracer> = OnceLock::new();

struct Tracer {
    sampler: Sampler,
    queue: Queue,
    limited: Counter,
}

/// Turns tracing on for the whole process. The exporter that is returned must be run.
pub fn start(config: &Config) -> Result<Exporter, StartError> {
    let (queue, spans) = Queue::new();
    let exporter = Exporter::new(config, spans)?;
    let sampler = Sampler::new(config.sample_ratio, config.max_per_second);
    let limited = crate::metrics::TRACES_LIMITED.handle();
    let tracer = Tracer { sampler, queue, limited };
    TRACER.set(tracer).map_err(|_| StartError::AlreadyStarted)?;
    Ok(exporter)
}

/// Whether tracing is on.
#[inline]
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// Begins what somebody from outside asked for at `begun`, who may have said in `traceparent` which trace it is a part of
/// and whether that is recorded. `None` if it is not traced.
#[inline]
pub fn root(name: &'static str, kind: Kind, traceparent: Option<&str>, begun: Instant) -> Option<Span> {
    TRACER.get()?.root((name, kind), traceparent, begun)
}

/// Begins, at `begun`, a part of what this or another node traces under `traceparent`. `None` if it does not, or if
/// tracing is off here.
#[inline]
pub fn follow(name: &'static str, kind: Kind, traceparent: Option<&str>, begun: Instant) -> Option<Span> {
    let traceparent = traceparent?;
    TRACER.get()?.follow((name, kind), traceparent, begun)
}

impl Tracer {
    fn root(&self, what: (&'static str, Kind), traceparent: Option<&str>, begun: Instant) -> Option<Span> {
        let parent = traceparent.and_then(Context::parse);
        match self.sampler.decide(parent.as_ref(), rand::random(), begun) {
            Decision::Traced => {}
            Decision::Untraced => return None,
            Decision::Limited => {
                self.limited.increment(1);
                return None;
            }
        }
        let trace = parent.map_or_else(|| rand::random::<u128>().max(1), |parent| parent.trace);
        Some(Span::begin(self.queue.clone(), what, trace, parent.map(|parent| parent.span), begun))
    }

    fn follow(&self, what: (&'static str, Kind), traceparent: &str, begun: Instant) -> Option<Span> {
        let parent = Context::parse(traceparent).filter(|parent| parent.is_sampled)?;
        Some(Span::begin(self.queue.clone(), what, parent.trace, Some(parent.span), begun))
    }
}

#[cfg(test)]
mod tests {
    use super::span::Recorded;
    use super::*;

    const ASKED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(ratio: f64) -> (Tracer, tokio::sync::mpsc::Receiver<Box<Recorded>>) {
        let (queue, spans) = Queue::new();
        (Tracer { sampler: Sampler::new(ratio, 10), queue, limited: Counter::noop() }, spans)
    }

    #[test]
    fn spans_hang_on_each_other() {
        let (tracer, mut spans) = tracer(0.0);
        let mut root = tracer.root(("publish", Kind::Server), Some(ASKED), Instant::now()).unwrap();
        root.set("fanfare.app", "b");
        root.set("fanfare.app", "a");
        assert_eq!([root.add("fanfare.records", 1), root.add("fanfare.records", 2)], [1, 3]);
        root.unset("fanfare.records");
        let part = tracer.follow(("fan-out", Kind::Consumer), &root.traceparent(), Instant::now()).unwrap();
        drop(part);
        drop(root);
        let (part, root) = (spans.try_recv().unwrap(), spans.try_recv().unwrap());
        assert_eq!(
            (root.context.trace, root.parent),
            (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0x00f0_67aa_0ba9_02b7))
        );
        assert_eq!((part.context.trace, part.parent), (root.context.trace, Some(root.context.span)));
        assert_eq!(root.attributes, [("fanfare.app", Value::Text("a".to_owned()))]);
        assert!(root.ended >= root.begun && part.name == "fan-out");
    }

    #[test]
    fn what_nobody_wants_is_not_traced() {
        let (tracer, mut spans) = tracer(0.0);
        let unsampled = ASKED.replace("-01", "-00");
        let root = |traceparent| tracer.root(("publish", Kind::Server), traceparent, Instant::now());
        assert!(root(None).is_none() && root(Some(&unsampled)).is_none() && root(Some("x")).is_none());
        assert!(tracer.follow(("fan-out", Kind::Consumer), &unsampled, Instant::now()).is_none());
        assert!(spans.try_recv().is_err());
        assert!(!is_on() && super::root("publish", Kind::Server, Some(ASKED), Instant::now()).is_none());
    }

    #[test]
    fn a_trace_without_a_parent_is_a_new_one() {
        let (tracer, mut spans) = tracer(1.0);
        drop(tracer.root(("publish", Kind::Server), Some("nonsense"), Instant::now()));
        let root = spans.try_recv().unwrap();
        assert!(root.parent.is_none() && root.context.trace != 0 && root.context.span != 0);
    }
}
