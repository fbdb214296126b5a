//! The table of keys: every setting of the product, once.
//!
//! Defaults repeat those of the crates' own configurations, because they stand in the reference page; a test holds the
//! two together.

use std::sync::Arc;
use std::time::Duration;

use backbone::sealing::ClusterKeys;
use control::AdminToken;
use edge::{MemoryLimit, Networks, ProxyProtocol};
use telemetry::{Format, LogFilter};

use super::key::{Key, Set};
use super::settings::Role;
use super::value;

const KIB: usize = 1024;
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TWO_MINUTES: Duration = Duration::from_secs(120);
const FIVE_MINUTES: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The sections of the reference page, in order: first part of the path, and a title.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("", "Process"),
    ("edge", "Clients"),
    ("tls", "TLS for clients"),
    ("drain", "Stopping"),
    ("worker", "Webhooks"),
    ("log", "Logs"),
    ("trace", "Traces"),
    ("metrics", "Metrics"),
    ("admin", "Administration"),
    ("cluster", "Cluster"),
    ("node", "Node"),
    ("control", "Control plane"),
    ("usage", "Usage"),
    ("nats", "NATS"),
    ("backbone", "Backbone"),
];

/// Every key.
pub(super) static KEYS: &[Key] = &[
    Key {
        path: "roles",
        doc: "What this process runs: `edge` takes clients and the publish API, `control` serves the control plane, \
              `worker` decides and delivers webhooks. Without NATS one process runs all.",
        default: "edge,control,worker",
        example: "edge",
        flag: Some("role"),
        set: Set::List(|settings, names| {
            let mut roles = names.iter().map(|name| Role::parse(name)).collect::<Result<Vec<_>, _>>()?;
            roles.sort_unstable();
            roles.dedup();
            if roles.is_empty() {
                return Err("at least one role is needed".to_owned());
            }
            settings.roles = roles;
            Ok(())
        }),
    },
    Key {
        path: "listen",
        doc: "Where clients and publishers come in. Loopback by default, so that nothing is open to the network until \
              it is asked for.",
        default: "127.0.0.1:6001",
        example: "0.0.0.0:6001",
        flag: Some("listen"),
        set: Set::Address(|settings, address| settings.listen = address),
    },
    Key {
        path: "seed",
        doc: "A file of [apps](apps.md) and keys that are created at start where they are absent. What exists is left as \
              it is; an app that exists gets the keys it never had.",
        default: "",
        example: "/etc/fanfare/apps.toml",
        flag: Some("seed"),
        set: Set::Path(|settings, path| settings.seed = path),
    },
    Key {
        path: "data_dir",
        doc: "A directory in which a process without NATS keeps what its users create: apps, keys, tokens, usage, dead \
              letters, the audit log, and the cluster key if none is given. Made if it is not there; one process at a \
              time. Messages stay in memory, so that clients see a new epoch after a restart. Not set: everything is \
              in memory.",
        default: "",
        example: "/var/lib/fanfare",
        flag: Some("data-dir"),
        set: Set::Path(|settings, path| settings.data_dir = path),
    },
    Key {
        path: "log.filter",
        doc: "Which events are logged: a level, or levels by target as in `info,edge=debug`. `PUT /log-level` on the \
              admin listener changes it while the process runs. The NATS client is left out below warnings, since the \
              backbone tells the same in our own words.",
        default: "info,async_nats=warn",
        example: "info,edge=debug",
        flag: None,
        set: Set::Parsed("log filter", |settings, filter| {
            if filter.trim().is_empty() {
                return Err("is empty; write a level, as in \"info\", or \"off\"".to_owned());
            }
            LogFilter::check(filter).map_err(|error| error.to_string())?;
            filter.clone_into(&mut settings.log_filter);
            Ok(())
        }),
    },
    Key {
        path: "log.format",
        doc: "How log lines look: `human`, `json` with one object a line, or `auto`, which is `human` on a terminal \
              and `json` elsewhere. Logs go to standard error.",
        default: "auto",
        example: "json",
        flag: None,
        set: Set::Parsed("`auto`, `human` or `json`", |settings, format| {
            settings.log_format = match format {
                "auto" => Format::Auto,
                "human" => Format::Human,
                "json" => Format::Json,
                _ => return Err(format!("{format:?} is none of auto, human and json")),
            };
            Ok(())
        }),
    },
    Key {
        path: "metrics.apps",
        doc: "How many apps have [metrics](metrics.md) of their own at `/metrics/apps` on the admin listener; all others \
              are counted together as `other`. The busiest get them, and keep them until the process ends or the app is \
              removed. Each takes about 20 series of every process in whatever reads them. 0: there is no such page.",
        default: "0",
        example: "50",
        flag: None,
        set: Set::Count(0..=1_000, |settings, apps| settings.metrics_apps = apps as usize),
    },
    Key {
        path: "trace.endpoint",
        doc: "Where [traces](operations/tracing.md) go: the URL of an OpenTelemetry collector, for OTLP over gRPC. Not set: \
              nothing is traced.",
        default: "",
        example: "http://otel-collector:4317",
        flag: None,
        set: Set::Parsed("`http://` or `https://` URL", |settings, url| {
            let is_url = |url: &str| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
            settings.trace.endpoint = match url {
                "" => None,
                url if is_url(url) => Some(url.to_owned()),
                _ => return Err(format!("{url:?} is no URL with http:// or https://")),
            };
            Ok(())
        }),
    },
    Key {
        path: "trace.sample_ratio",
        doc: "Which share is traced of publishes without the header `traceparent`, and of requests to webhook receivers. \
              A publish with the header is traced if its publisher says so in it.",
        default: "0.01",
        example: "1",
        flag: None,
        set: Set::Parsed("number from 0 to 1", |settings, ratio| {
            settings.trace.sample_ratio = value::ratio(ratio)?;
            Ok(())
        }),
    },
    Key {
        path: "trace.max_per_second",
        doc: "Most traces that begin at this process in a second because publishers ask for them by a sampled \
              `traceparent`, and as many more because of `trace.sample_ratio`. What one app asks for is thus no more \
              than the collector was made for.",
        default: "100",
        example: "1000",
        flag: None,
        set: Set::Count(0..=u32::MAX, |settings, count| settings.trace.max_per_second = count),
    },
    Key {
        path: "trace.ca_file",
        doc: "PEM file with the authorities that may have signed the collector's certificate; without it those of the \
              system.",
        default: "",
        example: "/etc/fanfare/collector-ca.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.trace.ca_file = path),
    },
    Key {
        path: "trace.headers",
        doc: "Headers for the collector as `name=value` with commas between, as hosted ones ask for.",
        default: "",
        example: "authorization=Basic dXNlcjp0b2tlbg==",
        flag: None,
        set: Set::Secret(|settings, headers| {
            headers.as_ref().map(|headers| value::pairs(headers.expose())).transpose()?;
            settings.trace.headers = headers;
            Ok(())
        }),
    },
    Key {
        path: "admin.listen",
        doc: "Where `/livez`, `/readyz`, `/metrics`, `/metrics/apps`, `/version` and `/log-level` are served, over plain HTTP and \
              without authentication: keep it away from the public.",
        default: "127.0.0.1:6003",
        example: "0.0.0.0:6003",
        flag: Some("admin-listen"),
        set: Set::Address(|settings, address| settings.admin_listen = address),
    },
    Key {
        path: "admin.token",
        doc: "A token that may do everything at the control plane, 16 to 512 characters, to make the first others with: \
              `fanfare admin token create`. Never printed; `fanfare dev` makes one up, in a file. Without it, and \
              without `control.tls.client_ca_file`, the control role does not start.",
        default: "",
        example: "a-long-random-text",
        flag: None,
        set: Set::Secret(|settings, token| {
            let token = token.map(|token| AdminToken::new(token.expose())).transpose();
            settings.admin_token = token.map_err(|error| error.to_string())?;
            Ok(())
        }),
    },
    Key {
        path: "cluster.key",
        doc: "The cluster key, the same in every process of a cluster: 64 hexadecimal digits, as `fanfare config \
              new-key` prints. It seals secrets at rest, and nodes show by it that they belong to the cluster. Several \
              may stand there, between commas or lines: the first seals, all open. To replace one, add the new one \
              behind it everywhere, then put it first everywhere, run `fanfare admin reseal`, and take the old one out. \
              Required with NATS. A backup is worth nothing without it.",
        default: "",
        example: "8d1f5f6a0b6cf0f6e1b3a8c7d9e2f4051627384950a1b2c3d4e5f60718293a4b",
        flag: None,
        set: Set::Secret(|settings, keys| {
            let keys = keys.map(|keys| keys.expose().parse::<ClusterKeys>()).transpose();
            settings.cluster_keys = keys.map_err(|error| error.to_string())?.map(Arc::new);
            Ok(())
        }),
    },
    Key {
        path: "node.name",
        doc: "What this process is called in `fanfare admin node list`. Not set: the name of the machine.",
        default: "",
        example: "edge-3",
        flag: None,
        set: Set::Text(|settings, name| settings.node_name = name),
    },
    Key {
        path: "control.listen",
        doc: "Where the control plane serves gRPC, which `fanfare admin` uses.",
        default: "127.0.0.1:6002",
        example: "0.0.0.0:6002",
        flag: Some("control-listen"),
        set: Set::Address(|settings, address| settings.control_listen = address),
    },
    Key {
        path: "control.tls.cert_file",
        doc: "PEM file with the certificate of the control plane, with `control.tls.key_file`. Not set: plain text, \
              for loopback or behind a proxy. The files of `control.tls` are read again every 10 s, so that a renewed \
              certificate is used without a restart.",
        default: "",
        example: "/etc/fanfare/control.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.control.tls.cert_file = path),
    },
    Key {
        path: "control.tls.key_file",
        doc: "PEM file with the key of `control.tls.cert_file`.",
        default: "",
        example: "/etc/fanfare/control.key",
        flag: None,
        set: Set::Path(|settings, path| settings.control.tls.key_file = path),
    },
    Key {
        path: "control.tls.client_ca_file",
        doc: "PEM file with the authorities that may have signed the certificates of those who administer the cluster: \
              who shows such a certificate needs no token. Not set: tokens only.",
        default: "",
        example: "/etc/fanfare/operators-ca.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.control.client_ca_file = path),
    },
    Key {
        path: "control.advertise",
        doc: "Where the other nodes of the cluster reach this process's control plane, as `host:port`. Not set: \
              `control.listen`, which will not do if that is every address of the machine.",
        default: "",
        example: "10.0.0.1:6002",
        flag: None,
        set: Set::Parsed("`host:port`", |settings, text| {
            settings.control.advertise = match text.rsplit_once(':') {
                None if text.is_empty() => None,
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => {
                    Some(text.to_owned())
                }
                _ => return Err(format!("{text:?} is no host with a port, as in \"10.0.0.1:6002\"")),
            };
            Ok(())
        }),
    },
    Key {
        path: "control.ca_file",
        doc: "PEM file with the authorities that may have signed the certificates of control planes. Every node calls \
              them, and needs this where they serve TLS.",
        default: "",
        example: "/etc/fanfare/control-ca.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.control.ca_file = path),
    },
    Key {
        path: "control.server_name",
        doc: "The name that the certificates of control planes are for, where it is not the host under which nodes reach \
              them, `control.advertise`.",
        default: "",
        example: "control.fanfare.internal",
        flag: None,
        set: Set::Text(|settings, name| settings.control.server_name = name),
    },
    Key {
        path: "control.client_cert_file",
        doc: "PEM file with the certificate that this node shows to control planes, with `control.client_key_file`. \
              Not set: the cluster key is proof enough.",
        default: "",
        example: "/etc/fanfare/node.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.control.client.cert_file = path),
    },
    Key {
        path: "control.client_key_file",
        doc: "PEM file with the key of `control.client_cert_file`.",
        default: "",
        example: "/etc/fanfare/node.key",
        flag: None,
        set: Set::Path(|settings, path| settings.control.client.key_file = path),
    },
    Key {
        path: "control.audit_retention",
        doc: "How far the audit log goes back.",
        default: "90d",
        example: "365d",
        flag: None,
        set: Set::Duration(DAY..=Duration::MAX, |settings, time| settings.control.audit_retention = time),
    },
    Key {
        path: "usage.keep_minutes",
        doc: "How long usage by the minute is kept.",
        default: "3d",
        example: "7d",
        flag: None,
        set: Set::Duration(DAY..=Duration::MAX, |settings, time| settings.control.usage.minutes = time),
    },
    Key {
        path: "usage.keep_hours",
        doc: "How long usage by the hour is kept.",
        default: "60d",
        example: "90d",
        flag: None,
        set: Set::Duration(DAY..=Duration::MAX, |settings, time| settings.control.usage.hours = time),
    },
    Key {
        path: "usage.keep_days",
        doc: "How long usage by the day is kept.",
        default: "400d",
        example: "800d",
        flag: None,
        set: Set::Duration(DAY..=Duration::MAX, |settings, time| settings.control.usage.days = time),
    },
    Key {
        path: "usage.keep_months",
        doc: "How long usage by the month is kept.",
        default: "3650d",
        example: "1000d",
        flag: None,
        set: Set::Duration(DAY..=Duration::MAX, |settings, time| settings.control.usage.months = time),
    },
    Key {
        path: "control.max_connections",
        doc: "Most connections to the control plane at one time; one more is closed at once. Its callers are the \
              cluster's nodes, people, consoles and deployment tools, not clients.",
        default: "1024",
        example: "4096",
        flag: None,
        set: Set::Count(1..=u32::MAX, |settings, count| settings.control.max_connections = count as usize),
    },
    Key {
        path: "control.request_timeout",
        doc: "How long one call may wait for the backbone. Longer than an election of a NATS leader, which takes 4 \
              to 9 seconds.",
        default: "20s",
        example: "30s",
        flag: None,
        set: Set::Duration(SECOND..=Duration::MAX, |settings, time| settings.control.request_timeout = time),
    },
    Key {
        path: "nats.urls",
        doc: "Servers of the NATS cluster; any one that answers will do. Not set: the backbone is in memory, for one \
              process, and is empty again after a restart.",
        default: "",
        example: "nats://a:4222,nats://b:4222",
        flag: Some("nats"),
        set: Set::List(|settings, urls| {
            let schemes = ["nats://", "tls://", "ws://", "wss://"];
            if let Some(url) = urls.iter().find(|url| !schemes.iter().any(|scheme| url.starts_with(scheme))) {
                let shown = url.rsplit('@').next().unwrap_or(url);
                return Err(format!("{shown:?} is not a NATS URL, as in \"nats://10.0.0.1:4222\""));
            }
            settings.nats.urls = urls;
            Ok(())
        }),
    },
    Key {
        path: "nats.user",
        doc: "User name at NATS, with `nats.password`.",
        default: "",
        example: "fanfare",
        flag: None,
        set: Set::Text(|settings, user| settings.nats.user = user),
    },
    Key {
        path: "nats.password",
        doc: "Password of `nats.user`.",
        default: "",
        example: "a-password",
        flag: None,
        set: Set::Secret(|settings, password| {
            settings.nats.password = password;
            Ok(())
        }),
    },
    Key {
        path: "nats.credentials_file",
        doc: "A NATS credentials file (JWT and seed), instead of user and password.",
        default: "",
        example: "/etc/fanfare/nats.creds",
        flag: None,
        set: Set::Path(|settings, path| settings.nats.credentials_file = path),
    },
    Key {
        path: "nats.tls.required",
        doc: "Whether to refuse a NATS server that does not offer TLS. `tls://` URLs ask for it in any case.",
        default: "false",
        example: "true",
        flag: None,
        set: Set::Switch(|settings, required| settings.nats.tls.required = required),
    },
    Key {
        path: "nats.tls.ca_file",
        doc: "PEM file with the authorities that may have signed the servers' certificates; without it those of the \
              system.",
        default: "",
        example: "/etc/fanfare/nats-ca.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.nats.tls.ca_file = path),
    },
    Key {
        path: "nats.tls.cert_file",
        doc: "PEM file with the certificate to present to NATS, with `nats.tls.key_file`.",
        default: "",
        example: "/etc/fanfare/nats.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.nats.tls.cert_file = path),
    },
    Key {
        path: "nats.tls.key_file",
        doc: "PEM file with the key of `nats.tls.cert_file`.",
        default: "",
        example: "/etc/fanfare/nats.key",
        flag: None,
        set: Set::Path(|settings, path| settings.nats.tls.key_file = path),
    },
    Key {
        path: "backbone.shards",
        doc: "Into how many streams channels are spread. Fixed for the cluster's life: a process with another number \
              refuses to start. 4 are plenty for a single box.",
        default: "64",
        example: "4",
        flag: None,
        set: Set::Count(1..=256, |settings, shards| {
            settings.backbone.shards = u16::try_from(shards).unwrap_or(u16::MAX);
        }),
    },
    Key {
        path: "backbone.replicas",
        doc: "Copies of every stream and bucket: 1, 3 or 5, and never more than there are NATS servers. With 3, one \
              server may fail without loss.",
        default: "3",
        example: "1",
        flag: None,
        set: Set::Count(1..=5, |settings, replicas| settings.backbone.replicas = replicas as usize),
    },
    Key {
        path: "backbone.recoverable_window",
        doc: "How long a recoverable channel keeps messages. A client that reconnects, and every repair, must find here \
              what it missed.",
        default: "5m",
        example: "10m",
        flag: None,
        set: Set::Duration(TWO_MINUTES..=Duration::MAX, |settings, window| {
            settings.backbone.recoverable_window = window;
        }),
    },
    Key {
        path: "backbone.recoverable_messages",
        doc: "How many messages a recoverable channel keeps at most.",
        default: "100",
        example: "1000",
        flag: None,
        set: Set::Count(1..=u32::MAX, |settings, messages| settings.backbone.recoverable_messages = messages),
    },
    Key {
        path: "backbone.persistent_window",
        doc: "How long a persistent channel keeps messages at most, whatever retention its namespace asks for.",
        default: "30d",
        example: "7d",
        flag: None,
        set: Set::Duration(TWO_MINUTES..=Duration::MAX, |settings, window| {
            settings.backbone.persistent_window = window;
        }),
    },
    Key {
        path: "backbone.persistent_messages",
        doc: "How many messages a persistent channel keeps at most, whatever its retention.",
        default: "100000",
        example: "10000",
        flag: None,
        set: Set::Count(1..=u32::MAX, |settings, messages| settings.backbone.persistent_messages = messages),
    },
    Key {
        path: "backbone.publish_deadline",
        doc: "How long a publish is tried before it is given up with an unknown outcome. An election of a NATS leader \
              takes 4 to 9 seconds, and a publish should survive it.",
        default: "20s",
        example: "30s",
        flag: None,
        set: Set::Duration(Duration::from_secs(15)..=Duration::MAX, |settings, deadline| {
            settings.backbone.publish_deadline = deadline;
        }),
    },
    Key {
        path: "backbone.dedupe_window",
        doc: "How long a repeated publish is recognised. Must exceed `backbone.publish_deadline`, and be at least two \
              minutes for Ably's clients, which send again what was not answered for so long; each remembered publish \
              costs a NATS server about 230 bytes of memory.",
        default: "130s",
        example: "5m",
        flag: None,
        set: Set::Duration(SECOND..=Duration::MAX, |settings, window| settings.backbone.dedupe_window = window),
    },
    Key {
        path: "backbone.publishes_in_flight",
        doc: "Most publishes of this process that wait for their acknowledgement; more wait their turn.",
        default: "4096",
        example: "1024",
        flag: None,
        set: Set::Count(1..=u32::MAX, |settings, count| settings.backbone.publishes_in_flight = count as usize),
    },
    Key {
        path: "backbone.attach_settle",
        doc: "How long a first subscription to a channel waits for its interest to reach every NATS server. Longer \
              distances between servers need more.",
        default: "25ms",
        example: "100ms",
        flag: None,
        set: Set::Duration(Duration::ZERO..=MINUTE, |settings, settle| settings.backbone.attach_settle = settle),
    },
    Key {
        path: "backbone.attach_buffer",
        doc: "Messages of one channel that may wait for this process to take them. What is beyond is repaired from \
              history, which costs more.",
        default: "4096",
        example: "1024",
        flag: None,
        set: Set::Count(16..=u32::MAX, |settings, count| settings.backbone.attach_buffer = count as usize),
    },
    Key {
        path: "backbone.sweep_interval",
        doc: "How often the newest positions of all subscribed channels are compared with the streams: the last net \
              under lost deliveries.",
        default: "30s",
        example: "10s",
        flag: None,
        set: Set::Duration(SECOND..=Duration::MAX, |settings, interval| settings.backbone.sweep_interval = interval),
    },
    Key {
        path: "backbone.reads_per_shard",
        doc: "Most history reads of this process at once against one stream: a read holds up the stream's writes.",
        default: "2",
        example: "4",
        flag: None,
        set: Set::Count(1..=u32::MAX, |settings, count| settings.backbone.reads_per_shard = count as usize),
    },
    Key {
        path: "backbone.webhook_queue_bytes",
        doc: "Most bytes of webhook events that wait for a worker; more are refused. Each NATS server that holds a copy \
              of the queue sets as much aside.",
        default: "256MiB",
        example: "64MiB",
        flag: None,
        set: Set::Size(64 * KIB..=usize::MAX, |settings, bytes| settings.backbone.webhook_queue_bytes = bytes as u64),
    },
    Key {
        path: "edge.max_connections",
        doc: "Connections that this node holds at one time; more are told to come back later. Each is a \
              file descriptor: `process_max_fds` must be above it.",
        default: "100000",
        example: "5000",
        flag: None,
        set: Set::Count(1..=u32::MAX, |settings, count| settings.edge.max_connections = count as usize),
    },
    Key {
        path: "edge.accept_rate",
        doc: "New sockets a second, for requests and connections alike; those that come faster wait in the listener's \
              backlog, so that a storm of reconnecting clients is drawn out rather than refused. A core takes about \
              5,000 in plain text and 1,500 over TLS. Backends that open a socket for each publish count, too; those \
              that keep theirs do not. 0: no limit.",
        default: "2000",
        example: "500",
        flag: None,
        set: Set::Count(0..=1_000_000, |settings, rate| settings.edge.accept_rate = rate),
    },
    Key {
        path: "edge.accept_burst",
        doc: "How many of `edge.accept_rate` may come at once after a while of fewer.",
        default: "2000",
        example: "500",
        flag: None,
        set: Set::Count(1..=1_000_000, |settings, burst| settings.edge.accept_burst = burst),
    },
    Key {
        path: "edge.max_handshakes",
        doc: "Sockets that have not sent their first request yet; more wait in the listener's backlog, and meanwhile a \
              socket that takes longer than half of `edge.handshake_timeout` for it is closed. Over TLS each takes about 40 KB.",
        default: "2048",
        example: "512",
        flag: None,
        set: Set::Count(1..=1_000_000, |settings, count| settings.edge.max_handshakes = count as usize),
    },
    Key {
        path: "edge.memory_limit",
        doc: "Memory beyond which nobody new is taken, and `/readyz` says so: what is open is worth more than what comes. \
              `auto`: nine tenths of what the process's container (control group) may use, compared with what that \
              uses without the file cache; without a container's limit, none. A size is compared with the process's \
              resident memory, to which the kernel's own for sockets, about 5 KB each, has to be added. `off`: none.",
        default: "auto",
        example: "2GiB",
        flag: None,
        set: Set::Parsed("`auto`, `off`, or a size of at least 64MiB", |settings, text| {
            settings.edge.memory_limit = match text {
                "auto" => MemoryLimit::Auto,
                "off" => MemoryLimit::Off,
                size => MemoryLimit::Bytes(value::size(size)?),
            };
            Ok(())
        }),
    },
    Key {
        path: "edge.address_connections",
        doc: "Sockets of one client address at one time, of IPv6 those of one /64; one more is refused with 429. A session \
              of the HTTP fallback keeps the place of the socket that it began on. 0: no limit, since a whole office, \
              school or mobile carrier may be behind one address. Behind a load balancer it needs `edge.proxy_protocol` \
              or `edge.trusted_proxies`, or all clients have the balancer's address. Addresses in \
              `edge.trusted_proxies` are not limited; of clients behind them connections are counted and plain \
              requests are not.",
        default: "0",
        example: "500",
        flag: None,
        set: Set::Count(0..=u32::MAX, |settings, count| settings.edge.address_connections = count),
    },
    Key {
        path: "edge.address_rate",
        doc: "New ones of `edge.address_connections` a second; a second's worth may come at once. 0: no limit, for the \
              same reason: an office whose line was cut comes back all at once.",
        default: "0",
        example: "50",
        flag: None,
        set: Set::Count(0..=1_000_000, |settings, rate| settings.edge.address_rate = rate),
    },
    Key {
        path: "edge.proxy_protocol",
        doc: "`required`: every socket begins with a PROXY header, version 1 or 2, by which a load balancer that passes \
              bytes on says whom they are from; one without is closed. Set `edge.trusted_proxies` beside it, unless \
              nobody but the balancer reaches this port.",
        default: "off",
        example: "required",
        flag: None,
        set: Set::Parsed("`off` or `required`", |settings, text| {
            settings.edge.proxy_protocol = ProxyProtocol::parse(text)?;
            Ok(())
        }),
    },
    Key {
        path: "edge.trusted_proxies",
        doc: "Networks and addresses of proxies that are believed when they say whom they speak for: by a PROXY header, \
              which then counts from nobody else; by `X-Forwarded-For` or, without that, `Forwarded`. Not set: the \
              headers of requests count for nothing. `X-Forwarded-Proto` is taken from anybody: a client that claims \
              TLS falsely deceives nobody but itself.",
        default: "",
        example: "10.0.0.0/8,2001:db8::/32",
        flag: None,
        set: Set::List(|settings, networks| {
            settings.edge.trusted_proxies = Networks::parse(&networks)?;
            Ok(())
        }),
    },
    Key {
        path: "edge.max_connection_age",
        doc: "How long a connection or event stream lasts, give or take a tenth; then its client is told to reconnect, \
              as when the node stops, and nobody sees its presence members leave. Spreads clients over nodes that were \
              added, and exercises the way back. 0s: as long as it likes.",
        default: "0s",
        example: "6h",
        flag: None,
        set: Set::Duration(Duration::ZERO..=DAY, |settings, age| settings.edge.max_connection_age = age),
    },
    Key {
        path: "edge.handshake_timeout",
        doc: "From the accepted socket to the end of the first request head, TLS included. A phone on a bad network \
              needs some round trips; a socket that says nothing must not stay.",
        default: "10s",
        example: "5s",
        flag: None,
        set: Set::Duration(MILLISECOND..=Duration::MAX, |settings, time| settings.edge.handshake_timeout = time),
    },
    Key {
        path: "edge.keep_alive_timeout",
        doc: "How long an HTTP connection may wait for its next request. Longer than the idle time of common load \
              balancers (60 s), so that it is they who close first.",
        default: "75s",
        example: "2m",
        flag: None,
        set: Set::Duration(MILLISECOND..=Duration::MAX, |settings, time| settings.edge.keep_alive_timeout = time),
    },
    Key {
        path: "edge.body_timeout",
        doc: "How long the body of a request may take to arrive.",
        default: "10s",
        example: "30s",
        flag: None,
        set: Set::Duration(MILLISECOND..=Duration::MAX, |settings, time| settings.edge.body_timeout = time),
    },
    Key {
        path: "edge.max_header_bytes",
        doc: "Largest head of a request.",
        default: "16KiB",
        example: "32KiB",
        flag: None,
        set: Set::Size(8 * KIB..=usize::MAX, |settings, bytes| settings.edge.max_header_bytes = bytes),
    },
    Key {
        path: "edge.max_body_bytes",
        doc: "Largest body of a request. Ten events of 10 KB in a batch, escaped as badly as JSON can, fit into the \
              default.",
        default: "1MiB",
        example: "2MiB",
        flag: None,
        set: Set::Size(KIB..=usize::MAX, |settings, bytes| settings.edge.max_body_bytes = bytes),
    },
    Key {
        path: "edge.max_frame_bytes",
        doc: "Largest WebSocket message from a client. A connection keeps a buffer as large as the largest one it \
              ever received.",
        default: "64KiB",
        example: "32KiB",
        flag: None,
        set: Set::Size(16 * KIB..=usize::MAX, |settings, bytes| settings.edge.max_frame_bytes = bytes),
    },
    Key {
        path: "edge.send_queue_bytes",
        doc: "How much may wait for one connection to read it. A client that is further behind is cut, and told to \
              reconnect. This bounds what slow clients cost in memory.",
        default: "1MiB",
        example: "256KiB",
        flag: None,
        set: Set::Size(64 * KIB..=usize::MAX, |settings, bytes| settings.edge.send_queue_bytes = bytes),
    },
    Key {
        path: "edge.ring_messages",
        doc: "Messages kept in memory for each channel with subscribers, from which reconnects and repairs are \
              served first.",
        default: "100",
        example: "50",
        flag: None,
        set: Set::Count(0..=u32::MAX, |settings, count| settings.edge.ring_messages = count as usize),
    },
    Key {
        path: "edge.ring_bytes",
        doc: "Most payload kept in memory for each channel with subscribers.",
        default: "256KiB",
        example: "64KiB",
        flag: None,
        set: Set::Size(0..=usize::MAX, |settings, bytes| settings.edge.ring_bytes = bytes),
    },
    Key {
        path: "edge.detach_linger",
        doc: "How long a channel is still followed after its last subscriber left, so that clients that reconnect \
              cost the backbone nothing.",
        default: "5s",
        example: "1s",
        flag: None,
        set: Set::Duration(Duration::ZERO..=Duration::MAX, |settings, time| settings.edge.detach_linger = time),
    },
    Key {
        path: "edge.attach_timeout",
        doc: "How long subscribers wait for the backbone to follow a channel before they are told to reconnect \
              elsewhere.",
        default: "15s",
        example: "20s",
        flag: None,
        set: Set::Duration(MILLISECOND..=Duration::MAX, |settings, time| settings.edge.attach_timeout = time),
    },
    Key {
        path: "edge.activity_timeout",
        doc: "Silence after which a client is pinged. Clients are told this number too; a load balancer must not \
              close earlier.",
        default: "2m",
        example: "30s",
        flag: None,
        set: Set::Duration(SECOND..=Duration::MAX, |settings, time| settings.edge.activity_timeout = time),
    },
    Key {
        path: "edge.pong_timeout",
        doc: "How long a pinged client has to show life before its connection is closed.",
        default: "30s",
        example: "10s",
        flag: None,
        set: Set::Duration(MILLISECOND..=Duration::MAX, |settings, time| settings.edge.pong_timeout = time),
    },
    Key {
        path: "edge.close_timeout",
        doc: "How long a connection that is being closed has to take its last bytes. By what is more than the default a \
              process needs more than the 15 s beyond `drain.grace` and `drain.duration` in which it ends otherwise.",
        default: "5s",
        example: "2s",
        flag: None,
        set: Set::Duration(MILLISECOND..=Duration::MAX, |settings, time| settings.edge.close_timeout = time),
    },
    Key {
        path: "edge.occupancy_interval",
        doc: "How often changed subscription counts of a channel are told to the cluster at most.",
        default: "500ms",
        example: "2s",
        flag: None,
        set: Set::Duration(MILLISECOND..=Duration::MAX, |settings, time| settings.edge.occupancy_interval = time),
    },
    Key {
        path: "edge.presence_grace",
        doc: "How long a presence member stays after its connection dropped without a word, so that a client that \
              reconnects does not leave and join for everybody to see. A client that says that it goes is gone at once.",
        default: "3s",
        example: "10s",
        flag: None,
        set: Set::Duration(Duration::ZERO..=MINUTE, |settings, time| settings.edge.presence_grace = time),
    },
    Key {
        path: "edge.presence_handover",
        doc: "How long the presence members of a node that is being stopped stay after their connections were closed, \
              so that they can come back elsewhere unnoticed.",
        default: "15s",
        example: "30s",
        flag: None,
        set: Set::Duration(Duration::ZERO..=TWO_MINUTES, |settings, time| settings.edge.presence_handover = time),
    },
    Key {
        path: "edge.ably_connection_state_ttl",
        doc: "How long Ably clients are told that their connection can be resumed after it was lost. Which messages they then \
              still get depends on how long their channels keep them.",
        default: "2m",
        example: "5m",
        flag: None,
        set: Set::Duration(SECOND..=DAY, |settings, time| settings.edge.ably_connection_state_ttl = time),
    },
    Key {
        path: "edge.ably_max_idle_interval",
        doc: "Longest silence towards an Ably client: then it is sent a heartbeat. A client that hears nothing for 10 s more \
              takes its connection for lost.",
        default: "15s",
        example: "30s",
        flag: None,
        set: Set::Duration(SECOND..=DAY, |settings, time| settings.edge.ably_max_idle_interval = time),
    },
    Key {
        path: "edge.ably_presence_grace",
        doc: "`edge.presence_grace` for members of the Ably protocol, whose clients expect longer.",
        default: "15s",
        example: "30s",
        flag: None,
        set: Set::Duration(Duration::ZERO..=MINUTE, |settings, time| settings.edge.ably_presence_grace = time),
    },
    Key {
        path: "edge.lease_ttl",
        doc: "How long the subscription counts and presence members of a dead node live on.",
        default: "15s",
        example: "30s",
        flag: None,
        set: Set::Duration(Duration::from_secs(2)..=Duration::MAX, |settings, time| settings.edge.lease_ttl = time),
    },
    Key {
        path: "tls.cert_file",
        doc: "PEM file with the certificate chain for clients and publishers, with `tls.key_file`. Not set: plain \
              text.",
        default: "",
        example: "/etc/fanfare/edge.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.tls.cert_file = path),
    },
    Key {
        path: "tls.key_file",
        doc: "PEM file with the key of `tls.cert_file`.",
        default: "",
        example: "/etc/fanfare/edge.key",
        flag: None,
        set: Set::Path(|settings, path| settings.tls.key_file = path),
    },
    Key {
        path: "tls.reload_interval",
        doc: "How often both files are read again, so that a renewed certificate is used without a restart.",
        default: "10s",
        example: "1m",
        flag: None,
        set: Set::Duration(SECOND..=Duration::MAX, |settings, time| settings.tls_reload_interval = time),
    },
    Key {
        path: "drain.grace",
        doc: "How long a process that was told to stop still serves new clients, while load balancers take notice, \
              before it closes connections and takes no more of them.",
        default: "10s",
        example: "1s",
        flag: None,
        set: Set::Duration(Duration::ZERO..=Duration::MAX, |settings, time| settings.edge.drain_grace = time),
    },
    Key {
        path: "drain.duration",
        doc: "Over how long connections are then closed, evenly, so that the nodes that stay are not stormed. The \
              time between SIGTERM and SIGKILL must exceed grace and duration by 15 seconds.",
        default: "1m",
        example: "30s",
        flag: None,
        set: Set::Duration(Duration::ZERO..=Duration::MAX, |settings, time| settings.edge.drain_duration = time),
    },
    Key {
        path: "worker.webhook_allow",
        doc: "Addresses that webhooks may go to although they are not of the public internet: ranges as in \
              `10.20.0.0/16` and `fd00::/8`, or single ones. Without, private, loopback and link-local addresses are \
              refused, whatever name leads to them: who may set an app's webhooks could otherwise send requests into \
              the cluster's own network.",
        default: "",
        example: "10.20.0.0/16,fd00::/8",
        flag: None,
        set: Set::List(|settings, ranges| {
            let range = |text: &String| text.parse().map_err(|error| format!("{text:?}: {error}"));
            settings.worker.allow = ranges.iter().map(range).collect::<Result<_, _>>()?;
            Ok(())
        }),
    },
    Key {
        path: "worker.webhook_ca_file",
        doc: "PEM file with authorities that may have signed the certificates of webhooks' receivers, beside those of \
              the system.",
        default: "",
        example: "/etc/fanfare/webhook-ca.pem",
        flag: None,
        set: Set::Path(|settings, path| settings.worker.ca_file = path),
    },
    Key {
        path: "worker.webhook_timeout",
        doc: "How long the receiver of a webhook may take for its answer, connecting included, before the request is \
              made again.",
        default: "10s",
        example: "5s",
        flag: None,
        set: Set::Duration(MILLISECOND..=MINUTE, |settings, time| settings.worker.request_timeout = time),
    },
    Key {
        path: "worker.webhook_give_up",
        doc: "How long after an event its delivery is given up, and the event becomes a dead letter. Receivers that \
              check the time refuse what is more than five minutes old.",
        default: "290s",
        example: "1m",
        flag: None,
        set: Set::Duration(SECOND..=FIVE_MINUTES, |settings, time| settings.worker.give_up_after = time),
    },
    Key {
        path: "worker.webhook_grace",
        doc: "How long a channel must stay vacated, and a user away, before webhooks are told. Who is back by then was \
              never away.",
        default: "3s",
        example: "1s",
        flag: None,
        set: Set::Duration(Duration::ZERO..=MINUTE, |settings, time| settings.worker.vacated_grace = time),
    },
    Key {
        path: "worker.lease_ttl",
        doc: "How long the worker that is at work may be silent before another takes its place. An election of a NATS \
              leader takes 4 to 9 seconds, in which nobody can say anything.",
        default: "12s",
        example: "30s",
        flag: None,
        set: Set::Duration(Duration::from_secs(2)..=Duration::MAX, |settings, time| settings.worker.lease_ttl = time),
    },
];
