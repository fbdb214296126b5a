//! What a node says, in the words of the wire.

use channels::QuotaKind;
use clock::unix_ms;
use metering::Report;
use proto::control::{AppReport, NodeLoad};
use telemetry::Resources;
use tokio::time::Instant;

use crate::Host;

/// How busy a node is, and where its clients are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) load: NodeLoad,
    pub(crate) is_draining: bool,
    pub(crate) edge_id: String,
}

/// Looks how busy this process is, again and again.
#[derive(Debug)]
pub(crate) struct LoadMeter {
    /// Processor seconds at the last look.
    last: Option<(f64, Instant)>,
}

impl LoadMeter {
    pub(crate) fn new() -> Self {
        Self { last: None }
    }

    pub(crate) fn look(&mut self, host: Option<&dyn Host>, reported: &Report) -> Load {
        let mut load = host.map(Host::load).unwrap_or_default();
        let per_second = |sum: u64| {
            let interval = reported.interval.as_secs_f64();
            if interval > 0.0 { sum as f64 / interval } else { 0.0 }
        };
        load.messages_in_per_second = per_second(reported.apps.iter().map(|app| app.counts.messages_in).sum());
        load.messages_out_per_second = per_second(reported.apps.iter().map(|app| app.counts.messages_out).sum());
        if let Some(Resources { memory_bytes, cpu_seconds }) = Resources::of_this_process() {
            let now = Instant::now();
            let (before, at) = self.last.replace((cpu_seconds, now)).unwrap_or((cpu_seconds, now));
            let passed = (now - at).as_secs_f64();
            load.memory_bytes = memory_bytes;
            load.cpu = if passed > 0.0 { (cpu_seconds - before).max(0.0) / passed } else { 0.0 };
        }
        load.time_ms = unix_ms();
        Load {
            load,
            is_draining: host.is_some_and(Host::is_draining),
            edge_id: host.map(Host::edge_id).unwrap_or_default(),
        }
    }
}

/// Adds what an app did to what was not told yet.
pub(crate) fn merge(pending: &mut AppReport, newer: &metering::AppReport) {
    pending.app_id = newer.app.to_string();
    pending.connections = newer.connections;
    pending.presence_members = newer.presence_members;
    pending.channels = newer.channels;
    pending.messages_in += newer.counts.messages_in;
    pending.messages_out += newer.counts.messages_out;
    pending.bytes_in += newer.counts.bytes_in;
    pending.bytes_out += newer.counts.bytes_out;
    pending.messages_in_wanted += newer.messages_in_wanted;
    pending.webhooks_wanted += newer.webhooks_wanted;
    pending.connections_refused += newer.counts.refused.get(QuotaKind::Connections);
    pending.presence_members_refused += newer.counts.refused.get(QuotaKind::PresenceMembers);
    pending.history_bytes_wanted += newer.history_bytes_wanted;
    for (minute, bytes) in &newer.history_bytes {
        *pending.history_bytes.entry(*minute).or_default() += bytes;
    }
    for (kind, count) in newer.counts.refused.iter() {
        *pending.refused.entry(kind.name().to_owned()).or_default() += count;
    }
}

/// Forgets what there was at a moment that has passed.
pub(crate) fn clear_gauges(pending: &mut AppReport) {
    pending.connections = 0;
    pending.presence_members = 0;
    pending.channels = 0;
}
