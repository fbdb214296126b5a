//! The seed file: its format, its mistakes, its application.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use std::time::Duration;

use backbone::audit::{AuditQuery, Outcome};
use backbone::registry::{AppChange, Registry};
use channels::{
    App, AppId, KeyName, Limits, Namespace, Operation, PusherSettings, Quota, SlowConsumers, Tier, Webhook,
    WebhookEvent, WebhookEvents,
};
use control::seed::{Applied, Seed, SeedError};
use proptest::prelude::*;
use support::registry;

const FULL: &str = r#"
[[app]]
id = "1001"
name = "demo"
enabled = false
[[app.key]]
name = "app-key"
secret = "app-secret"
capability = { "chat:*" = ["publish", "subscribe"] }
revocable_tokens = true
[[app.key]]
secret = "other-secret"
[app.pusher]
client_events = true
user_authentication = false
subscription_count = true
watchlist = true
authorized_connections = true
authorized_connections_timeout = "1m30s"
positions = false
tls_only = true
allowed_origins = ["*.example.com"]
[app.quota]
connections = 1_000
channels = 1_001
messages_in_per_second = 1_002
messages_out_per_second = 1_003
history_bytes = 1_004
presence_members = 1_005
webhooks_per_second = 1_006
[app.limits]
event_data_bytes = 0x4000
message_bytes = 1000
client_events_per_second = 0
presence_members = 1_000
presence_user_id_chars = 64
presence_user_info_bytes = 0
user_id_chars = 65
watchlist_users = 0
cache_ttl = "2h"
auth_timestamp_window = "5m"
[[app.namespace]]
prefix = "tick-"
tier = "ephemeral"
client_events = true
presence_members = 5
slow_consumers = "keep-latest"
webhook_events = ["channel_occupied"]
[[app.namespace]]
prefix = "audit-"
tier = "persistent"
retention = "36h"
[[app.namespace]]
prefix = ""
tier = "persistent"

[[app.webhook]]
id = "all"
url = "https://example.com/hook"
headers = { X-B = "2", X-A = "hush-hush" }
[[app.webhook]]
url = "http://127.0.0.1:6500/"     # loopback is allowed when the node itself listens on loopback
events = ["channel_occupied"]      # absent: all
prefix = "presence-"               # absent: every channel
batch = "50ms"                     # absent: no batching

[[app]]
id = 1002
"#;

