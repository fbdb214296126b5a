//! Which gRPC status says what.
//!
//! Every refusal has a [`refusal`] behind it: a code, a reason for programs, and a message for people.

use std::collections::HashMap;
use std::time::Duration;

use backbone::KvError;
use backbone::access::AccessError;
use backbone::dead_letters::DeadLetterError;
use backbone::registry::RegistryError;
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::Mistake;
use crate::update::EditError;

/// Where the reasons are from.
const DOMAIN: &str = "fanfare";

/// Reasons that others look for.
pub(crate) const APP_EXISTS: &str = "APP_EXISTS";
pub(crate) const KEY_NAME_TAKEN: &str = "KEY_NAME_TAKEN";

/// When to ask a backbone again that did not answer: about how long it takes to elect a leader.
const AFTER_OUTAGE: Duration = Duration::from_secs(2);

/// When to try again what others were in the way of.
const AFTER_CONTENTION: Duration = Duration::from_millis(100);

/// A status with a reason for programs.
pub(crate) fn refusal(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, because(reason))
}

/// The same for what may be tried again after a while.
fn for_now(code: Code, reason: &str, message: impl Into<String>, retry_after: Duration) -> Status {
    let mut details = because(reason);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(code, message, details)
}

/// UNAVAILABLE where nothing has happened yet.
pub(crate) fn unavailable(message: &str) -> Status {
    for_now(Code::Unavailable, "NOT_READY", message, AFTER_OUTAGE)
}

/// INVALID_ARGUMENT with every mistake, each with its field.
pub(crate) fn invalid(mistakes: Vec<Mistake>) -> Status {
    let message: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    let mut details = because("INVALID_FIELD");
    let violation = |mistake: Mistake| FieldViolation::new(mistake.place, mistake.problem);
    details.set_bad_request(mistakes.into_iter().map(violation).collect::<Vec<_>>());
    Status::with_error_details(Code::InvalidArgument, message.join("; "), details)
}

fn because(reason: &str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new())
}

/// Whether a refusal has this reason.
pub(crate) fn is_because(status: &Status, reason: &str) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == reason)
}

/// The name of a code, as in `NOT_FOUND`.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// An answer whose refusal, if it is one that tonic made before a service was reached, has a reason, too: the name of
/// its code.
pub(crate) fn explained(mut answer: Response<Body>) -> Response<Body> {
    let status = Status::from_header_map(answer.headers()).filter(|status| status.code() != Code::Ok);
    if let Some(status) = status.filter(|status| status.details().is_empty()) {
        let explained = refusal(status.code(), name(status.code()), status.message());
        // Fails for messages that cannot be sent, and this one was.
        explained.add_header(answer.headers_mut()).ok();
    }
    answer
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
            Self::AppExists(_) => refusal(Code::AlreadyExists, APP_EXISTS, message),
            Self::KeyTaken { owner, .. } => {
                refusal(Code::AlreadyExists, KEY_NAME_TAKEN, format!("{message} by app {owner}"))
            }
            Self::NoSuchApp(_) => refusal(Code::NotFound, "NO_SUCH_APP", message),
            Self::NoSuchKey { .. } => refusal(Code::NotFound, "NO_SUCH_KEY", message),
            Self::IdempotencyReused => invalid(vec![("idempotency_key", message).into()]),
            Self::Stale { .. } => refusal(Code::Aborted, "STALE_REVISION", message),
            Self::Contended(_) => for_now(Code::Aborted, "CONTENDED", message, AFTER_CONTENTION),
            Self::TooLarge(_) => refusal(Code::ResourceExhausted, "APP_TOO_LARGE", message),
            Self::Unreadable { source, .. } => {
                refusal(Code::FailedPrecondition, "APP_UNREADABLE", format!("{message}: {source}"))
            }
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
            Self::Missing => refusal(Code::NotFound, "NO_SUCH_DEAD_LETTER", message),
            Self::QueueFull => for_now(Code::ResourceExhausted, "QUEUE_FULL", message, AFTER_OUTAGE),
            Self::Unavailable => unknown_outcome(),
        }
    }
}

impl Refusal for AccessError {
    fn status(self) -> Status {
        let message = self.to_string();
        match self {
            Self::NoSuchToken(_) => refusal(Code::NotFound, "NO_SUCH_TOKEN", message),
            Self::Contended(_) => for_now(Code::Aborted, "CONTENDED", message, AFTER_CONTENTION),
            Self::IdempotencyReused => invalid(vec![("idempotency_key", message).into()]),
            Self::Forgotten(_) => refusal(Code::FailedPrecondition, "UNREADABLE", message),
            Self::Unreadable(_) => refusal(Code::FailedPrecondition, "TOKEN_UNREADABLE", message),
            Self::Backbone(source) => source.status(),
        }
    }
}

impl Refusal for KvError {
    fn status(self) -> Status {
        tracing::warn!(error = &self as &dyn std::error::Error, "the backbone failed");
        unknown_outcome()
    }
}

impl Refusal for EditError {
    fn status(self) -> Status {
        match self {
            Self::Refused(status) => status,
            Self::Registry(error) => error.status(),
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

pub(crate) fn unknown_outcome() -> Status {
    let message = "the backbone did not answer; a change may or may not have happened";
    for_now(Code::Unavailable, "UNKNOWN_OUTCOME", message, AFTER_OUTAGE)
}
