//! The audit log, refusals in detail, and the registry as a whole.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use std::collections::BTreeSet;

use futures_util::stream;
use proto::control as wire;
use support::{Client, Plane, TOKEN, config, let_in, memory, new_key, plain, refused, registry_of};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

fn update(id: &str, name: &str) -> wire::UpdateAppRequest {
    let app = wire::App { id: id.to_owned(), name: name.to_owned(), ..Default::default() };
    wire::UpdateAppRequest { app: Some(app), ..Default::default() }
}

#[tokio::test]
async fn a_change_is_told_with_who_what_and_how_it_ended() {
    let plane = Plane::start().await;
    let mut client = plane.client().await;
    let hook = wire::Webhook {
        id: "w".to_owned(),
        url: "http://a/".to_owned(),
        headers: [("X-Token".to_owned(), "hush-hush".to_owned())].into(),
        ..Default::default()
    };
    let quota = Some(wire::Quota { connections: Some(9), ..Default::default() });
    let created = client.create(wire::CreateAppRequest { quota, webhooks: vec![hook], ..plain("1") }).await.unwrap();
    let revision = created.app.unwrap().revision;
    let stale = wire::UpdateAppRequest { revision: revision + 1, ..update("1", "new") };
    client.update(stale).await.unwrap_err();
    client.create_plain("2").await;

    let entries = client.audit("1").await;
    let [refused, made] = entries.as_slice() else { panic!("{entries:#?}") };
    assert_eq!((made.actor.as_str(), made.method.as_str()), ("bootstrap", "AppService.CreateApp"));
    assert_eq!((made.target.as_str(), made.app_id.as_str(), made.revision), ("app 1", "1", revision));
    assert_eq!((made.outcome(), made.code.as_str()), (wire::AuditOutcome::Done, ""));
    assert!(made.peer.starts_with("127.0.0.1:"), "{made:?}");
    assert!(made.changes.contains(&"quota.connections: 9".to_owned()), "{made:?}");
    assert!(made.changes.iter().any(|change| change.starts_with("webhooks: ") && change.contains("X-Token")));
    assert!(made.changes.iter().any(|change| change.starts_with("key 1-key: ")));
    assert!(!format!("{made:?}").contains("hush"), "{made:?}");
    assert_eq!((refused.method.as_str(), refused.code.as_str()), ("AppService.UpdateApp", "ABORTED"));
    assert_eq!((refused.outcome(), refused.revision), (wire::AuditOutcome::Refused, 0));
    assert_eq!(refused.changes, ["name: \"new\""]);
    assert!(refused.time_ms >= made.time_ms && made.time_ms > 1_700_000_000_000);

    let mut list = async |request| client.audit.list_audit(request).await.map(|page| page.into_inner());
    let by = |actor: &str| wire::ListAuditRequest { actor: actor.to_owned(), ..Default::default() };
    assert_eq!(list(by("bootstrap")).await.unwrap().entries.len(), 3);
    assert_eq!(list(by("nobody")).await.unwrap().entries, []);
    let only = made.time_ms;
    let at = wire::ListAuditRequest { start_ms: only, end_ms: only, ..Default::default() };
    assert!(list(at).await.unwrap().entries.contains(made));
    let before = wire::ListAuditRequest { end_ms: only - 1, ..Default::default() };
    assert_eq!(list(before).await.unwrap().entries, []);
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = list(wire::ListAuditRequest { page_size: 1, page_token, ..Default::default() }).await.unwrap();
        seen.extend(page.entries.into_iter().map(|entry| entry.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(seen.is_sorted_by(|a, b| a > b), "newest first: {seen:?}");
    for (request, words) in [
        (wire::ListAuditRequest { page_token: "x".to_owned(), ..Default::default() }, "page_token: is not from"),
        (wire::ListAuditRequest { page_size: 1_001, ..Default::default() }, "page_size: must be at most"),
        (wire::ListAuditRequest { app_id: "a b".to_owned(), ..Default::default() }, "app_id: app id must be"),
    ] {
        refused_with(list(request).await, words);
    }
}

#[track_caller]
fn refused_with<T: std::fmt::Debug>(result: Result<T, Status>, words: &str) {
    refused(result, Code::InvalidArgument, words);
}

/// Every method that changes something leaves an entry, under its name and its caller's.
#[tokio::test]
async fn every_change_is_in_the_log() {
    let plane = Plane::start().await;
    let mut root = plane.client().await;
    let text = root.token(wire::Role::Admin, "").await.text;
    let id = text.split('_').nth(1).unwrap().to_owned();
    let mut client = let_in(&plane.channel().await, &text).await;
    client.create_plain("1").await;
    client.update(update("1", "new")).await.unwrap();
    client.disable("1").await.unwrap();
    client.enable("1").await.unwrap();
    client.create_key("1", new_key("k")).await.unwrap();
    let rotate = wire::RotateKeyRequest { app_id: "1".to_owned(), name: "k".to_owned(), ..Default::default() };
    client.keys.rotate_key(rotate).await.unwrap();
    client.revoke("1", "k").await.unwrap();
    let namespace = Some(wire::Namespace { prefix: "a".to_owned(), ..Default::default() });
    let set = wire::SetNamespaceRequest { app_id: "1".to_owned(), namespace, revision: 0 };
    client.namespaces.set_namespace(set).await.unwrap();
    let delete = wire::DeleteNamespaceRequest { app_id: "1".to_owned(), prefix: "a".to_owned(), revision: 0 };
    client.namespaces.delete_namespace(delete).await.unwrap();
    client.replay("1", &[], true).await.unwrap();
    client.forget("1", &[], true).await.unwrap();
    let made = client.token(wire::Role::Reader, "1").await.token.unwrap();
    let rotate = wire::RotateTokenRequest { id: made.id.clone(), overlap_seconds: 0 };
    client.access.rotate_token(rotate).await.unwrap();
    client.access.revoke_token(wire::RevokeTokenRequest { id: made.id }).await.unwrap();
    client.delete("1").await.unwrap();
    client.whole.reseal(wire::ResealRequest {}).await.unwrap();
    // Without the log, in which the backup has not ended yet.
    let file = backup(&mut client, false).await;
    restore(&mut client, &file, true).await.unwrap();

    let actor = format!("token:{id} made for a test");
    let entries: Vec<_> = root.audit("").await.into_iter().filter(|entry| entry.actor == actor).collect();
    assert!(entries.iter().all(|entry| entry.outcome() == wire::AuditOutcome::Done), "{entries:#?}");
    let logged: BTreeSet<_> = entries.iter().map(|entry| entry.method.clone()).collect();
    let reads = ["Get", "List", "Query", "Watch", "Read", "Tail", "Attach"];
    let mut changing = BTreeSet::new();
    for service in proto::json::descriptors().services() {
        let methods = service.methods().filter(|method| !reads.iter().any(|word| method.name().starts_with(word)));
        changing.extend(methods.map(|method| format!("{}.{}", service.name(), method.name())));
    }
    // They need a node; seen to where nodes are.
    for of_nodes in ["NodeService.DrainNode", "ConnectionService.CloseConnection"] {
        assert!(changing.remove(of_nodes));
    }
    assert_eq!(logged, changing);
}

/// All pieces of a backup.
async fn backup(client: &mut Client, everything: bool) -> Vec<u8> {
    let mut chunks = client.whole.backup(wire::BackupRequest { everything }).await.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        file.extend(chunk.data);
    }
    file
}

async fn restore(client: &mut Client, file: &[u8], overwrite: bool) -> Result<wire::RestoreResponse, Status> {
    let chunks: Vec<_> = file
        .chunks(1_000)
        .enumerate()
        .map(|(n, data)| wire::RestoreChunk { overwrite: overwrite && n == 0, data: data.to_vec() })
        .collect();
    client.whole.restore(Request::new(stream::iter(chunks))).await.map(|answer| answer.into_inner())
}

#[tokio::test]
async fn a_backup_is_restored_on_an_empty_cluster() {
    let (first, second) = (memory(), memory());
    let old = Plane::start_with(config(), &first).await;
    let mut client = old.client().await;
    for n in 0..400 {
        client.create_plain(&format!("app-{n:03}")).await;
    }
    let secret = client.create_key("app-000", new_key("k")).await.unwrap().secret;
    client.token(wire::Role::Reader, "app-000").await;
    let file = backup(&mut client, false).await;
    assert!(file.len() > 64 * 1024, "it comes in more than one piece: {} bytes", file.len());

    let new = Plane::start_with(config(), &second).await;
    let mut restored = new.client().await;
    let told = restore(&mut restored, &file, false).await.unwrap();
    assert_eq!((told.apps, told.tokens), (400, 1));
    let without_revisions =
        |apps: Vec<wire::App>| -> Vec<_> { apps.into_iter().map(|app| wire::App { revision: 0, ..app }).collect() };
    let was = without_revisions(client.list(1_000, "").await.unwrap().apps);
    assert_eq!(without_revisions(restored.list(1_000, "").await.unwrap().apps), was);
    let id = channels::AppId::new("app-000").unwrap();
    let app = registry_of(&second).get(&id).await.unwrap().unwrap().app;
    assert_eq!(app.key("k").unwrap().secret.expose(), secret, "keys sign as before");
    refused(restored.create_key("app-001", new_key("k")).await, Code::AlreadyExists, "taken by app app-000");

    refused(restore(&mut restored, &file, false).await, Code::FailedPrecondition, "400 apps and 1 tokens");
    restored.create_plain("another").await;
    restore(&mut restored, &file, true).await.unwrap();
    refused(restored.get("another").await, Code::NotFound, "no app another");
    let mut damaged = file.clone();
    damaged[5_000] ^= 1;
    refused_with(restore(&mut restored, &damaged, true).await, "this backup");
    refused_with(restore(&mut restored, &file[..file.len() - 10], true).await, "this backup is not whole");
    refused_with(restore(&mut restored, b"", true).await, "this is not a backup");
    assert_eq!(restored.list(1_000, "").await.unwrap().apps.len(), 400);
    let sealed = restored.whole.reseal(wire::ResealRequest {}).await.unwrap().into_inner();
    assert_eq!((sealed.resealed, sealed.current), (0, 400));
}

/// What programs go by: a reason in every refusal, fields of what is invalid, when to try again.
#[tokio::test]
async fn refusals_tell_programs_why() {
    let plane = Plane::start().await;
    let mut client = plane.client().await;
    client.create_plain("1").await;
    let bad = wire::CreateAppRequest { id: "a b".to_owned(), name: "n".repeat(200), ..Default::default() };
    let status = client.create(bad).await.unwrap_err();
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let told: Vec<_> = violations.iter().map(|of| format!("{}: {}", of.field, of.description)).collect();
    assert_eq!((told.join("; ").as_str(), told.len()), (status.message(), 2));

    let stale = wire::UpdateAppRequest { revision: 1, ..update("1", "new") };
    let mut nobody = Client::over(plane.channel().await, None);
    let mut somebody = Client::over(plane.channel().await, Some("wrong"));
    let text = client.token(wire::Role::Reader, "1").await.text;
    let mut reader = let_in(&plane.channel().await, &text).await;
    let large = wire::CreateAppRequest { name: "n".repeat(300 * 1024), ..Default::default() };
    for (status, reason) in [
        (status, "INVALID_FIELD"),
        (client.create(plain("1")).await.unwrap_err(), "APP_EXISTS"),
        (client.create_key("1", new_key("1-key")).await.unwrap_err(), "KEY_NAME_TAKEN"),
        (client.get("2").await.unwrap_err(), "NO_SUCH_APP"),
        (client.revoke("1", "k").await.unwrap_err(), "NO_SUCH_KEY"),
        (client.update(stale).await.unwrap_err(), "STALE_REVISION"),
        (nobody.get("1").await.unwrap_err(), "NO_TOKEN"),
        (somebody.get("1").await.unwrap_err(), "WRONG_TOKEN"),
        (reader.disable("1").await.unwrap_err(), "SCOPE"),
        (reader.get("2").await.unwrap_err(), "SCOPE"),
        (client.create(large).await.unwrap_err(), "OUT_OF_RANGE"),
        (unknown_method(&plane).await, "NO_SUCH_METHOD"),
    ] {
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("{status:?} has no reason"));
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("fanfare", reason), "{status:?}");
        assert!(status.get_details_retry_info().is_none(), "it would be the same again");
    }
}

async fn unknown_method(plane: &Plane) -> Status {
    let channel = plane.channel().await;
    support::raw::call(&channel, "/fanfare.control.v1.AppService/Other", Some(TOKEN), Vec::new()).await.unwrap_err()
}
