//! `fanfare admin audit`

use clap::Args;
use proto::control as wire;
use proto::control::audit_service_client::AuditServiceClient;

use super::client::Way;
use super::table::{list as table, or_dash};
use super::{Answer, Failure, moment, pages};

/// Which entries to show.
#[derive(Args, Debug)]
pub(super) struct Audit {
    /// Only what concerns this app
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    app: String,
    /// Only what this actor did, as shown in an entry
    #[arg(long, value_name = "ACTOR", default_value = "", hide_default_value = true)]
    actor: String,
    /// From when on, as in 2026-11-22T14:00:00Z, 2026-11-22, 2026-11, or 24h for a day ago [default: the oldest that is
    /// kept]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    start: Option<u64>,
    /// Until when [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    end: Option<u64>,
    /// Show no more than this
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    most: u32,
}

impl Audit {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let mut client = AuditServiceClient::new(way.open().await?);
        let page = async |page_size, page_token| {
            let request = wire::ListAuditRequest {
                app_id: self.app.clone(),
                actor: self.actor.clone(),
                start_ms: self.start.unwrap_or_default(),
                end_ms: self.end.unwrap_or_default(),
                page_size,
                page_token,
            };
            let page = client.list_audit(request).await?.into_inner();
            Ok((page.entries, page.next_page_token))
        };
        let (entries, next_page_token) = pages::all(Some(self.most), page).await?;
        let text = list(&entries);
        Ok(Answer::new(&wire::ListAuditResponse { entries, next_page_token }, text))
    }
}

fn list(entries: &[wire::AuditEntry]) -> String {
    let rows = entries.iter().map(|entry| {
        let outcome = match entry.outcome() {
            wire::AuditOutcome::Done => "done".to_owned(),
            wire::AuditOutcome::Refused => format!("refused: {}", entry.code),
            wire::AuditOutcome::Unknown | wire::AuditOutcome::Unspecified => "unknown".to_owned(),
        };
        [
            moment::show(entry.time_ms),
            entry.actor.clone(),
            entry.method.clone(),
            or_dash(&entry.app_id),
            or_dash(&entry.target),
            outcome,
            entry.changes.join("; "),
        ]
    });
    table(["TIME", "WHO", "CALL", "APP", "TARGET", "OUTCOME", "CHANGES"], rows)
}
