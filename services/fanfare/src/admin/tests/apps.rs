//! Apps, keys, rules and webhooks.

use backbone::dead_letters::Keeper;
use channels::AppId;
use proto::backbone::{DeadLetter, WebhookEvent};
use serde_json::{Value, json};

use super::{Plane, fails};

/// An app's JSON with the changing numbers made still.
fn still(mut app: Value) -> Value {
    for path in ["/created_ms", "/revision", "/keys/0/created_ms", "/keys/0/revoked_ms"] {
        if let Some(number) = app.pointer_mut(path) {
            *number = json!(u64::from(number.as_u64().unwrap() > 0));
        }
    }
    app
}

/// A rule's JSON with nothing but a tier.
fn rule(prefix: &str, tier: &str, retention_seconds: u64) -> Value {
    json!({
        "prefix": prefix,
        "tier": tier,
        "retention_seconds": retention_seconds,
        "client_events": null,
        "presence_members": null,
        "slow_consumers": "SLOW_CONSUMERS_DISCONNECT",
        "webhook_events": null,
    })
}

#[tokio::test]
async fn json_is_stable_and_named_as_in_the_proto() {
    let plane = Plane::start().await;
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "app-secret\n").unwrap();
    let hook = dir.path().join("hook.json");
    let text = r#"{
        "id": "w1", "url": "https://example.com/hook", "events": ["member_removed", "member_added"],
        "prefix": "presence-", "batch_ms": 50, "headers": { "X-B": "2", "X-A": "1" }
    }"#;
    std::fs::write(&hook, text).unwrap();
    let created = plane
        .json(&[
            "app",
            "create",
            "--id=1001",
            "--name=demo",
            "--client-events",
            "--subscription-count=true",
            "--positions=false",
            "--tls-only",
            "--allowed-origin=*.example.com",
            "--authorized-connections",
            "--connections=5",
            "--quota=messages_in_per_second=100",
            "--namespace=tick-=ephemeral",
            "--namespace=log-=persistent:36h",
            "--limit=event_data_bytes=20000",
            "--limit=cache_ttl_seconds=60",
            "--webhook",
            &format!("@{}", hook.display()),
            "--key-name=app-key",
            "--revocable-tokens",
            "--key-secret-file",
            secret.to_str().unwrap(),
            r#"--capability={"*": ["subscribe", "publish"]}"#,
        ])
        .await;
    let key = json!({
        "name": "app-key",
        "capability": { "resources": { "*": { "operations": ["publish", "subscribe"] } } },
        "created_ms": 1,
        "revoked_ms": 0,
        "overlap_until_ms": 0,
        "revocable_tokens": true,
    });
    let app = json!({
        "id": "1001",
        "name": "demo",
        "enabled": true,
        "keys": [key],
        "pusher": {
            "client_events": true,
            "user_authentication": true,
            "subscription_count": true,
            "watchlist": false,
            "authorized_connections_ms": 30_000,
            "positions": false,
            "tls_only": true,
            "allowed_origins": { "patterns": ["*.example.com"] },
        },
        "quota": {
            "connections": 5,
            "channels": null,
            "messages_in_per_second": 100,
            "messages_out_per_second": null,
            "history_bytes": null,
            "presence_members": null,
            "webhooks_per_second": null,
        },
        "namespaces": [rule("tick-", "TIER_EPHEMERAL", 0), rule("log-", "TIER_PERSISTENT", 129_600)],
        "limits": {
            "channel_name_chars": 200,
            "event_name_chars": 200,
            "event_data_bytes": 20_000,
            "channels_per_publish": 100,
            "events_per_batch": 10,
            "client_events_per_second": 10,
            "channels_per_connection": 1_000,
            "presence_members": 100,
            "presence_user_id_chars": 128,
            "presence_user_info_bytes": 1_024,
            "user_id_chars": 200,
            "watchlist_users": 100,
            "cache_ttl_seconds": 60,
            "auth_timestamp_window_seconds": 600,
            "message_bytes": 65_536,
        },
        "created_ms": 1,
        "revision": 1,
        "webhooks": [
            {
                "id": "w1",
                "url": "https://example.com/hook",
                "events": ["member_added", "member_removed"],
                "prefix": "presence-",
                "batch_ms": 50,
                "headers": { "X-A": "", "X-B": "" },
            },
        ],
    });
    assert_eq!(still(created["app"].clone()), app);
    assert_eq!(created["key"]["secret"], "app-secret");
    assert_eq!(created["key"]["key"], created["app"]["keys"][0]);
    assert_eq!(created.as_object().unwrap().len(), 2);
    assert_eq!(still(plane.json(&["app", "get", "1001"]).await), app);
    let listed = plane.json(&["app", "list"]).await;
    assert_eq!(listed, json!({ "apps": [plane.json(&["app", "get", "1001"]).await], "next_page_token": "" }));

    let made_up = plane.json(&["key", "create", "1001"]).await;
    let name = made_up["key"]["name"].as_str().unwrap();
    assert!(name.starts_with("1001.") && made_up["secret"].as_str().unwrap().len() == 32);
    let revoked = plane.json(&["key", "revoke", "1001", name]).await;
    assert_eq!(revoked["key"]["name"], name);
    assert!(revoked["key"]["revoked_ms"].as_u64().unwrap() > 0 && revoked.as_object().unwrap().len() == 1);
    assert_eq!(plane.json(&["app", "delete", "1001"]).await, json!({}));
}

