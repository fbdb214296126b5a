//! What is said to whom a quota stops.

use std::fmt;
use std::time::Duration;

use channels::QuotaKind;

/// A quota that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quota {} exceeded, retry in {} s", .quota.name(), Seconds(*.retry_after))]
pub struct Refused {
    /// Which.
    pub quota: QuotaKind,
    /// When the same may succeed. Exact for a rate whose share does not change meanwhile, a good guess else.
    pub retry_after: Duration,
    /// Whether the app as a whole is at its limit, as far as is known here; else another node may still have some, and
    /// this one soon will.
    pub shared: bool,
}

/// Seconds, rounded up, with one decimal where they are below 10.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_millis().div_ceil(100).max(1);
        if tenths < 100 { write!(f, "{}.{}", tenths / 10, tenths % 10) } else { write!(f, "{}", tenths.div_ceil(10)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (ms, text) in
            [(0, "0.1"), (40, "0.1"), (400, "0.4"), (1_001, "1.1"), (9_900, "9.9"), (9_901, "10"), (10_100, "11")]
        {
            let refused =
                Refused { quota: QuotaKind::MessagesIn, retry_after: Duration::from_millis(ms), shared: true };
            assert_eq!(refused.to_string(), format!("quota messages_in exceeded, retry in {text} s"));
        }
    }
}
