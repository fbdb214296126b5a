//! What each call does, and what it refuses.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use proto::control as wire;
use support::{Client, Plane, new_key, plain, refused};
use tonic::Code;

async fn start() -> (Plane, Client) {
    let plane = Plane::start().await;
    let client = plane.client().await;
    (plane, client)
}

fn operations(words: &[&str]) -> wire::capability::Operations {
    wire::capability::Operations { operations: words.iter().map(|word| (*word).to_owned()).collect() }
}

fn namespace(prefix: &str, tier: i32, retention_seconds: u64) -> wire::Namespace {
    let slow_consumers = wire::SlowConsumers::Disconnect.into();
    wire::Namespace { prefix: prefix.to_owned(), tier, retention_seconds, slow_consumers, ..Default::default() }
}

#[tokio::test]
async fn an_app_is_made_up_where_nothing_is_said() {
    let (_plane, mut client) = start().await;
    let created = client.create(wire::CreateAppRequest::default()).await.unwrap();
    let (app, key) = (created.app.unwrap(), created.key.unwrap());
    assert!(app.id.bytes().all(|b| b.is_ascii_digit()) && app.enabled && app.name == app.id);
    assert_eq!(app.keys, [key.key.clone().unwrap()]);
    assert!(app.keys[0].name.starts_with(&format!("{}.", app.id)));
    assert!(key.secret.len() >= 20 && key.secret.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
    assert_eq!(app.keys[0].capability.as_ref().unwrap().resources["*"], operations(&["*"]));
    assert_eq!(app.limits.unwrap().event_data_bytes, Some(10_240), "defaults are shown");
    assert_eq!(client.get(&app.id).await.unwrap(), app);
}

#[tokio::test]
async fn an_app_is_as_it_was_asked_for() {
    let (_plane, mut client) = start().await;
    let capability = wire::Capability { resources: [("chat:*".to_owned(), operations(&["publish"]))].into() };
    let request = wire::CreateAppRequest {
        id: "shop".to_owned(),
        name: "The shop".to_owned(),
        pusher: Some(wire::PusherSettings { client_events: Some(true), ..Default::default() }),
        quota: Some(wire::Quota { connections: Some(9), ..Default::default() }),
        namespaces: vec![
            namespace("tick-", wire::Tier::Ephemeral.into(), 0),
            namespace("log-", wire::Tier::Persistent.into(), 0),
        ],
        limits: Some(wire::Limits { events_per_batch: Some(7), ..wire::Limits::default() }),
        key: Some(wire::NewKey {
            name: "app-key".to_owned(),
            secret: "app-secret".to_owned(),
            capability: Some(capability.clone()),
            revocable_tokens: true,
        }),
        ..Default::default()
    };
    let created = client.create(request).await.unwrap();
    assert_eq!(created.key.unwrap().secret, "app-secret");
    let app = client.get("shop").await.unwrap();
    assert_eq!((app.name.as_str(), app.pusher.unwrap().client_events), ("The shop", Some(true)));
    assert_eq!(app.quota.unwrap().connections, Some(9));
    assert!(app.keys[0].revocable_tokens);
    assert_eq!(app.keys[0].capability, Some(capability));
    assert_eq!(app.limits.unwrap().events_per_batch, Some(7));
    let namespaces =
        [namespace("tick-", wire::Tier::Ephemeral.into(), 0), namespace("log-", wire::Tier::Persistent.into(), 86_400)];
    assert_eq!(app.namespaces, namespaces, "longest prefix first, retention filled in");
    assert!(app.created_ms > 1_700_000_000_000 && app.revision > 0);
}

#[tokio::test]
async fn ids_and_key_names_are_given_once() {
    let (_plane, mut client) = start().await;
    client.create_plain("1").await;
    client.create_plain("2").await;
    refused(client.create(plain("1")).await, Code::AlreadyExists, "app 1 exists");
    let stolen = wire::CreateAppRequest { id: "3".to_owned(), key: Some(new_key("1-key")), ..Default::default() };
    refused(client.create(stolen).await, Code::AlreadyExists, "1-key is taken by app 1");
    refused(client.get("3").await, Code::NotFound, "no app 3");
    refused(client.create_key("2", new_key("1-key")).await, Code::AlreadyExists, "taken by app 1");
}

#[tokio::test]
async fn an_update_replaces_what_it_names() {
    let (_plane, mut client) = start().await;
    let before = client.create_plain("1").await;
    let renamed = client.update(update(wire::App { name: "new".to_owned(), ..app("1") }, &[])).await.unwrap();
    assert!(renamed.revision > before.revision);
    assert_eq!(renamed, wire::App { name: "new".to_owned(), revision: renamed.revision, ..before });
    let settings = wire::App {
        pusher: Some(wire::PusherSettings { client_events: Some(true), ..Default::default() }),
        quota: Some(wire::Quota { connections: Some(5), ..Default::default() }),
        limits: Some(wire::Limits { client_events_per_second: Some(0), ..Default::default() }),
        namespaces: vec![namespace("a", 1, 0)],
        ..app("1")
    };
    let request = wire::UpdateAppRequest { revision: renamed.revision, ..update(settings, &[]) };
    let changed = client.update(request.clone()).await.unwrap();
    assert_eq!((changed.quota.unwrap().connections, changed.namespaces.len()), (Some(5), 1));
    assert_eq!(changed.limits.unwrap().client_events_per_second, Some(0));
    assert!(changed.pusher.unwrap().client_events() && changed.name == "new");
    refused(client.update(request).await, Code::Aborted, &format!("its revision is {}", changed.revision));
    let cleared = client.update(update(app("1"), &["quota", "namespaces"])).await.unwrap();
    assert_eq!((cleared.quota.unwrap(), cleared.namespaces.len()), (wire::Quota::default(), 0));
    assert_eq!(cleared.limits.unwrap().client_events_per_second, Some(0), "what the mask does not name stays");
}

fn app(id: &str) -> wire::App {
    wire::App { id: id.to_owned(), ..Default::default() }
}

fn update(app: wire::App, mask: &[&str]) -> wire::UpdateAppRequest {
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    wire::UpdateAppRequest { app: Some(app), update_mask: Some(proto::FieldMask { paths }), revision: 0 }
}

/// A mask decides alone: what it does not name stays, what it names and is absent gets its default.
#[tokio::test]
async fn a_mask_names_what_changes() {
    let (_plane, mut client) = start().await;
    let quota = wire::Quota { connections: Some(7), history_bytes: Some(8), ..Default::default() };
    let limits = wire::Limits { event_data_bytes: Some(9), events_per_batch: Some(9), ..Default::default() };
    let request = wire::CreateAppRequest { quota: Some(quota), limits: Some(limits), ..plain("1") };
    client.create(request).await.unwrap();
    let quota = wire::Quota { connections: Some(70), channels: Some(71), ..Default::default() };
    let given = wire::App {
        name: "not this".to_owned(),
        enabled: false,
        quota: Some(quota),
        pusher: Some(wire::PusherSettings { watchlist: Some(true), positions: Some(false), ..Default::default() }),
        ..app("1")
    };
    let mask = ["quota.connections", "quota.history_bytes", "limits.event_data_bytes", "pusher.watchlist"];
    let changed = client.update(update(given, &mask)).await.unwrap();
    assert_eq!(changed.quota, Some(wire::Quota { connections: Some(70), ..Default::default() }));
    let limits = changed.limits.unwrap();
    assert_eq!((limits.event_data_bytes, limits.events_per_batch), (Some(10_240), Some(9)));
    let pusher = changed.pusher.unwrap();
    assert_eq!((pusher.watchlist, pusher.positions, changed.name.as_str()), (Some(true), Some(true), "1"));
    assert!(changed.enabled);
    for path in ["enabled", "keys", "id", "quota.cats", "quota.", "", "webhooks.url", "*"] {
        let request = update(app("1"), &["name", path]);
        refused(client.update(request).await, Code::InvalidArgument, "update_mask.paths[1]: ");
    }
    let bad = wire::App { quota: Some(wire::Quota { connections: Some(0), ..Default::default() }), ..app("1") };
    refused(client.update(update(bad, &["quota", "name"])).await, Code::InvalidArgument, "quota.connections: must be");
}

/// Every path that a mask may name changes that field and no other.
#[tokio::test]
async fn every_field_can_be_named() {
    let (_plane, mut client) = start().await;
    let defaults = client.create_plain("1").await;
    let full = wire::App {
        name: "changed".to_owned(),
        pusher: Some(wire::PusherSettings {
            client_events: Some(true),
            user_authentication: Some(false),
            subscription_count: Some(true),
            watchlist: Some(true),
            authorized_connections_ms: Some(1_500),
            positions: Some(false),
            tls_only: Some(true),
            allowed_origins: Some(wire::pusher_settings::Origins { patterns: vec!["*.example.com".to_owned()] }),
        }),
        quota: Some(wire::Quota {
            connections: Some(1),
            channels: Some(2),
            messages_in_per_second: Some(3),
            messages_out_per_second: Some(4),
            history_bytes: Some(5),
            presence_members: Some(6),
            webhooks_per_second: Some(7),
        }),
        limits: Some(all_limits()),
        namespaces: vec![namespace("a", 1, 0)],
        webhooks: vec![wire::Webhook { url: "http://a/".to_owned(), ..Default::default() }],
        ..app("1")
    };
    let descriptor = proto::json::descriptor::<wire::App>();
    let mut paths: Vec<String> = ["name", "namespaces", "webhooks"].map(str::to_owned).into();
    for section in ["pusher", "quota", "limits"] {
        paths.push(section.to_owned());
        let field = descriptor.get_field_by_name(section).unwrap();
        let message = field.kind().as_message().unwrap().clone();
        paths.extend(message.fields().map(|field| format!("{section}.{}", field.name())));
    }
    let shown = |app: &wire::App| {
        let app = wire::App { revision: 0, ..app.clone() };
        proto::json::to_string(&app)
    };
    let mut states = std::collections::HashSet::new();
    for path in &paths {
        let changed = client.update(update(full.clone(), &[path])).await.unwrap();
        assert_ne!(shown(&changed), shown(&defaults), "{path} changes something");
        assert!(states.insert(shown(&changed)), "{path} changes what no other path does");
        let back = client.update(update(wire::App { name: "1".to_owned(), ..app("1") }, &[path])).await.unwrap();
        assert_eq!(shown(&back), shown(&defaults), "{path} without a value is the default");
    }
    assert_eq!(paths.len(), 36);
}

fn all_limits() -> wire::Limits {
    wire::Limits {
        channel_name_chars: Some(1),
        event_name_chars: Some(2),
        event_data_bytes: Some(3),
        channels_per_publish: Some(4),
        events_per_batch: Some(5),
        client_events_per_second: Some(6),
        channels_per_connection: Some(7),
        presence_members: Some(8),
        presence_user_id_chars: Some(9),
        presence_user_info_bytes: Some(0),
        user_id_chars: Some(11),
        watchlist_users: Some(0),
        cache_ttl_seconds: Some(60),
        auth_timestamp_window_seconds: Some(10),
        message_bytes: Some(15),
    }
}

/// Every switch, limit and field of a webhook goes in and comes out again.
#[tokio::test]
async fn all_settings_can_be_set() {
    let (_plane, mut client) = start().await;
    let defaults = client.create_plain("1").await;
    let pusher = wire::PusherSettings {
        client_events: Some(false),
        user_authentication: Some(true),
        subscription_count: Some(false),
        watchlist: Some(false),
        authorized_connections_ms: Some(0),
        positions: Some(true),
        tls_only: Some(false),
        allowed_origins: Some(wire::pusher_settings::Origins::default()),
    };
    assert_eq!(defaults.pusher, Some(pusher));
    let limits = wire::Limits {
        channel_name_chars: Some(200),
        event_name_chars: Some(200),
        event_data_bytes: Some(10_240),
        channels_per_publish: Some(100),
        events_per_batch: Some(10),
        client_events_per_second: Some(10),
        channels_per_connection: Some(1_000),
        presence_members: Some(100),
        presence_user_id_chars: Some(128),
        presence_user_info_bytes: Some(1_024),
        user_id_chars: Some(200),
        watchlist_users: Some(100),
        cache_ttl_seconds: Some(1_800),
        auth_timestamp_window_seconds: Some(600),
        message_bytes: Some(65_536),
    };
    assert_eq!((defaults.limits, defaults.webhooks), (Some(limits), Vec::new()));

    let pusher = wire::PusherSettings {
        client_events: Some(true),
        user_authentication: Some(false),
        subscription_count: Some(true),
        watchlist: Some(true),
        authorized_connections_ms: Some(1_500),
        positions: Some(false),
        tls_only: Some(true),
        allowed_origins: Some(wire::pusher_settings::Origins { patterns: vec!["*.example.com".to_owned()] }),
    };
    let limits = all_limits();
    let hook = wire::Webhook {
        id: "w1".to_owned(),
        url: "https://example.com/hook".to_owned(),
        events: vec!["channel_occupied".to_owned(), "client_event".to_owned()],
        prefix: "presence-".to_owned(),
        batch_ms: 50,
        headers: [("X-Token".to_owned(), "t0ken".to_owned())].into(),
    };
    let shown = wire::Webhook { headers: [("X-Token".to_owned(), String::new())].into(), ..hook.clone() };
    let settings =
        wire::App { pusher: Some(pusher.clone()), limits: Some(limits), webhooks: vec![hook.clone()], ..app("1") };
    let request = update(settings, &[]);
    let changed = client.update(request.clone()).await.unwrap();
    assert_eq!((changed.pusher, changed.limits), (Some(pusher.clone()), Some(limits)));
    assert_eq!(changed.webhooks, std::slice::from_ref(&shown));
    assert_eq!(client.update(request).await.unwrap().revision, changed.revision, "the same is no change");

    let created = wire::CreateAppRequest {
        pusher: Some(pusher.clone()),
        limits: Some(limits),
        webhooks: vec![hook.clone()],
        ..plain("2")
    };
    let created = client.create(created).await.unwrap().app.unwrap();
    assert_eq!((created.pusher, created.limits, created.webhooks), (Some(pusher), Some(limits), vec![shown]));
}

#[tokio::test]
async fn a_switch_that_is_not_named_stays() {
    let (_plane, mut client) = start().await;
    let watchlist = wire::PusherSettings { watchlist: Some(true), ..Default::default() };
    let authorized = wire::PusherSettings { authorized_connections_ms: Some(1_000), ..Default::default() };
    client.create(wire::CreateAppRequest { pusher: Some(watchlist), ..plain("1") }).await.unwrap();
    let mut set = async |pusher| {
        let request = update(wire::App { pusher: Some(pusher), ..app("1") }, &[]);
        client.update(request).await.unwrap().pusher.unwrap()
    };
    let pusher = set(authorized).await;
    assert_eq!((pusher.watchlist, pusher.authorized_connections_ms), (Some(true), Some(1_000)));
    let pusher = set(wire::PusherSettings { authorized_connections_ms: Some(0), ..Default::default() }).await;
    assert_eq!((pusher.watchlist, pusher.authorized_connections_ms), (Some(true), Some(0)));
}

#[tokio::test]
async fn webhooks_are_replaced_as_a_list() {
    let (_plane, mut client) = start().await;
    client.create_plain("1").await;
    let bare = |url: &str| wire::Webhook { url: url.to_owned(), ..Default::default() };
    let mut set = async |webhooks| {
        let request = update(wire::App { webhooks, ..app("1") }, &["webhooks"]);
        client.update(request).await.unwrap().webhooks
    };
    let two = set(vec![bare("http://a/"), bare("http://b/")]).await;
    assert_eq!(two.iter().map(|hook| hook.url.as_str()).collect::<Vec<_>>(), ["http://a/", "http://b/"]);
    let [a, b] = two.as_slice() else { panic!("{two:?}") };
    assert!(a.id != b.id && a.events.len() == 7 && a.batch_ms == 0, "{a:?}");
    let one = set(vec![bare("http://b/")]).await;
    assert_eq!(one, std::slice::from_ref(b), "an id is the same for the same");
    assert_eq!(set(Vec::new()).await, []);
}

/// Values of headers are never told, and stay where a list is sent back as it was told.
#[tokio::test]
async fn values_of_headers_are_kept() {
    let (plane, mut client) = start().await;
    let hook = |headers: &[(&str, &str)]| wire::Webhook {
        id: "w".to_owned(),
        url: "http://a/".to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    };
    let request = wire::CreateAppRequest { webhooks: vec![hook(&[("X-A", "first"), ("X-B", "second")])], ..plain("1") };
    let created = client.create(request).await.unwrap().app.unwrap();
    assert_eq!(created.webhooks[0].headers, hook(&[("X-A", ""), ("X-B", "")]).headers);
    assert_eq!(client.get("1").await.unwrap().webhooks, created.webhooks);
    let id = channels::AppId::new("1").unwrap();
    let stored = async || plane.registry.get(&id).await.unwrap().unwrap().app.webhooks[0].headers.clone();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());

    let again = wire::App { webhooks: created.webhooks, ..app("1") };
    client.update(update(again, &["webhooks"])).await.unwrap();
    assert_eq!(stored().await, [pair("X-A", "first"), pair("X-B", "second")]);
    let some = wire::App { webhooks: vec![hook(&[("X-A", ""), ("X-B", "third")])], ..app("1") };
    client.update(update(some, &[])).await.unwrap();
    assert_eq!(stored().await, [pair("X-A", "first"), pair("X-B", "third")]);

    let elsewhere = wire::Webhook { url: "http://b/".to_owned(), ..hook(&[("X-A", "")]) };
    for webhook in [elsewhere, hook(&[("X-C", "")]), wire::Webhook { id: "v".to_owned(), ..hook(&[("X-A", "")]) }] {
        let request = update(wire::App { webhooks: vec![webhook], ..app("1") }, &[]);
        refused(client.update(request).await, Code::InvalidArgument, "webhooks[0].headers: must give \"X-");
    }
    let new = wire::CreateAppRequest { webhooks: vec![hook(&[("X-A", "")])], ..plain("2") };
    refused(client.create(new).await, Code::InvalidArgument, "webhooks[0].headers: must give \"X-A\" a value");
}

