//! Which gRPC status says what.

use std::time::Duration;

use backbone::dead_letters::DeadLetterError;
use backbone::registry::RegistryError;
use tonic::Status;

use crate::Mistake;

/// INVALID_ARGUMENT with every mistake, each with its field.
pub(crate) fn invalid(mistakes: Vec<Mistake>) -> Status {
    let mistakes: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    Status::invalid_argument(mistakes.join("; "))
}

/// Errors that callers are told of.
pub(crate) trait Refusal {
    /// What they are told.
    fn status(self) -> Status;
}

impl Refusal for RegistryError {
    fn status(self) -> Status {
        let message = self.to_string();
        match self {
            Self::AppExists(_) => Status::already_exists(message),
            Self::KeyTaken { owner, .. } => Status::already_exists(format!("{message} by app {owner}")),
            Self::NoSuchApp(_) | Self::NoSuchKey { .. } => Status::not_found(message),
            Self::Stale { .. } | Self::Contended(_) => Status::aborted(message),
            Self::TooLarge(_) => Status::resource_exhausted(message),
            Self::Unreadable { source, .. } => Status::failed_precondition(format!("{message}: {source}")),
            Self::Backbone(source) => {
                tracing::warn!(error = &source as &dyn std::error::Error, "the registry failed");
                unknown_outcome()
            }
        }
    }
}

impl Refusal for DeadLetterError {
    fn status(self) -> Status {
        let message = self.to_string();
        match self {
            Self::Missing => Status::not_found(message),
            Self::QueueFull => Status::resource_exhausted(message),
            Self::Unavailable => unknown_outcome(),
        }
    }
}

/// Waits for the backbone's answer, but not for ever.
pub(crate) async fn within<T, E: Refusal>(
    patience: Duration,
    call: impl Future<Output = Result<T, E>>,
) -> Result<T, Status> {
    match tokio::time::timeout(patience, call).await {
        Ok(result) => result.map_err(Refusal::status),
        Err(_) => {
            tracing::warn!(?patience, "the backbone did not answer in time");
            Err(unknown_outcome())
        }
    }
}

fn unknown_outcome() -> Status {
    Status::unavailable("the backbone did not answer; a change may or may not have happened")
}
