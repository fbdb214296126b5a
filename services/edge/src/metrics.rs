//! The handles on what this crate counts, taken from the catalogue once.

mod recoveries;

use backbone::{PublishError, Published};
use channels::{Access, ChannelKind, QuotaKind};
use pusher::{Cause, CloseCode, Denied};
use telemetry::metrics as catalogue;
use telemetry::{Counter, Gauge, Histogram};

use crate::admission::Held;
use crate::queue::Written;
pub(crate) use recoveries::{Asking, Recoveries, Recovery};

/// Close codes of WebSocket itself that a connection can end with.
const WEBSOCKET_CODES: [u32; 13] = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013];

/// Why a client was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Address,
    AppDisabled,
    BadRequest,
    ConnectionLimit,
    Credentials,
    Draining,
    HandshakeTimeout,
    Handshakes,
    Memory,
    Origin,
    ProxyHeader,
    Quota,
    Tls,
    Unavailable,
    UnknownApp,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Pusher,
    Ably,
}

impl Protocol {
    /// Its name, in metrics and for operators.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pusher => "pusher",
            Self::Ably => "ably",
        }
    }

    /// What its connections can end with: its own codes, and WebSocket's.
    fn close_codes(self) -> Vec<u32> {
        let own: Vec<u32> = match self {
            Self::Pusher => CloseCode::ALL.iter().map(|code| code.number().into()).collect(),
            Self::Ably => ably::Code::ALL.iter().map(|code| code.number()).collect(),
        };
        let mut codes: Vec<u32> = own.into_iter().chain(WEBSOCKET_CODES).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    XhrStreaming,
    XhrPolling,
    Sse,
}

impl Transport {
    /// Every transport.
    const ALL: [Self; 4] = [Self::WebSocket, Self::XhrStreaming, Self::XhrPolling, Self::Sse];

    /// Its name, in metrics and for operators.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::XhrStreaming => "xhr_streaming",
            Self::XhrPolling => "xhr_polling",
            Self::Sse => "sse",
        }
    }
}

/// How a publish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishResult {
    Accepted,
    Duplicate,
    Invalid,
    OverLimit,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownOutcome,
}

impl PublishResult {
    /// How the backbone took it.
    pub(crate) fn of(result: &Result<Published, PublishError>) -> Self {
        match result {
            Ok(Published { duplicate: true, .. }) => Self::Duplicate,
            Ok(Published { duplicate: false, .. }) => Self::Accepted,
            Err(PublishError::TooLarge) => Self::TooLarge,
            Err(PublishError::Unavailable) => Self::Unavailable,
            Err(PublishError::UnknownOutcome) => Self::UnknownOutcome,
        }
    }
}

/// A gauge for each kind of channel that is served.
#[derive(Debug)]
pub(crate) struct ByKind {
    public: Gauge,
    private: Gauge,
    presence: Gauge,
    user: Gauge,
}

impl ByKind {
    /// The gauge for channels of this kind.
    pub(crate) fn of(&self, kind: ChannelKind) -> &Gauge {
        match kind.access() {
            Access::Public => &self.public,
            Access::Private => &self.private,
            Access::Presence => &self.presence,
            Access::User => &self.user,
        }
    }
}

/// What one source of publishes counts.
#[derive(Debug)]
pub(crate) struct Publishes {
    accepted: Counter,
    duplicate: Counter,
    invalid: Counter,
    over_limit: Counter,
    too_large: Counter,
    unauthorized: Counter,
    unavailable: Counter,
    unknown_outcome: Counter,
    /// From request to acknowledgement.
    pub(crate) seconds: Histogram,
}

impl Publishes {
    fn new(source: &'static str) -> Self {
        let result = |result| catalogue::PUBLISH.with([source, result]);
        Self {
            accepted: result("accepted"),
            duplicate: result("duplicate"),
            invalid: result("invalid"),
            over_limit: result("over_limit"),
            too_large: result("too_large"),
            unauthorized: result("unauthorized"),
            unavailable: result("unavailable"),
            unknown_outcome: result("unknown_outcome"),
            seconds: catalogue::PUBLISH_SECONDS.with([source]),
        }
    }