fn id(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

fn name(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

/// A seed with one app that has these keys, all with the secret `app-secret`.
fn seed(app: &str, keys: &[&str]) -> Seed {
    let keys = keys.iter().map(|key| format!("[[app.key]]\nname = \"{key}\"\nsecret = \"app-secret\"\n"));
    Seed::parse(&format!("[[app]]\nid = \"{app}\"\n{}", keys.collect::<String>())).unwrap()
}

async fn key_names(registry: &Registry, app: &str) -> Vec<String> {
    let app = registry.get(&id(app)).await.unwrap().unwrap().app;
    app.keys.iter().map(|key| key.name.to_string()).collect()
}

#[test]
fn everything_is_read() {
    let seed = Seed::parse(FULL).unwrap();
    let [app, plain] = seed.apps() else { panic!("{seed:?}") };
    assert_eq!((app.id.as_str(), app.name.as_str(), app.enabled), ("1001", "demo", false));
    assert_eq!(app.keys[0].name, name("app-key"));
    assert_eq!(app.keys[0].secret.expose(), "app-secret");
    assert!(app.keys[0].capability.permits("chat:1", Operation::Publish));
    assert!(!app.keys[0].capability.permits("news", Operation::Publish));
    assert!(app.keys[0].revocable_tokens && !app.keys[1].revocable_tokens);
    assert_eq!(app.keys[1].name, name("1001.2"), "a nameless key is called by its place");
    assert!(app.keys[1].capability.permits("news", Operation::Stats));
    let pusher = PusherSettings {
        client_events: true,
        user_authentication: false,
        subscription_count: true,
        watchlist: true,
        authorized_connections: Some(Duration::from_secs(90)),
        positions: false,
        tls_only: true,
        allowed_origins: vec![channels::OriginPattern::new("*.example.com").unwrap()],
    };
    assert_eq!(app.pusher, pusher);
    let quota = Quota {
        connections: Some(1_000),
        channels: Some(1_001),
        messages_in_per_second: Some(1_002),
        messages_out_per_second: Some(1_003),
        history_bytes: Some(1_004),
        presence_members: Some(1_005),
        webhooks_per_second: Some(1_006),
    };
    assert_eq!(app.quota, quota);
    let limits = Limits {
        event_data_bytes: 0x4000,
        message_bytes: 1000,
        client_events_per_second: 0,
        presence_members: 1_000,
        presence_user_id_chars: 64,
        presence_user_info_bytes: 0,
        user_id_chars: 65,
        watchlist_users: 0,
        cache_ttl: Duration::from_secs(7_200),
        auth_timestamp_window: Duration::from_secs(300),
        ..Limits::default()
    };
    assert_eq!(app.limits, limits);
    let tick = Namespace {
        client_events: Some(true),
        presence_members: Some(5),
        slow_consumers: SlowConsumers::KeepLatest,
        webhook_events: Some([WebhookEvent::ChannelOccupied].into_iter().collect()),
        ..Namespace::new("tick-", Tier::Ephemeral)
    };
    assert_eq!(app.namespaces.rule("tick-1"), Some(&tick));
    assert_eq!(app.namespaces.rule("audit-1").unwrap().slow_consumers, SlowConsumers::Disconnect);
    assert_eq!(app.namespaces.tier("audit-1"), Tier::Persistent { retention: Duration::from_secs(36 * 3600) });
    assert_eq!(app.namespaces.tier("x"), Tier::Persistent { retention: Duration::from_secs(24 * 3600) });
    assert_eq!((plain.id.as_str(), plain.name.as_str(), plain.enabled), ("1002", "1002", true));
    assert!(plain.keys.is_empty() && plain.webhooks.is_empty());
    assert_eq!((&plain.pusher, &plain.limits), (&PusherSettings::default(), &Limits::default()));
    let [all, one] = app.webhooks.as_slice() else { panic!("{:?}", app.webhooks) };
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = Webhook {
        id: "all".to_owned(),
        url: "https://example.com/hook".to_owned(),
        events: WebhookEvents::ALL,
        prefix: String::new(),
        batch: None,
        headers: vec![header("X-A", "hush-hush"), header("X-B", "2")],
    };
    assert_eq!(*all, expected);
    let expected = Webhook {
        id: Webhook::made_up_id("http://127.0.0.1:6500/", "presence-"),
        url: "http://127.0.0.1:6500/".to_owned(),
        events: [WebhookEvent::ChannelOccupied].into_iter().collect(),
        prefix: "presence-".to_owned(),
        batch: Some(Duration::from_millis(50)),
        headers: Vec::new(),
    };
    assert_eq!(*one, expected);
    assert_eq!(Seed::parse("").unwrap().apps(), []);
}

#[test]
fn the_seed_of_the_development_cluster_can_be_used() {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/dev/apps.toml")).unwrap();
    let seed = Seed::parse(&file).unwrap();
    assert!(seed.apps()[0].webhooks.is_empty());
    let webhook = file.replace("# [[app.webhook]]", "[[app.webhook]]").replace("# url", "url");
    assert_eq!(Seed::parse(&webhook).unwrap().apps()[0].webhooks.len(), 1, "what is commented out can be used, too");
}

/// The example on the page about apps can be used, and leaves nothing out.
#[test]
fn the_page_shows_every_key() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/apps.md")).unwrap();
    let (_, example) = page.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let seed = Seed::parse(example).unwrap();
    let App { pusher, limits, webhooks, .. } = &seed.apps()[0];
    assert_eq!((pusher, limits), (&PusherSettings::default(), &Limits::default()), "defaults are shown");
    assert_eq!(webhooks.len(), 1);
    let unknown = "x = 1\n[[app]]\nx = 1\nid = 1\n[[app.key]]\nx = 1\nsecret = '12345678'\n[app.pusher]\nx = 1\n\
                   [app.quota]\nx = 1\n[app.limits]\nx = 1\n[[app.namespace]]\nx = 1\nprefix = ''\n\
                   [[app.webhook]]\nx = 1\nurl = 'http://a/'\n";
    let told = Seed::parse(unknown).unwrap_err();
    assert_eq!(told.0.len(), 8, "{told}");
    for mistake in &told.0 {
        let (_, known) = mistake.problem.split_once("known are ").unwrap();
        for key in known.split(", ") {
            let is_shown =
                [format!("\n{key} = "), format!("\n# {key} = "), format!("[app.{key}]"), format!("[[{key}]]")]
                    .iter()
                    .any(|shown| example.contains(shown));
            assert!(is_shown, "{key} is not in the example");
        }
    }
}

#[test]
fn durations_have_units() {
    let retention = |text: &str| {
        let file =
            format!("[[app]]\nid = 1\n[[app.namespace]]\nprefix = \"\"\ntier = \"persistent\"\nretention = {text}");
        Seed::parse(&file).map(|seed| seed.apps()[0].namespaces.tier("x"))
    };
    for (text, seconds) in
        [("\"60s\"", 60), ("\"90m\"", 5_400), ("\"24h\"", 86_400), ("\"1d12h30m5s\"", 131_405), ("\"7d\"", 604_800)]
    {
        assert_eq!(retention(text), Ok(Tier::Persistent { retention: Duration::from_secs(seconds) }));
    }
    for text in [
        "\"24\"",
        "\"1d12\"",
        "\"h1\"",
        "\"1 h\"",
        "\"h\"",
        "\"-1h\"",
        "\"+1h\"",
        "\"1w\"",
        "\"\"",
        "24",
        "\"99999999999999999999h\"",
        "\"999999999999999999h\"",
        "\"1s\"",
        "\"31d\"",
        "\"1µ\"",
    ] {
        assert!(retention(text).is_err(), "{text}");
    }
}

#[test]
fn authorized_connections_have_a_time() {
    let read = |lines: &str| {
        let file = format!("[[app]]\nid = 1\n[app.pusher]\n{lines}");
        Seed::parse(&file).map(|seed| seed.apps()[0].pusher.authorized_connections)
    };
    let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
    assert_eq!(read(""), Ok(None));
    assert_eq!(read("authorized_connections = false"), Ok(None));
    assert_eq!(read("authorized_connections = true"), seconds(30));
    for (time, expected) in [("1s", 1), ("1h", 3_600), ("1000ms", 1)] {
        let lines = format!("authorized_connections = true\nauthorized_connections_timeout = \"{time}\"");
        assert_eq!(read(&lines), seconds(expected), "{time}");
    }
    for time in ["999ms", "0s", "1h1s", "30"] {
        let lines = format!("authorized_connections = true\nauthorized_connections_timeout = \"{time}\"");
        assert!(read(&lines).is_err(), "{time}");
    }
}

#[test]
fn all_mistakes_are_told_with_their_places() {
    let file = r#"color = "red"
[[app]]
id = "10.01"
[[app]]
id = "1002"
name = ""
enabled = "yes"
colour = "hush-hush-1"
[[app.key]]
name = "a:b"
secret = "hush-hush-2"
[[app.key]]
name = "k2"
secret = "hush!"
capability = { "*" = ["fly"] }
[[app.key]]
name = "k3"
secret = 1234567890123
[[app.key]]
name = "k4"
capability = ["hush-hush-3"]
sekret = "hush-hush-4"
[[app.key]]
name = "k2"
secret = "hush-hush-5"
[app.pusher]
client_events = 1
[app.quota]
connections = 0
chanels = 7
[app.limits]
event_data_bytes = 99999999
events_per_batch = -1
[[app.namespace]]
tier = "eternal"
[[app.namespace]]
prefix = "t"
tier = "ephemeral"
retention = "1h"
[[app]]
id = 1002
[[app]]
name = "x"
pusher = 3
[[app]]
id = 1003
[app.pusher]
watch_list = true
positions = "on"
authorized_connections_timeout = "10s"
[app.limits]
presence_members = 0
cache_ttl = "59s"
auth_timestamp_window = "5000ms"
user_id_chars = 257
[[app.webhook]]
events = ["channel_occupied", "rain"]
[[app.webhook]]
url = "ftp://hush-hush-6"
[[app.webhook]]
url = "http://a/"
events = []
[[app.webhook]]
url = "http://a/"
events = "channel_occupied"
headers = ["hush-hush-7"]
batch = 50
[[app.webhook]]
url = "http://a/"
batch = "5001ms"
secret = "hush-hush-8"
[[app.webhook]]
url = "http://a/"
headers = { Host = "hush-hush-9" }
[[app.webhook]]
url = "http://a/"
id = "a.b"
[[app.webhook]]
url = "http://b/"
[[app.webhook]]
url = "http://b/"
events = ["cache_miss"]
[[app.webhook]]
url = "http://c/"
prefix = "a\u0007"
[[app]]
id = 1004
[app.pusher]
authorized_connections = true
authorized_connections_timeout = "500ms"
"#;
    let mistakes = Seed::parse(file).unwrap_err().0;
    let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    let expected = [
        "line 1: unknown key \"color\"; known are app",
        "app #1, id, line 3: app id must be 1 to 32",
        "app 1002, name, line 6: must be 1 to 128",
        "app 1002, enabled, line 7: must be true or false",
        "app 1002, line 8: unknown key \"colour\"",
        "app 1002, key #1, name, line 10: key name must be",
        "app 1002, key k2, secret, line 14: must be 8 characters",
        "app 1002, key k2, capability, line 15: unknown operation \"fly\"",
        "app 1002, key k3, secret, line 18: must be a string",
        "app 1002, key k4, line 19: has no secret",
        "app 1002, key k4, capability, line 21: must be a table",
        "app 1002, key k4, line 22: unknown key \"sekret\"; known are name, secret",
        "app 1002, key k2, line 23: is in the file twice",
        "app 1002, pusher, client_events, line 27: must be true or false",
        "app 1002, quota, connections, line 29: must be at least 1",
        "app 1002, quota, line 30: unknown key \"chanels\"; known are connections, channels, messages_in_per_second",
        "app 1002, limits, event_data_bytes: must be 1 to 524288",
        "app 1002, limits, events_per_batch, line 33: must be a whole number",
        "app 1002, namespace #1, line 34: has no prefix",
        "app 1002, namespace #1, tier, line 35: must be \"ephemeral\"",
        "app 1002, namespace #2, retention, line 39: is only for tier \"persistent\"",
        "app #3, id, line 41: app 1002 is in the file twice",
        "app #4: has no id",
        "app #4, pusher, line 44: must be a table",
        "app 1003, pusher, line 48: unknown key \"watch_list\"; known are client_events, user_authentication, \
         subscription_count, watchlist, positions, tls_only, authorized_connections, authorized_connections_timeout, allowed_origins",
        "app 1003, pusher, positions, line 49: must be true or false",
        "app 1003, pusher, authorized_connections_timeout, line 50: is only for authorized_connections = true",
        "app 1003, limits, presence_members: must be 1 to 100000",
        "app 1003, limits, cache_ttl: must be 60 to 2592000 seconds",
        "app 1003, limits, auth_timestamp_window, line 54: must be whole numbers with units of s, m, h or d",
        "app 1003, limits, user_id_chars: must be 1 to 252",
        "app 1003, webhook #1, line 56: has no url",
        "app 1003, webhook #1, events, line 57: must not name \"rain\"; there are channel_occupied, channel_vacated",
        "app 1003, webhook #2, url, line 59: webhook url must be an absolute",
        "app 1003, webhook #3, events, line 62: webhook events must not be an empty list",
        "app 1003, webhook #4, events, line 65: must be an array of names",
        "app 1003, webhook #4, headers, line 66: must be a table of strings",
        "app 1003, webhook #4, batch, line 67: must be a string",
        "app 1003, webhook #5, batch, line 70: webhook batch must be at most 5 seconds",
        "app 1003, webhook #5, line 71: unknown key \"secret\"; known are url, events, prefix, batch, headers, id",
        "app 1003, webhook #6, headers, line 74: webhook header \"Host\" cannot be set",
        "app 1003, webhook #7, id, line 77: webhook id must be",
        "app 1003, webhook: two webhooks have the id",
        "app 1003, webhook #10, prefix, line 85: must be at most",
        "app 1004, pusher, authorized_connections_timeout, line 90: must be 1 second to 1 hour",
    ];
    for words in expected {
        assert!(told.iter().any(|line| line.starts_with(words)), "no {words:?} in\n{all}");
    }
    assert_eq!(told.len(), expected.len(), "{all}");
    assert!(!all.contains("hush") && !all.contains("1234567890123"), "a secret is never shown:\n{all}");
}

#[test]
fn wrong_shapes_are_told() {
    for (file, words) in [
        ("app = 1", "app, line 1: must be an array of tables"),
        ("[app]\nid = 1", "app, line 1: must be an array of tables"),
        ("app = [1]", "app #1, line 1: must be a table"),
        ("[[app]]\nid = 1.5", "app #1, id, line 2: must be a string or a whole number"),
        ("[[app]]\nid = 1\nkey = \"x\"", "app 1, key, line 3: must be an array of tables"),
        ("[[app]]\nid = 1\n[[app.key]]\nsecret = \"12345678\"\ncapability = { \"*\" = \"*\" }", "must give an array"),
        ("[[app]]\nid = 1\nid = 2", "line 3: "),
        ("[[app]\nid = 1", "line 1: "),
    ] {
        let mistakes = Seed::parse(file).unwrap_err().to_string();
        assert!(mistakes.contains(words), "no {words:?} in {mistakes:?}");
    }
}

#[tokio::test]
async fn what_is_absent_is_created_and_nothing_else_happens() {
    let (registry, log) = registry();
    let first = Seed::parse(FULL).unwrap();
    assert_eq!(first.apply(&registry, &log).await.unwrap(), Applied { apps: 2, keys: 2 });
    let before = registry.list(None, 10).await.unwrap().apps;
    assert_eq!(before[0].app.name, "demo");
    assert!(before[0].created_ms > 0 && before[0].app.keys[0].created_ms > 0);
    assert_eq!(first.apply(&registry, &log).await.unwrap(), Applied::default());
    assert_eq!(registry.list(None, 10).await.unwrap().apps, before);

    let query = AuditQuery { most: 10, ..AuditQuery::default() };
    let entries = log.list(&query, before[0].created_ms).await.unwrap().entries;
    let mut targets: Vec<_> = entries.iter().map(|entry| (entry.actor.as_str(), entry.target.as_str())).collect();
    targets.sort_unstable();
    let expected = [("seed", "app 1001"), ("seed", "app 1002"), ("seed", "key 1001.2"), ("seed", "key app-key")];
    assert_eq!(targets, expected, "what was created is in the audit log, and nothing else");
    assert!(entries.iter().all(|entry| entry.outcome == Outcome::Done && entry.revision > 0), "{entries:?}");
}

#[tokio::test]
async fn an_operators_changes_survive() {
    let (registry, log) = registry();
    seed("1", &["a", "b"]).apply(&registry, &log).await.unwrap();
    registry.revoke_key(&id("1"), &name("a"), 1).await.unwrap();
    let change = AppChange { enabled: Some(false), name: Some("theirs".to_owned()), ..AppChange::default() };
    registry.update(&id("1"), None, &change).await.unwrap();
    let applied = seed("1", &["a", "b", "c"]).apply(&registry, &log).await.unwrap();
    assert_eq!(applied, Applied { apps: 0, keys: 1 });
    assert_eq!(key_names(&registry, "1").await, ["b", "c"]);
    let app = registry.get(&id("1")).await.unwrap().unwrap().app;
    assert!(!app.enabled && app.name == "theirs");
}

#[tokio::test]
async fn names_of_other_apps_are_told_after_everything_else() {
    let (registry, log) = registry();
    seed("1", &["a", "b"]).apply(&registry, &log).await.unwrap();
    let error = seed("2", &["a", "c", "b"]).apply(&registry, &log).await.unwrap_err();
    assert_eq!(error.to_string(), "key a of app 2 belongs to app 1; key b of app 2 belongs to app 1");
    assert!(matches!(error, SeedError::NamesTaken(taken) if taken.len() == 2));
    assert_eq!(key_names(&registry, "2").await, ["c"]);
}

proptest! {
    #[test]
    fn any_text_is_a_seed_or_an_error(text in "\\PC{0,200}") {
        check(&text)?;
    }

    /// Arbitrary text rarely gets past the first line; a good file with a piece cut out or put in goes deeper.
    #[test]
    fn a_damaged_seed_is_a_seed_or_an_error(
        at in any::<prop::sample::Index>(),
        cut in 0..40_usize,
        put in "[a-z0-9\\[\\]{}=.\",#\n -]{0,12}",
    ) {
        let at = at.index(FULL.len());
        let damaged = [&FULL[..at], &put, &FULL[(at + cut).min(FULL.len())..]].concat();
        check(&damaged)?;
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    if let Err(mistakes) = Seed::parse(text) {
        prop_assert!(!mistakes.0.is_empty());
        prop_assert!(mistakes.0.iter().all(|mistake| !mistake.place.is_empty() && !mistake.problem.is_empty()));
    }
    Ok(())
}
