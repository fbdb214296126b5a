//! What an operator chooses about the edge.

use std::path::PathBuf;
use std::time::Duration;

use crate::admission::{MemoryLimit, Networks, ProxyProtocol};

/// Shortest header limit the HTTP parser can hold to.
const MIN_HEADER_BYTES: usize = 8 * 1024;

/// Smallest frame limit: clients may send events of 10 KB, and JSON escapes can double them.
const MIN_FRAME_BYTES: usize = 16 * 1024;

/// Smallest outgoing queue: a few of the largest ordinary messages.
const MIN_SEND_QUEUE_BYTES: usize = 64 * 1024;

/// Smallest memory limit: an edge without a client takes half of that.
const MIN_MEMORY: u64 = 64 << 20;

/// Shortest age at which connections are ended: they are looked at once a second.
const MIN_CONNECTION_AGE: Duration = Duration::from_secs(1);

/// Longest of all times here. None is useful for longer, and a moment beyond what clocks can hold is none.
const MAX_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Settings of one edge.
#[derive(Clone, Debug)]
pub struct Config {
    /// Connections this node holds at one time; more are told to come back (4100). Default 100,000. Other
    /// sockets (requests, refusals on their way out) may use a sixteenth more, and 64.
    pub max_connections: usize,
    /// New sockets a second; who comes faster waits in the listener's backlog. 0: no limit. Default 2,000.
    pub accept_rate: u32,
    /// How many of them may come at once after a while of fewer. Default 2,000.
    pub accept_burst: u32,
    /// Sockets that may be without their first request at one time; more wait in the listener's backlog. Default 2,048.
    pub max_handshakes: usize,
    /// Memory beyond which nobody new is taken. Default [`MemoryLimit::Auto`].
    pub memory_limit: MemoryLimit,
    /// Sockets and connections of one client address, or of one /64 of IPv6. 0: no limit, which is the default.
    pub address_connections: u32,
    /// New ones of them in a second, of which a second's worth may come at once. 0: no limit, which is the default.
    pub address_rate: u32,
    /// Whether a proxy in front says whom a socket is from. Default off.
    pub proxy_protocol: ProxyProtocol,
    /// Proxies that are believed when they say whom they speak for. Default none.
    pub trusted_proxies: Networks,
    /// How long a connection lasts at most, give or take a tenth; then its client is told to reconnect. Zero: for as long
    /// as it likes, which is the default.
    pub max_connection_age: Duration,
    /// From the accepted socket to the end of the first request's head, TLS included. Default 10 s: a phone on a bad
    /// network needs some round trips, a socket that says nothing must not stay.
    pub handshake_timeout: Duration,
    /// How long an HTTP connection may wait for its next request, and how long the head of one may take. Default 75 s,
    /// longer than the idle time of common load balancers (60 s), so that it is they who close first.
    pub keep_alive_timeout: Duration,
    /// How long a request's body may take. Default 10 s.
    pub body_timeout: Duration,
    /// Largest head of a request. Default 16 KiB, at least 8 KiB.
    pub max_header_bytes: usize,
    /// Largest body of a request. Default 1 MiB: ten events of 10 KB in a batch, every byte of them a
    /// JSON escape of six, take 600 KB.
    pub max_body_bytes: usize,
    /// Largest frame and message from a client. Default 64 KiB; a connection keeps a buffer as large as the largest
    /// frame it ever received.
    pub max_frame_bytes: usize,
    /// Bytes that may wait for one connection to read them; a connection that is further behind is cut (4100).
    /// Default 1 MiB.
    pub send_queue_bytes: usize,
    /// Records kept for each channel with subscribers. Default 100.
    pub ring_messages: usize,
    /// Bytes of payload kept for each channel with subscribers. Default 256 KiB.
    pub ring_bytes: usize,
    /// How long a channel stays attached after its last subscriber left. Default 5 s, so that clients that reconnect
    /// cost the backbone nothing.
    pub detach_linger: Duration,
    /// How long subscribers wait for a channel to be attached before they are sent elsewhere (4100). Default 15 s.
    pub attach_timeout: Duration,
    /// Silence after which a client is pinged. Default 120 s, as hosted Pusher's.
    pub activity_timeout: Duration,
    /// How long a pinged client has to show life. Default 30 s.
    pub pong_timeout: Duration,
    /// How long a connection that is being closed has to take its last bytes and answer. Default 5 s.
    pub close_timeout: Duration,
    /// Silence after which a client of the HTTP fallback gets a heartbeat. Default 25 s: proxies close silent answers after
    /// 30 s and more, and pusher-js gives up 30 s after it asked for a sign of life.
    pub xhr_heartbeat: Duration,
    /// How often an event stream gets a sign of life while it is silent. Default 10 s, at most 15 s: readers take one that
    /// is silent for longer for dead.
    pub sse_keep_alive: Duration,
    /// How long a client of the HTTP fallback may take from one receiving request to the next. Default 5 s.
    pub xhr_grace: Duration,
    /// How long, after the order to stop, new clients are still answered while load balancers take notice. Default
    /// 10 s.
    pub drain_grace: Duration,
    /// Over how long connections are then closed, evenly. Default 60 s.
    pub drain_duration: Duration,
    /// How often changed subscription counts of a channel are told to the cluster at most. Default 500 ms.
    pub occupancy_interval: Duration,
    /// How long what a dead edge has told lives on: its subscription counts and presence members. Default 15 s, at least
    /// 2 s: an election of NATS takes up to 9 s, during which nobody can renew.
    pub lease_ttl: Duration,
    /// How long a presence member stays when its connection was lost without a word. Default 3 s: clients come back
    /// within one or two, and nobody is to be told that they were away.
    pub presence_grace: Duration,
    /// How long the members of a connection that was closed to drain the node stay, so that they can come back elsewhere.
    /// Default 15 s.
    pub presence_handover: Duration,
    /// How long Ably clients are told that their connection can be resumed after it was lost. Default 2 min, as Ably's.
    /// The messages of a channel can be had for as long as its namespace keeps them, whatever this says.
    pub ably_connection_state_ttl: Duration,
    /// Longest silence towards an Ably client. Default 15 s, as Ably's: a client that hears nothing for 10 s more takes the
    /// connection for lost.
    pub ably_max_idle_interval: Duration,
    /// How long a presence member of the Ably protocol stays when its connection was lost without a word. Default 15 s, as
    /// Ably's.
    pub ably_presence_grace: Duration,
    /// TLS on the listener; without it, plain text.
    pub tls: Option<TlsConfig>,
}