    /// The counter for `result`.
    pub(crate) fn result(&self, result: PublishResult) -> &Counter {
        match result {
            PublishResult::Accepted => &self.accepted,
            PublishResult::Duplicate => &self.duplicate,
            PublishResult::Invalid => &self.invalid,
            PublishResult::OverLimit => &self.over_limit,
            PublishResult::TooLarge => &self.too_large,
            PublishResult::Unauthorized => &self.unauthorized,
            PublishResult::Unavailable => &self.unavailable,
            PublishResult::UnknownOutcome => &self.unknown_outcome,
        }
    }
}

/// What is counted of the connections of one protocol.
#[derive(Debug)]
pub(crate) struct OfProtocol {
    /// In the order of [`Transport::ALL`].
    connections: [Gauge; Transport::ALL.len()],
    pub(crate) opened: Counter,
    closed: Vec<(u32, Counter)>,
    closed_other: Counter,
    closed_none: Counter,
    pub(crate) handshake_seconds: Histogram,
    pub(crate) messages_sent: Counter,
    pub(crate) sent_bytes: Counter,
}

impl OfProtocol {
    fn new(protocol: Protocol) -> Self {
        let name = protocol.name();
        let closed = |label: &str| catalogue::CONNECTIONS_CLOSED.with([name, label]);
        Self {
            connections: Transport::ALL.map(|transport| catalogue::CONNECTIONS.with([name, transport.name()])),
            opened: catalogue::CONNECTIONS_OPENED.with([name]),
            closed: protocol.close_codes().into_iter().map(|code| (code, closed(&code.to_string()))).collect(),
            closed_other: closed("other"),
            closed_none: closed("none"),
            handshake_seconds: catalogue::CONNECTION_HANDSHAKE_SECONDS.with([name]),
            messages_sent: catalogue::MESSAGES_SENT.with([name]),
            sent_bytes: catalogue::SENT_BYTES.with([name]),
        }
    }

    /// Counts what was written.
    pub(crate) fn sent(&self, written: Written) {
        if written.bytes > 0 {
            self.sent_bytes.increment(written.bytes as u64);
            self.messages_sent.increment(written.messages);
        }
    }

    /// The gauge of connections over `transport`.
    pub(crate) fn connections(&self, transport: Transport) -> &Gauge {
        &self.connections[transport as usize]
    }

    /// The counter of connections that ended with `code`. Codes that only clients make up share one.
    pub(crate) fn closed(&self, code: Option<u32>) -> &Counter {
        let Some(code) = code else { return &self.closed_none };
        let found = self.closed.binary_search_by_key(&code, |(code, _)| *code);
        found.map_or(&self.closed_other, |index| &self.closed[index].1)
    }
}

/// Every handle of the edge.
#[derive(Debug)]
pub(crate) struct Metrics {
    pusher: OfProtocol,
    ably: OfProtocol,
    refused: [Counter; 15],
    held_rate: Counter,
    held_handshakes: Counter,
    pub(crate) rotated: Counter,
    pub(crate) subscriptions: ByKind,
    pub(crate) channels: ByKind,
    pub(crate) subscribed: Counter,
    pub(crate) subscribe_unavailable: Counter,
    subscribe_invalid: Counter,
    subscribe_over_limit: Counter,
    subscribe_unauthorized: Counter,
    pub(crate) http: Publishes,
    pub(crate) client_events: Publishes,
    pub(crate) ably_realtime: Publishes,
    pub(crate) ably_rest: Publishes,
    pub(crate) delivery_backbone: Histogram,
    pub(crate) delivery_fanout: Histogram,
    pub(crate) delivery_queue: Histogram,
    pub(crate) delivery_total: Histogram,
    pub(crate) fanout_size: Histogram,
    pub(crate) send_queue_bytes: Gauge,
    pub(crate) send_queue_peak: Histogram,
    pub(crate) slow_consumers: Counter,
    pub(crate) coalesced: Counter,
    recoveries_pusher: Recoveries,
    recoveries_ably: Recoveries,
    recoveries_sse: Recoveries,
    pub(crate) gaps: Counter,
    pub(crate) forced_closes: Counter,
    pub(crate) discarded_coalesced: Counter,
    pub(crate) discarded_slow: Counter,
    pub(crate) discarded_closed: Counter,
    pub(crate) discarded_draining: Counter,
    pub(crate) discarded_meta: Counter,
    /// In the order of [`QuotaKind::ALL`].
    quota: [Counter; QuotaKind::ALL.len()],
    quota_client_events: Counter,
    pub(crate) members: Gauge,
    pub(crate) presence_sync: Histogram,
    pub(crate) stale_members: Counter,
    pub(crate) webhooks_lost: Counter,
}

