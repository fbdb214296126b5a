//! What one attempt over each protocol has shown, for people and for scripts.

use std::time::Duration;

use serde_json::{Value, json};
use tonic::Status;

use super::attempt::Attempt;
use super::subscriber::Protocol;
use super::target::Target;
use super::trouble::{DELIVERED, Trouble};
use crate::admin::{Answer, Failure, table};

/// The attempts of a run.
pub(super) struct Report<'a> {
    pub(super) target: &'a Target,
    pub(super) attempts: Vec<(Protocol, Attempt)>,
}

impl Report<'_> {
    /// What is printed. It has failed if something was not delivered as it has to be.
    pub(super) fn answer(&self) -> Answer {
        let is_delivered = self.attempts.iter().all(|(_, attempt)| attempt.result.is_ok());
        let protocols: Vec<_> = self.attempts.iter().map(|(protocol, attempt)| object(*protocol, attempt)).collect();
        let report = json!({
            "delivered": is_delivered,
            "url": self.target.url,
            "channel": self.target.channel,
            "protocols": protocols,
        });
        Answer::report(report, self.text(), !is_delivered)
    }

    /// Why the exit code is to say more than that something is wrong: credentials are for somebody else to mend than
    /// what cannot be reached.
    pub(super) fn failure(&self) -> Option<Failure> {
        let troubles =
            || self.attempts.iter().filter_map(|(protocol, attempt)| Some((protocol, attempt.result.as_ref().err()?)));
        let sentence = |(protocol, trouble): (&Protocol, &Trouble)| format!("{}: {trouble}", protocol.name());
        let denied = troubles().find(|(_, trouble)| matches!(trouble, Trouble::Denied(_)));
        if let Some(denied) = denied {
            return Some(Failure::Denied(Status::unauthenticated(sentence(denied))));
        }
        let is_away = |trouble: &Trouble| matches!(trouble, Trouble::Unreachable(_) | Trouble::Disconnected(_));
        // What was lost, or refused for another reason, counts more than what could not be tried.
        let all_away = troubles().all(|(_, trouble)| is_away(trouble));
        troubles().next().filter(|_| all_away).map(|away| Failure::Unreachable(sentence(away)))
    }

    fn text(&self) -> String {
        let heads = ["PROTOCOL", "RESULT", "CONNECT", "TLS", "OPEN", "SUBSCRIBE", "PUBLISH", "DELIVER"];
        let rows = self.attempts.iter().map(|(protocol, Attempt { stages, result })| {
            let one = |took: Option<Duration>| took.map_or_else(|| "-".to_owned(), shown);
            let longest = |took: &[Duration]| one(took.iter().max().copied());
            [
                protocol.name().to_owned(),
                word(result).to_owned(),
                one(stages.connect),
                one(stages.tls),
                one(stages.open),
                one(stages.subscribe),
                longest(&stages.publish),
                longest(&stages.deliver),
            ]
        });
        let mut text = table::list(heads, rows);
        for (protocol, attempt) in &self.attempts {
            if let Err(trouble) = &attempt.result {
                text.push_str(&format!("{}: {trouble}\n", protocol.name()));
            }
        }
        text
    }
}

/// The word for a result.
pub(super) fn word(result: &Result<(), Trouble>) -> &'static str {
    result.as_ref().err().map_or(DELIVERED, Trouble::result)
}

fn object(protocol: Protocol, Attempt { stages, result }: &Attempt) -> Value {
    let all = |took: &[Duration]| took.iter().copied().map(ms).collect::<Vec<_>>();
    json!({
        "protocol": protocol.name(),
        "result": word(result),
        "reason": result.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        "connect_ms": stages.connect.map(ms),
        "tls_ms": stages.tls.map(ms),
        "open_ms": stages.open.map(ms),
        "subscribe_ms": stages.subscribe.map(ms),
        "publish_ms": all(&stages.publish),
        "deliver_ms": all(&stages.deliver),
    })
}

/// Milliseconds, to the microsecond.
fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

fn shown(took: Duration) -> String {
    format!("{:.1} ms", ms(took))
}
