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

/// Seconds around the length of an edge's lease, which is most of the time that its members outlive it.
const PRESENCE_SYNC_BUCKETS: &[f64] =
    &[0.1, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0, 25.0, 30.0, 45.0, 60.0, 120.0];

/// Bytes up to the limit of a send queue, and beyond it for who has raised that.
const QUEUE_BUCKETS: &[f64] = &[
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    131_072.0,
    262_144.0,
    524_288.0,
    786_432.0,
    1_048_576.0,
    2_097_152.0,
    4_194_304.0,
    16_777_216.0,
];

/// How late a task wakes: from what a timer is off by to a runtime that is stuck.
const SCHEDULER_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

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
        "address",
        "app_disabled",
        "bad_request",
        "connection_limit",
        "credentials",
        "draining",
        "handshake_timeout",
        "handshakes",
        "memory",
        "origin",
        "proxy_header",
        "quota",
        "tls",
        "unavailable",
        "unknown_app",
    ]),
};
const HELD: Label = Label { name: "reason", values: Values::OneOf(&["handshakes", "rate"]) };
const RECOVERY_PROTOCOL: Label = Label { name: "protocol", values: Values::OneOf(&["pusher", "ably", "sse"]) };
const RECOVERY_RESULT: Label = Label {
    name: "result",
    values: Values::OneOf(&[
        "abandoned",
        "expired",
        "invalid",
        "not_stored",
        "other_epoch",
        "recovered",
        "unavailable",
    ]),
};
const RECOVERY_SOURCE: Label = Label { name: "source", values: Values::OneOf(&["memory", "none", "stream"]) };
const CANARY_PROTOCOL: Label = Label { name: "protocol", values: Values::OneOf(&["pusher", "ably", "sse"]) };
const CANARY_RESULT: Label = Label {
    name: "result",
    values: Values::OneOf(&[
        "altered",
        "delivered",
        "disconnected",
        "lost",
        "refused",
        "reordered",
        "repeated",
        "unreachable",
    ]),
};
const LISTENER: Label = Label { name: "listener", values: Values::OneOf(&["clients", "control"]) };
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
        "metachannel",
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
const STREAM_TIER: Label =
    Label { name: "tier", values: Values::OneOf(&["account", "buckets", "persistent", "recoverable", "webhooks"]) };
