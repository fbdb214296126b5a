//! Logs: one event per line on standard error, with a filter that can be changed while the process runs.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt as lines, reload};

use crate::repeats::Limited;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people if standard error is a terminal, otherwise JSON.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// A filter that is not understood.
#[derive(Debug, thiserror::Error)]
#[error("not a log filter such as \"info\" or \"info,edge=debug\": {0}")]
pub struct InvalidFilter(#[from] tracing_subscriber::filter::ParseError);

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartLoggingError {
    /// The filter is not understood.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// There is a subscriber already.
    #[error("logging was already started in this process")]
    AlreadyStarted(#[from] tracing_subscriber::util::TryInitError),
}

/// The filter in use, to be read and changed. Cheap to clone.
#[derive(Clone)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogFilter({:?})", self.get())
    }
}

impl LogFilter {
    /// Changes the filter: a level, or levels by target as in `info,edge=debug`.
    pub fn set(&self, filter: &str) -> Result<(), InvalidFilter> {
        let filter = parse(filter)?;
        if self.handle.reload(filter).is_err() {
            // The subscriber is gone, which happens only in tests that dropped it: nothing is left to filter.
            tracing::debug!("log filter was not changed");
        }
        Ok(())
    }

    /// The filter in use.
    pub fn get(&self) -> String {
        self.handle.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Checks a filter without using it.
    pub fn check(filter: &str) -> Result<(), InvalidFilter> {
        parse(filter).map(drop)
    }
}

fn parse(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    Ok(EnvFilter::builder().parse(filter)?)
}

/// Starts logging for the whole process.
pub fn start_logging(format: Format, filter: &str) -> Result<LogFilter, StartLoggingError> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let json = match format {
        Format::Auto => !std::io::stderr().is_terminal(),
        Format::Human => false,
        Format::Json => true,
    };
    let layer = lines::layer().with_writer(std::io::stderr);
    let layer = if json {
        let layer = layer.json().flatten_event(true).with_current_span(false);
        layer.map_event_format(|format| Limited::new(format, json)).boxed()
    } else {
        let layer = layer.with_ansi(std::io::stderr().is_terminal());
        layer.map_event_format(|format| Limited::new(format, json)).boxed()
    };
    tracing_subscriber::registry().with(filter).with(layer).try_init()?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogFilter { handle })
}

/// Logs a panic like everything else: several lines of plain text are what no reader of JSON lines takes.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
    let what = panic.payload_as_str().unwrap_or_default();
    tracing::error!(what, location, thread = thread.name(), backtrace, "a panic");
}

#[cfg(test)]
impl LogFilter {
    /// A filter that belongs to `layer` and to nothing else.
    pub(crate) fn detached(filter: &str) -> (Self, reload::Layer<EnvFilter, Registry>) {
        let (layer, handle) = reload::Layer::new(parse(filter).unwrap());
        (Self { handle }, layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_can_be_changed() {
        let (filter, _layer) = LogFilter::detached("info");
        filter.set("warn,edge=debug").unwrap();
        assert!(filter.get().contains("edge=debug"), "{}", filter.get());
    }

    #[test]
    fn a_bad_filter_changes_nothing() {
        let (filter, _layer) = LogFilter::detached("info");
        assert!(filter.set("edge=loud").is_err());
        assert_eq!(filter.get(), "info");
        assert!(LogFilter::check("a=b=c=d").is_err());
    }
}
