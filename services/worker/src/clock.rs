//! The wall clock, as milliseconds since the Unix epoch.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now. A clock before 1970 is as wrong as any other.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
