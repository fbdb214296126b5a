//! How the leader shares an app's limits out among the nodes.

mod fair;
mod gauge;
mod out;
mod sharing;

pub use sharing::{LiveNode, NodeId, SILENT_AFTER, Sharing};
