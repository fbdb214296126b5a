//! Who may have a Pusher connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use channels::App;
use proto::control::TailKind;
use pusher::{CloseCode, Handshake, Refused, Rejection};

use crate::connection::{NotPlaced, Visitor, place};
use crate::connections::Admission;
use crate::metrics::Refusal;
use crate::server::Shared;
use crate::tail::Told;

/// Everything a connection starts with.
pub(crate) struct Opening {
    pub(super) admission: Admission,
    pub(super) handshake: Handshake,
    /// The app as it was when it was looked at.
    pub(super) app: Arc<App>,
    /// When the client began to connect.
    pub(super) begun: Instant,
    /// Where it comes from, as far as this node sees.
    pub(super) address: SocketAddr,
}

/// Takes a place for the connection that `handshake` asks for, since `begun`. If there is none for it: what it is told.
pub(crate) fn admit(
    shared: &Shared,
    handshake: Result<Handshake, Refused>,
    visitor: &Visitor,
    begun: Instant,
) -> Result<Opening, Rejection> {
    let key = handshake.as_ref().ok().map(|handshake| handshake.key.clone()).filter(|_| shared.tails.any());
    find(shared, handshake, visitor)
        .map(|(admission, handshake, app)| Opening { admission, handshake, app, begun, address: visitor.address })
        .map_err(|(rejection, refusal)| {
            shared.metrics.refuse(refusal);
            if let Some(key) = key.and_then(|key| shared.apps.by_key(key.as_str())) {
                let (code, reason) = (rejection.code().into(), rejection.reason());
                let told = Told { kind: TailKind::ConnectionRefused, code, reason, ..Told::default() };
                shared.tails.tell(&key.app().id, told);
            }
            rejection
        })
}

fn find(
    shared: &Shared,
    handshake: Result<Handshake, Refused>,
    visitor: &Visitor,
) -> Result<(Admission, Handshake, Arc<App>), (Rejection, Refusal)> {
    let handshake = handshake.map_err(|refused| {
        let unknown = refused.code == CloseCode::UnknownKey;
        let refusal = if unknown { Refusal::UnknownApp } else { Refusal::BadRequest };
        (refused.into(), refusal)
    })?;
    let refused = |code| Refused { code, protocol: Some(handshake.protocol) };
    let refuse = |code, refusal| (Rejection::from(refused(code)), refusal);
    if shared.closing.is_cancelled() {
        // Before anything is said of the key: 4100 sends it to another node, which knows better.
        return Err(refuse(CloseCode::Unavailable, Refusal::Draining));
    }
    let Some(key) = shared.apps.by_key(handshake.key.as_str()) else {
        // A node that has not learned of any app yet must not tell clients to give up for good.
        let code = if shared.apps.is_ready() { CloseCode::UnknownKey } else { CloseCode::Unavailable };
        return Err(refuse(code, Refusal::UnknownApp));
    };
    let admission = place(shared, key.app(), visitor).map_err(|not| {
        let code = match not {
            // 4100, not 4200: until load balancers have noticed, whoever comes back at once comes back here.
            NotPlaced::Draining => CloseCode::Unavailable,
            NotPlaced::Disabled => CloseCode::AppDisabled,
            NotPlaced::TlsOnly => CloseCode::TlsOnly,
            NotPlaced::Origin => CloseCode::OriginNotAllowed,
            NotPlaced::NodeFull | NotPlaced::Memory | NotPlaced::Address => CloseCode::OverCapacity,
            NotPlaced::OverQuota(over) => {
                // Where other nodes have room, or this one soon will, the client is to try again.
                let code = if over.shared { CloseCode::OverQuota } else { CloseCode::OverCapacity };
                return (Rejection::because(refused(code), over.to_string()), not.refusal());
            }
        };
        refuse(code, not.refusal())
    })?;
    let app = Arc::clone(key.app());
    Ok((admission, handshake, app))
}
