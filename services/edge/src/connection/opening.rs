//! Who may have a connection, whatever they speak.

use std::net::SocketAddr;
use std::sync::Arc;

use channels::App;
use metering::Refused;

use crate::admission::Guest;
use crate::connections::{Admission, NotAdmitted};
use crate::metrics::Refusal;
use crate::server::Shared;

/// Where a client comes from, which some apps restrict.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// What a browser says of the page that connects.
    pub(crate) origin: Option<String>,
    /// Whether it comes over TLS, as far as this node or a proxy in front can tell.
    pub(crate) secure: bool,
    /// Its address, as far as whoever is believed says.
    pub(crate) address: SocketAddr,
    /// Its address is to be counted for each connection.
    pub(crate) counts: bool,
    /// The place of its socket among those of its address, if that is counted. A connection keeps it: one of the HTTP
    /// fallback outlasts its sockets.
    pub(crate) guest: Option<Arc<Guest>>,
}

/// Why a client whose app is known gets no connection here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotPlaced {
    /// The node is on its way out. Until load balancers have noticed, whoever comes back at once comes back here.
    Draining,
    /// The app is disabled.
    Disabled,
    /// The app wants TLS.
    TlsOnly,
    /// The app does not want pages from there.
    Origin,
    /// The node is full.
    NodeFull,
    /// The node is short of memory.
    Memory,
    /// There are enough connections from its address, or they came too fast.
    Address,
    /// The app has as many connections as it may have.
    OverQuota(Refused),
}

impl NotPlaced {
    /// How it is counted.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Draining => Refusal::Draining,
            Self::Disabled => Refusal::AppDisabled,
            Self::TlsOnly => Refusal::Tls,
            Self::Origin => Refusal::Origin,
            Self::NodeFull => Refusal::ConnectionLimit,
            Self::Memory => Refusal::Memory,
            Self::Address => Refusal::Address,
            Self::OverQuota(_) => Refusal::Quota,
        }
    }
}

/// Takes a place for a connection to `app`.
pub(crate) fn place(shared: &Shared, app: &Arc<App>, visitor: &Visitor) -> Result<Admission, NotPlaced> {
    if shared.closing.is_cancelled() {
        return Err(NotPlaced::Draining);
    }
    if !app.enabled {
        return Err(NotPlaced::Disabled);
    }
    if app.pusher.tls_only && !visitor.secure {
        return Err(NotPlaced::TlsOnly);
    }
    if !app.pusher.allows_origin(visitor.origin.as_deref()) {
        return Err(NotPlaced::Origin);
    }
    if shared.gate.is_short_of_memory() {
        return Err(NotPlaced::Memory);
    }
    let guest = if visitor.counts {
        shared.gate.guest(visitor.address.ip()).map_err(|_| NotPlaced::Address)?.map(Arc::new)
    } else {
        visitor.guest.clone()
    };
    let meter = shared.meter(app);
    let admission = shared.connections.admit(app, &meter).map_err(|not| match not {
        NotAdmitted::NodeFull => NotPlaced::NodeFull,
        NotAdmitted::OverQuota(over) => {
            shared.metrics.over_quota(over.quota);
            NotPlaced::OverQuota(over)
        }
    })?;
    Ok(admission.with(guest))
}
