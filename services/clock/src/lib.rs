//! Time as every process of Fanfare goes by it: the wall clock, waiting for a time that may never come, and pauses between
//! attempts.
//!
//! Knows nothing of what is waited for. Crates that hold rules alone are told what time it is and do not use this one.

mod backoff;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

pub use crate::backoff::Backoff;

/// Since the Unix epoch. A clock before 1970 is as wrong as any other; nothing depends on it being right.
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    millis(since_epoch())
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Seconds from `earlier_ms` until now; 0 if another node's clock is ahead of ours.
pub fn seconds_since(earlier_ms: u64) -> f64 {
    Duration::from_millis(unix_ms().saturating_sub(earlier_ms)).as_secs_f64()
}

/// Whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sleeps until `at`, or for ever.
pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
