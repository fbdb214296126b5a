//! Tokens: making them for whoever shows a request that a key has signed, and ending them.

use std::time::Duration;

use ::channels::KeyName;
use ably::credentials::{Credentials, Issuer, MAX_TTL, REQUEST_WINDOW, TokenRequest};
use ably::rest::{Answer, RevokeRequest};
use ably::wire::Format;
use ably::{Code, ErrorInfo};
use backbone::KvError;
use backbone::revocations::{Order, Target};
use futures_util::future::join_all;

use super::{Call, Caller, Failure};
use crate::authentication::{app_of, authenticate};
use crate::{election, nonces};

/// How long revocations are remembered: for the longest life of a token that was made before its key's tokens could be
/// revoked, by whichever clock.
const REMEMBERED: Duration = MAX_TTL.saturating_add(REQUEST_WINDOW);

/// `POST /keys/{keyName}/requestToken`.
pub(super) async fn request(call: &Call<'_>, key: &str, body: &[u8]) -> Result<Answer, Failure> {
    let form = call.headers.content_type.unwrap_or_default().trim();
    let format = if form.starts_with(Format::MsgPack.content_type()) { Format::MsgPack } else { Format::Json };
    let request = TokenRequest::parse(format, body)?;
    let caller = if request.is_signed() {
        None
    } else {
        let credentials = Credentials::find(call.headers.authorization, &call.query)?;
        Some(authenticate(call.shared, &credentials, call.now_ms)?.granted)
    };
    let app = match KeyName::new(key) {
        Ok(name) => app_of(call.shared, &Issuer::Key(name))?,
        Err(_) => None,
    };
    let acceptable = request.accept(key, app.as_deref(), caller.as_ref(), call.now_ms)?;
    if let (Some(app), Some(nonce)) = (&app, &acceptable.nonce) {
        nonces::spend(call.shared, &app.id, nonce).await?;
    }
    Ok(call.exchange.answer(201, &acceptable.issue(call.now_ms, rand::random())))
}

/// `POST /keys/{keyName}/revokeTokens`.
pub(super) async fn revoke(call: &Call<'_>, caller: &Caller, key: &str, body: &[u8]) -> Result<Answer, Failure> {
    // The caller's own, which it was just verified with, unless it changed in between.
    let own = caller.app.key(caller.granted.key.as_str()).ok_or_else(|| Code::Unauthorized.info())?;
    RevokeRequest::permit(key, own, &caller.granted)?;
    let request = RevokeRequest::parse(body, &call.headers, call.now_ms)?;
    let order = Order {
        issued_before_ms: request.issued_before_ms,
        // At once means at once by every clock.
        applies_at_ms: if request.allow_reauth_margin { request.applies_at_ms } else { 0 },
    };
    let revocations = call.shared.backbone.revocations();
    let mut revoking = Vec::new();
    for (_, target) in &request.targets {
        let target = target.as_ref().map_err(ErrorInfo::clone).map(|target| Target {
            app: caller.app.id.clone(),
            key: own.name.clone(),
            target: target.to_string(),
        });
        let revocations = &revocations;
        revoking.push(async move {
            let target = target?;
            let revoked = election::outlast(|| revocations.revoke(&target, order, call.now_ms, REMEMBERED));
            revoked.await.map_err(|error| unwritten(&error))
        });
    }
    let results = join_all(revoking).await;
    Ok(request.answer(&call.exchange, &results))
}

fn unwritten(error: &KvError) -> ErrorInfo {
    tracing::warn!(error = error as &dyn std::error::Error, "a revocation cannot be written");
    Code::Timeout.info()
}