#[tokio::test]
async fn update_changes_what_it_names() {
    let plane = Plane::start().await;
    plane.json(&["app", "create", "--id=1", "--connections=5", "--namespace=a==ephemeral"]).await;
    let app = plane.json(&["app", "update", "1", "--name=new", "--client-events", "true"]).await;
    assert_eq!((&app["name"], &app["pusher"]["client_events"]), (&json!("new"), &json!(true)));
    assert_eq!((&app["quota"]["connections"], &app["namespaces"][0]["prefix"]), (&json!(5), &json!("a=")));
    let revision = app["revision"].to_string();
    let change = ["app", "update", "1", "--connections=none", "--no-namespaces", "--limit=events_per_batch=3"];
    let app = plane.json(&[&change[..], &["--revision", &revision]].concat()).await;
    assert_eq!((&app["quota"]["connections"], &app["namespaces"]), (&Value::Null, &json!([])));
    assert_eq!(app["limits"]["events_per_batch"], 3);
    fails(plane.run(&["app", "update", "1", "--name=x", "--revision", &revision]).await, 1, "has changed");
    let app = plane.json(&["app", "update", "1", "--default-limits"]).await;
    assert_eq!(app["limits"]["events_per_batch"], 10);
    let app = plane.json(&["app", "update", "1", "--watchlist", "--authorized-connections=1m30s"]).await;
    assert_eq!((&app["pusher"]["watchlist"], &app["pusher"]["client_events"]), (&json!(true), &json!(true)));
    assert_eq!(app["pusher"]["authorized_connections_ms"], 90_000);
    let app =
        plane.json(&["app", "update", "1", "--user-authentication=false", "--authorized-connections=never"]).await;
    assert_eq!((&app["pusher"]["watchlist"], &app["pusher"]["user_authentication"]), (&json!(true), &json!(false)));
    assert_eq!(app["pusher"]["authorized_connections_ms"], 0);
    assert_eq!(plane.json(&["app", "disable", "1"]).await["enabled"], false);
    assert_eq!(plane.json(&["app", "enable", "1"]).await["enabled"], true);
}

#[tokio::test]
async fn tables_are_for_people() {
    let plane = Plane::start().await;
    let created = plane.run(&["app", "create", "--id=1", "--name=demo", "--key-name=k"]).await.unwrap();
    assert!(created.contains("\nstate                enabled\n") && created.contains("(not shown again)"), "{created}");
    assert!(created.contains("\nuser authentication  yes\nsubscription count   no\n"), "{created}");
    assert!(created.contains("\nauthorization        not required\n"), "{created}");
    plane.run(&["app", "create", "--id=1002", "--name=x"]).await.unwrap();
    plane.run(&["app", "disable", "1002"]).await.unwrap();
    assert_eq!(
        plane.run(&["app", "list"]).await.unwrap(),
        "ID    NAME  STATE     KEYS  CONNECTIONS\n\
         1     demo  enabled   1     no limit\n\
         1002  x     disabled  1     no limit\n"
    );
    assert_eq!(plane.run(&["key", "revoke", "1", "k"]).await.unwrap(), "revoked k\n");
    assert!(plane.run(&["app", "get", "1"]).await.unwrap().contains("k (revoked): * on *\n"));
    assert_eq!(plane.run(&["app", "delete", "1"]).await.unwrap(), "deleted\n");
}

