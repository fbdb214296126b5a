//! `POST /keys/{keyName}/revokeTokens`.

use serde::Serialize;
use serde_json::{Map, Value};

use super::batch::{Written, counted};
use super::publish::format_of;
use super::{Answer, Exchange, Headers};
use crate::credentials::{Granted, Target};
use crate::wire::from_slice;
use crate::{Code, ErrorInfo};

/// Most targets of one request.
const MAX_TARGETS: usize = 100;

/// How long ago tokens may have been issued that are to be revoked: older ones that can be revoked have expired.
const MAX_AGE_MS: u64 = 60 * 60 * 1000;

/// How much later a revocation applies that leaves clients the time to get a new token. Ably promises thirty seconds or
/// more.
const REAUTH_MARGIN_MS: u64 = 30_000;

/// Which tokens of the request's key are to end, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeRequest {
    /// The targets as they were written, each with what it means if it means anything.
    pub targets: Vec<WrittenTarget>,
    /// Those are meant that were issued before this, milliseconds since the Unix epoch.
    pub issued_before_ms: u64,
    /// From when on they are refused.
    pub applies_at_ms: u64,
    /// Whether clients are to be told at once that they need a new token.
    pub allow_reauth_margin: bool,
}

/// A target whose tokens will be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revoked<'a> {
    target: &'a str,
    issued_before: u64,
    applies_at: u64,
}

/// A target as it was written, and what it means or why it means nothing.
pub type WrittenTarget = (String, Result<Target, ErrorInfo>);

/// What became of a target: `Err` if it means nothing, or could not be written down.
pub type RevokeResult = Result<(), ErrorInfo>;

impl RevokeRequest {
    /// Who may revoke tokens of the key called `key_name`: who brings that key itself (40162, 40133), if its tokens can be
    /// revoked (40163).
    pub fn permit(key_name: &str, key: &channels::Key, caller: &Granted) -> Result<(), ErrorInfo> {
        if caller.token.is_some() {
            return Err(Code::BasicAuthRequired.says("tokens are revoked with the key, not with a token"));
        }
        if caller.key.as_str() != key_name {
            return Err(Code::WrongKey.says("tokens are revoked with the key that they are of"));
        }
        if key.revocable_tokens { Ok(()) } else { Err(Code::NotRevocable.info()) }
    }

    /// Reads a body at `now_ms` (40001, 40000, 40003).
    pub fn parse(body: &[u8], headers: &Headers<'_>, now_ms: u64) -> Result<Self, ErrorInfo> {
        let format = format_of(&headers.media_type());
        let fields: Map<String, Value> =
            from_slice(format, body).map_err(|error| Code::Unparsable.says(error.to_string()))?;
        let targets = targets(fields.get("targets"))?;
        let issued_before_ms = match fields.get("issuedBefore") {
            None | Some(Value::Null) => now_ms,
            Some(time) => issued_before(time, now_ms)?,
        };
        let allow_reauth_margin = match fields.get("allowReauthMargin") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(allow)) => *allow,
            Some(_) => return Err(Code::BadParam.says("allowReauthMargin must be true or false")),
        };
        let margin = if allow_reauth_margin { REAUTH_MARGIN_MS } else { 0 };
        Ok(Self { targets, issued_before_ms, applies_at_ms: now_ms.saturating_add(margin), allow_reauth_margin })
    }

    /// The answer, with what became of each target, in their order.
    pub fn answer(&self, exchange: &Exchange, results: &[RevokeResult]) -> Answer {
        let format = exchange.format;
        let written = self.targets.iter().zip(results).map(|((target, _), result)| match result {
            Ok(()) => {
                let revoked = Revoked { target, issued_before: self.issued_before_ms, applies_at: self.applies_at_ms };
                Written::success(format, &revoked)
            }
            Err(error) => Written::error(format, "target", target, error),
        });
        exchange.with_body(201, counted(format, &written.collect::<Vec<_>>()))
    }
}

fn targets(field: Option<&Value>) -> Result<Vec<WrittenTarget>, ErrorInfo> {
    let invalid = || Code::BadRequest.says(format!("targets must be a list of 1 to {MAX_TARGETS} texts"));
    let texts =
        field.and_then(Value::as_array).filter(|list| (1..=MAX_TARGETS).contains(&list.len())).ok_or_else(invalid)?;
    let target = |value: &Value| {
        let text = value.as_str().ok_or_else(invalid)?;
        let target =
            text.parse().map_err(|error: crate::credentials::InvalidTarget| Code::BadRequest.says(error.to_string()));
        Ok((text.to_owned(), target))
    };
    texts.iter().map(target).collect()
}

