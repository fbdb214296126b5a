//! Who sends a request, and whether it may.

use auth::{Query, SignedRequest};
use channels::{App, ChannelKind, ChannelName, Key, Operation};

use super::ApiError;
use crate::parse_channel_name;

/// A request that an active key of an enabled app has signed; its body is still to be checked.
#[derive(Clone, Debug)]
pub struct Authenticated<'a> {
    /// The app.
    pub app: &'a App,
    /// The key that signed.
    pub key: &'a Key,
    /// The query, decoded.
    pub query: Query<'a>,
}

impl Authenticated<'_> {
    /// Whether `body` is the one whose digest was signed.
    pub fn check_body(&self, body: &[u8]) -> Result<(), ApiError> {
        Ok(auth::check_body(&self.query, body)?)
    }

    /// The channel called `name`, if that is a name and the key may do `operation` there.
    pub(super) fn channel(&self, name: &str, operation: Operation) -> Result<(ChannelName, ChannelKind), ApiError> {
        let parsed = parse_channel_name(name, &self.app.limits);
        let channel = parsed.map_err(|reason| ApiError::channel_name(name, reason))?;
        self.permit(name, operation)?;
        Ok(channel)
    }

    /// Refuses what the key may not do.
    pub(super) fn permit(&self, channel: &str, operation: Operation) -> Result<(), ApiError> {
        if self.key.capability.permits(channel, operation) {
            return Ok(());
        }
        Err(ApiError::Forbidden { operation, channel: channel.to_owned() })
    }
}

/// Checks a request against `app`, which is the one in its path, or for a route without any the one that has the key
/// called `auth_key`.
///
/// That an app is disabled is told only to those who hold its secret.
pub fn authenticate<'a>(
    app: &'a App,
    method: &str,
    path: &str,
    query: Query<'a>,
    now_seconds: u64,
) -> Result<Authenticated<'a>, ApiError> {
    let request = SignedRequest { method, path, query: &query };
    let key = auth::check_request(app, &request, now_seconds)?;
    if !app.enabled {
        return Err(ApiError::AppDisabled);
    }
    Ok(Authenticated { app, key, query })
}

#[cfg(test)]
mod tests {
    use auth::InvalidRequest;

    use super::*;
    use crate::fixtures::{self, signer};

    #[test]
    fn in_order() {
        const PATH: &str = "/apps/3301/events";
        let query = signer().request("POST", PATH, &[("info", "user_count")], b"{}", 1000);
        let check = |app: &App, query: &str, now| {
            let checked = authenticate(app, "POST", PATH, Query::parse(query).unwrap(), now);
            checked.map(|ok| ok.query.get("info").map(str::to_owned)).map_err(|error| (error.status(), error))
        };
        let mut app = fixtures::app();
        assert_eq!(check(&app, &query, 1000), Ok(Some("user_count".to_owned())));
        let signed = authenticate(&app, "POST", PATH, Query::parse(&query).unwrap(), 1000).unwrap();
        assert_eq!(signed.check_body(b"{}"), Ok(()));
        assert_eq!(signed.check_body(b"[]"), Err(InvalidRequest::BodyDigestMismatch.into()));
        let expired = Err((401, InvalidRequest::Expired { window_seconds: 600 }.into()));
        assert_eq!(check(&app, &query, 1601), expired);
        let missing = InvalidRequest::MissingParameter("auth_key");
        assert_eq!(check(&app, "", 1000), Err((401, missing.into())));
        app.enabled = false;
        assert_eq!(check(&app, &query, 1000), Err((403, ApiError::AppDisabled)));
        assert_eq!(check(&app, &query, 1601), expired);
    }
}