impl Metrics {
    /// Takes all handles. A recorder installed later gets nothing from them.
    pub(crate) fn new() -> Self {
        let refused = |reason| catalogue::CONNECTIONS_REFUSED.with([reason]);
        let by_kind = |family: &telemetry::GaugeFamily<1>| ByKind {
            public: family.with(["public"]),
            private: family.with(["private"]),
            presence: family.with(["presence"]),
            user: family.with(["user"]),
        };
        let hop = |hop| catalogue::DELIVERY_SECONDS.with([hop]);
        let discarded = |reason| catalogue::DISCARDED.with([reason, "false"]);
        Self {
            pusher: OfProtocol::new(Protocol::Pusher),
            ably: OfProtocol::new(Protocol::Ably),
            refused: [
                refused("address"),
                refused("app_disabled"),
                refused("bad_request"),
                refused("connection_limit"),
                refused("credentials"),
                refused("draining"),
                refused("handshake_timeout"),
                refused("handshakes"),
                refused("memory"),
                refused("origin"),
                refused("proxy_header"),
                refused("quota"),
                refused("tls"),
                refused("unavailable"),
                refused("unknown_app"),
            ],
            held_rate: catalogue::CONNECTIONS_HELD.with(["rate"]),
            held_handshakes: catalogue::CONNECTIONS_HELD.with(["handshakes"]),
            rotated: catalogue::CONNECTIONS_ROTATED.handle(),
            subscriptions: by_kind(&catalogue::SUBSCRIPTIONS),
            channels: by_kind(&catalogue::CHANNELS),
            subscribed: catalogue::SUBSCRIBE.with(["subscribed"]),
            subscribe_unavailable: catalogue::SUBSCRIBE.with(["unavailable"]),
            subscribe_invalid: catalogue::SUBSCRIBE.with(["invalid"]),
            subscribe_over_limit: catalogue::SUBSCRIBE.with(["over_limit"]),
            subscribe_unauthorized: catalogue::SUBSCRIBE.with(["unauthorized"]),
            http: Publishes::new("http"),
            client_events: Publishes::new("client_event"),
            ably_realtime: Publishes::new("ably_realtime"),
            ably_rest: Publishes::new("ably_rest"),
            delivery_backbone: hop("backbone"),
            delivery_fanout: hop("fanout"),
            delivery_queue: hop("queue"),
            delivery_total: hop("total"),
            fanout_size: catalogue::FANOUT_SIZE.handle(),
            send_queue_bytes: catalogue::SEND_QUEUE_BYTES.handle(),
            send_queue_peak: catalogue::SEND_QUEUE_PEAK_BYTES.handle(),
            slow_consumers: catalogue::SLOW_CONSUMERS.with(["disconnected"]),
            coalesced: catalogue::SLOW_CONSUMERS.with(["coalesced"]),
            recoveries_pusher: Recoveries::new("pusher"),
            recoveries_ably: Recoveries::new("ably"),
            recoveries_sse: Recoveries::new("sse"),
            gaps: catalogue::POSITION_GAPS.handle(),
            forced_closes: catalogue::FORCED_CLOSES.handle(),
            discarded_coalesced: catalogue::DISCARDED.with(["coalesced", "true"]),
            discarded_slow: discarded("slow_consumer"),
            discarded_closed: discarded("connection_closed"),
            discarded_draining: discarded("draining"),
            discarded_meta: discarded("metachannel"),
            quota: QuotaKind::ALL.map(|kind| catalogue::QUOTA_REJECTED.with([kind.name()])),
            quota_client_events: catalogue::QUOTA_REJECTED.with(["client_events"]),
            members: catalogue::PRESENCE_MEMBERS.handle(),
            presence_sync: catalogue::PRESENCE_SYNC_SECONDS.handle(),
            stale_members: catalogue::PRESENCE_STALE_MEMBERS.handle(),
            webhooks_lost: catalogue::WEBHOOK_EVENTS_LOST.handle(),
        }
    }

    /// What is counted of the connections of `protocol`.
    pub(crate) fn of(&self, protocol: Protocol) -> &OfProtocol {
        match protocol {
            Protocol::Pusher => &self.pusher,
            Protocol::Ably => &self.ably,
        }
    }

