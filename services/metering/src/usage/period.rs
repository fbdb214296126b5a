//! Minutes, hours, days and months in UTC.

use std::fmt;
use std::str::FromStr;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The last year that an id can say, with its four digits.
const LAST_YEAR: u64 = 9_999;

/// How long a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interval {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A month of the calendar.
    Month,
}

impl Interval {
    /// Every interval, shortest first.
    pub const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// What it is a part of; nothing for a month.
    pub fn outer(self) -> Option<Self> {
        match self {
            Self::Minute => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => Some(Self::Month),
            Self::Month => None,
        }
    }
}

/// One minute, hour, day or month, in UTC. Its text is the id that the Ably stats API gives it: `2026-11-22:14:05`,
/// `2026-11-22:14`, `2026-11-22`, `2026-11`. Periods of one interval are ordered by time, as their texts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    interval: Interval,
    /// Milliseconds since the Unix epoch.
    start_ms: u64,
}

/// A text that is no [`Period`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a period is a time in UTC from 1970 on like 2026-11-22:14:05, 2026-11-22:14, 2026-11-22 or 2026-11")]
pub struct InvalidPeriod;

impl Period {
    /// The period of length `interval` that `unix_ms` is in.
    pub fn of(interval: Interval, unix_ms: u64) -> Self {
        let start_ms = match interval {
            Interval::Minute => unix_ms - unix_ms % MINUTE_MS,
            Interval::Hour => unix_ms - unix_ms % HOUR_MS,
            Interval::Day => unix_ms - unix_ms % DAY_MS,
            Interval::Month => {
                let (year, month, _) = date(unix_ms / DAY_MS);
                days(year, month, 1) * DAY_MS
            }
        };
        Self { interval, start_ms }
    }

    /// The minute that is `minute` minutes after the Unix epoch.
    pub fn minute(minute: u64) -> Self {
        Self { interval: Interval::Minute, start_ms: minute * MINUTE_MS }
    }

    /// How long it is.
    pub fn interval(self) -> Interval {
        self.interval
    }

    /// When it begins, in milliseconds since the Unix epoch.
    pub fn start_ms(self) -> u64 {
        self.start_ms
    }

    /// When the next one begins.
    pub fn end_ms(self) -> u64 {
        let length = match self.interval {
            Interval::Minute => MINUTE_MS,
            Interval::Hour => HOUR_MS,
            Interval::Day => DAY_MS,
            // The first of a month and 31 days is in the next month, at most on its fourth.
            Interval::Month => return Self::of(Interval::Month, self.start_ms + 31 * DAY_MS).start_ms,
        };
        self.start_ms + length
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self { start_ms: self.end_ms(), ..self }
    }

    /// The hour of a minute, the day of an hour, the month of a day; nothing for a month.
    pub fn outer(self) -> Option<Self> {
        self.interval.outer().map(|outer| Self::of(outer, self.start_ms))
    }

    /// Which part of [`Self::outer`] it is: minute 0 to 59, hour 0 to 23, day 1 to 31; for a month, 1 to 12.
    pub fn slot(self) -> u8 {
        let (_, month, day) = date(self.start_ms / DAY_MS);
        let slot = match self.interval {
            Interval::Minute => self.start_ms / MINUTE_MS % 60,
            Interval::Hour => self.start_ms / HOUR_MS % 24,
            Interval::Day => day,
            Interval::Month => month,
        };
        u8::try_from(slot).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.start_ms / DAY_MS);
        let (hour, minute) = (self.start_ms / HOUR_MS % 24, self.start_ms / MINUTE_MS % 60);
        match self.interval {
            Interval::Minute => write!(f, "{year:04}-{month:02}-{day:02}:{hour:02}:{minute:02}"),
            Interval::Hour => write!(f, "{year:04}-{month:02}-{day:02}:{hour:02}"),
            Interval::Day => write!(f, "{year:04}-{month:02}-{day:02}"),
            Interval::Month => write!(f, "{year:04}-{month:02}"),
        }
    }
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let interval = match text.len() {
            16 => Interval::Minute,
            13 => Interval::Hour,
            10 => Interval::Day,
            7 => Interval::Month,
            _ => return Err(InvalidPeriod),
        };
        let number = |from: usize, to: usize, otherwise: u64| match text.get(from..to) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| InvalidPeriod),
            Some(_) => Err(InvalidPeriod),
            None => Ok(otherwise),
        };
        let (year, month, day) = (number(0, 4, 0)?, number(5, 7, 1)?, number(8, 10, 1)?);
        let (hour, minute) = (number(11, 13, 0)?, number(14, 16, 0)?);
        if !(1970..=LAST_YEAR).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(InvalidPeriod);
        }
        let start_ms = days(year, month, day) * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS;
        let period = Self { interval, start_ms };
        // Separators, days that the month does not have, hours beyond the day: none of them comes back as it was said.
        if period.to_string() == text { Ok(period) } else { Err(InvalidPeriod) }
    }
}

