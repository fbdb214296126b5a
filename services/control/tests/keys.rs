//! Keys and namespaces: what changes, and what stays.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use channels::AppId;
use proto::control as wire;
use support::{Client, Plane, new_key, refused};
use tonic::Code;

async fn start() -> (Plane, Client) {
    let plane = Plane::start().await;
    let mut client = plane.client().await;
    client.create_plain("1").await;
    (plane, client)
}

fn rotate(name: &str, overlap_seconds: u64, secret: &str) -> wire::RotateKeyRequest {
    let (app_id, name, secret) = ("1".to_owned(), name.to_owned(), secret.to_owned());
    wire::RotateKeyRequest { app_id, name, overlap_seconds, secret }
}

/// The secrets with which a key signs now.
async fn signing(plane: &Plane, name: &str) -> Vec<String> {
    let app = plane.registry.get(&AppId::new("1").unwrap()).await.unwrap().unwrap().app;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let key = app.key(name).unwrap();
    key.secrets(now.as_millis().try_into().unwrap()).map(|secret| secret.expose().to_owned()).collect()
}

#[tokio::test]
async fn whether_tokens_can_be_revoked_is_a_matter_of_the_key() {
    let (plane, mut client) = start().await;
    let revocable = wire::NewKey { revocable_tokens: true, ..new_key("revocable") };
    assert!(client.create_key("1", revocable).await.unwrap().key.unwrap().revocable_tokens);
    assert!(!client.create_key("1", new_key("plain")).await.unwrap().key.unwrap().revocable_tokens);
    client.keys.rotate_key(rotate("revocable", 60, "")).await.unwrap();
    let listed =
        client.keys.list_keys(wire::ListKeysRequest { app_id: "1".to_owned() }).await.unwrap().into_inner().keys;
    let listed: Vec<_> = listed.iter().map(|key| (key.name.as_str(), key.revocable_tokens)).collect();
    assert_eq!(listed, [("1-key", false), ("revocable", true), ("plain", false)]);
    let app = plane.registry.get(&AppId::new("1").unwrap()).await.unwrap().unwrap().app;
    assert!(app.key("revocable").unwrap().revocable_tokens && !app.key("plain").unwrap().revocable_tokens);
}

#[tokio::test]
async fn a_rotated_key_signs_with_both_secrets_for_a_while() {
    let (plane, mut client) = start().await;
    let first =
        client.create_key("1", wire::NewKey { secret: "first-secret".to_owned(), ..new_key("k") }).await.unwrap();
    assert_eq!(first.key.unwrap().overlap_until_ms, 0);
    let second = client.keys.rotate_key(rotate("k", 3_600, "second-secret")).await.unwrap().into_inner();
    assert_eq!(second.secret, "second-secret");
    assert_eq!(signing(&plane, "k").await, ["second-secret", "first-secret"]);
    let keys = client.keys.list_keys(wire::ListKeysRequest { app_id: "1".to_owned() }).await.unwrap().into_inner().keys;
    assert_eq!(keys, client.get("1").await.unwrap().keys);
    let listed = keys.iter().find(|key| key.name == "k").unwrap();
    assert_eq!(Some(listed), second.key.as_ref());
    assert!(listed.overlap_until_ms > listed.created_ms + 3_000_000);

    let third = client.keys.rotate_key(rotate("k", 60, "")).await.unwrap().into_inner().secret;
    assert!(third.len() >= 20);
    assert_eq!(signing(&plane, "k").await, [third.as_str(), "second-secret"], "the oldest has ended");
    let fourth = client.keys.rotate_key(rotate("k", 0, "")).await.unwrap().into_inner();
    assert_eq!(fourth.key.unwrap().overlap_until_ms, 0);
    assert_eq!(signing(&plane, "k").await, [fourth.secret]);

    refused(client.keys.rotate_key(rotate("other", 0, "")).await, Code::NotFound, "no key other");
    refused(
        client.keys.rotate_key(rotate("k", 2_592_001, "")).await,
        Code::InvalidArgument,
        "overlap_seconds: must be",
    );
    refused(client.keys.rotate_key(rotate("k", 0, "short")).await, Code::InvalidArgument, "secret: must be 8");
    client.revoke("1", "k").await.unwrap();
    refused(client.keys.rotate_key(rotate("k", 0, "")).await, Code::NotFound, "no key k");
    let unknown = wire::ListKeysRequest { app_id: "2".to_owned() };
    refused(client.keys.list_keys(unknown).await, Code::NotFound, "no app 2");
}

