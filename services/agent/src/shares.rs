//! Shares as they come in.

use std::time::Duration;

use channels::AppId;
use metering::Portion;
use proto::control as wire;

/// Reads a share; `None` for an app whose id is none.
pub(crate) fn read(share: &wire::Share) -> Option<(AppId, metering::Share)> {
    let app = AppId::new(&share.app_id).ok()?;
    let portion = |share: Option<u64>, free: Option<u64>| share.map(|share| Portion { share, free: free.unwrap_or(0) });
    // What is no number would be no limit.
    let rate = |rate: Option<f64>| rate.map(|rate| if rate.is_finite() { rate.max(0.0) } else { 0.0 });
    let share = metering::Share {
        connections: portion(share.connections, share.connections_free),
        presence_members: portion(share.presence_members, share.presence_members_free),
        history_bytes: portion(share.history_bytes, share.history_bytes_free),
        messages_in_per_second: rate(share.messages_in_per_second),
        messages_out_per_second: rate(share.messages_out_per_second),
        paced_messages_in_per_second: rate(share.paced_messages_in_per_second),
        webhooks_per_second: rate(share.webhooks_per_second),
        out_blocked_for: Duration::from_millis(share.out_blocked_ms),
    };
    Some((app, share))
}
