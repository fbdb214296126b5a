//! The sockets of a process, bound before anything else runs: a bad address fails at once and alone.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::config::{Role, Settings};

/// Sockets that may wait to be accepted: as many as the kernel takes, which is `net.core.somaxconn`. An edge lets a storm
/// of clients wait there.
const BACKLOG: u32 = 65_535;

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key})")]
pub(crate) struct BindError {
    key: &'static str,
    address: SocketAddr,
    source: std::io::Error,
}

/// Bound, not yet accepting.
#[derive(Debug)]
pub(super) struct Listeners {
    /// For clients and publishers, with the edge role.
    pub(super) edge: Option<TcpListener>,
    /// For the control plane, with the control role.
    pub(super) control: Option<TcpListener>,
    /// For operators.
    pub(super) admin: TcpListener,
}

impl Listeners {
    /// Binds what the roles need. Port 0 is any free one, so the settings come back with the addresses there are. To be
    /// called within a tokio runtime.
    pub(super) fn bind(mut settings: Settings) -> Result<(Self, Settings), BindError> {
        let edge = match settings.runs(Role::Edge) {
            true => Some(bind("listen", &mut settings.listen)?),
            false => None,
        };
        let control = match settings.runs(Role::Control) {
            true => Some(bind("control.listen", &mut settings.control_listen)?),
            false => None,
        };
        let admin = bind("admin.listen", &mut settings.admin_listen)?;
        Ok((Self { edge, control, admin }, settings))
    }
}

fn bind(key: &'static str, address: &mut SocketAddr) -> Result<TcpListener, BindError> {
    let wanted = *address;
    let failed = |source| BindError { key, address: wanted, source };
    let socket = match wanted {
        SocketAddr::V4(_) => TcpSocket::new_v4().map_err(failed)?,
        SocketAddr::V6(_) => TcpSocket::new_v6().map_err(failed)?,
    };
    // A port is to be had again at once after a process that has served it.
    socket.set_reuseaddr(true).and_then(|()| socket.bind(wanted)).map_err(failed)?;
    let listener = socket.listen(BACKLOG).map_err(failed)?;
    *address = listener.local_addr().map_err(failed)?;
    tracing::info!(key, %address, "listening");
    Ok(listener)
}
