//! Who may have a connection.

use std::sync::Arc;
use std::time::Instant;

use channels::App;
use pusher::{CloseCode, Handshake, Output, Refused};

use crate::connections::{Admission, NotAdmitted};
use crate::metrics::Refusal;
use crate::server::Shared;

/// Everything a connection starts with.
pub(crate) struct Opening {
    pub(super) admission: Admission,
    pub(super) handshake: Handshake,
    /// The app as it was when it was looked at.
    pub(super) app: Arc<App>,
    /// When the client began to connect.
    pub(super) begun: Instant,
}

/// Where a client comes from, which some apps restrict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// What a browser says of the page that connects.
    pub(crate) origin: Option<String>,
    /// Whether it comes over TLS, as far as this node or a proxy in front can tell.
    pub(crate) secure: bool,
}

/// Takes a place for the connection that `handshake` asks for, since `begun`. If there is none for it: what it is told.
pub(crate) fn admit(
    shared: &Shared,
    handshake: Result<Handshake, Refused>,
    visitor: &Visitor,
    begun: Instant,
) -> Result<Opening, Vec<Output>> {
    place(shared, handshake, visitor)
        .map(|(admission, handshake, app)| Opening { admission, handshake, app, begun })
        .map_err(|(refused, refusal)| {
            shared.metrics.refuse(refusal);
            pusher::reject(refused.code, refused.protocol)
        })
}

fn place(
    shared: &Shared,
    handshake: Result<Handshake, Refused>,
    visitor: &Visitor,
) -> Result<(Admission, Handshake, Arc<App>), (Refused, Refusal)> {
    let handshake = handshake.map_err(|refused| {
        let unknown = refused.code == CloseCode::UnknownKey;
        let refusal = if unknown { Refusal::UnknownApp } else { Refusal::BadRequest };
        (refused, refusal)
    })?;
    let refuse = |code, refusal| (Refused { code, protocol: Some(handshake.protocol) }, refusal);
    if shared.draining.is_cancelled() {
        // 4100, not 4200: until load balancers have noticed, whoever comes back at once comes back here.
        return Err(refuse(CloseCode::Unavailable, Refusal::Draining));
    }
    let Some(key) = shared.apps.by_key(handshake.key.as_str()) else {
        // A node that has not learned of any app yet must not tell clients to give up for good.
        let code = if shared.apps.is_ready() { CloseCode::UnknownKey } else { CloseCode::Unavailable };
        return Err(refuse(code, Refusal::UnknownApp));
    };
    if !key.app().enabled {
        return Err(refuse(CloseCode::AppDisabled, Refusal::AppDisabled));
    }
    if key.app().pusher.tls_only && !visitor.secure {
        return Err(refuse(CloseCode::TlsOnly, Refusal::Tls));
    }
    if !key.app().pusher.allows_origin(visitor.origin.as_deref()) {
        return Err(refuse(CloseCode::OriginNotAllowed, Refusal::Origin));
    }
    let admission = shared.connections.admit(key.app()).map_err(|not| match not {
        NotAdmitted::NodeFull => refuse(CloseCode::OverCapacity, Refusal::ConnectionLimit),
        NotAdmitted::OverQuota => {
            shared.metrics.quota_connections.increment(1);
            refuse(CloseCode::OverQuota, Refusal::Quota)
        }
    })?;
    let app = Arc::clone(key.app());
    Ok((admission, handshake, app))
}
