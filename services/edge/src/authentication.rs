//! Who a client of the Ably protocol is: its credentials against the apps as they are now, and against what was revoked.
//!
//! How credentials look and what makes them good is `ably::credentials`'; here is what has to be looked up for that. The
//! same for connections, event streams and requests.

use std::sync::Arc;

use ably::credentials::{Credentials, Granted, Issuer, Target};
use ably::{Code, ErrorInfo};
use channels::App;

use crate::server::Shared;

/// Somebody whose credentials are good.
#[derive(Clone, Debug)]
pub(crate) struct Authenticated {
    /// The app.
    pub(crate) app: Arc<App>,
    /// What it may do.
    pub(crate) granted: Granted,
}

/// Checks `credentials` at `now_ms`.
///
/// # Errors
/// Whatever is wrong with them; 50004 on a node that does not know yet which apps there are or what was revoked.
pub(crate) fn authenticate(
    shared: &Shared,
    credentials: &Credentials,
    now_ms: u64,
) -> Result<Authenticated, ErrorInfo> {
    let app = app_of(shared, &credentials.issuer())?;
    let granted = credentials.verify(app.as_deref(), now_ms)?;
    if granted.token.is_some() && !shared.revoked.is_ready() {
        return Err(Code::Unavailable.info());
    }
    if revoked_from(shared, &granted).is_some_and(|at| at <= now_ms) {
        return Err(Code::TokenRevoked.info());
    }
    // Nothing verifies without an app.
    let app = app.ok_or_else(|| Code::Unauthorized.info())?;
    Ok(Authenticated { app, granted })
}

/// The app that `issuer` names, if there is one.
pub(crate) fn app_of(shared: &Shared, issuer: &Issuer) -> Result<Option<Arc<App>>, ErrorInfo> {
    // Not to know of an app yet is not to know that there is none.
    if !shared.apps.is_ready() {
        return Err(Code::Unavailable.info());
    }
    Ok(match issuer {
        Issuer::App(id) => shared.apps.get(id),
        Issuer::Key(name) => shared.apps.by_key(name.as_str()).map(|key| Arc::clone(key.app())),
    })
}

/// From when on what was granted is revoked, milliseconds since the Unix epoch; `None` if it is not.
pub(crate) fn revoked_from(shared: &Shared, granted: &Granted) -> Option<u64> {
    let token = granted.token.as_ref()?;
    let targets = granted.targets().into_iter().map(|target: Target| target.to_string());
    shared.revoked.applies_at(&granted.app, &granted.key, token.issued_ms, targets)
}