#[tokio::test]
async fn disable_enable_delete() {
    let (_plane, mut client) = start().await;
    client.create_plain("1").await;
    assert!(!client.disable("1").await.unwrap().enabled);
    let again = client.disable("1").await.unwrap();
    assert_eq!(client.get("1").await.unwrap(), again);
    assert!(client.enable("1").await.unwrap().enabled);
    assert!(client.enable("1").await.unwrap().enabled);
    client.delete("1").await.unwrap();
    refused(client.delete("1").await, Code::NotFound, "no app 1");
    refused(client.disable("1").await, Code::NotFound, "no app 1");
    refused(client.enable("1").await, Code::NotFound, "no app 1");
    refused(client.update(update(app("1"), &[])).await, Code::NotFound, "no app 1");
    client.create_plain("1").await;
}

#[tokio::test]
async fn keys_are_created_and_revoked() {
    let (_plane, mut client) = start().await;
    client.create_plain("1").await;
    let made_up = client.create_key("1", wire::NewKey::default()).await.unwrap();
    let name = made_up.key.unwrap().name;
    assert!(name.starts_with("1."));
    let revoked = client.revoke("1", &name).await.unwrap();
    assert!(revoked.revoked_ms > 0);
    assert_eq!(client.revoke("1", &name).await.unwrap(), revoked, "revoking is idempotent");
    let app = client.get("1").await.unwrap();
    assert_eq!(app.keys.iter().filter(|key| key.revoked_ms == 0).count(), 1);
    assert_eq!(app.keys.len(), 2, "a revoked key is still told");
    refused(client.create_key("1", new_key(&name)).await, Code::AlreadyExists, "is taken");
    refused(client.revoke("1", "other").await, Code::NotFound, "no key other");
    refused(client.revoke("2", "other").await, Code::NotFound, "no app 2");
    refused(client.create_key("2", wire::NewKey::default()).await, Code::NotFound, "no app 2");
}

