//! The admin listener: health, metrics and the log level, over plain HTTP/1.1.
//!
//! | path | answers |
//! | --- | --- |
//! | `GET /livez` | 200 as long as the runtime runs tasks; never depends on the backbone or the control plane |
//! | `GET /readyz` | 200 if new clients are welcome, otherwise 503; the body lists each check |
//! | `GET /metrics` | the Prometheus text format |
//! | `GET /metrics/apps` | the same by app, if that is wanted |
//! | `GET /version` | build facts as JSON |
//! | `GET`, `PUT /log-level` | the log filter; `PUT` changes it to the body, as in `info,edge=debug` |
//!
//! It has no authentication, so it listens on loopback unless told otherwise, and it answers nothing about clients.

use std::fmt;
use std::sync::Arc;

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
    /// For `/metrics/apps`; without one it does not exist.
    pub apps: Option<AppsPage>,
    /// For `/version`.
    pub version: &'static str,
    /// For `/version`: the commit that it was built from, as letters and digits, if that is known.
    pub commit: Option<&'static str>,
}

/// What tells the metrics by app, in the text format. They are apart from all others, as their labels are as many as
/// there are apps. Cheap to clone.
#[derive(Clone)]
pub struct AppsPage(Arc<dyn Fn() -> String + Send + Sync>);

impl AppsPage {
    /// A page that `render` makes anew whenever somebody asks.
    pub fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(render))
    }

    fn render(&self) -> String {
        (self.0)()
    }
}

impl fmt::Debug for AppsPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AppsPage")
    }
}