fn namespace(prefix: &str) -> wire::Namespace {
    wire::Namespace {
        prefix: prefix.to_owned(),
        tier: wire::Tier::Persistent.into(),
        retention_seconds: 60,
        client_events: Some(true),
        presence_members: Some(7),
        slow_consumers: wire::SlowConsumers::KeepLatest.into(),
        webhook_events: Some(wire::namespace::WebhookEvents { events: Vec::new() }),
    }
}

fn set(rule: Option<wire::Namespace>, revision: u64) -> wire::SetNamespaceRequest {
    wire::SetNamespaceRequest { app_id: "1".to_owned(), namespace: rule, revision }
}

fn delete(prefix: &str, revision: u64) -> wire::DeleteNamespaceRequest {
    wire::DeleteNamespaceRequest { app_id: "1".to_owned(), prefix: prefix.to_owned(), revision }
}

#[tokio::test]
async fn namespaces_are_changed_one_at_a_time() {
    let (_plane, mut client) = start().await;
    client.namespaces.set_namespace(set(Some(namespace("log-")), 0)).await.unwrap();
    let plain = wire::Namespace { prefix: "a".to_owned(), ..Default::default() };
    let app = client.namespaces.set_namespace(set(Some(plain), 0)).await.unwrap().into_inner();
    let shown = wire::Namespace {
        prefix: "a".to_owned(),
        tier: wire::Tier::Recoverable.into(),
        slow_consumers: wire::SlowConsumers::Disconnect.into(),
        ..Default::default()
    };
    assert_eq!(app.namespaces, [namespace("log-"), shown.clone()]);
    let list = wire::ListNamespacesRequest { app_id: "1".to_owned() };
    let listed = client.namespaces.list_namespaces(list).await.unwrap().into_inner().namespaces;
    assert_eq!(listed, app.namespaces);
    assert_eq!(client.get("1").await.unwrap(), app);

    let other = wire::Namespace { client_events: None, ..namespace("log-") };
    let replaced = client.namespaces.set_namespace(set(Some(other.clone()), app.revision)).await.unwrap().into_inner();
    assert_eq!(replaced.namespaces, [other, shown]);
    let stale = client.namespaces.set_namespace(set(Some(namespace("b")), app.revision)).await;
    refused(stale, Code::Aborted, &format!("its revision is {}", replaced.revision));
    refused(client.namespaces.delete_namespace(delete("a", app.revision)).await, Code::Aborted, "has changed");
    let left = client.namespaces.delete_namespace(delete("log-", replaced.revision)).await.unwrap().into_inner();
    assert_eq!(left.namespaces.len(), 1);
    refused(client.namespaces.delete_namespace(delete("log-", 0)).await, Code::NotFound, "no namespace \"log-\"");

    for (spoilt, words) in [
        (None, "namespace: must be given"),
        (Some(wire::Namespace { prefix: "a\u{7}".to_owned(), ..namespace("") }), "namespace.prefix: must be"),
        (Some(wire::Namespace { tier: 9, retention_seconds: 0, ..namespace("") }), "namespace.tier: has no value 9"),
        (Some(wire::Namespace { tier: 1, ..namespace("") }), "namespace.retention_seconds: is only for"),
        (Some(wire::Namespace { retention_seconds: 59, ..namespace("") }), "retention of namespace \"\" must be"),
        (Some(wire::Namespace { presence_members: Some(0), ..namespace("") }), "namespace.presence_members: must be 1"),
        (Some(wire::Namespace { slow_consumers: 9, ..namespace("") }), "namespace.slow_consumers: has no value 9"),
        (
            Some(wire::Namespace {
                webhook_events: Some(wire::namespace::WebhookEvents { events: vec!["rain".to_owned()] }),
                ..namespace("")
            }),
            "namespace.webhook_events: must not name \"rain\"",
        ),
    ] {
        refused(client.namespaces.set_namespace(set(spoilt, 0)).await, Code::InvalidArgument, words);
    }
    let of_none = wire::SetNamespaceRequest { app_id: "2".to_owned(), ..set(Some(namespace("")), 0) };
    refused(client.namespaces.set_namespace(of_none).await, Code::NotFound, "no app 2");
    for n in 0..199 {
        client.namespaces.set_namespace(set(Some(namespace(&format!("n{n}-"))), 0)).await.unwrap();
    }
    let one_more = client.namespaces.set_namespace(set(Some(namespace("one-more")), 0)).await;
    refused(one_more, Code::InvalidArgument, "must not be more than 200");
}
