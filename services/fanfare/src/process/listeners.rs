//! The sockets of a process, bound before anything else runs: a bad address fails at once and alone.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::{Role, Settings};

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
    /// Binds what the roles need. Port 0 is any free one, so the settings come back with the addresses there are.
    pub(super) async fn bind(mut settings: Settings) -> Result<(Self, Settings), BindError> {
        let edge = match settings.runs(Role::Edge) {
            true => Some(bind("listen", &mut settings.listen).await?),
            false => None,
        };
        let control = match settings.runs(Role::Control) {
            true => Some(bind("control.listen", &mut settings.control_listen).await?),
            false => None,
        };
        let admin = bind("admin.listen", &mut settings.admin_listen).await?;
        Ok((Self { edge, control, admin }, settings))
    }
}

async fn bind(key: &'static str, address: &mut SocketAddr) -> Result<TcpListener, BindError> {
    let wanted = *address;
    let failed = |source| BindError { key, address: wanted, source };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    *address = listener.local_addr().map_err(failed)?;
    tracing::info!(key, %address, "listening");
    Ok(listener)
}
