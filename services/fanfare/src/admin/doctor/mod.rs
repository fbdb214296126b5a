//! `fanfare admin doctor`: looks at the cluster through one control replica, and explains what is wrong.

mod checks;
mod facts;

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use self::checks::{Finding, Level};
use super::client::Way;
use super::{Answer, Failure};

/// What to look at.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Most apps whose dead letters are counted
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    apps: u32,
}

impl Doctor {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let facts = facts::gather(way, self.apps).await?;
        let findings = checks::all(&facts);
        let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
        let warned = findings.iter().filter(|finding| finding.level == Level::Warn).count();
        let report: Vec<_> = findings
            .iter()
            .map(|Finding { check, level, what, to_do }| {
                json!({ "check": check, "level": level.word(), "what": what, "to_do": to_do })
            })
            .collect();
        let report = json!({ "failed": failed, "warned": warned, "checks": report });
        Ok(Answer::report(report, text(&findings, failed, warned), failed > 0))
    }
}

fn text(findings: &[Finding], failed: usize, warned: usize) -> String {
    let mut text = String::new();
    for Finding { check, level, what, to_do } in findings {
        writeln!(text, "{:<4}  {check}: {what}", level.word()).expect(TAKES_EVERYTHING);
        if !to_do.is_empty() {
            writeln!(text, "      → {to_do}").expect(TAKES_EVERYTHING);
        }
    }
    let verdict = match (failed, warned) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, warned) => format!("{warned} to look at"),
        (failed, warned) => format!("{failed} wrong, {warned} to look at"),
    };
    writeln!(text, "\n{verdict}").expect(TAKES_EVERYTHING);
    text
}

const TAKES_EVERYTHING: &str = "a string takes everything";
