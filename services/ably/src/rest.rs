//! REST: routes, requests and answers as functions over text and bytes.
//!
//! Owns what client libraries send and expect, in both formats. Deliberately knows nothing of HTTP connections, of
//! publishing and of where messages, members and counts come from: the edge reads a request, asks here what it means, does
//! it, and asks here for the answer.

mod batch;
mod channels;
mod exchange;
mod history;
mod paging;
mod presence;
mod publish;
mod revoke;
mod route;
mod stats;

pub use batch::{BatchPresence, BatchResult, BatchSpec, BatchSpecs, MembersResult};
pub use channels::{ChannelsBy, ChannelsQuery};
pub use exchange::{Answer, Exchange, Headers, cors};
pub use history::{Cursor, Direction, HistoryPage, HistoryQuery, Kind};
pub use presence::{MembersPage, PresenceQuery};
pub use publish::{Published, connection_key, forced_refusal, parse_publish};
pub use revoke::{RevokeRequest, RevokeResult, Revoked, WrittenTarget};
pub use route::{Route, allowed, route};
pub use stats::{StatsQuery, stats_item};
