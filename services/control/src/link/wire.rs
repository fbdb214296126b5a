//! Reports and shares between the words of the wire and those of metering.

use std::time::Duration;

use channels::{AppId, QuotaKind};
use metering::usage::{Counts, Refusals};
use metering::{Portion, Report, Share};
use proto::control as wire;
use proto::control::node_message;

/// What a node said of its apps. Those whose ids are none are left out.
pub(super) fn report(said: &node_message::Report) -> Report {
    let interval = Duration::from_millis(said.interval_ms);
    Report { interval, apps: said.apps.iter().filter_map(app_report).collect() }
}

fn app_report(said: &wire::AppReport) -> Option<metering::AppReport> {
    let known = |name: &str| QuotaKind::ALL.into_iter().find(|kind| kind.name() == name);
    let refused: Refusals = said.refused.iter().filter_map(|(name, count)| Some((known(name)?, *count))).collect();
    let counts = Counts {
        messages_in: said.messages_in,
        bytes_in: said.bytes_in,
        messages_out: said.messages_out,
        bytes_out: said.bytes_out,
        refused,
        ..Counts::default()
    };
    Some(metering::AppReport {
        app: AppId::new(&said.app_id).ok()?,
        connections: said.connections,
        presence_members: said.presence_members,
        channels: said.channels,
        counts,
        messages_in_wanted: said.messages_in_wanted,
        webhooks_wanted: said.webhooks_wanted,
        history_bytes_wanted: said.history_bytes_wanted,
        history_bytes: said.history_bytes.iter().map(|(minute, bytes)| (*minute, *bytes)).collect(),
    })
}

/// Whether a node had too little of something that is given back: it may be there on another node.
pub(super) fn is_urgent(said: &node_message::Report) -> bool {
    said.apps.iter().any(|app| app.connections_refused > 0 || app.presence_members_refused > 0)
}

/// A share as it is told.
pub(super) fn share(app: &AppId, share: &Share) -> wire::Share {
    let part = |portion: Option<Portion>| portion.map(|portion| portion.share);
    let free = |portion: Option<Portion>| portion.map(|portion| portion.free);
    wire::Share {
        app_id: app.to_string(),
        connections: part(share.connections),
        connections_free: free(share.connections),
        presence_members: part(share.presence_members),
        presence_members_free: free(share.presence_members),
        history_bytes: part(share.history_bytes),
        history_bytes_free: free(share.history_bytes),
        messages_in_per_second: share.messages_in_per_second,
        messages_out_per_second: share.messages_out_per_second,
        paced_messages_in_per_second: share.paced_messages_in_per_second,
        webhooks_per_second: share.webhooks_per_second,
        // Rounded up: a wait that is told too short is one refusal more.
        out_blocked_ms: u64::try_from(share.out_blocked_for.as_micros().div_ceil(1000)).unwrap_or(u64::MAX),
    }
}
