//! The metric catalogue: the one table of every metric of the product.
//!
//! A metric is here if something feeds it. Names follow Prometheus: snake case, base units, `_total` on counters, one
//! thing per name, labels from closed sets; never a channel, user, connection or message.

use crate::catalogue::{Kind, Label, Metric, Values};
use crate::family::{CounterFamily, GaugeFamily, HistogramFamily};

/// Seconds from milliseconds to the length of a leader election and its retries, for publishes and handshakes.
const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0];

/// Dense between 1 and 250 ms: the objective for deliveries is 250 ms, and a percentile is only as sharp as the bucket
/// it falls into.
const DELIVERY_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15,
    0.175, 0.2, 0.25, 0.35, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Subscribers of one message on one node.
const FANOUT_BUCKETS: &[f64] = &[0.0, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 5e4];

/// From a receiver's round trip to the time at which deliveries are given up.
const WEBHOOK_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 240.0, 300.0];

const PROTOCOL: Label = Label { name: "protocol", values: Values::OneOf(&["pusher", "ably"]) };
const TRANSPORT: Label =
    Label { name: "transport", values: Values::OneOf(&["websocket", "xhr_streaming", "xhr_polling", "sse"]) };
const CLOSE_CODE: Label = Label {
    name: "code",
    values: Values::Described("a close code of the protocol's table or of WebSocket; `none` for a lost connection"),
};
const REFUSAL: Label = Label {
    name: "reason",
    values: Values::OneOf(&[
        "app_disabled",
        "bad_request",
        "connection_limit",
        "credentials",
        "draining",
        "handshake_timeout",
        "origin",
        "quota",
        "tls",
        "unavailable",
        "unknown_app",
    ]),
};
const CHANNEL_KIND: Label = Label { name: "kind", values: Values::OneOf(&["presence", "private", "public", "user"]) };
const SUBSCRIBE_RESULT: Label = Label {
    name: "result",
    values: Values::OneOf(&["invalid", "over_limit", "subscribed", "unauthorized", "unavailable"]),
};
const PUBLISH_SOURCE: Label =
    Label { name: "source", values: Values::OneOf(&["client_event", "http", "ably_realtime", "ably_rest"]) };
const PUBLISH_RESULT: Label = Label {
    name: "result",
    values: Values::OneOf(&[
        "accepted",
        "duplicate",
        "invalid",
        "over_limit",
        "too_large",
        "unauthorized",
        "unavailable",
        "unknown_outcome",
    ]),
};
const HOP: Label = Label { name: "hop", values: Values::OneOf(&["backbone", "fanout", "queue", "total"]) };
const SLOW_ACTION: Label = Label { name: "action", values: Values::OneOf(&["coalesced", "disconnected"]) };
const DISCARD_REASON: Label = Label {
    name: "reason",
    values: Values::OneOf(&[
        "coalesced",
        "connection_closed",
        "dead_letters_full",
        "draining",
        "malformed_record",
        "slow_consumer",
        "too_large",
    ]),
};
const WEBHOOK_EVENT: Label = Label {
    name: "event",
    values: Values::OneOf(&[
        "cache_miss",
        "channel_occupied",
        "channel_vacated",
        "client_event",
        "member_added",
        "member_removed",
        "subscription_count",
    ]),
};
const WEBHOOK_RESULT: Label =
    Label { name: "result", values: Values::OneOf(&["broken", "delivered", "forbidden", "status", "timeout"]) };
const DEAD_LETTER_REASON: Label =
    Label { name: "reason", values: Values::OneOf(&["forbidden", "given_up", "overflow"]) };
const INTENTIONAL: Label = Label { name: "intentional", values: Values::OneOf(&["false", "true"]) };
const QUOTA: Label = Label {
    name: "quota",
    values: Values::OneOf(&[
        "channels",
        "client_events",
        "connections",
        "history_bytes",
        "message_size",
        "messages_in",
        "messages_out",
        "presence_members",
        "webhooks",
    ]),
};
const VERSION: Label = Label { name: "version", values: Values::Described("the version of this build") };

