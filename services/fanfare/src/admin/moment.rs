//! Points in time: how they are given and shown.

use clock::{millis, unix_ms};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Month, OffsetDateTime, UtcDateTime};

/// Milliseconds since the Unix epoch of a moment that somebody gave: `2026-11-22T14:05:00Z`, `2026-11-22`, `2026-11`, all
/// in UTC, or how long ago, as in `24h`.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    if let Ok(ago) = crate::config::duration(text) {
        return Ok(unix_ms().saturating_sub(millis(ago)));
    }
    let day = format_description!("[year]-[month]-[day]");
    let moment = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| Date::parse(text, &day).map(|date| date.midnight().assume_utc()))
        .ok()
        .or_else(|| Some(first_of_month(text)?.midnight().assume_utc()));
    let wrong = || {
        format!("{text:?} is no moment: write 2026-11-22T14:05:00Z, 2026-11-22, 2026-11, or how long ago, as in 24h")
    };
    u64::try_from(moment.ok_or_else(wrong)?.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong())
}

fn first_of_month(text: &str) -> Option<Date> {
    let (year, month) = text.split_once('-')?;
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, 1).ok()
}

/// A moment as people read it; `-` for none.
pub(crate) fn show(moment_ms: u64) -> String {
    if moment_ms == 0 {
        return "-".to_owned();
    }
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    let seconds = i64::try_from(moment_ms / 1_000).unwrap_or(i64::MAX);
    let moment = UtcDateTime::from_unix_timestamp(seconds).ok();
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| moment_ms.to_string())
}

/// The time of day with milliseconds, for lines that come one after the other.
pub(super) fn show_clock(moment_ms: u64) -> String {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    let moment = UtcDateTime::from_unix_timestamp_nanos(i128::from(moment_ms) * 1_000_000).ok();
    moment.and_then(|moment| moment.format(format).ok()).unwrap_or_else(|| moment_ms.to_string())
}

/// How long ago something was, in its two largest units.
pub(super) fn show_age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_shown_in_utc() {
        for (text, ms) in [
            ("2026-11-22T14:05:07.5Z", 1_795_356_307_500),
            ("2026-11-22T15:05:07.5+01:00", 1_795_356_307_500),
            ("2026-11-22", 1_795_305_600_000),
            ("2026-11", 1_793_491_200_000),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        let (before, moment, after) = (unix_ms(), parse("24h").unwrap(), unix_ms());
        assert!((before..=after).contains(&(moment + 86_400_000)), "{before} {moment} {after}");
        for text in ["", "now", "2026", "2026-13", "2026-02-30", "1969-12-31"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(show(1_795_356_307_500), "2026-11-22 14:05:07Z");
        assert_eq!(show_clock(1_795_356_307_005), "14:05:07.005");
        assert_eq!(show(0), "-");
    }

    #[test]
    fn ages_are_short() {
        for (ms, shown) in [(900, "0s"), (61_000, "1m1s"), (7_260_000, "2h1m"), (180_000_000, "2d2h")] {
            assert_eq!(show_age(ms), shown);
        }
    }
}
