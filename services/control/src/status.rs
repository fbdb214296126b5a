//! Which gRPC status says what.

use std::time::Duration;

use backbone::registry::RegistryError;
use tonic::Status;

use crate::Mistake;

/// INVALID_ARGUMENT with every mistake, each with its field.
pub(crate) fn invalid(mistakes: Vec<Mistake>) -> Status {
    let mistakes: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    Status::invalid_argument(mistakes.join("; "))
}

pub(crate) fn refused(error: RegistryError) -> Status {
    let message = error.to_string();
    match error {
        RegistryError::AppExists(_) => Status::already_exists(message),
        RegistryError::KeyTaken { owner, .. } => Status::already_exists(format!("{message} by app {owner}")),
        RegistryError::NoSuchApp(_) | RegistryError::NoSuchKey { .. } => Status::not_found(message),
        RegistryError::Stale { .. } | RegistryError::Contended(_) => Status::aborted(message),
        RegistryError::TooLarge(_) => Status::resource_exhausted(message),
        RegistryError::Unreadable { source, .. } => Status::failed_precondition(format!("{message}: {source}")),
        RegistryError::Backbone(source) => {
            tracing::warn!(error = &source as &dyn std::error::Error, "the registry failed");
            unknown_outcome()
        }
    }
}

/// Waits for the registry's answer, but not for ever.
pub(crate) async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, Status> {
    match tokio::time::timeout(patience, call).await {
        Ok(result) => result.map_err(refused),
        Err(_) => {
            tracing::warn!(?patience, "the registry did not answer in time");
            Err(unknown_outcome())
        }
    }
}

fn unknown_outcome() -> Status {
    Status::unavailable("the registry did not answer; a change may or may not have happened")
}