    /// What is counted of those who come back and ask like that for what they missed.
    pub(crate) fn recoveries(&self, asking: Asking) -> &Recoveries {
        match asking {
            Asking::Pusher => &self.recoveries_pusher,
            Asking::Ably => &self.recoveries_ably,
            Asking::EventStream => &self.recoveries_sse,
        }
    }

    /// Counts what a session denied its client.
    pub(crate) fn deny(&self, denied: Denied) {
        let result = match denied {
            Denied::Subscribe(Cause::Invalid | Cause::TooLarge) => &self.subscribe_invalid,
            Denied::Subscribe(Cause::Unauthorized) => &self.subscribe_unauthorized,
            Denied::Subscribe(Cause::OverLimit | Cause::OverQuota) => &self.subscribe_over_limit,
            Denied::ClientEvent(Cause::Invalid) => self.client_events.result(PublishResult::Invalid),
            Denied::ClientEvent(Cause::TooLarge) => self.client_events.result(PublishResult::TooLarge),
            Denied::ClientEvent(Cause::Unauthorized) => self.client_events.result(PublishResult::Unauthorized),
            Denied::ClientEvent(Cause::OverLimit) => {
                self.quota_client_events.increment(1);
                self.client_events.result(PublishResult::OverLimit)
            }
            Denied::ClientEvent(Cause::OverQuota) => self.client_events.result(PublishResult::OverLimit),
        };
        result.increment(1);
    }

    /// Counts what an Ably session denied its client.
    pub(crate) fn deny_ably(&self, denied: ably::session::Denied) {
        use ably::session::{Cause, Denied};
        let publish = |result| self.ably_realtime.result(result);
        let result = match denied {
            Denied::Attach(Cause::Invalid | Cause::TooLarge) => &self.subscribe_invalid,
            Denied::Attach(Cause::Unauthorized) => &self.subscribe_unauthorized,
            Denied::Attach(Cause::OverLimit | Cause::OverQuota) => &self.subscribe_over_limit,
            Denied::Attach(Cause::Failed) => &self.subscribe_unavailable,
            Denied::Publish(Cause::Invalid) => publish(PublishResult::Invalid),
            Denied::Publish(Cause::TooLarge) => publish(PublishResult::TooLarge),
            Denied::Publish(Cause::Unauthorized) => publish(PublishResult::Unauthorized),
            Denied::Publish(Cause::OverLimit | Cause::OverQuota) => publish(PublishResult::OverLimit),
            Denied::Publish(Cause::Failed) => publish(PublishResult::Unavailable),
            // What members do is not counted among publishes when it is done either.
            Denied::Presence(_) => return,
        };
        result.increment(1);
    }

    /// Counts what a quota of an app refused.
    pub(crate) fn over_quota(&self, kind: QuotaKind) {
        self.quota[kind as usize].increment(1);
    }

    /// Counts a client that was turned away.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let index = match refusal {
            Refusal::Address => 0,
            Refusal::AppDisabled => 1,
            Refusal::BadRequest => 2,
            Refusal::ConnectionLimit => 3,
            Refusal::Credentials => 4,
            Refusal::Draining => 5,
            Refusal::HandshakeTimeout => 6,
            Refusal::Handshakes => 7,
            Refusal::Memory => 8,
            Refusal::Origin => 9,
            Refusal::ProxyHeader => 10,
            Refusal::Quota => 11,
            Refusal::Tls => 12,
            Refusal::Unavailable => 13,
            Refusal::UnknownApp => 14,
        };
        self.refused[index].increment(1);
    }

    /// Counts a socket that had to wait in the listener's backlog.
    pub(crate) fn hold(&self, held: Held) {
        match held {
            Held::Rate => &self.held_rate,
            Held::Handshakes => &self.held_handshakes,
        }
        .increment(1);
    }
}

/// Shows up to where this node takes connections: how many, and the bytes of memory if that is limited.
pub(crate) fn show_limits(connections: usize, memory: Option<u64>) {
    // Exact up to 2^53.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    catalogue::CONNECTIONS_LIMIT.handle().set(connections as f64);
    if let Some(bytes) = memory {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        catalogue::MEMORY_LIMIT_BYTES.handle().set(bytes as f64);
    }
}