fn issued_before(time: &Value, now_ms: u64) -> Result<u64, ErrorInfo> {
    let time = crate::credentials::whole_number(time)
        .ok_or_else(|| Code::BadParam.says("issuedBefore must be a time in milliseconds since 1970"))?;
    if time > now_ms || time < now_ms.saturating_sub(MAX_AGE_MS) {
        return Err(Code::BadParam.says("issuedBefore must not be in the future, nor more than an hour ago"));
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use channels::{AppId, Capability, Key, KeyName, Secret};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Identity;
    use crate::credentials::TokenFacts;
    use crate::wire::{Format, to_vec};

    const NOW: u64 = 1_700_000_000_000;

    fn parse(body: Value) -> Result<RevokeRequest, u32> {
        let body = body.to_string();
        RevokeRequest::parse(body.as_bytes(), &Headers::default(), NOW).map_err(|error| error.code)
    }

    #[test]
    fn requests() {
        let request = parse(json!({"targets": ["clientId:bob", "nonsense"]})).unwrap();
        assert_eq!(request.targets[0].1, Ok(Target::ClientId("bob".to_owned())));
        assert_eq!(request.targets[1].1.as_ref().map_err(|error| error.status), Err(400));
        assert_eq!((request.issued_before_ms, request.applies_at_ms), (NOW, NOW));
        let margin =
            parse(json!({"targets": ["channel:a:b"], "issuedBefore": NOW - 5, "allowReauthMargin": true})).unwrap();
        assert_eq!((margin.issued_before_ms, margin.applies_at_ms), (NOW - 5, NOW + 30_000));
        let many: Vec<_> = (0..101).map(|n| format!("clientId:{n}")).collect();
        for (body, code) in [
            (json!({}), 40000),
            (json!({"targets": []}), 40000),
            (json!({"targets": "clientId:bob"}), 40000),
            (json!({"targets": [7]}), 40000),
            (json!({"targets": many}), 40000),
            (json!({"targets": ["clientId:a"], "issuedBefore": NOW + 1}), 40003),
            (json!({"targets": ["clientId:a"], "issuedBefore": NOW - 3_600_001}), 40003),
            (json!({"targets": ["clientId:a"], "issuedBefore": "now"}), 40003),
            (json!({"targets": ["clientId:a"], "allowReauthMargin": 1}), 40003),
            (json!([]), 40001),
        ] {
            assert_eq!(parse(body.clone()), Err(code), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for format in Format::ALL {
                let headers = Headers { content_type: Some(format.content_type()), ..Headers::default() };
                prop_assert!(RevokeRequest::parse(&bytes, &headers, NOW).is_err());
            }
        }
    }

    #[test]
    fn the_answer_keeps_the_order() {
        let request = parse(json!({"targets": ["clientId:bob", "nonsense"]})).unwrap();
        let results: Vec<_> = request.targets.iter().map(|(_, target)| target.clone().map(|_| ())).collect();
        for format in Format::ALL {
            let exchange = Exchange { format, ..Exchange::default() };
            let answer = request.answer(&exchange, &results);
            let body: Value = from_slice(format, &answer.body).unwrap();
            assert_eq!((answer.status, &body["successCount"], &body["failureCount"]), (201, &json!(1), &json!(1)));
            assert_eq!(body["results"][0], json!({"target": "clientId:bob", "issuedBefore": NOW, "appliesAt": NOW}));
            assert_eq!(body["results"][1]["target"], json!("nonsense"));
            assert_eq!(body["results"][1]["error"]["statusCode"], json!(400));
        }
        let packed = to_vec(Format::MsgPack, &json!({"targets": ["clientId:bob"], "issuedBefore": NOW as f64}));
        let headers = Headers { content_type: Some("application/x-msgpack"), ..Headers::default() };
        assert_eq!(RevokeRequest::parse(&packed, &headers, NOW).unwrap().issued_before_ms, NOW);
    }

    #[test]
    fn only_with_the_very_key() {
        let key = |revocable_tokens| Key {
            name: KeyName::new("a.k").unwrap(),
            secret: Secret::new("s").unwrap(),
            previous: None,
            capability: Capability::all(),
            revocable_tokens,
            created_ms: 0,
        };
        let caller = |name: &str, token| Granted {
            app: AppId::new("a").unwrap(),
            key: KeyName::new(name).unwrap(),
            capability: Capability::all(),
            identity: Identity::Any,
            token,
        };
        let permit = |revocable, caller: &Granted| {
            RevokeRequest::permit("a.k", &key(revocable), caller).map_err(|error| (error.code, error.status))
        };
        assert_eq!(permit(true, &caller("a.k", None)), Ok(()));
        assert_eq!(permit(false, &caller("a.k", None)), Err((40163, 401)));
        assert_eq!(permit(true, &caller("a.other", None)), Err((40133, 401)));
        let token = TokenFacts { issued_ms: 0, expires_ms: 1, revocation_key: None, revocable: true };
        assert_eq!(permit(true, &caller("a.k", Some(token))), Err((40162, 401)));
    }
}
