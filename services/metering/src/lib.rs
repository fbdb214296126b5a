//! Metering: what an app uses, and how much it may.
//!
//! Owns admission on a node ([`AppMeter`], all of a process in [`Meters`]), how a cluster shares its limits out among
//! nodes ([`Sharing`]), and counts of use by time ([`usage`]). Deliberately knows neither how reports and shares travel
//! nor where usage is kept, starts no task and reads no clock: every time is an argument.

mod app;
mod bucket;
mod counters;
mod expiries;
mod gate;
mod gauge;
mod meters;
mod named;
mod refused;
mod report;
mod shares;
mod stored;
pub mod usage;

pub use app::AppMeter;
pub use bucket::Bucket;
pub use expiries::Expiries;
pub use meters::{Meters, SHARE_TTL};
pub use named::{AppTotals, Levels, NamedApps, Told};
pub use refused::Refused;
pub use report::{AppReport, Live, Portion, Report, Share};
pub use shares::{LiveNode, NodeId, SILENT_AFTER, Sharing};
pub use stored::PERSISTENT_AFTER;
