//! Use of an app by time: counts, the rows a node writes of each minute, and how rows become hours, days and months.

mod counts;
mod minute;
mod period;
mod slots;

pub use counts::{Counts, Refusals};
pub use minute::{AppMinute, Minute, SAMPLE_SECONDS, SAMPLES, fold};
pub use period::{Interval, InvalidPeriod, Period};
pub use slots::Slots;