/// Declares a static family for each row, and the list of all of them.
macro_rules! catalogue {
    ($($ident:ident: $Family:ident($kind:expr), $name:literal, $unit:literal, [$($label:expr),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $ident: $Family<{ <[Label]>::len(&[$($label),*]) }> = $Family::new(Metric {
                name: $name,
                kind: $kind,
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
            });
        )*

        /// The families, in the order of the table.
        const FAMILIES: &[&Metric] = &[$($ident.metric()),*];
    };
}

catalogue! {
    CONNECTIONS: GaugeFamily(Kind::Gauge), "fanfare_connections", "connections", [PROTOCOL, TRANSPORT],
        "Connections open on this node; the signal to scale by.";
    CONNECTIONS_OPENED: CounterFamily(Kind::Counter), "fanfare_connections_opened_total", "connections", [PROTOCOL],
        "Connections that were established.";
    CONNECTIONS_CLOSED: CounterFamily(Kind::Counter), "fanfare_connections_closed_total", "connections", [PROTOCOL, CLOSE_CODE],
        "Established connections that ended, by the code they ended with.";
    CONNECTIONS_REFUSED: CounterFamily(Kind::Counter), "fanfare_connections_refused_total", "connections", [REFUSAL],
        "Connections that were turned away before they were established.";
    CONNECTION_HANDSHAKE_SECONDS: HistogramFamily(Kind::Histogram(REQUEST_BUCKETS)), "fanfare_connection_handshake_seconds", "seconds", [PROTOCOL],
        "From the accepted socket to the established connection.";
    SUBSCRIPTIONS: GaugeFamily(Kind::Gauge), "fanfare_subscriptions", "subscriptions", [CHANNEL_KIND],
        "Subscriptions of connections of this node.";
    CHANNELS: GaugeFamily(Kind::Gauge), "fanfare_channels", "channels", [CHANNEL_KIND],
        "Channels with a subscriber on this node.";
    SUBSCRIBE: CounterFamily(Kind::Counter), "fanfare_subscribe_total", "requests", [SUBSCRIBE_RESULT],
        "Requests to subscribe to a channel, by how they ended.";
    PUBLISH: CounterFamily(Kind::Counter), "fanfare_publish_total", "publishes", [PUBLISH_SOURCE, PUBLISH_RESULT],
        "Publishes to a channel, by where they came from and how they ended.";
    PUBLISH_SECONDS: HistogramFamily(Kind::Histogram(REQUEST_BUCKETS)), "fanfare_publish_seconds", "seconds", [PUBLISH_SOURCE],
        "From a publish request to its acknowledgement by the backbone.";
    DELIVERY_SECONDS: HistogramFamily(Kind::Histogram(DELIVERY_BUCKETS)), "fanfare_delivery_seconds", "seconds", [HOP],
        "From the publish to the write to a subscriber's socket (total), and its stages: backbone, fan-out, send queue.";
    FANOUT_SIZE: HistogramFamily(Kind::Histogram(FANOUT_BUCKETS)), "fanfare_fanout_size", "subscribers", [],
        "Subscribers of a delivered message on this node.";
    MESSAGES_SENT: CounterFamily(Kind::Counter), "fanfare_messages_sent_total", "messages", [PROTOCOL],
        "Messages written to clients.";
    SENT_BYTES: CounterFamily(Kind::Counter), "fanfare_sent_bytes_total", "bytes", [PROTOCOL],
        "Bytes written to clients, framing included.";
    SEND_QUEUE_BYTES: GaugeFamily(Kind::Gauge), "fanfare_send_queue_bytes", "bytes", [],
        "Bytes that wait in the send queues of all connections of this node.";
    SLOW_CONSUMERS: CounterFamily(Kind::Counter), "fanfare_slow_consumers_total", "connections", [SLOW_ACTION],
        "Connections whose send queue was full, by what was done.";
    POSITION_GAPS: CounterFamily(Kind::Counter), "fanfare_position_gaps_total", "gaps", [],
        "Holes in a channel that could not be filled from the backbone: must stay 0.";
    BACKBONE_UP: GaugeFamily(Kind::Gauge), "fanfare_backbone_up", "boolean", [],
        "Whether the backbone is connected: 1 or 0.";
    BACKBONE_RECONNECTS: CounterFamily(Kind::Counter), "fanfare_backbone_reconnects_total", "reconnects", [],
        "How often a lost connection to the backbone came back.";
    CONTROL_SNAPSHOT_AGE_SECONDS: GaugeFamily(Kind::Gauge), "fanfare_control_snapshot_age_seconds", "seconds", [],
        "Time since this node's copy of apps and keys was last known to be current.";
    QUOTA_REJECTED: CounterFamily(Kind::Counter), "fanfare_quota_rejected_total", "requests", [QUOTA],
        "What was refused, or for webhooks made to wait, because a quota or a limit of the app was used up.";
    PRESENCE_MEMBERS: GaugeFamily(Kind::Gauge), "fanfare_presence_members", "members", [],
        "Presence members of this node's connections, those included that are about to leave.";
    EDGES_GONE: CounterFamily(Kind::Counter), "fanfare_edges_gone_total", "edges", [],
        "Edges whose lease was seen to end, on purpose or not.";
    EDGE_LIVES: CounterFamily(Kind::Counter), "fanfare_edge_lives_total", "lives", [],
        "How often this edge took a lease: more than once means that the others took it for dead.";
    CONTROL_LINKS: GaugeFamily(Kind::Gauge), "fanfare_control_links", "streams", [],
        "Control replicas that this node reports to. Without any, quotas are divided by the live edges.";
    CONTROL_NODES: GaugeFamily(Kind::Gauge), "fanfare_control_nodes", "nodes", [],
        "Nodes that report to this control replica.";
    CONTROL_LEADER: GaugeFamily(Kind::Gauge), "fanfare_control_leader", "boolean", [],
        "Whether this control replica divides the quotas: 1 on one of a cluster.";
    USAGE_MINUTES_LOST: CounterFamily(Kind::Counter), "fanfare_usage_minutes_lost_total", "minutes", [],
        "Minutes of usage that could not be written before memory for them ran out: must stay 0.";
    WORKER_ACTIVE: GaugeFamily(Kind::Gauge), "fanfare_worker_active", "boolean", [],
        "Whether this process is the worker that acts: 1 on one of a cluster.";
    WEBHOOK_EVENTS: CounterFamily(Kind::Counter), "fanfare_webhook_events_total", "events", [WEBHOOK_EVENT],
        "Events taken out of the webhook queue, whether a webhook wants them or not.";
    WEBHOOK_REQUESTS: CounterFamily(Kind::Counter), "fanfare_webhook_requests_total", "requests", [WEBHOOK_RESULT],
        "Requests to webhook receivers, by how they ended.";
    WEBHOOK_RETRIES: CounterFamily(Kind::Counter), "fanfare_webhook_retries_total", "requests", [],
        "Requests to webhook receivers with events that were sent before.";
    WEBHOOK_DELIVERY_SECONDS: HistogramFamily(Kind::Histogram(WEBHOOK_BUCKETS)), "fanfare_webhook_delivery_seconds", "seconds", [],
        "From an event to its receiver's good answer, retries included.";
    WEBHOOK_WAITING: GaugeFamily(Kind::Gauge), "fanfare_webhook_waiting", "events", [],
        "Events that wait for webhook receivers, each once for each receiver.";
    WEBHOOK_DEAD_LETTERS: CounterFamily(Kind::Counter), "fanfare_webhook_dead_letters_total", "events", [DEAD_LETTER_REASON],
        "Webhook events whose delivery was given up.";
    WEBHOOK_EVENTS_LOST: CounterFamily(Kind::Counter), "fanfare_webhook_events_lost_total", "events", [],
        "Client events and cache misses that could not be put into the webhook queue.";
    DISCARDED: CounterFamily(Kind::Counter), "fanfare_discarded_total", "messages", [DISCARD_REASON, INTENTIONAL],
        "Messages dropped anywhere, and whether a rule asked for it.";
    BUILD_INFO: GaugeFamily(Kind::Gauge), "fanfare_build_info", "boolean", [VERSION],
        "Always 1; its label says which build this is.";
}

/// What the operating system says of the process. Read when metrics are asked for, so nobody holds a handle.
pub(crate) mod process {
    use super::{Kind, Metric};

    pub(crate) const RESIDENT_MEMORY_BYTES: Metric = Metric {
        name: "process_resident_memory_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &[],
        help: "Memory of this process that is in RAM.",
    };
    pub(crate) const CPU_SECONDS: Metric = Metric {
        name: "process_cpu_seconds_total",
        kind: Kind::Counter,
        unit: "seconds",
        labels: &[],
        help: "CPU time this process has used, user and system.",
    };
    pub(crate) const OPEN_FDS: Metric = Metric {
        name: "process_open_fds",
        kind: Kind::Gauge,
        unit: "descriptors",
        labels: &[],
        help: "File descriptors that are open; every connection is one.",
    };
    pub(crate) const MAX_FDS: Metric = Metric {
        name: "process_max_fds",
        kind: Kind::Gauge,
        unit: "descriptors",
        labels: &[],
        help: "File descriptors that may be open.",
    };

    /// All of them.
    pub(crate) const ALL: &[&Metric] = &[&RESIDENT_MEMORY_BYTES, &CPU_SECONDS, &OPEN_FDS, &MAX_FDS];
}

/// Every metric, in the order of the table.
pub fn catalogue() -> impl Iterator<Item = &'static Metric> {
    FAMILIES.iter().chain(process::ALL).copied()
}