const SPAN_RESULT: Label = Label { name: "result", values: Values::OneOf(&["dropped", "exported", "failed"]) };
const LOG_LEVEL: Label = Label { name: "level", values: Values::OneOf(&["error", "info", "warn"]) };
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
    CONNECTIONS_HELD: CounterFamily(Kind::Counter), "fanfare_connections_held_total", "connections", [HELD],
        "Sockets that had to wait in the listener's backlog because they came too fast or too many handshakes were under way.";
    CONNECTIONS_ROTATED: CounterFamily(Kind::Counter), "fanfare_connections_rotated_total", "connections", [],
        "Connections that were told to reconnect because of their age.";
    FORCED_CLOSES: CounterFamily(Kind::Counter), "fanfare_forced_closes_total", "connections", [],
        "Connections that were cut because their client did not part in time, in a drain or not.";
    CONNECTIONS_LIMIT: GaugeFamily(Kind::Gauge), "fanfare_connections_limit", "connections", [],
        "Most connections that this node takes.";
    MEMORY_LIMIT_BYTES: GaugeFamily(Kind::Gauge), "fanfare_memory_limit_bytes", "bytes", [],
        "Memory beyond which this node takes no new connections. Absent without such a limit.";
    MEMORY_USED_BYTES: GaugeFamily(Kind::Gauge), "fanfare_memory_used_bytes", "bytes", [],
        "Memory in use, as it is compared with that limit: of a container with the kernel's part, and from three quarters of the limit on without the file cache. Absent without such a limit.";
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
    SEND_QUEUE_PEAK_BYTES: HistogramFamily(Kind::Histogram(QUEUE_BUCKETS)), "fanfare_send_queue_peak_bytes", "bytes", [],
        "The most bytes that ever waited in the send queue of a connection, recorded when it ends.";
    SLOW_CONSUMERS: CounterFamily(Kind::Counter), "fanfare_slow_consumers_total", "connections", [SLOW_ACTION],
        "Connections whose send queue was full, by what was done.";
    RECOVERIES: CounterFamily(Kind::Counter), "fanfare_recoveries_total", "channels", [RECOVERY_PROTOCOL, RECOVERY_RESULT, RECOVERY_SOURCE],
        "Channels whose client came back and asked for what it had missed, by how that ended and what it was brought from.";
    RECOVERED_MESSAGES: HistogramFamily(Kind::Histogram(FANOUT_BUCKETS)), "fanfare_recovered_messages", "messages", [RECOVERY_PROTOCOL],
        "Messages that a client which came back was brought of a channel; over Pusher, of a page of its history.";
    POSITION_GAPS: CounterFamily(Kind::Counter), "fanfare_position_gaps_total", "gaps", [],
        "Holes in a channel that could not be filled from the backbone: must stay 0.";
    BACKBONE_UP: GaugeFamily(Kind::Gauge), "fanfare_backbone_up", "boolean", [],
        "Whether the backbone is connected: 1 or 0.";
    BACKBONE_RECONNECTS: CounterFamily(Kind::Counter), "fanfare_backbone_reconnects_total", "reconnects", [],
        "How often a lost connection to the backbone came back.";
    BACKBONE_PENDING_MESSAGES: GaugeFamily(Kind::Gauge), "fanfare_backbone_pending_messages", "messages", [],
        "Publishes that the backbone has not acknowledged yet, those that wait for their turn or are tried again included.";
    BACKBONE_LAG_SECONDS: HistogramFamily(Kind::Histogram(DELIVERY_BUCKETS)), "fanfare_backbone_lag_seconds", "seconds", [],
        "From the publish of a probe to a stream of the recoverable tier until it is back here: one every 5 s, the shards in turn, whatever else is delivered. One that is not back in 10 s counts as 10 s; none is sent while the backbone is not connected.";
    BACKBONE_STREAM_LEADER_CHANGES: CounterFamily(Kind::Counter), "fanfare_backbone_stream_leader_changes_total", "elections", [],
        "Elections of leaders of our streams that this process heard of. Every process hears of all of them: take the largest, not the sum.";
    BACKBONE_STREAM_BYTES: GaugeFamily(Kind::Gauge), "fanfare_backbone_stream_bytes", "bytes", [STREAM_TIER],
        "What the streams of a tier store, one copy of each; of the account all that it stores, every copy. Told by the control replica that leads.";
    BACKBONE_STREAM_LIMIT_BYTES: GaugeFamily(Kind::Gauge), "fanfare_backbone_stream_limit_bytes", "bytes", [STREAM_TIER],
        "How much the streams of a tier may store, or the account. Absent where there is no limit. Told by the control replica that leads.";
    BACKBONE_STREAM_MESSAGES: GaugeFamily(Kind::Gauge), "fanfare_backbone_stream_messages", "messages", [STREAM_TIER],
        "Messages in the streams of a tier; not told of the account. Told by the control replica that leads.";
    BACKBONE_CONSUMERS: GaugeFamily(Kind::Gauge), "fanfare_backbone_consumers", "consumers", [STREAM_TIER],
        "Consumers of the streams of a tier, or of the account: watches of buckets, and the taker of webhook events. Told by the control replica that leads.";
    CONTROL_SNAPSHOT_AGE_SECONDS: GaugeFamily(Kind::Gauge), "fanfare_control_snapshot_age_seconds", "seconds", [],
        "Time since this node's copy of apps and keys was last known to be current.";
    QUOTA_REJECTED: CounterFamily(Kind::Counter), "fanfare_quota_rejected_total", "requests", [QUOTA],
        "What was refused, or for webhooks made to wait, because a quota or a limit of the app was used up.";
    PRESENCE_MEMBERS: GaugeFamily(Kind::Gauge), "fanfare_presence_members", "members", [],
        "Presence members of this node's connections, those included that are about to leave.";
    PRESENCE_SYNC_SECONDS: HistogramFamily(Kind::Histogram(PRESENCE_SYNC_BUCKETS)), "fanfare_presence_sync_seconds", "seconds", [],
        "From the last sign of life of an edge that is gone until the members it left had left, or were another edge's, in every channel followed here.";
    PRESENCE_STALE_MEMBERS: CounterFamily(Kind::Counter), "fanfare_presence_stale_members_total", "members", [],
        "Presence members of edges that are gone which this node took out of the backbone.";
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
    WEBHOOK_REQUEST_SECONDS: HistogramFamily(Kind::Histogram(REQUEST_BUCKETS)), "fanfare_webhook_request_seconds", "seconds", [],
        "From a request to a webhook receiver to its answer, or to its failure.";
    WEBHOOK_OLDEST_SECONDS: GaugeFamily(Kind::Gauge), "fanfare_webhook_oldest_seconds", "seconds", [],
        "Age of the oldest event in the webhook queue that is neither delivered nor a dead letter yet; 0 without any. Told by every worker, whether it acts or not: take the largest.";
    WEBHOOK_WAITING: GaugeFamily(Kind::Gauge), "fanfare_webhook_waiting", "events", [],
        "Events that wait for webhook receivers, each once for each receiver.";
    WEBHOOK_DEAD_LETTERS: CounterFamily(Kind::Counter), "fanfare_webhook_dead_letters_total", "events", [DEAD_LETTER_REASON],
        "Webhook events whose delivery was given up.";
    WEBHOOK_EVENTS_LOST: CounterFamily(Kind::Counter), "fanfare_webhook_events_lost_total", "events", [],
        "Client events and cache misses that could not be put into the webhook queue.";
    DISCARDED: CounterFamily(Kind::Counter), "fanfare_discarded_total", "messages", [DISCARD_REASON, INTENTIONAL],
        "Messages dropped anywhere, and whether a rule asked for it.";
    TLS_CERTIFICATE_EXPIRY: GaugeFamily(Kind::Gauge), "fanfare_tls_certificate_expiry_timestamp_seconds", "seconds", [LISTENER],
        "When the certificate that a listener shows expires, since the Unix epoch. Absent where a listener has none.";
    DRAINING: GaugeFamily(Kind::Gauge), "fanfare_draining", "boolean", [],
        "Whether this process is on its way out: 1 or 0.";
    CANARY_ATTEMPTS: CounterFamily(Kind::Counter), "fanfare_canary_attempts_total", "attempts", [CANARY_PROTOCOL, CANARY_RESULT],
        "Attempts of the canary to publish and receive through the public address, by how they ended.";
    CANARY_DELIVERY_SECONDS: HistogramFamily(Kind::Histogram(DELIVERY_BUCKETS)), "fanfare_canary_delivery_seconds", "seconds", [CANARY_PROTOCOL],
        "From the canary's publish request to the message on its own connection, the public network there and back included.";
    CANARY_LAST_SUCCESS: GaugeFamily(Kind::Gauge), "fanfare_canary_last_success_timestamp_seconds", "seconds", [CANARY_PROTOCOL],
        "When the canary's last good attempt ended, since the Unix epoch; 0 before the first.";
    RUNTIME_WORKERS: GaugeFamily(Kind::Gauge), "fanfare_runtime_workers", "threads", [],
        "Threads that run tasks.";
    RUNTIME_TASKS: GaugeFamily(Kind::Gauge), "fanfare_runtime_tasks", "tasks", [],
        "Tasks that have not ended.";
    RUNTIME_GLOBAL_QUEUE: GaugeFamily(Kind::Gauge), "fanfare_runtime_global_queue", "tasks", [],
        "Tasks that wait in the queue that all threads share.";
    RUNTIME_SCHEDULER_DELAY_SECONDS: HistogramFamily(Kind::Histogram(SCHEDULER_BUCKETS)), "fanfare_runtime_scheduler_delay_seconds", "seconds", [],
        "How late a task wakes that sleeps for a quarter of a second again and again. The timer itself is up to 2 ms late.";
    TRACE_SPANS: CounterFamily(Kind::Counter), "fanfare_trace_spans_total", "spans", [SPAN_RESULT],
        "Spans of traces, by what became of them: taken by the collector, not taken, or dropped before since too many waited.";
    TRACES_LIMITED: CounterFamily(Kind::Counter), "fanfare_traces_limited_total", "traces", [],
        "Traces that were not begun because more were asked for than may begin in a second.";
    LOG_EVENTS: CounterFamily(Kind::Counter), "fanfare_log_events_total", "events", [LOG_LEVEL],
        "Things that were logged, repeated ones included that were left out.";
    LOG_LEFT_OUT: CounterFamily(Kind::Counter), "fanfare_log_left_out_total", "events", [LOG_LEVEL],
        "Repeated things that were not written to the log because the same place in the code had just said so often.";
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

    pub(crate) const VIRTUAL_MEMORY_BYTES: Metric = Metric {
        name: "process_virtual_memory_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &[],
        help: "Address space of this process; most of it was never touched.",
    };
    pub(crate) const THREADS: Metric = Metric {
        name: "process_threads",
        kind: Kind::Gauge,
        unit: "threads",
        labels: &[],
        help: "Threads of this process.",
    };
    pub(crate) const START_TIME_SECONDS: Metric = Metric {
        name: "process_start_time_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        labels: &[],
        help: "When this process began, in seconds since the Unix epoch.",
    };

    /// All of them.
    pub(crate) const ALL: &[&Metric] = &[
        &RESIDENT_MEMORY_BYTES,
        &VIRTUAL_MEMORY_BYTES,
        &CPU_SECONDS,
        &OPEN_FDS,
        &MAX_FDS,
        &THREADS,
        &START_TIME_SECONDS,
    ];
}

