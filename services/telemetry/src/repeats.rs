//! What a process says over and over: lines of the same place in the code beyond a rate are counted instead of written.
//!
//! A receiver that is down, or a backbone that is away, fails every request in the same words. The first of them tell an
//! operator all there is to know, and the rest would bury what else happens and cost what they are stored for. Only what
//! is logged at `info` and above is limited: who asks for `debug` wants everything.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::metrics::{LOG_EVENTS, LOG_LEFT_OUT};

/// Lines of one place that are written at once, and how long it is until one more may be.
const BURST: u32 = 20;
const EVERY: Duration = Duration::from_secs(1);

/// What logs one line for each thing that somebody did, so that none repeats another.
const ALL_DIFFERENT: &str = "control::audit";

/// Formats events as `inner` does, and leaves out repeated ones.
#[derive(Debug)]
pub(crate) struct Limited<F> {
    inner: F,
    /// Whether lines are JSON.
    json: bool,
    /// As many as there are places in the code.
    places: Mutex<HashMap<Identifier, Place>>,
}

/// A place in the code that logs.
#[derive(Debug)]
struct Place {
    /// Lines that it may still have written.
    room: u32,
    /// Until when that is reckoned.
    as_of: Instant,
    left_out: u64,
}

impl Place {
    fn new(now: Instant) -> Self {
        Self { room: BURST, as_of: now, left_out: 0 }
    }

    /// Whether one more line may be written: then, how many were left out since the last one.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let seconds = now.saturating_duration_since(self.as_of).as_secs() / EVERY.as_secs();
        if seconds > 0 {
            self.room = BURST.min(self.room.saturating_add(u32::try_from(seconds).unwrap_or(u32::MAX)));
            self.as_of += EVERY * u32::try_from(seconds).unwrap_or(u32::MAX);
        }
        if self.room == 0 {
            self.left_out += 1;
            return None;
        }
        self.room -= 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<F> Limited<F> {
    pub(crate) fn new(inner: F, json: bool) -> Self {
        Self { inner, json, places: Mutex::default() }
    }

    fn pass(&self, metadata: &Metadata<'_>) -> Option<u64> {
        let Some(level) = word(*metadata.level()) else { return Some(0) };
        // Not kept, since the first lines are older than the recorder.
        LOG_EVENTS.with([level]).increment(1);
        if metadata.target() == ALL_DIFFERENT {
            return Some(0);
        }
        let now = Instant::now();
        let passed = self.places.lock().entry(metadata.callsite()).or_insert_with(|| Place::new(now)).pass(now);
        if passed.is_none() {
            LOG_LEFT_OUT.with([level]).increment(1);
        }
        passed
    }

    /// A line on what was left out.
    fn note(&self, writer: &mut Writer<'_>, metadata: &Metadata<'_>, left_out: u64) -> fmt::Result {
        let (level, target, line) = (metadata.level(), metadata.target(), metadata.line().unwrap_or_default());
        if !self.json {
            return writeln!(writer, "  ({left_out} more like the one above were left out before it)");
        }
        write!(writer, "{{\"timestamp\":\"")?;
        SystemTime.format_time(writer)?;
        write!(writer, "\",\"level\":\"{level}\",\"message\":\"lines like the one before were left out\",")?;
        writeln!(writer, "\"left_out\":{left_out},\"line\":{line},\"target\":\"{target}\"}}")
    }
}

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(left_out) = self.pass(event.metadata()) else { return Ok(()) };
        self.inner.format_event(ctx, writer.by_ref(), event)?;
        if left_out > 0 {
            self.note(&mut writer, event.metadata(), left_out)?;
        }
        Ok(())
    }
}

/// What a limited level is called.
fn word(level: Level) -> Option<&'static str> {
    match level {
        Level::ERROR => Some("error"),
        Level::WARN => Some("warn"),
        Level::INFO => Some("info"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_written_and_then_one_a_second() {
        let begin = Instant::now();
        let mut place = Place::new(begin);
        assert!((0..BURST).all(|_| place.pass(begin) == Some(0)));
        assert_eq!([place.pass(begin), place.pass(begin)], [None, None]);
        let later = begin + EVERY;
        assert_eq!([place.pass(later), place.pass(later)], [Some(2), None]);
        let much_later = begin + EVERY * 1000;
        assert_eq!(place.pass(much_later), Some(1));
        assert_eq!((1..BURST).filter_map(|_| place.pass(much_later)).count(), BURST as usize - 1);
        assert_eq!(place.pass(much_later), None);
    }
}
