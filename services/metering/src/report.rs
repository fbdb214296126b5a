//! What nodes and the leader tell each other about an app.

use std::time::Duration;

use channels::AppId;

use crate::usage::Counts;

/// What a node says once a second of all its apps. An app that is not in it uses nothing there and asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Since the report before.
    pub interval: Duration,
    /// Apps with anything to say.
    pub apps: Vec<AppReport>,
}

/// What a node says of one app.
#[derive(Clone, Debug, PartialEq)]
pub struct AppReport {
    /// Which.
    pub app: AppId,
    /// Connections at this moment.
    pub connections: u64,
    /// Connections that are members of presence channels, at this moment.
    pub presence_members: u64,
    /// Occupied channels at this moment, distinct in the cluster as the node sees it.
    pub channels: u64,
    /// What happened since the report before. Its peaks are those of the current minute.
    pub counts: Counts,
    /// Messages whose publish was asked for since the report before, granted or not.
    pub messages_in_wanted: u64,
    /// Webhook requests that were to be made since the report before, granted or not.
    pub webhooks_wanted: u64,
    /// Bytes that were to be stored in persistent channels since the report before, granted or not.
    pub history_bytes_wanted: u64,
    /// Bytes stored in persistent channels since the report before: the minute of the Unix epoch in which they expire,
    /// and how many. Minutes of far expiries are rounded up, see [`crate::Expiries`].
    pub history_bytes: Vec<(u64, u64)>,
}

/// What the leader grants a node of an app's quotas, for [`crate::SHARE_TTL`] or until the next share. `None` is for
/// what has no limit; where the app has one nevertheless, the node keeps to the limit divided by the live nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Connections.
    pub connections: Option<Portion>,
    /// Members of presence channels.
    pub presence_members: Option<Portion>,
    /// Bytes that may still be stored in persistent channels until the next share.
    pub history_bytes: Option<Portion>,
    /// Messages that may be published in a second.
    pub messages_in_per_second: Option<f64>,
    /// Messages that may be delivered in a second before this node stops publishes by itself.
    pub messages_out_per_second: Option<f64>,
    /// Messages that may be published in a second here so that the cluster does not deliver more than the app may.
    /// `None` while that is not near.
    pub paced_messages_in_per_second: Option<f64>,
    /// Webhook requests that may be made in a second.
    pub webhooks_per_second: Option<f64>,
    /// For how long publishes are to be refused because the cluster has delivered more than the app may.
    pub out_blocked_for: Duration,
}

/// Part of something that is used and given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// How much this node may use, what it uses now included.
    pub share: u64,
    /// How much nobody in the cluster uses. Where it is zero, the app is at its limit rather than the node at its share.
    pub free: u64,
}

/// How many nodes are live, which is what a limit is divided by when no share is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Nodes that serve clients and publishes.
    pub edges: u32,
    /// Nodes that make webhook requests.
    pub workers: u32,
}

impl Default for Live {
    /// This process alone.
    fn default() -> Self {
        Self { edges: 1, workers: 1 }
    }
}
