//! Readiness: whether this process wants new clients, and if not, which part says no and why.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::Gauge;
use crate::metrics::DRAINING;

/// Collects the checks of all parts. Cheap to clone; all clones are the same one.
///
/// Nothing polls: each part holds a [`Check`] and turns it when its state changes.
#[derive(Clone, Debug)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    draining: AtomicBool,
    /// The same, in metrics.
    shown: Gauge,
    /// In the order in which the parts asked for them.
    checks: Mutex<Vec<CheckReport>>,
}

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The part can serve.
    Ready,
    /// It cannot, for this reason.
    NotReady(Cow<'static, str>),
}

/// A part's name and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The part.
    pub name: &'static str,
    /// What it said last.
    pub state: State,
}

/// What `/readyz` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether the process is on its way out.
    pub draining: bool,
    /// Every check.
    pub checks: Vec<CheckReport>,
}

impl Report {
    /// Whether new clients are welcome: not draining, and every part is ready.
    pub fn is_ready(&self) -> bool {
        !self.draining && self.checks.iter().all(|check| check.state == State::Ready)
    }
}

impl fmt::Display for Report {
    /// A verdict, then a line for each check.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.draining, self.is_ready()) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "not ready",
        };
        writeln!(f, "{verdict}")?;
        for CheckReport { name, state } in &self.checks {
            match state {
                State::Ready => writeln!(f, "{name}: ready")?,
                State::NotReady(reason) => writeln!(f, "{name}: not ready: {reason}")?,
            }
        }
        Ok(())
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Without any check: ready. To be made after the metrics recorder is installed.
    pub fn new() -> Self {
        let shown = DRAINING.handle();
        shown.set(0.0);
        Self { shared: Arc::new(Shared { draining: AtomicBool::new(false), shown, checks: Mutex::default() }) }
    }

    /// Adds a check for the part `name`, not ready yet.
    pub fn check(&self, name: &'static str) -> Check {
        let mut checks = self.shared.checks.lock();
        checks.push(CheckReport { name, state: State::NotReady("starting".into()) });
        Check { shared: Arc::clone(&self.shared), index: checks.len() - 1 }
    }

    /// From now on the process is on its way out. There is no way back.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.shown.set(1.0);
    }

    /// The state of everything.
    pub fn report(&self) -> Report {
        let checks = self.shared.checks.lock().clone();
        Report { draining: self.shared.draining.load(Ordering::Relaxed), checks }
    }

    /// Whether new clients are welcome.
    pub fn is_ready(&self) -> bool {
        self.report().is_ready()
    }
}

/// A part's say in readiness. A part that ends without a word, a panic included, takes readiness with it: dropping a
/// check leaves it not ready.
#[derive(Debug)]
pub struct Check {
    shared: Arc<Shared>,
    index: usize,
}

impl Check {
    /// The part can serve.
    pub fn set_ready(&self) {
        self.set(State::Ready);
    }

    /// The part cannot serve; `reason` is for an operator to read.
    pub fn set_not_ready(&self, reason: impl Into<Cow<'static, str>>) {
        self.set(State::NotReady(reason.into()));
    }

    fn set(&self, state: State) {
        let mut checks = self.shared.checks.lock();
        let check = &mut checks[self.index];
        if check.state != state {
            match &state {
                State::Ready => tracing::info!(check = check.name, "ready"),
                State::NotReady(reason) => tracing::info!(check = check.name, %reason, "not ready"),
            }
            check.state = state;
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.set(State::NotReady("ended".into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_part_is() {
        let readiness = Readiness::new();
        let (backbone, edge) = (readiness.check("backbone"), readiness.check("edge"));
        edge.set_ready();
        backbone.set_not_ready("connecting to NATS");
        assert_eq!(readiness.report().to_string(), "not ready\nbackbone: not ready: connecting to NATS\nedge: ready\n");
        backbone.set_ready();
        assert!(readiness.is_ready());
        assert_eq!(readiness.report().to_string(), "ready\nbackbone: ready\nedge: ready\n");
    }

    #[test]
    fn draining_wins() {
        let (recorder, exporter) = crate::Exporter::build().unwrap();
        let readiness = metrics::with_local_recorder(&recorder, Readiness::new);
        assert!(readiness.is_ready());
        assert!(exporter.render().contains("fanfare_draining 0\n"));
        readiness.drain();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.report().to_string(), "draining\n");
        assert!(exporter.render().contains("fanfare_draining 1\n"));
    }

    #[test]
    fn a_part_that_vanished_is_not_ready() {
        let readiness = Readiness::new();
        let check = readiness.check("edge");
        check.set_ready();
        drop(check);
        assert_eq!(readiness.report().to_string(), "not ready\nedge: not ready: ended\n");
    }
}
