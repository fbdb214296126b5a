//! The one way to change something: it is written down before it is done, and what came of it afterwards.

use std::pin::Pin;
use std::time::Duration;

use backbone::audit::{AuditLog, NewAudit, Outcome};
use channels::AppId;
use clock::unix_ms;
use tonic::{Code, Status};

use crate::access::Caller;
use crate::status::{name, unavailable, within};

mod list;

pub(crate) use list::Audit;

/// Longest text of one change, in bytes; what is longer is cut.
const MAX_CHANGE_BYTES: usize = 1_000;

/// What is about to be done. Never holds a secret.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intent {
    /// The app that it is about.
    pub(crate) app: Option<AppId>,
    /// What it is done to, as in `key 1001.abc`.
    pub(crate) target: String,
    /// What is changed, field by field.
    pub(crate) changes: Vec<String>,
}

impl Intent {
    /// To do something to `target` of `app`.
    pub(crate) fn of(app: &AppId, target: impl Into<String>) -> Self {
        Self { app: Some(app.clone()), target: target.into(), changes: Vec::new() }
    }

    /// To do something to `target`, which is of no app.
    pub(crate) fn to(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// With a change to one field.
    pub(crate) fn with(mut self, change: impl Into<String>) -> Self {
        let mut change = change.into();
        if change.len() > MAX_CHANGE_BYTES {
            change.truncate(change.floor_char_boundary(MAX_CHANGE_BYTES));
            change.push('…');
        }
        self.changes.push(change);
        self
    }

    /// With changes to several fields.
    pub(crate) fn with_all(self, changes: impl IntoIterator<Item = String>) -> Self {
        changes.into_iter().fold(self, Self::with)
    }
}

/// Keeps the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) log: AuditLog,
    /// How long the log may take.
    pub(crate) patience: Duration,
}

impl Recorder {
    /// Does `work`, which yields an answer and the revision of what was changed (0 for none), with an entry in the log. If
    /// there can be none, nothing is done. A caller who leaves before `work` is done leaves an entry without an outcome.
    pub(crate) fn record<'a, T: Send + 'a>(
        &'a self,
        caller: &'a Caller,
        intent: Intent,
        work: impl Future<Output = Result<(T, u64), Status>> + Send + 'a,
    ) -> Pin<Box<dyn Future<Output = Result<T, Status>> + Send + 'a>> {
        // Boxed: what a change is made of is large, and every service's future would be so.
        Box::pin(self.write_down(caller, intent, work))
    }

    async fn write_down<T: Send>(
        &self,
        caller: &Caller,
        intent: Intent,
        work: impl Future<Output = Result<(T, u64), Status>>,
    ) -> Result<T, Status> {
        let Intent { app, target, changes } = intent;
        let (actor, method) = (caller.actor().to_owned(), caller.method().to_owned());
        tracing::info!(actor, method, peer = caller.peer(), app = app.as_ref().map(AppId::as_str), target, "changing");
        let entry = NewAudit { actor, method, app, target, changes, peer: caller.peer().to_owned() };
        let begun = within(self.patience, self.log.begin(entry, unix_ms())).await;
        let begun =
            begun.map_err(|_| unavailable("the audit log cannot be written, and without it nothing is changed"))?;
        let result = work.await;
        let (outcome, revision) = match &result {
            Ok((_, revision)) => (Outcome::Done, *revision),
            Err(status) => (outcome(status.code()), 0),
        };
        let id = begun.id().clone();
        if within(self.patience, self.log.finish(begun, outcome, revision)).await.is_err() {
            tracing::warn!(entry = id.as_str(), "the audit log does not say what came of a change");
        }
        result.map(|(answer, _)| answer)
    }
}

/// What is known of a change that ended with `code`.
fn outcome(code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Done,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => {
            Outcome::Unknown
        }
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => Outcome::Refused(name(code).to_owned()),
    }
}
