//! Who sends a request, and whether it may.

use auth::{Query, SignedRequest};
use channels::{App, Key};

use super::ApiError;

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
}

/// Checks a request against `app`, which is what the id in its path belongs to. `query` is the raw text behind `?`.
///
/// That an app is disabled is told only to those who hold its secret.
pub fn authenticate<'a>(
    app: Option<&'a App>,
    method: &str,
    path: &str,
    query: &'a str,
    now_seconds: u64,
) -> Result<Authenticated<'a>, ApiError> {
    let app = app.ok_or(ApiError::UnknownApp)?;
    let query = Query::parse(query)?;
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
        let check = |app: Option<&App>, query: &str, now| {
            let checked = authenticate(app, "POST", PATH, query, now);
            checked.map(|ok| ok.query.get("info").map(str::to_owned)).map_err(|error| (error.status(), error))
        };
        let mut app = fixtures::app();
        assert_eq!(check(Some(&app), &query, 1000), Ok(Some("user_count".to_owned())));
        let signed = authenticate(Some(&app), "POST", PATH, &query, 1000).unwrap();
        assert_eq!(signed.check_body(b"{}"), Ok(()));
        assert_eq!(signed.check_body(b"[]"), Err(InvalidRequest::BodyDigestMismatch.into()));
        assert_eq!(check(None, &query, 1000), Err((404, ApiError::UnknownApp)));
        assert_eq!(check(Some(&app), &query, 1601), Err((401, InvalidRequest::Expired.into())));
        assert_eq!(check(Some(&app), "a=1&a=2", 1000).unwrap_err().0, 400);
        let missing = InvalidRequest::MissingParameter("auth_key");
        assert_eq!(check(Some(&app), "", 1000), Err((401, missing.into())));
        app.enabled = false;
        assert_eq!(check(Some(&app), &query, 1000), Err((403, ApiError::AppDisabled)));
        assert_eq!(check(Some(&app), &query, 1601), Err((401, InvalidRequest::Expired.into())));
    }
}
