//! The wall clock, as milliseconds and seconds since the Unix epoch, and waiting for a time that may never come.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn now() -> Duration {
    // A clock before 1970 is as wrong as any other; nothing here depends on it being right.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    millis(now())
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> u64 {
    now().as_secs()
}

/// Seconds from `earlier_ms` until now; 0 if another node's clock is ahead of ours.
pub(crate) fn seconds_since(earlier_ms: u64) -> f64 {
    Duration::from_millis(unix_ms().saturating_sub(earlier_ms)).as_secs_f64()
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until `at`, or for ever.
pub(crate) async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