/// The metrics that come from families, without those read from the operating system.
pub(crate) fn families() -> impl Iterator<Item = &'static Metric> {
    FAMILIES.iter().copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_rules() {
        let mut names = BTreeSet::new();
        for metric in catalogue() {
            let name = metric.name;
            assert!(names.insert(name), "{name} stands twice");
            assert!(name.starts_with("fanfare_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            let stem = name.trim_end_matches("_total");
            for unit in ["seconds", "bytes"] {
                assert_eq!(stem.ends_with(unit), metric.unit == unit, "{name} in {}", metric.unit);
            }
            assert!(metric.help.ends_with('.'), "{name}: the help is a sentence");
        }
    }

    #[test]
    fn buckets_grow_and_label_values_are_sorted() {
        for metric in catalogue() {
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]), "{}", metric.name);
            }
            for label in metric.labels {
                if let Values::OneOf(values) = label.values {
                    assert!(!values.is_empty(), "{}", label.name);
                    assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len(), "{}", label.name);
                }
            }
        }
    }

    #[test]
    fn deliveries_are_sharp_up_to_the_objective() {
        let dense = DELIVERY_BUCKETS.iter().filter(|bound| (0.001..=0.25).contains(*bound)).count();
        assert!(dense >= 20);
        assert_eq!((DELIVERY_BUCKETS.first(), DELIVERY_BUCKETS.last()), (Some(&0.001), Some(&10.0)));
    }
}
