//! `AuditService`: who changed what.

use std::time::Duration;

use backbone::audit::{AuditEntry, AuditId, AuditLog, AuditQuery, Outcome};
use clock::unix_ms;
use proto::control as wire;
use tonic::{Request, Response, Status};

use crate::access::{Caller, Guarded};
use crate::apps::page_size;
use crate::mistakes::Mistakes;
use crate::status::{invalid, within};

/// Answers calls about the audit log.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub(crate) log: Guarded<AuditLog>,
    pub(crate) patience: Duration,
}

fn show(entry: AuditEntry) -> wire::AuditEntry {
    let (outcome, code) = match entry.outcome {
        Outcome::Pending | Outcome::Unknown => (wire::AuditOutcome::Unknown, String::new()),
        Outcome::Done => (wire::AuditOutcome::Done, String::new()),
        Outcome::Refused(code) => (wire::AuditOutcome::Refused, code),
    };
    wire::AuditEntry {
        time_ms: entry.id.time_ms(),
        id: entry.id.as_str().to_owned(),
        actor: entry.actor,
        method: entry.method,
        app_id: entry.app.map(|app| app.to_string()).unwrap_or_default(),
        target: entry.target,
        changes: entry.changes,
        outcome: outcome.into(),
        code,
        peer: entry.peer,
        revision: entry.revision,
    }
}

#[tonic::async_trait]
impl wire::audit_service_server::AuditService for Audit {
    async fn list_audit(
        &self,
        request: Request<wire::ListAuditRequest>,
    ) -> Result<Response<wire::ListAuditResponse>, Status> {
        let caller = Caller::of(&request)?;
        let sight = caller.sight()?;
        let wire::ListAuditRequest { app_id, actor, start_ms, end_ms, page_size: size, page_token } =
            request.into_inner();
        let app = match app_id.as_str() {
            "" => sight.only().cloned(),
            id => Some(caller.app("app_id", id)?.id()),
        };
        let mut mistakes = Mistakes::default();
        let most = page_size(size, &mut mistakes);
        let before = match page_token.as_str() {
            "" => None,
            token => mistakes.keep("page_token", AuditId::new(token).map_err(|_| "is not from an earlier answer")),
        };
        let query = AuditQuery {
            app,
            actor: (!actor.is_empty()).then_some(actor),
            from_ms: (start_ms > 0).then_some(start_ms),
            until_ms: (end_ms > 0).then(|| end_ms.saturating_add(1)),
            before,
            most,
        };
        let query = mistakes.unless_any(Some(query)).map_err(invalid)?;
        let page = within(self.patience, self.log.open(&sight).list(&query, unix_ms())).await?;
        let next_page_token = page.next.map(|id| id.as_str().to_owned()).unwrap_or_default();
        let entries = page.entries.into_iter().map(show).collect();
        Ok(Response::new(wire::ListAuditResponse { entries, next_page_token }))
    }
}
