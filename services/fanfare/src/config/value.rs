//! From a setting's text to its value. Every error says what would have been right.

use std::net::SocketAddr;
use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("KB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// `30s`, `24h`, `1m30s`: whole numbers with units, biggest first or not, added up.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a duration: write numbers with ms, s, m, h or d, as in \"30s\" or \"1m30s\"");
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (number, tail) = leading_number(rest).ok_or_else(wrong)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, millis) = DURATION_UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
        total = number.checked_mul(*millis).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = tail.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// `64KiB`, `10MB`: a whole number with a unit.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write a number with B, KiB, MiB or GiB, as in \"64KiB\"");
    let (number, unit) = leading_number(text.trim()).ok_or_else(wrong)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    number.checked_mul(*bytes).ok_or_else(wrong)
}

/// A whole number; `_` may group its digits.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let digits: String = text.trim().chars().filter(|c| *c != '_').collect();
    let number = if digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None };
    number.ok_or_else(|| format!("{text:?} is not a whole number"))
}

/// A share of one, as in `0.01`.
pub(crate) fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| format!("{text:?} is no number from 0 to 1, as in \"0.01\""))
}

/// `name=value` between commas. What is wrong is not shown: the values may be secret.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let pair = |item: &String| {
        let (name, value) = item.split_once('=').filter(|(name, _)| !name.trim().is_empty())?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    let pairs: Option<Vec<_>> = list(text).iter().map(pair).collect();
    pairs.ok_or_else(|| "is not a list of name=value with commas between".to_owned())
}

/// `true` or `false`.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// `127.0.0.1:6001`, `[::1]:6001`. Not a name: which of a name's addresses would be listened on?
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not an IP address with a port, as in \"127.0.0.1:6001\""))
}

/// Items between commas, without empty ones.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// The duration as it would be written: the largest unit that leaves no rest.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let unit = DURATION_UNITS.iter().rev().find(|(_, size)| millis.is_multiple_of(u128::from(*size)) && millis > 0);
    let (name, size) = unit.unwrap_or(&DURATION_UNITS[1]);
    format!("{}{name}", millis / u128::from(*size))
}

/// The size as it would be written, in the largest binary unit that leaves no rest.
pub(crate) fn show_size(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().rev().filter(|(name, _)| name.ends_with("iB") || *name == "B");
    let unit = binary.into_iter().find(|(_, size)| bytes.is_multiple_of(*size) && bytes > 0);
    let (name, size) = unit.unwrap_or(&SIZE_UNITS[0]);
    format!("{}{name}", bytes / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("30s", 30_000), ("24h", 86_400_000), ("1m30s", 90_000), ("250ms", 250), ("0s", 0), (" 2 d ", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "18446744073709551615d", "1s2"] {
            assert!(duration(text).unwrap_err().contains("as in \"30s\""), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("64KiB", 65_536), ("10 KB", 10_000), ("1GiB", 1 << 30), ("0B", 0)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "KiB", "1TiB", "-1B", "18446744073709551615GiB"] {
            assert!(size(text).unwrap_err().contains("as in \"64KiB\""), "{text}");
        }
    }

    #[test]
    fn the_rest() {
        assert_eq!(count("100_000"), Ok(100_000));
        for text in ["", "+1", "-1", "1.0", "many", "99999999999999999999"] {
            assert!(count(text).is_err(), "{text}");
        }
        assert_eq!((switch("true"), switch("yes").is_err()), (Ok(true), true));
        assert_eq!((ratio("0.25"), ratio("1")), (Ok(0.25), Ok(1.0)));
        for text in ["", "-0.1", "1.1", "NaN", "1%"] {
            assert!(ratio(text).is_err(), "{text}");
        }
        let authorization = ("authorization".to_owned(), "Basic dXNlcg==".to_owned());
        assert_eq!(
            pairs("authorization=Basic dXNlcg==, x=y"),
            Ok(vec![authorization, ("x".to_owned(), "y".to_owned())])
        );
        assert!(!pairs("s3cret").unwrap_err().contains("s3cret"));
        assert!(address("[::1]:0").is_ok() && address("localhost:80").is_err() && address("6001").is_err());
        assert_eq!(list(" a, ,b,"), ["a", "b"]);
    }

    #[test]
    fn shown_values_can_be_read_back() {
        for millis in [0, 1, 1_000, 1_500, 90_000, 86_400_000, 300_000] {
            let duration_given = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(duration_given)), Ok(duration_given));
        }
        for bytes in [0, 1, 1_000, 1_024, 65_536, 1 << 30] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!((show_duration(Duration::from_secs(90)), show_size(65_536)), ("90s".to_owned(), "64KiB".to_owned()));
    }
}
