//! Durations as people write them in seed files and on command lines.

use std::time::Duration;

/// Seconds in each unit.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];

/// A text that is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be whole numbers with units of s, m, h or d, such as \"24h\" or \"1d12h\"")]
pub struct InvalidDuration;

/// Reads `90s`, `24h`, `1d12h`: whole numbers with units, added up.
pub fn duration(text: &str) -> Result<Duration, InvalidDuration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidDuration)?;
        let (digits, tail) = rest.split_at(end);
        let number: u64 = digits.parse().map_err(|_| InvalidDuration)?;
        let (unit, factor) = UNITS.iter().find(|(unit, _)| tail.starts_with(*unit)).ok_or(InvalidDuration)?;
        let part = number.checked_mul(*factor).ok_or(InvalidDuration)?;
        seconds = seconds.checked_add(part).ok_or(InvalidDuration)?;
        rest = &tail[unit.len_utf8()..];
        if rest.is_empty() {
            return Ok(Duration::from_secs(seconds));
        }
    }
}
