//! What nodes counted, as it is kept in [`Bucket::Usage`](crate::Bucket): keys and values of the rows that each node
//! writes of each minute.
//!
//! A row holds everything that its node counted of an app in that minute so far, and is written again and again: whoever
//! reads it twice has read it once. Who folds rows into hours and days, and where that is kept, is the control plane's
//! matter.

use std::time::Duration;

use bytes::Bytes;
use channels::{AppId, QuotaKind};
use metering::usage::{AppMinute, Counts, Refusals};
use prost::Message as _;
use proto::backbone as wire;

mod store;

pub(crate) use store::kept_until_ms;
pub use store::{Kept, UsageStore};

/// Format of the values.
const VERSION: u32 = 1;

/// First part of the keys of raw rows.
pub const RAW: &str = "raw";

/// How long raw rows are kept if nobody folds and removes them: a control plane may be away for so long.
pub const RAW_TTL: Duration = Duration::from_secs(48 * 60 * 60);

/// Which rows: those that one node wrote of one minute, in parts that are small enough to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawKey {
    /// Minutes since the Unix epoch.
    pub minute: u64,
    /// The node's id.
    pub node: String,
    /// Counted from 0. An app is always in the same part of a minute.
    pub part: u32,
}

impl RawKey {
    /// Its text.
    pub fn to_key(&self) -> String {
        format!("{RAW}.{}.{}.{}", self.minute, self.node, self.part)
    }

    /// Reads [`Self::to_key`].
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('.');
        let is_raw = parts.next()? == RAW;
        let minute = parts.next()?.parse().ok()?;
        let node = parts.next()?.to_owned();
        let part = parts.next()?.parse().ok()?;
        (is_raw && parts.next().is_none()).then_some(Self { minute, node, part })
    }
}

/// The value to store for rows, of a minute that is over if it is `closed`.
pub fn encode_rows<'a>(closed: bool, rows: impl IntoIterator<Item = &'a (AppId, AppMinute)>) -> Bytes {
    let rows = rows.into_iter().map(|(app, row)| row_to_wire(app, row)).collect();
    wire::UsageRows { version: VERSION, rows, closed }.encode_to_vec().into()
}

/// How many bytes a row takes in a value, about.
pub fn row_bytes(app: &AppId, row: &AppMinute) -> usize {
    row_to_wire(app, row).encoded_len() + 4
}

/// Reads [`encode_rows`]: whether the minute is over, and the rows. `None` for what this process does not understand.
pub fn decode_rows(value: Bytes) -> Option<(bool, Vec<(AppId, AppMinute)>)> {
    let value = wire::UsageRows::decode(value).ok().filter(|value| value.version == VERSION)?;
    let row = |row: wire::UsageRow| {
        let counts = counts_from_wire(&row.counts.unwrap_or_default());
        Some((AppId::new(&row.app_id).ok()?, AppMinute { counts, connections: row.connections }))
    };
    Some((value.closed, value.rows.into_iter().map(row).collect::<Option<_>>()?))
}

/// Counts as they are stored.
pub fn counts_to_wire(counts: &Counts) -> wire::UsageCounts {
    let refused =
        |(kind, count): (QuotaKind, u64)| wire::usage_counts::Refused { quota: kind.name().to_owned(), count };
    wire::UsageCounts {
        messages_in: counts.messages_in,
        bytes_in: counts.bytes_in,
        messages_out: counts.messages_out,
        bytes_out: counts.bytes_out,
        connections_opened: counts.connections_opened,
        peak_connections: counts.peak_connections,
        peak_channels: counts.peak_channels,
        webhooks_delivered: counts.webhooks_delivered,
        webhooks_failed: counts.webhooks_failed,
        refused: counts.refused.iter().map(refused).collect(),
    }
}

/// Reads [`counts_to_wire`]. Refusals of quotas that this process does not know are left out.
pub fn counts_from_wire(counts: &wire::UsageCounts) -> Counts {
    let known = |name: &str| QuotaKind::ALL.into_iter().find(|kind| kind.name() == name);
    let refused: Refusals =
        counts.refused.iter().filter_map(|refused| Some((known(&refused.quota)?, refused.count))).collect();
    Counts {
        messages_in: counts.messages_in,
        bytes_in: counts.bytes_in,
        messages_out: counts.messages_out,
        bytes_out: counts.bytes_out,
        connections_opened: counts.connections_opened,
        peak_connections: counts.peak_connections,
        peak_channels: counts.peak_channels,
        webhooks_delivered: counts.webhooks_delivered,
        webhooks_failed: counts.webhooks_failed,
        refused,
    }
}

fn row_to_wire(app: &AppId, row: &AppMinute) -> wire::UsageRow {
    let connections = row.connections.clone();
    wire::UsageRow { app_id: app.to_string(), counts: Some(counts_to_wire(&row.counts)), connections }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats;

    #[test]
    fn keys_round_trip() {
        let key = RawKey { minute: 29_000_000, node: "00000000000000ab".to_owned(), part: 3 };
        assert_eq!(key.to_key(), "raw.29000000.00000000000000ab.3");
        assert_eq!(RawKey::parse(&key.to_key()), Some(key));
        for other in ["raw.1.a", "raw.1.a.2.3", "row.1.a.2", "raw.x.a.2", "hour.1.a.2"] {
            assert_eq!(RawKey::parse(other), None, "{other}");
        }
    }

    #[test]
    fn rows_round_trip() {
        let rows = vec![
            (AppId::new("a").unwrap(), AppMinute { counts: formats::counts(), connections: vec![6, 0, 2] }),
            (AppId::new("b").unwrap(), AppMinute::default()),
        ];
        let value = encode_rows(true, &rows);
        let bytes: usize = rows.iter().map(|(app, row)| row_bytes(app, row)).sum();
        assert!(bytes + 8 >= value.len(), "{bytes} {}", value.len());
        assert_eq!(decode_rows(value), Some((true, rows)));
    }

    #[test]
    fn another_format_is_not_read() {
        let value = wire::UsageRows { version: VERSION + 1, ..Default::default() };
        assert_eq!(decode_rows(value.encode_to_vec().into()), None);
    }
}
