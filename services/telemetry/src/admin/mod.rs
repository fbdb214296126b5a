//! The admin listener: health, metrics and the log level, over plain HTTP/1.1.
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /livez` | 200 as long as the runtime runs tasks; never depends on the backbone or the control plane |
//! | `GET /readyz` | 200 if new clients are welcome, otherwise 503; the body lists each check |
//! | `GET /metrics` | the Prometheus text format |
//! | `GET /version` | build facts as JSON |
//! | `GET`, `PUT /log-level` | the log filter; `PUT` changes it to the body, as in `info,edge=debug` |
//!
//! It has no authentication, so it listens on loopback unless told otherwise, and it answers nothing about clients.

mod routes;
mod server;
#[cfg(test)]
mod tests;

pub use self::server::serve;

use crate::{Exporter, LogFilter, Readiness};

/// What the admin listener shows.
#[derive(Clone, Debug)]
pub struct Admin {
    /// For `/metrics`.
    pub exporter: Exporter,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/log-level`.
    pub log_filter: LogFilter,
    /// For `/version`.
    pub version: &'static str,
}