/// Year, month and day of the month, `days` days after the Unix epoch.
///
/// Years are counted from March, so that the day that not each year has is its last; 400 years repeat.
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.)
fn date(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The reverse of [`date`], `days_from_civil` in the same article.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-22 14:05:09.123 UTC.
    const NOW: u64 = 1_795_356_309_123;

    #[test]
    fn ids() {
        for (interval, id, slot) in [
            (Interval::Minute, "2026-11-22:14:05", 5),
            (Interval::Hour, "2026-11-22:14", 14),
            (Interval::Day, "2026-11-22", 22),
            (Interval::Month, "2026-11", 11),
        ] {
            let period = Period::of(interval, NOW);
            assert_eq!((period.to_string().as_str(), period.slot()), (id, slot));
            assert_eq!(id.parse(), Ok(period));
            assert!(period.start_ms() <= NOW && NOW < period.end_ms());
        }
        assert_eq!(Period::minute(NOW / 60_000), Period::of(Interval::Minute, NOW));
    }

    #[test]
    fn texts_that_are_no_period() {
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2026-11-31",
            "2026-02-29",
            "2026-11-00",
            "2026-11-22:24",
            "2026-11-22:14:60",
            "2026-11-22 14:05",
            "2026-11-22T14",
            "1969-12-31",
            "2026-1a",
            "2026-+1",
            "äää-11x",
        ] {
            assert_eq!(text.parse::<Period>(), Err(InvalidPeriod), "{text}");
        }
    }

    #[test]
    fn months_end_where_the_calendar_says() {
        for (month, next) in
            [("2024-02", "2024-03"), ("2026-02", "2026-03"), ("2026-12", "2027-01"), ("2100-02", "2100-03")]
        {
            assert_eq!(month.parse::<Period>().unwrap().next().to_string(), next);
        }
        let days = |month: &str| {
            let month: Period = month.parse().unwrap();
            (month.end_ms() - month.start_ms()) / DAY_MS
        };
        assert_eq!([days("2024-02"), days("2026-02"), days("2100-02"), days("2026-12")], [29, 28, 28, 31]);
        assert_eq!("2024-02-29".parse::<Period>().unwrap().next().to_string(), "2024-03-01");
    }

    #[test]
    fn the_calendar_has_no_gap() {
        let mut day = Period::of(Interval::Day, 0);
        assert_eq!(day.to_string(), "1970-01-01");
        while day.start_ms() < days(2401, 1, 1) * DAY_MS {
            let (year, month, of_month) = date(day.start_ms() / DAY_MS);
            assert_eq!(days(year, month, of_month) * DAY_MS, day.start_ms());
            let next = day.next();
            let (next_year, next_month, next_day) = date(next.start_ms() / DAY_MS);
            let follows = (next_year, next_month, next_day) == (year, month, of_month + 1)
                || next_day == 1
                    && ((next_year, next_month) == (year, month + 1)
                        || (next_year, next_month, month) == (year + 1, 1, 12));
            assert!(follows, "{day} then {next}");
            day = next;
        }
    }

    proptest! {
        #[test]
        fn every_time_is_in_its_periods(unix_ms in 0u64..253_402_300_800_000) {
            for interval in Interval::ALL {
                let period = Period::of(interval, unix_ms);
                prop_assert!(period.start_ms() <= unix_ms && unix_ms < period.end_ms());
                prop_assert_eq!(period.to_string().parse(), Ok(period));
                if let Some(outer) = period.outer() {
                    prop_assert!(outer.start_ms() <= period.start_ms() && period.end_ms() <= outer.end_ms());
                }
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            prop_assert!(text.parse::<Period>().map_or(true, |period| period.to_string() == text));
        }
    }
}
