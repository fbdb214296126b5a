//! Every form in which the backbone stores or sends something, held against what releases wrote of the same.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use channels::{
    App, AppId, Capability, ChannelName, ClientId, ConnectionId, EdgeId, Key, KeyName, Limits, Member, MemberData,
    Message, Namespace, Namespaces, OriginPattern, PresenceAction, PresenceChange, PreviousSecret, PusherSettings,
    Quota, QuotaKind, Record, RecordKind, Secret, ShardCount, SlowConsumers, Tier, Webhook, WebhookEvent,
    WebhookEvents,
};
use metering::usage::{AppMinute, Counts, Interval};
use prost::Message as _;
use proto::backbone::{ClusterMeta, DeadLetter};
use proto::control::ControlReplica;
use testkit::{Formats, with_unknown_fields};
use tokio::runtime::Runtime;

use crate::access::{self, AccessToken, NewToken, Role, Scope};
use crate::audit::{self, AuditEntry, AuditId, AuditLog, AuditQuery, Outcome};
use crate::backup::{Backup, RestoreOptions};
use crate::facts::{self, Command, Count, CountKey, Parts, Resumed};
use crate::jetstream::subject::{ChannelSubjects, DELIVERY_PREFIX, Store};
use crate::jetstream::{queue, start, streams};
use crate::members::{self, Members};
use crate::registry::{AppChange, Once, Registry, RegistryError, Unreadable};
use crate::revocations::{self, Order, Target};
use crate::sealing::{ClusterKeys, Context};
use crate::usage::{Kept, RawKey, UsageStore, decode_rows, encode_rows};
use crate::{Backbone, Bucket, Config, Entry, FORMAT, dead_letters, envelope};

/// 2026-11-22 14:05 UTC, in minutes.
const MINUTE: u64 = 29_922_605;

