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

/// Takes a place for the connection that `handshake` asks for, since `begun`. If there is none for it: what it is told.
pub(crate) fn admit(
    shared: &Shared,
    handshake: Result<Handshake, Refused>,
    begun: Instant,
) -> Result<Opening, Vec<Output>> {
    place(shared, handshake).map(|(admission, handshake, app)| Opening { admission, handshake, app, begun }).map_err(
        |(refused, refusal)| {
            shared.metrics.refuse(refusal);
            pusher::reject(refused.code, refused.protocol)
        },
    )
}

fn place(
    shared: &Shared,
    handshake: Result<Handshake, Refused>,
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
