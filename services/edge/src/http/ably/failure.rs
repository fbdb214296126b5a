//! Why a request is not done.

use std::time::Duration;

use ably::{Code, ErrorInfo};
use backbone::{HistoryError, KvError, PublishError};
use metering::Refused;

/// When to come back while the backbone is away: about as long as a leader election takes.
const ELECTION: Duration = Duration::from_secs(5);

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The error.
    pub(crate) error: ErrorInfo,
    /// When the same request may succeed.
    pub(crate) retry_after: Option<Duration>,
}

impl From<ErrorInfo> for Failure {
    fn from(error: ErrorInfo) -> Self {
        let retry_after = (error.status == 503).then_some(ELECTION);
        Self { error, retry_after }
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        code.info().into()
    }
}

/// A quota in the way.
impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self { error: Code::Rate.says(refused.to_string()), retry_after: Some(refused.retry_after) }
    }
}

/// What the backbone says of a publish.
pub(super) fn unpublished(error: &PublishError) -> ErrorInfo {
    match error {
        PublishError::TooLarge => Code::TooLarge.info(),
        PublishError::Unavailable => Code::Unavailable.info(),
        PublishError::UnknownOutcome => Code::Timeout.info(),
    }
}

/// What the backbone says of shared facts that were to be read.
pub(super) fn unread(error: &KvError) -> ErrorInfo {
    tracing::warn!(error = error as &dyn std::error::Error, "shared facts cannot be read");
    Code::Unavailable.info()
}

/// What the backbone says of history; `from_serial` says whether the position was one that a channel gave, rather than
/// one of a link.
pub(super) fn no_history(error: &HistoryError, from_serial: bool) -> ErrorInfo {
    match error {
        HistoryError::Unavailable | HistoryError::NotStored => Code::Unavailable.info(),
        HistoryError::OtherEpoch { .. } if from_serial => Code::ForeignSerial.info(),
        HistoryError::OtherEpoch { .. } => Code::PageGone.info(),
    }
}
