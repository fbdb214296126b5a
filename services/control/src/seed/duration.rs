//! Durations as people write them in seed files and on command lines.

use std::time::Duration;

/// Milliseconds in each unit.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A text that is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Where long times are meant.
    #[error("must be whole numbers with units of s, m, h or d, such as \"24h\" or \"1d12h\"")]
    WholeSeconds,
    /// Where times may be short.
    #[error("must be whole numbers with units of ms, s, m, h or d, such as \"50ms\" or \"1m30s\"")]
    Milliseconds,
}

/// Reads `90s`, `24h`, `1d12h`: whole numbers with units, added up, without milliseconds.
pub fn duration(text: &str) -> Result<Duration, InvalidDuration> {
    read(text, &UNITS[1..]).ok_or(InvalidDuration::WholeSeconds)
}

/// The same with milliseconds: `50ms`, `1s500ms`.
pub fn short_duration(text: &str) -> Result<Duration, InvalidDuration> {
    read(text, &UNITS).ok_or(InvalidDuration::Milliseconds)
}

fn read(text: &str, units: &[(&str, u64)]) -> Option<Duration> {
    let mut millis: u64 = 0;
    let mut rest = text;
    loop {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let number: u64 = digits.parse().ok()?;
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.checked_mul(*factor)?)?;
        rest = tail;
        if rest.is_empty() {
            return Some(Duration::from_millis(millis));
        }
    }
}