#[tokio::test]
async fn apps_are_listed_in_pages() {
    let (plane, mut client) = start().await;
    for n in 0..7 {
        client.create_plain(&format!("app-{n}")).await;
    }
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = client.list(3, &token).await.unwrap();
        seen.extend(page.apps.into_iter().map(|app| app.id));
        pages += 1;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> = (0..7).map(|n| format!("app-{n}")).collect();
    assert_eq!((seen, pages), (expected, 3));
    assert_eq!(client.list(0, "").await.unwrap().apps.len(), 7);
    refused(client.list(1_001, "").await, Code::InvalidArgument, "page_size: must be at most 1000");
    refused(client.list(1, "a b").await, Code::InvalidArgument, "page_token: ");
    drop(plane);
}

#[tokio::test]
async fn an_app_of_a_newer_fanfare_is_refused_and_harms_no_other() {
    let backbone = support::memory();
    let kv = backbone.kv(backbone::Bucket::Apps);
    kv.put("app.2", vec![8, 99].into()).await.unwrap();
    let plane = Plane::start_with(support::config(), &backbone).await;
    let mut client = plane.client().await;
    client.create_plain("1").await;
    client.create_plain("3").await;
    let listed = client.list(0, "").await.unwrap().apps;
    assert_eq!(listed.iter().map(|app| app.id.as_str()).collect::<Vec<_>>(), ["1", "3"]);
    refused(client.get("2").await, Code::FailedPrecondition, "stored in format 99");
    refused(client.disable("2").await, Code::FailedPrecondition, "stored in format 99");
    refused(client.delete("2").await, Code::FailedPrecondition, "stored in format 99");
}