/// What is told of single apps. Never on the page of the others, so no family registers them; [`Exposition`](crate::Exposition) writes them.
pub mod app {
    use super::{Kind, Label, Metric, QUOTA, Values};

    const APP: Label = Label {
        name: "app",
        values: Values::Described(
            "an app's id, for as many apps as `metrics.apps` says; `other` for all others together",
        ),
    };
    const RESULT: Label = Label { name: "result", values: Values::OneOf(&["delivered", "failed"]) };

    /// Declares a row for each line, and the list of all of them.
    macro_rules! rows {
        ($($ident:ident: $kind:ident, $name:literal, $unit:literal, [$($label:expr),*], $help:literal;)*) => {
            $(
                #[doc = $help]
                pub static $ident: Metric =
                    Metric { name: $name, kind: Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help };
            )*

            /// The rows, in the order of the table.
            pub(super) static ALL: &[&Metric] = &[$(&$ident),*];
        };
    }

    rows! {
        CONNECTIONS: Gauge, "fanfare_app_connections", "connections", [APP],
            "Connections of the app on this node.";
        CONNECTIONS_PEAK: Gauge, "fanfare_app_connections_peak", "connections", [APP],
            "Most connections of the app on this node at one time of the current minute; of others the sum of what each had.";
        CONNECTIONS_OPENED: Counter, "fanfare_app_connections_opened_total", "connections", [APP],
            "Connections that were opened.";
        PRESENCE_MEMBERS: Gauge, "fanfare_app_presence_members", "members", [APP],
            "Connections on this node that are members of presence channels, once for each channel.";
        CHANNELS: Gauge, "fanfare_app_channels", "channels", [APP],
            "Occupied channels of the app in the whole cluster, as this node sees it: take the largest, not the sum.";
        MESSAGES_IN: Counter, "fanfare_app_messages_in_total", "messages", [APP],
            "Messages that were published here, by whatever way; one to several channels counts for each.";
        PUBLISHED_BYTES: Counter, "fanfare_app_published_bytes_total", "bytes", [APP],
            "Bytes of these messages.";
        MESSAGES_OUT: Counter, "fanfare_app_messages_out_total", "messages", [APP],
            "Messages that were delivered to subscribers of this node.";
        DELIVERED_BYTES: Counter, "fanfare_app_delivered_bytes_total", "bytes", [APP],
            "Bytes of these messages.";
        QUOTA_REJECTED: Counter, "fanfare_app_quota_rejected_total", "requests", [APP, QUOTA],
            "What was refused, or for webhooks made to wait, because a quota or a limit of the app was used up.";
        WEBHOOK_REQUESTS: Counter, "fanfare_app_webhook_requests_total", "requests", [APP, RESULT],
            "Requests to the app's webhook receivers that this process made, each attempt.";
        IN_OTHER: Gauge, "fanfare_apps_in_other", "apps", [],
            "Apps that were seen on this node and are counted together.";
    }
}

/// Every metric of the page by app, in the order of the table.
pub fn app_catalogue() -> impl Iterator<Item = &'static Metric> {
    app::ALL.iter().copied()
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
    fn no_metric_is_by_app_but_those_of_the_page_by_app() {
        assert!(catalogue().flat_map(|metric| metric.labels).all(|label| label.name != "app"));
        assert!(app_catalogue().all(|metric| metric.name.starts_with("fanfare_app")));
    }

    #[test]
    fn names_follow_the_rules() {
        let mut names = BTreeSet::new();
        for metric in catalogue().chain(app_catalogue()) {
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
        for metric in catalogue().chain(app_catalogue()) {
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
