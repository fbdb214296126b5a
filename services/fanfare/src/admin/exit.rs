//! How a command ends: what went wrong, and the exit code that scripts see.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::with_causes;

/// Every exit code, for the help and the documentation.
pub(super) const EXIT_CODES: [(u8, &str); 6] = [
    (0, "done"),
    (1, "refused by the server, or a check of doctor, health or canary failed"),
    (2, "the command makes no sense, or a file that it names cannot be used"),
    (3, "the server, or what is behind it, could not be reached; a change may or may not have happened"),
    (4, "there is no such thing"),
    (5, "the token or certificate is not good, or not for this"),
];

/// What `--help` says of them.
pub(super) fn help() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code}  {meaning}\n"));
    format!(
        "The admin token is read from --token-file or the variable FANFARE_ADMIN_TOKEN; the command line is not a place \
         for secrets.\n\nExit codes:\n{}",
        lines.concat()
    )
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command makes no sense, or names a file that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The server said no.
    #[error("{}", .0.message())]
    Refused(Status),
    /// What the command is about does not exist.
    #[error("{}", .0.message())]
    Missing(Status),
    /// The caller is nobody that the server knows, or may not do this.
    #[error("{}", .0.message())]
    Denied(Status),
    /// There was no answer from the server, or it had none from what is behind it.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Missing(_) => 4,
            Self::Denied(_) => 5,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let cause = status.source().map(|cause| format!(": {}", with_causes(cause))).unwrap_or_default();
        match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {
                Self::Unreachable(format!("{}{cause}", status.message()))
            }
            // A connection that broke, or a server that speaks something else.
            Code::Unknown | Code::Internal => Self::Unreachable(format!("no answer: {}{cause}", status.message())),
            Code::NotFound => Self::Missing(status),
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied(status),
            _ => Self::Refused(status),
        }
    }
}