#[tokio::test]
async fn webhooks_are_set_and_listed() {
    let plane = Plane::start().await;
    plane.run(&["app", "create", "--id=1"]).await.unwrap();
    let hooks = [
        r#"--webhook={"id": "a", "url": "https://a/", "events": ["cache_miss"], "headers": {"X-T": "hush"}}"#,
        r#"--webhook={"id": "b", "url": "http://b/", "events": ["cache_miss"], "prefix": "p-", "batch_ms": 1500}"#,
    ];
    let shown = plane.run(&["app", "update", "1", hooks[0], hooks[1], "--authorized-connections=45s"]).await.unwrap();
    assert!(shown.contains("\nauthorization        required within 45s\n"), "{shown}");
    assert!(shown.contains("\nwebhook              a: https://a/ cache_miss, with X-T\n"), "{shown}");
    assert!(shown.contains("\nwebhook              b: http://b/ cache_miss in p-…, gathered for 1500ms\n"), "{shown}");
    let listed = plane.run(&["webhook", "list", "1"]).await.unwrap();
    assert_eq!(
        listed,
        "ID  URL         EVENTS      PREFIX  BATCH   HEADERS\n\
         a   https://a/  cache_miss          no      X-T\n\
         b   http://b/   cache_miss  p-      1500ms\n"
    );
    let json = plane.json(&["webhook", "list", "1"]).await;
    assert_eq!(json, json!({ "webhooks": plane.json(&["app", "get", "1"]).await["webhooks"] }));
    assert_eq!(
        (&json["webhooks"][1]["url"], &json["webhooks"][0]["headers"]["X-T"]),
        (&json!("http://b/"), &json!("")),
        "values of headers are secrets"
    );
    let again = format!("--webhook={}", json["webhooks"][1]);
    let app = plane.json(&["app", "update", "1", &again]).await;
    assert_eq!(app["webhooks"], json!([json["webhooks"][1]]), "what is shown can be given, and replaces the list");
    assert_eq!(plane.json(&["app", "update", "1", "--no-webhooks"]).await["webhooks"], json!([]));
    fails(plane.run(&["webhook", "list", "2"]).await, 4, "there is no app 2");
    fails(plane.run(&["app", "update", "1", r#"--webhook={"url": "x"}"#]).await, 1, "webhooks[0].url: ");
}

#[tokio::test]
async fn dead_letters_are_listed_replayed_and_deleted() {
    let plane = Plane::start().await;
    plane.run(&["app", "create", "--id=1"]).await.unwrap();
    let mut keeper = Keeper::new(&plane.backbone);
    for (channel, failed_ms) in
        [("presence-a", 1_700_000_000_001), ("presence-b", 1_700_000_000_002), ("c", 1_700_000_000_003)]
    {
        let event = WebhookEvent {
            version: 1,
            app_id: "1".to_owned(),
            name: "member_added".to_owned(),
            channel: channel.to_owned(),
            time_ms: 1_700_000_000_000,
            user_id: "u".to_owned(),
            ..WebhookEvent::default()
        };
        let letter = DeadLetter {
            version: 1,
            event: Some(event),
            webhook_id: "w".to_owned(),
            url: "http://a/".to_owned(),
            attempts: 9,
            reason: "answered 500".to_owned(),
            failed_ms,
        };
        keeper.add(&AppId::new("1").unwrap(), &letter).await.unwrap();
    }
    let json = plane.json(&["webhook", "dead-letters", "1"]).await;
    let id = json["dead_letters"][0]["id"].as_str().unwrap();
    let expected = json!({
        "id": id,
        "webhook_id": "w",
        "url": "http://a/",
        "event": "member_added",
        "channel": "presence-a",
        "user_id": "u",
        "time_ms": 1_700_000_000_000_u64,
        "attempts": 9,
        "reason": "answered 500",
        "failed_ms": 1_700_000_000_001_u64,
    });
    assert_eq!((&json["dead_letters"][0], json["dead_letters"].as_array().unwrap().len()), (&expected, 3));
    let table = plane.run(&["webhook", "dead-letters", "1"]).await.unwrap();
    assert!(
        table
            .starts_with("ID                              WEBHOOK  EVENT         CHANNEL     USER  ATTEMPTS  REASON\n"),
        "{table}"
    );
    assert!(
        table.contains(&format!("{id}  w        member_added  presence-a  u     9         answered 500\n")),
        "{table}"
    );

    assert_eq!(plane.run(&["webhook", "replay", "1", id]).await.unwrap(), "back in the queue: 1\n");
    assert_eq!(plane.json(&["webhook", "replay", "1", id]).await, json!({ "replayed": 0 }));
    let left = plane.json(&["webhook", "dead-letters", "1"]).await;
    let id = left["dead_letters"][0]["id"].as_str().unwrap();
    assert_eq!(plane.json(&["webhook", "delete", "1", id]).await, json!({ "deleted": 1 }));
    assert_eq!(plane.run(&["webhook", "delete", "1", "--all"]).await.unwrap(), "deleted: 1\n");
    assert_eq!(plane.run(&["webhook", "replay", "1", "--all"]).await.unwrap(), "back in the queue: 0\n");
    fails(plane.run(&["webhook", "replay", "1", "x"]).await, 1, "ids[0]: dead letter id must be");
    fails(plane.run(&["webhook", "dead-letters", "2"]).await, 4, "there is no app 2");
}