/// Certificate and key of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where they are.
    pub files: certificate::Files,
    /// How often the files are read again. Default 10 s.
    pub reload_interval: Duration,
}

impl TlsConfig {
    /// These files, read again at the default interval.
    pub fn new(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        let files = certificate::Files { cert_file: cert_file.into(), key_file: key_file.into(), client_ca_file: None };
        Self { files, reload_interval: Duration::from_secs(10) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            accept_rate: 2_000,
            accept_burst: 2_000,
            max_handshakes: 2_048,
            memory_limit: MemoryLimit::Auto,
            address_connections: 0,
            address_rate: 0,
            proxy_protocol: ProxyProtocol::Off,
            trusted_proxies: Networks::default(),
            max_connection_age: Duration::ZERO,
            handshake_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(10),
            max_header_bytes: 16 * 1024,
            max_body_bytes: 1024 * 1024,
            max_frame_bytes: 64 * 1024,
            send_queue_bytes: 1024 * 1024,
            ring_messages: 100,
            ring_bytes: 256 * 1024,
            detach_linger: Duration::from_secs(5),
            attach_timeout: Duration::from_secs(15),
            activity_timeout: Duration::from_secs(120),
            pong_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            xhr_heartbeat: Duration::from_secs(25),
            sse_keep_alive: Duration::from_secs(10),
            xhr_grace: Duration::from_secs(5),
            drain_grace: Duration::from_secs(10),
            drain_duration: Duration::from_secs(60),
            occupancy_interval: Duration::from_millis(500),
            lease_ttl: Duration::from_secs(15),
            presence_grace: Duration::from_secs(3),
            presence_handover: Duration::from_secs(15),
            ably_connection_state_ttl: Duration::from_secs(120),
            ably_max_idle_interval: Duration::from_secs(15),
            ably_presence_grace: Duration::from_secs(15),
            tls: None,
        }
    }
}