/// Every field that can be wrong, and how the answer names it.
#[tokio::test]
async fn a_bad_field_is_named() {
    let (_plane, mut client) = start().await;
    type Spoil = fn(&mut wire::CreateAppRequest);
    fn key(request: &mut wire::CreateAppRequest) -> &mut wire::NewKey {
        request.key.get_or_insert_default()
    }
    fn capability(request: &mut wire::CreateAppRequest, resource: &str, words: &[&str]) {
        let resources = [(resource.to_owned(), operations(words))].into();
        key(request).capability = Some(wire::Capability { resources });
    }
    fn hook(request: &mut wire::CreateAppRequest) -> &mut wire::Webhook {
        request.webhooks = vec![wire::Webhook { url: "http://a/".to_owned(), ..Default::default() }];
        &mut request.webhooks[0]
    }
    fn limit(request: &mut wire::CreateAppRequest) -> &mut wire::Limits {
        request.limits.get_or_insert_default()
    }
    fn authorized(request: &mut wire::CreateAppRequest, ms: u64) {
        request.pusher = Some(wire::PusherSettings { authorized_connections_ms: Some(ms), ..Default::default() });
    }
    let cases: Vec<(Spoil, &str)> = vec![
        (|r| r.id = "a.b".to_owned(), "id: app id must be"),
        (|r| r.id = "9".repeat(33), "id: app id must be"),
        (|r| r.name = "n".repeat(129), "name: must be 1 to 128 characters"),
        (|r| r.name = "a\nb".to_owned(), "name: must be 1 to 128 characters"),
        (|r| key(r).name = "a:b".to_owned(), "key.name: key name must be"),
        (|r| key(r).secret = "hushush".to_owned(), "key.secret: must be 8 characters"),
        (|r| key(r).secret = "s".repeat(257), "key.secret: must be 8 characters"),
        (|r| key(r).capability = Some(wire::Capability::default()), "key.capability: must name 1 to 200"),
        (|r| capability(r, "*", &["fly"]), "key.capability: unknown operation \"fly\""),
        (|r| capability(r, "*", &[]), "key.capability: capability allows nothing on \"*\""),
        (|r| capability(r, "", &["*"]), "key.capability: capability names an empty resource"),
        (
            |r| r.quota = Some(wire::Quota { connections: Some(0), ..Default::default() }),
            "quota.connections: must be at least 1",
        ),
        (
            |r| r.limits = Some(wire::Limits { event_data_bytes: Some(u32::MAX), ..Default::default() }),
            "limits.event_data_bytes: must be 1 to 524288",
        ),
        (
            |r| r.limits = Some(wire::Limits { channel_name_chars: Some(0), ..Default::default() }),
            "limits.channel_name_chars: must be 1 to 1024",
        ),
        (|r| r.namespaces = vec![namespace("a", 1, 0), namespace("a", 1, 0)], "namespaces: two namespaces"),
        (|r| r.namespaces = vec![namespace("a", 1, 0), namespace("b", 77, 0)], "namespaces[1].tier: has no value 77"),
        (|r| r.namespaces = vec![namespace("a", 1, 60)], "namespaces[0].retention_seconds: is only for"),
        (|r| r.namespaces = vec![namespace("a", 3, 59)], "namespaces: retention of namespace \"a\""),
        (|r| r.namespaces = vec![namespace("a\u{7}", 1, 0)], "namespaces[0].prefix: must be"),
        (|r| authorized(r, 999), "pusher.authorized_connections_ms: must be 1 second to 1 hour"),
        (|r| authorized(r, 3_600_001), "pusher.authorized_connections_ms: must be 1 second to 1 hour"),
        (|r| limit(r).presence_members = Some(0), "limits.presence_members: must be 1 to 100000"),
        (|r| limit(r).presence_user_id_chars = Some(257), "limits.presence_user_id_chars: must be 1 to 256"),
        (|r| limit(r).presence_user_info_bytes = Some(65_537), "limits.presence_user_info_bytes: must be 0 to 65536"),
        (|r| limit(r).user_id_chars = Some(0), "limits.user_id_chars: must be 1 to 252"),
        (|r| limit(r).watchlist_users = Some(1_001), "limits.watchlist_users: must be 0 to 1000"),
        (|r| limit(r).cache_ttl_seconds = Some(59), "limits.cache_ttl_seconds: must be 60 to 2592000"),
        (|r| limit(r).cache_ttl_seconds = Some(2_592_001), "limits.cache_ttl_seconds: must be 60 to 2592000"),
        (
            |r| limit(r).auth_timestamp_window_seconds = Some(9),
            "limits.auth_timestamp_window_seconds: must be 10 to 3600",
        ),
        (|r| hook(r).url.clear(), "webhooks[0].url: webhook url must be"),
        (|r| hook(r).id = "a.b".to_owned(), "webhooks[0].id: webhook id must be"),
        (
            |r| hook(r).events = vec!["rain".to_owned()],
            "webhooks[0].events: must not name \"rain\"; there are channel_",
        ),
        (|r| hook(r).prefix = "a\u{7}".to_owned(), "webhooks[0].prefix: must be"),
        (|r| hook(r).batch_ms = 5_001, "webhooks[0].batch_ms: webhook batch must be at most 5 seconds"),
        (
            |r| hook(r).headers = [("X-Pusher-Key".to_owned(), "hushush".to_owned())].into(),
            "webhooks[0].headers: webhook header \"X-Pusher-Key\" cannot be set",
        ),
        (
            |r| hook(r).headers = (0..11).map(|n| (format!("X-{n}"), "hushush".to_owned())).collect(),
            "webhooks[0].headers: must not be more than 10",
        ),
        (
            |r| {
                let twice = hook(r).clone();
                r.webhooks.push(twice);
            },
            "webhooks: two webhooks have the id",
        ),
        (
            |r| {
                let one = hook(r).clone();
                r.webhooks = (0..21).map(|n| wire::Webhook { id: n.to_string(), ..one.clone() }).collect();
            },
            "webhooks: must not be more than 20",
        ),
    ];
    for (spoil, words) in cases {
        let mut request = plain("1");
        spoil(&mut request);
        let answer = client.create(request).await;
        assert!(!format!("{answer:?}").contains("hushush"), "a secret is never echoed");
        refused(answer, Code::InvalidArgument, words);
    }
    assert_eq!(client.list(0, "").await.unwrap().apps, [], "nothing was created");

    client.create_plain("1").await;
    refused(client.update(update(app("1"), &["name"])).await, Code::InvalidArgument, "name: must be");
    refused(client.update(Default::default()).await, Code::InvalidArgument, "app.id: app id must be");
    refused(client.get("").await, Code::InvalidArgument, "id: app id must be");
    refused(client.disable("*").await, Code::InvalidArgument, "id: app id must be");
    refused(client.enable(">").await, Code::InvalidArgument, "id: app id must be");
    refused(client.delete("a b").await, Code::InvalidArgument, "id: app id must be");
    refused(client.create_key("é", new_key("a")).await, Code::InvalidArgument, "app_id: app id must be");
    refused(client.revoke("1", "a b").await, Code::InvalidArgument, "name: key name must be");
}

#[tokio::test]
async fn all_bad_fields_are_told_at_once() {
    let (_plane, mut client) = start().await;
    let request = wire::CreateAppRequest {
        id: "a.b".to_owned(),
        name: "n".repeat(129),
        quota: Some(wire::Quota { connections: Some(0), ..Default::default() }),
        ..Default::default()
    };
    let status = client.create(request).await.unwrap_err();
    for field in ["id: ", "name: ", "quota.connections: "] {
        assert!(status.message().contains(field), "{status:?}");
    }
}