#[test]
fn what_releases_wrote_is_read_and_still_written() {
    let mut formats = Formats::of(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_VERSION"));
    let bench = Bench { runtime: Runtime::new().unwrap(), keys: Arc::new("ab".repeat(32).parse().unwrap()) };
    names(&mut formats);
    records(&mut formats);
    secrets(&mut formats, &bench);
    told_by_edges(&mut formats);
    cluster(&mut formats, &bench);
    apps(&mut formats, &bench);
    creates(&mut formats, &bench);
    administration(&mut formats, &bench);
    usage(&mut formats, &bench);
    backups(&mut formats, &bench);
    formats.check();
}

/// What it takes to read and write entries as the code does that owns them.
struct Bench {
    runtime: Runtime,
    keys: Arc<ClusterKeys>,
}

impl Bench {
    /// What `write` leaves under `key`.
    fn written(&self, bucket: Bucket, key: &str, write: impl AsyncFn(&Backbone)) -> Bytes {
        self.runtime.block_on(async {
            let backbone = Backbone::memory(&Config::default());
            write(&backbone).await;
            backbone.kv(bucket).get(key).await.unwrap().unwrap().value
        })
    }

    /// What `read` makes of `value` under `key`.
    fn read<T>(&self, bucket: Bucket, key: &str, value: &[u8], read: impl AsyncFn(&Backbone) -> T) -> T {
        self.runtime.block_on(async {
            let backbone = Backbone::memory(&Config::default());
            backbone.kv(bucket).put(key, Bytes::copy_from_slice(value)).await.unwrap();
            read(&backbone).await
        })
    }

    fn registry(&self, backbone: &Backbone) -> Registry {
        Registry::new(backbone, Arc::clone(&self.keys))
    }
}

fn app_id() -> AppId {
    AppId::new("1001").unwrap()
}

fn edge() -> EdgeId {
    EdgeId::from_random(0x00c0_ffee)
}

fn channel() -> ChannelName {
    ChannelName::new("presence-räume.1").unwrap()
}

fn connection() -> ConnectionId {
    ConnectionId::new("123.456").unwrap()
}

fn client() -> ClientId {
    ClientId::new("Jürgen ☃").unwrap()
}

fn entry(key: &str, value: &[u8]) -> Entry {
    Entry { key: key.to_owned(), value: Bytes::copy_from_slice(value), revision: 9 }
}

/// Where everything is: a name that changes is a place that nobody of the release before looks at.
fn names(formats: &mut Formats) {
    formats.text("name.buckets", Bucket::ALL.map(Bucket::name).join(" "));
    let subjects =
        ChannelSubjects::new(ShardCount::new(16).unwrap().shard_of(&app_id(), &channel()), &app_id(), &channel());
    for store in [Store::Recoverable, Store::Persistent] {
        let (stream, subject) = (store.stream(subjects.shard), subjects.stored(store));
        formats.text(&format!("name.{}", store.prefix()), format!("{stream} {subject}"));
    }
    formats.text("name.delivery", format!("{} {DELIVERY_PREFIX}", subjects.delivery()));
    formats.text("name.queue", format!("{} {}.1001", queue::STREAM, queue::PREFIX));
    let epoch = streams::epoch(&Store::Recoverable.stream(subjects.shard), 1_795_356_300_123_456_789);
    formats.text("position.epoch", format!("{:016x}", epoch.get()));
    formats.text(
        "key.leases",
        [facts::edge_lease_key(&edge()), members::replica_lease_key("r1"), members::LEADER_LEASE.to_owned()].join(" "),
    );
    formats.text("key.occupancy", CountKey::new(&app_id(), &channel(), &edge()).to_key());
    let member = Member { connection: connection(), user: client() };
    formats.text("key.roster", facts::roster_key(&app_id(), &channel(), &edge(), &member));
    formats.text("key.terminate", facts::terminate_key(&app_id(), &client()));
    formats.text("key.resumed", Resumed::key(&app_id(), &connection()));
    formats.text("key.revoked", revocations::key_of(&target()));
    formats.text("key.audit", audit::key(&audit_entry()));
    formats.text("key.usage", RawKey { minute: MINUTE, node: edge().to_string(), part: 2 }.to_key());
}

fn records(formats: &mut Formats) {
    let record = |id: Option<&str>, kind, messages| Record {
        id: id.map(str::to_owned),
        kind,
        connection: Some(connection()),
        client: Some(client()),
        timestamp_ms: 1_795_356_300_123,
        messages,
        traceparent: None,
    };
    let full = Message {
        id: Some("mine:0".to_owned()),
        client: ClientId::new("other").ok(),
        name: Some("greeting".to_owned()),
        data: Bytes::from_static(&[0, 1, 0xff]),
        encoding: "json/utf-8/cipher+aes-256-cbc".to_owned(),
        extras: Bytes::from_static(br#"{"headers":{"a":1}}"#),
    };
    let nameless = Message { name: None, ..Message::text("", "hello") };
    let traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let hello = Message::text("greeting", "hello");
    let traced = Record { traceparent, ..record(None, RecordKind::Messages, vec![hello]) };
    let change = PresenceChange { edge: edge(), sequence: 42, action: PresenceAction::Update, quiet: true };
    for (name, record) in [
        ("record.messages", record(Some("123.456:7"), RecordKind::Messages, vec![full, nameless])),
        ("record.client_event", record(None, RecordKind::ClientEvent, vec![Message::text("client-moved", "{}")])),
        ("record.traced", traced),
        ("record.presence", record(None, RecordKind::Presence(change), vec![Message::text("", r#"{"name":"J"}"#)])),
    ] {
        let write = || envelope::encode(&channel(), &record);
        formats.message(name, &record, write, |old| envelope::decode(Bytes::copy_from_slice(old)).ok());
    }
}

fn secrets(formats: &mut Formats, Bench { keys, .. }: &Bench) {
    let context = Context::new("key", &["1001", "1001.key"]);
    let secret = b"a secret".to_vec();
    let later = [&[2], &keys.seal(&context, &secret)[1..]].concat();
    let open = |old: &[u8]| keys.open(&context, old).ok();
    formats.whole("sealed", &secret, || keys.seal(&context, &secret), open, &[&later]);
    formats.text("node_token", keys.node_token());
    let code = keys.authenticate_connection(b"a connection");
    formats.whole("connection_code", &true, || code, |old| Some(keys.is_of_connection(b"a connection", old)), &[]);
}

/// Between edges, and from them to the worker.
fn told_by_edges(formats: &mut Formats) {
    let parts =
        Parts { publishers: 1, subscribers: 3, presence_subscribers: 2, presence_members: 5, presence_connections: 4 };
    let count = Count { channel: channel(), subscriptions: 3, users: Some(2), parts };
    formats.message("occupancy", &count, || count.encode(), |old| Count::decode(Bytes::copy_from_slice(old)));

    let member = Member { connection: connection(), user: client() };
    let key = facts::roster_key(&app_id(), &channel(), &edge(), &member);
    let data = MemberData {
        id: "123.456:7:0".to_owned(),
        data: Bytes::from_static(br#"{"name":"J"}"#),
        encoding: "json".to_owned(),
        extras: Bytes::from_static(b"{}"),
        timestamp_ms: 1_795_356_300_123,
    };
    let write = || facts::encode_member(&channel(), &member, &data);
    let expected = facts::decode_member(entry(&key, &write())).unwrap();
    assert_eq!((&expected.0, &expected.1.member, &expected.1.data), (&channel(), &member, &data));
    formats.message("roster", &expected, write, |old| facts::decode_member(entry(&key, old)));

    let terminate = Command::Terminate(app_id(), client());
    let key = facts::terminate_key(&app_id(), &client());
    let write = || facts::encode_terminate(&app_id(), &client());
    formats.message("terminate", &terminate, write, |old| Command::of(&entry(&key, old)));

    let resumed = Resumed { app: app_id(), connection: connection(), generation: 3 };
    let key = Resumed::key(&app_id(), &connection());
    let command = Command::Resumed(resumed.clone());
    formats.message("resumed", &command, || resumed.encode(), |old| Command::of(&entry(&key, old)));

    let write = || revocations::encode(&target(), &orders());
    formats.message("revoked", &(target(), orders()), write, |old| revocations::decode(&entry("", old)));
}

fn target() -> Target {
    Target { app: app_id(), key: KeyName::new("1001.key").unwrap(), target: "clientId:Jürgen".to_owned() }
}

fn orders() -> Vec<Order> {
    [(10, 20), (30, 40)].map(|(issued_before_ms, applies_at_ms)| Order { issued_before_ms, applies_at_ms }).to_vec()
}

fn cluster(formats: &mut Formats, bench: &Bench) {
    let shards = ShardCount::new(16).unwrap();
    let made_with = || ClusterMeta { format: FORMAT, shards: 16 }.encode_to_vec();
    formats.message("cluster", &true, made_with, |old| {
        bench.read(Bucket::Meta, start::CLUSTER_KEY, old, async |backbone| {
            start::check_cluster(&backbone.kv(Bucket::Meta), shards).await.is_ok().then_some(true)
        })
    });
    let write =
        || bench.written(Bucket::Cluster, "schema", async |on| drop(bench.registry(on).migrate().await.unwrap()));
    let read =
        |old: &[u8]| bench.read(Bucket::Cluster, "schema", old, async |on| bench.registry(on).schema().await.ok());
    formats.message("schema", &2, write, read);

    let replica = ControlReplica {
        address: "10.0.0.7:7070".to_owned(),
        tls: true,
        version: "0.1.0".to_owned(),
        node: "r1".to_owned(),
    };
    let mut expected = Members { leader: Some(replica.clone()), ..Members::default() };
    expected.replicas.insert("r1".to_owned(), replica.clone());
    formats.unversioned(
        "lease.replica",
        &expected,
        || replica.encode_to_vec(),
        |old| {
            let mut members = Members::default();
            for key in [members::LEADER_LEASE, &members::replica_lease_key("r1")] {
                members.put(key, Bytes::copy_from_slice(old));
            }
            Some(members)
        },
    );
}

/// One of each tier, with each setting in one of them.
pub(crate) fn rules() -> [Namespace; 3] {
    let persistent = Tier::Persistent { retention: Duration::from_secs(3600) };
    let rules = [("a", Tier::Ephemeral), ("b", Tier::Recoverable), ("c", persistent)];
    let mut rules = rules.map(|(prefix, tier)| Namespace::new(prefix, tier));
    rules[0].client_events = Some(false);
    rules[1].presence_members = Some(7);
    rules[1].slow_consumers = SlowConsumers::KeepLatest;
    rules[1].webhook_events = Some(std::iter::empty().collect());
    rules[2].webhook_events = Some([WebhookEvent::CacheMiss].into_iter().collect());
    rules
}

/// An app in which nothing is as it is by default.
fn app() -> App {
    let key = |name: &str, capability| Key {
        name: KeyName::new(name).unwrap(),
        secret: Secret::new(&format!("secret of {name}")).unwrap(),
        previous: None,
        capability,
        revocable_tokens: false,
        created_ms: 5,
    };
    let narrow = Capability::new([("chat:*".to_owned(), ["publish", "subscribe"])]).unwrap();
    let mut keys = vec![key("1001.key", Capability::all()), key("1001.narrow", narrow)];
    keys[0].revocable_tokens = true;
    keys[0].previous =
        Some(PreviousSecret { secret: Secret::new("the one before").unwrap(), until_ms: 4_102_444_800_000 });
    let webhook = |id: &str, events| Webhook {
        id: id.to_owned(),
        url: format!("https://example.com/{id}"),
        events,
        prefix: String::new(),
        batch: None,
        headers: Vec::new(),
    };
    let all = webhook("all", WebhookEvents::ALL);
    let some = Webhook {
        prefix: "presence-".to_owned(),
        batch: Some(Duration::from_millis(50)),
        headers: vec![("X-B".to_owned(), "1".to_owned()), ("X-A".to_owned(), "2".to_owned())],
        ..webhook("some", [WebhookEvent::MemberAdded, WebhookEvent::CacheMiss].into_iter().collect())
    };
    App {
        id: app_id(),
        name: "Démo".to_owned(),
        enabled: true,
        keys,
        pusher: PusherSettings {
            client_events: true,
            user_authentication: false,
            subscription_count: true,
            watchlist: true,
            authorized_connections: Some(Duration::from_millis(1_500)),
            positions: false,
            tls_only: true,
            allowed_origins: vec![OriginPattern::new("*.example.com").unwrap()],
        },
        limits: Limits {
            channel_name_chars: 1,
            event_name_chars: 2,
            event_data_bytes: 3,
            message_bytes: 4,
            channels_per_publish: 5,
            events_per_batch: 6,
            client_events_per_second: 7,
            channels_per_connection: 8,
            presence_members: 9,
            presence_user_id_chars: 11,
            presence_user_info_bytes: 12,
            user_id_chars: 13,
            watchlist_users: 14,
            cache_ttl: Duration::from_secs(15),
            auth_timestamp_window: Duration::from_secs(16),
        },
        quota: Quota {
            connections: Some(0),
            channels: Some(1),
            messages_in_per_second: Some(2),
            messages_out_per_second: Some(3),
            history_bytes: Some(4),
            presence_members: Some(5),
            webhooks_per_second: Some(6),
        },
        namespaces: Namespaces::new(rules().to_vec()).unwrap(),
        webhooks: vec![all, some],
    }
}

fn apps(formats: &mut Formats, bench: &Bench) {
    // With a key that is revoked.
    let (entry, revoked) = ("app.1001", KeyName::new("1001.narrow").unwrap());
    let make = async |backbone: &Backbone| {
        let registry = bench.registry(backbone);
        registry.create(app(), 7).await.unwrap();
        registry.revoke_key(&app_id(), &revoked, 8).await.unwrap()
    };
    let expected = bench.runtime.block_on(async { make(&Backbone::memory(&Config::default())).await });
    let told = |app: crate::registry::RegisteredApp| (app.app, app.revoked, app.created_ms);
    let write = || bench.written(Bucket::Apps, entry, async |backbone| drop(make(backbone).await));
    formats.message("app", &told(expected), write, |old| {
        let get = async |backbone: &Backbone| bench.registry(backbone).get(&app_id()).await.ok().flatten();
        bench.read(Bucket::Apps, entry, old, get).map(told)
    });

    let key = app().keys.swap_remove(0);
    let write = || bench.written(Bucket::Apps, "key.1001=2Ekey", async |backbone| drop(make(backbone).await));
    formats.message("key_owner", &app_id(), write, |old| {
        bench.read(Bucket::Apps, "key.1001=2Ekey", old, async |backbone| {
            let registry = bench.registry(backbone);
            let alone = App { keys: vec![], id: AppId::new("2").unwrap(), ..app() };
            registry.create(alone.clone(), 7).await.unwrap();
            registry.create(App { keys: vec![key.clone()], webhooks: vec![], ..app() }, 7).await.ok()?;
            match registry.add_key(&alone.id, key.clone()).await {
                Err(RegistryError::KeyTaken { owner, .. }) => Some(owner),
                Ok(_) | Err(_) => None,
            }
        })
    });
}

/// What is remembered of creates that may be repeated.
fn creates(formats: &mut Formats, bench: &Bench) {
    let once = Once::new("token t", "Create", "x", b"a request");
    formats.text("key.remembered", once.key());
    let write = || {
        bench.written(Bucket::Cluster, once.key(), async |backbone| {
            drop(bench.registry(backbone).create_once(app(), 7, &once).await.unwrap());
        })
    };
    formats.message("remembered.app", &(app(), 7), write, |old| {
        let made = async |backbone: &Backbone| bench.registry(backbone).app_made(&once).await.ok().flatten();
        bench.read(Bucket::Cluster, once.key(), old, made).map(|made| (made.app, made.created_ms))
    });

    let key = app().keys.swap_remove(0);
    let write = || {
        bench.written(Bucket::Cluster, once.key(), async |backbone| {
            let registry = bench.registry(backbone);
            registry.create(App { keys: vec![], ..app() }, 7).await.unwrap();
            drop(registry.add_key_once(&app_id(), key.clone(), &once).await.unwrap());
        })
    };
    formats.message("remembered.key", &key, write, |old| {
        let made = async |backbone: &Backbone| bench.registry(backbone).key_made(&once).await.ok().flatten();
        bench.read(Bucket::Cluster, once.key(), old, made).map(|made| made.key)
    });

    let write = || {
        bench.written(Bucket::Cluster, once.key(), async |backbone| {
            let registry = bench.registry(backbone);
            drop(backbone.access().create_once(new_token(), 7, &once, &registry).await.unwrap());
        })
    };
    formats.message("remembered.token", &true, write, |old| {
        bench.read(Bucket::Cluster, once.key(), old, async |backbone| {
            // It was made, and is no more.
            let made = backbone.access().made(&once, &bench.registry(backbone)).await;
            matches!(made, Err(access::AccessError::NoSuchToken(_))).then_some(true)
        })
    });
}

fn new_token() -> NewToken {
    let scope = Scope { role: Role::Reader, app: Some(app_id()) };
    NewToken { name: "ci".to_owned(), scope, created_by: "token root".to_owned(), expires_ms: Some(99) }
}

fn audit_entry() -> AuditEntry {
    AuditEntry {
        id: AuditId::new("1795356300123-0001a1b2c3d4e5f6").unwrap(),
        actor: "token ci".to_owned(),
        method: "UpdateApp".to_owned(),
        app: Some(app_id()),
        target: "1001".to_owned(),
        changes: vec!["enabled: true -> false".to_owned()],
        peer: "10.0.0.9".to_owned(),
        outcome: Outcome::Refused("no".to_owned()),
        revision: 12,
    }
}

/// Tokens of the control plane, the audit log, dead letters.
fn administration(formats: &mut Formats, bench: &Bench) {
    let text = format!("fat_{}_{}", "a1B2c3D4e5F6", "x".repeat(36));
    let secret = Secret::new(&text).unwrap();
    let key = "token.a1B2c3D4e5F6";
    let write = || {
        bench.written(Bucket::Access, key, async |backbone| {
            drop(backbone.access().create_as(&secret, new_token(), 7).await.unwrap());
        })
    };
    let NewToken { name, scope, created_by, expires_ms } = new_token();
    let id = access::TokenId::of(&text).unwrap();
    let (rotated_ms, previous_until_ms) = (None, None);
    let token = AccessToken {
        id,
        name,
        scope,
        created_ms: 7,
        created_by,
        expires_ms,
        rotated_ms,
        previous_until_ms,
        revision: 9,
    };
    formats.message("token", &token, write, |old| {
        let known =
            access::decode(&entry(key, old)).filter(|known| known.admits(&text, 98) && !known.admits(&text, 99));
        known.map(|known| known.token)
    });

    let logged = audit_entry();
    formats.message("audit", &logged, || audit::encode(&logged), |old| audit::decode(&entry("", old)));

    let event = proto::backbone::WebhookEvent { version: 1, channel: "a".to_owned(), ..Default::default() };
    let letter = DeadLetter {
        version: 1,
        event: Some(event),
        webhook_id: "w1".to_owned(),
        url: "https://example.com".to_owned(),
        attempts: 7,
        reason: "status 500".to_owned(),
        failed_ms: 1_795_356_300_123,
    };
    formats.message("dead_letter", &letter, || letter.encode_to_vec(), |old| dead_letters::decode(&entry("", old)));
    let id = dead_letters::DeadLetterId::new("1795356300123-a1b2c3d4e5f60718").unwrap();
    formats.text("key.dead_letter", dead_letters::key(&app_id(), &id));
}

/// Each count another one.
pub(crate) fn counts() -> Counts {
    Counts {
        messages_in: 1,
        bytes_in: 2,
        messages_out: 3,
        bytes_out: 4,
        connections_opened: 5,
        peak_connections: 6,
        peak_channels: 7,
        webhooks_delivered: 8,
        webhooks_failed: 9,
        refused: QuotaKind::ALL.into_iter().zip(1..).collect(),
    }
}

fn usage(formats: &mut Formats, bench: &Bench) {
    let rows = vec![(app_id(), AppMinute { counts: counts(), connections: vec![6, 0, 2] })];
    let expected = (true, rows.clone());
    let read = |old: &[u8]| decode_rows(Bytes::copy_from_slice(old));
    formats.message("usage.rows", &expected, || encode_rows(true, &rows), read);

    let store = |backbone: &Backbone| UsageStore::new(backbone, Kept::default());
    let fold = async |backbone: &Backbone| {
        let key = RawKey { minute: MINUTE, node: edge().to_string(), part: 0 }.to_key();
        backbone.kv(Bucket::Usage).put(&key, encode_rows(true, &rows)).await.unwrap();
        store(backbone).fold(&[MINUTE].into()).await.unwrap();
    };
    let key = format!("hour.1001.{}", MINUTE - 5);
    let used = Counts { ..counts() };
    formats.message(
        "usage.slots",
        &used,
        || bench.written(Bucket::Usage, &key, fold),
        |old| {
            bench.read(Bucket::Usage, &key, old, async |backbone| {
                let ms = MINUTE * 60_000;
                let used = store(backbone).query(&app_id(), Interval::Minute, ms, ms, ms).await.unwrap();
                used.into_iter().next().map(|(_, counts)| counts)
            })
        },
    );

    let write = || bench.written(Bucket::Usage, "folded", async |on| store(on).set_folded(MINUTE).await.unwrap());
    formats.message("usage.folded", &MINUTE, write, |old| {
        // Of one that cannot be read it is not known that anything is folded.
        let folded = async |backbone: &Backbone| store(backbone).folded().await.unwrap();
        Some(bench.read(Bucket::Usage, "folded", old, folded)).filter(|minute| *minute > 0)
    });
}

fn backups(formats: &mut Formats, bench: &Bench) {
    let write = || {
        bench.runtime.block_on(async {
            let backbone = Backbone::memory(&Config::default());
            let registry = bench.registry(&backbone);
            registry.migrate().await.unwrap();
            registry.create(app(), 7).await.unwrap();
            backbone.access().create(new_token(), 7).await.unwrap();
            Backup::take(&backbone, &registry, &[], 7).await.unwrap().lines().collect::<String>()
        })
    };
    let read = |old: &[u8]| {
        let backup = Backup::read(old).ok()?;
        bench.runtime.block_on(async {
            let backbone = Backbone::memory(&Config::default());
            let registry = bench.registry(&backbone);
            backup.restore(&backbone, &registry, &RestoreOptions::default(), 7).await.ok()?;
            let tokens = backbone.access().list().await.ok()?.len();
            Some((registry.get(&app_id()).await.ok()??.app, tokens, backup.created_ms()))
        })
    };
    let later = write().replacen(r#""version":1"#, r#""version":2"#, 1);
    formats.whole("backup", &(app(), 1, 7), write, read, &[later.as_bytes()]);
}

/// What a process of 0.1.0 kept in its data directory (`fanfare dev --data-dir`), and what `fanfare admin backup
/// --everything` then made of it.
#[test]
fn a_data_directory_and_a_backup_of_0_1_0_are_whole() {
    let bench = Bench { runtime: Runtime::new().unwrap(), keys: Arc::new("ab".repeat(32).parse().unwrap()) };
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats");
    let dir = tempfile::tempdir().unwrap();
    fs::copy(kept.join("0.1.0.redb"), dir.path().join("fanfare.redb")).unwrap();
    let backup = Backup::read(&fs::read(kept.join("0.1.0.backup")).unwrap()).unwrap();
    bench.runtime.block_on(async {
        let (opened, restored) =
            (Backbone::open(&Config::default(), dir.path()).unwrap(), Backbone::memory(&Config::default()));
        // The clock of whoever restores: an hour after the backup.
        let now_ms = backup.created_ms() + 3_600_000;
        backup.restore(&restored, &bench.registry(&restored), &RestoreOptions::default(), now_ms).await.unwrap();
        for backbone in [opened, restored] {
            let registry = bench.registry(&backbone);
            assert_eq!(registry.migrate().await.unwrap().unreadable.len(), 0);
            let app = registry.get(&AppId::new("2002").unwrap()).await.unwrap().unwrap().app;
            assert_eq!((app.name.as_str(), app.keys.len(), app.pusher.subscription_count), ("shop", 2, true));
            let key = app.key("2002.6BVIlU6O").unwrap();
            assert_eq!(key.secret.expose(), "8d9ce7cf5fd4a38ff0d024ce173e1842");
            let tier = app.tier(&ChannelName::new("chat:lobby").unwrap());
            assert_eq!(tier, Tier::Persistent { retention: channels::DEFAULT_RETENTION });
            let token = backbone.kv(Bucket::Access).get("token.9J6mNrwksdyE").await.unwrap().unwrap();
            let known = access::decode(&token).unwrap();
            assert!(known.admits("fat_9J6mNrwksdyE_ygYSHXsGWuUFNXS2bsC83zV70lmWq5uWaOkF", now_ms));
            let query = AuditQuery { app: Some(app.id.clone()), most: 9, ..AuditQuery::default() };
            let log = AuditLog::new(&backbone, audit::DEFAULT_KEPT_FOR).list(&query, now_ms).await.unwrap().entries;
            let methods: Vec<_> = log.iter().map(|entry| entry.method.as_str()).collect();
            let expected = [
                "KeyService.CreateKey",
                "NamespaceService.SetNamespace",
                "AccessService.CreateToken",
                "AppService.CreateApp",
            ];
            assert_eq!(methods, expected);
        }
    });
}

/// Who reads, changes and writes back would drop what it does not know.
#[test]
fn what_a_later_version_has_added_is_not_lost() {
    let bench = Bench { runtime: Runtime::new().unwrap(), keys: Arc::new("ab".repeat(32).parse().unwrap()) };
    bench.runtime.block_on(async {
        let backbone = Backbone::memory(&Config::default());
        let add = async |bucket: Bucket, key: &str| {
            let kv = backbone.kv(bucket);
            let added = Bytes::from(with_unknown_fields(&kv.get(key).await.unwrap().unwrap().value));
            kv.put(key, added.clone()).await.unwrap();
            added
        };
        let now = async |bucket, key: &str| backbone.kv(bucket).get(key).await.unwrap().unwrap().value;

        let registry = bench.registry(&backbone);
        registry.create(app(), 7).await.unwrap();
        let added = add(Bucket::Apps, "app.1001").await;
        assert_eq!(registry.get(&app_id()).await.unwrap().unwrap().app, app(), "it is served");
        let disable = AppChange { enabled: Some(false), ..AppChange::default() };
        let refused = registry.update(&app_id(), None, &disable).await;
        assert!(
            matches!(refused, Err(RegistryError::Unreadable { source: Unreadable::MoreThanKnown, .. })),
            "{refused:?}"
        );
        registry.migrate().await.unwrap();
        assert_eq!(now(Bucket::Apps, "app.1001").await, added);
        registry.delete(&app_id()).await.unwrap();

        let (token, _) = backbone.access().create(new_token(), 7).await.unwrap();
        let key = format!("token.{}", token.id);
        let added = add(Bucket::Access, &key).await;
        let refused = backbone.access().rotate(&token.id, Duration::ZERO, 8).await;
        assert!(matches!(refused, Err(access::AccessError::Unreadable(_))), "{refused:?}");
        assert_eq!(now(Bucket::Access, &key).await, added);
        backbone.access().revoke(&token.id).await.unwrap();

        let store = UsageStore::new(&backbone, Kept::default());
        let count = async |messages_in| {
            let counts = Counts { messages_in, ..Counts::default() };
            let rows = [(app_id(), AppMinute { counts, connections: vec![] })];
            let key = RawKey { minute: MINUTE, node: edge().to_string(), part: 0 }.to_key();
            backbone.kv(Bucket::Usage).put(&key, encode_rows(true, &rows)).await.unwrap();
            store.fold(&[MINUTE].into()).await.unwrap();
        };
        count(1).await;
        let (hour, day) = (format!("hour.1001.{}", MINUTE - 5), format!("day.1001.{}", MINUTE - 5 - 14 * 60));
        let (added, of_day) = (add(Bucket::Usage, &hour).await, now(Bucket::Usage, &day).await);
        count(2).await;
        assert_eq!((now(Bucket::Usage, &hour).await, now(Bucket::Usage, &day).await), (added, of_day));
    });
}