impl Config {
    /// Everything wrong with these settings, each as a sentence.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |ok: bool, problem: String| {
            if !ok {
                problems.push(problem);
            }
        };
        check(self.max_connections >= 1, "max connections must be at least 1".to_owned());
        check(self.accept_burst >= 1, "accept burst must be at least 1".to_owned());
        check(self.max_handshakes >= 1, "max handshakes must be at least 1".to_owned());
        if let MemoryLimit::Bytes(bytes) = self.memory_limit {
            check(bytes >= MIN_MEMORY, format!("memory limit must be at least {} MiB", MIN_MEMORY >> 20));
        }
        check(
            self.max_connection_age.is_zero() || self.max_connection_age >= MIN_CONNECTION_AGE,
            "max connection age must be 0 or at least 1 second: deadlines are looked at once a second".to_owned(),
        );
        let header_limit = format!("max header bytes must be at least {MIN_HEADER_BYTES}");
        check(self.max_header_bytes >= MIN_HEADER_BYTES, header_limit);
        check(self.max_body_bytes >= 1024, "max body bytes must be at least 1024".to_owned());
        check(
            self.max_frame_bytes >= MIN_FRAME_BYTES,
            format!("max frame bytes must be at least {MIN_FRAME_BYTES}: client events may have 10 KB"),
        );
        check(
            self.send_queue_bytes >= MIN_SEND_QUEUE_BYTES,
            format!("send queue bytes must be at least {MIN_SEND_QUEUE_BYTES}"),
        );
        check(
            self.activity_timeout >= Duration::from_secs(1),
            "activity timeout must be at least 1 second: clients are told whole seconds".to_owned(),
        );
        check(self.lease_ttl >= Duration::from_secs(2), "lease ttl must be at least 2 seconds".to_owned());
        check(
            self.ably_max_idle_interval >= Duration::from_secs(1),
            "ably max idle interval must be at least 1 second: deadlines are looked at once a second".to_owned(),
        );
        let not_zero = [
            ("handshake timeout", self.handshake_timeout),
            ("keep alive timeout", self.keep_alive_timeout),
            ("body timeout", self.body_timeout),
            ("attach timeout", self.attach_timeout),
            ("pong timeout", self.pong_timeout),
            ("close timeout", self.close_timeout),
            ("xhr heartbeat", self.xhr_heartbeat),
            ("sse keep alive", self.sse_keep_alive),
            ("xhr grace", self.xhr_grace),
            ("occupancy interval", self.occupancy_interval),
            ("ably connection state ttl", self.ably_connection_state_ttl),
        ];
        let other = [
            ("detach linger", self.detach_linger),
            ("max connection age", self.max_connection_age),
            ("activity timeout", self.activity_timeout),
            ("drain grace", self.drain_grace),
            ("drain duration", self.drain_duration),
            ("lease ttl", self.lease_ttl),
            ("ably max idle interval", self.ably_max_idle_interval),
            ("ably presence grace", self.ably_presence_grace),
        ];
        let reload = self.tls.iter().map(|tls| ("tls reload interval", tls.reload_interval));
        for (name, value) in not_zero.into_iter().chain(reload.clone()) {
            check(!value.is_zero(), format!("{name} must not be 0"));
        }
        for (name, value) in not_zero.into_iter().chain(other).chain(reload) {
            check(value <= MAX_TIME, format!("{name} must be at most a day"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_all_mistakes_are_told_at_once() {
        assert_eq!(Config::default().problems(), [""; 0]);
        let wrong = Config {
            max_connections: 0,
            max_frame_bytes: 1024,
            pong_timeout: Duration::ZERO,
            lease_ttl: Duration::from_secs(1),
            accept_burst: 0,
            max_handshakes: 0,
            memory_limit: MemoryLimit::Bytes(1 << 20),
            max_connection_age: Duration::from_millis(59),
            tls: Some(TlsConfig { reload_interval: Duration::ZERO, ..TlsConfig::new("a", "b") }),
            ..Config::default()
        };
        assert_eq!(wrong.problems().len(), 9, "{:?}", wrong.problems());
        let endless = Config {
            handshake_timeout: Duration::MAX,
            detach_linger: Duration::MAX,
            tls: Some(TlsConfig { reload_interval: Duration::MAX, ..TlsConfig::new("a", "b") }),
            ..Config::default()
        };
        let expected = ["handshake timeout", "detach linger", "tls reload interval"];
        assert_eq!(endless.problems(), expected.map(|name| format!("{name} must be at most a day")));
    }
}
