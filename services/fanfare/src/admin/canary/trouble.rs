//! How an attempt can fail.

use std::time::Duration;

/// Why an attempt did not deliver. The texts are for operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody answers, or not in time, or only to say that what is behind is away.
    #[error("{0}")]
    Unreachable(String),
    /// The key or its secret is not good, or not for this.
    #[error("{0}")]
    Denied(String),
    /// The server says no for another reason.
    #[error("{0}")]
    Refused(String),
    /// The connection ended while its message was on the way, as in a drain. A client recovers from that, which is not
    /// the canary's to check.
    #[error("{0}")]
    Disconnected(String),
    /// Messages did not come.
    #[error("{0}")]
    Lost(String),
    /// A message came again.
    #[error("{0}")]
    Repeated(String),
    /// Messages came in another order than they were published in.
    #[error("{0}")]
    Reordered(String),
    /// What came is not what was published.
    #[error("{0}")]
    Altered(String),
}

impl Trouble {
    /// The word in metrics and answers.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Denied(_) | Self::Refused(_) => "refused",
            Self::Disconnected(_) => "disconnected",
            Self::Lost(_) => "lost",
            Self::Repeated(_) => "repeated",
            Self::Reordered(_) => "reordered",
            Self::Altered(_) => "altered",
        }
    }

    /// What a status of HTTP says, in an answer that is not the one hoped for.
    pub(super) fn of_status(status: u16, text: String) -> Self {
        match status {
            401 | 403 => Self::Denied(text),
            500.. => Self::Unreachable(text),
            _ => Self::Refused(text),
        }
    }

    /// Nothing came within `timeout` while the canary was waiting for `what`.
    pub(super) fn no_answer(what: &str, timeout: Duration) -> Self {
        Self::Unreachable(format!("no {what} within {timeout:?}"))
    }
}

/// The word for an attempt that had no trouble.
pub(super) const DELIVERED: &str = "delivered";

/// Every word there is.
pub(super) const RESULTS: [&str; 8] =
    [DELIVERED, "lost", "repeated", "reordered", "altered", "disconnected", "refused", "unreachable"];
