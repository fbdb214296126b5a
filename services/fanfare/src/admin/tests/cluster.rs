//! Keys and tokens over time, the cluster as a whole, its registry.

use std::os::unix::fs::PermissionsExt as _;

use backbone::sealing::ClusterKeys;
use serde_json::json;
use testkit::eventually;

use super::{Plane, fails, run_at};

#[tokio::test]
async fn quotas_are_changed_one_at_a_time() {
    let plane = Plane::start().await;
    plane.run(&["app", "create", "--id=1", "--connections=5"]).await.unwrap();
    let quota = plane.json(&["app", "quota", "1", "messages_in_per_second=100", "history_bytes=1000000"]).await;
    assert_eq!((&quota["connections"], &quota["messages_in_per_second"]), (&json!(5), &json!(100)));
    let shown = plane.run(&["app", "quota", "1", "connections=none"]).await.unwrap();
    assert!(shown.contains("connections              no limit\n"), "{shown}");
    assert_eq!(plane.run(&["app", "quota", "1"]).await.unwrap(), shown);
    let app = plane.run(&["app", "get", "1"]).await.unwrap();
    assert!(app.contains("quota                messages_in_per_second: 100\n"), "{app}");
    fails(plane.run(&["app", "quota", "2", "channels=1"]).await, 4, "there is no app 2");
}

#[tokio::test]
async fn rules_are_changed_one_at_a_time() {
    let plane = Plane::start().await;
    plane.run(&["app", "create", "--id=1", "--namespace=a-=ephemeral"]).await.unwrap();
    let words = ["namespace", "set", "1", "presence-", "--tier=persistent", "--retention=36h", "--client-events=true"];
    let more = ["--presence-members=7", "--slow-consumers=keep-latest", "--webhook-events=member_added"];
    plane.run(&[&words[..], &more].concat()).await.unwrap();
    plane.run(&["namespace", "set", "1", "b-", "--webhook-events=none"]).await.unwrap();
    assert_eq!(
        plane.run(&["namespace", "list", "1"]).await.unwrap(),
        "PREFIX     TIER                CLIENT EVENTS  PRESENCE MEMBERS  SLOW CONSUMERS  WEBHOOK EVENTS\n\
         presence-  persistent for 36h  yes            7                 keep latest     member_added\n\
         a-         ephemeral           as the app     as the app        disconnect      as the app\n\
         b-         recoverable         as the app     as the app        disconnect      none\n"
    );
    let app = plane.json(&["namespace", "delete", "1", "a-"]).await;
    assert_eq!(app["namespaces"].as_array().unwrap().len(), 2);
    let again = format!("--namespace={}", app["namespaces"][0]);
    let updated = plane.json(&["app", "update", "1", &again]).await;
    assert_eq!(updated["namespaces"], json!([app["namespaces"][0]]), "what is shown can be given");
    fails(plane.run(&["namespace", "delete", "1", "a-"]).await, 4, "a-");
}

#[tokio::test]
async fn keys_are_rotated_and_their_secrets_saved() {
    let plane = Plane::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let created = plane.run(&["app", "create", "--id=1", "--key-name=k", "--save", &file("first")]).await.unwrap();
    let first = std::fs::read_to_string(file("first")).unwrap();
    assert!(!created.contains(first.trim()) && created.contains(&file("first")), "{created}");
    assert_eq!(std::fs::metadata(file("first")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = plane.run(&["key", "rotate", "1", "k", "--save", &file("first")]).await;
    fails(again, 2, "exists, and is not overwritten");

    let rotated = plane.json(&["key", "rotate", "1", "k", "--overlap=1h"]).await;
    assert_ne!(rotated["secret"], first.trim());
    assert!(rotated["key"]["overlap_until_ms"].as_u64().unwrap() > 0);
    let revocable = plane.json(&["key", "create", "1", "--key-name=r", "--revocable-tokens"]).await;
    assert_eq!(revocable["key"]["revocable_tokens"], true);
    let listed = plane.run(&["key", "list", "1"]).await.unwrap();
    assert_eq!(listed.matches("tokens can be revoked").count(), 1, "{listed}");
    assert!(listed.contains("old secret good until ") && !listed.contains(rotated["secret"].as_str().unwrap()));
    let ended = plane.run(&["key", "rotate", "1", "k", "--overlap=0s"]).await.unwrap();
    assert!(ended.ends_with("the old secret is not good any more\n"), "{ended}");
    plane.run(&["key", "revoke", "1", "k"]).await.unwrap();
    assert!(plane.run(&["key", "list", "1"]).await.unwrap().contains("revoked 20"));
    fails(plane.run(&["key", "rotate", "1", "nobody"]).await, 4, "nobody");
}

#[tokio::test]
async fn creating_again_with_the_same_text_creates_nothing_anew() {
    let plane = Plane::start().await;
    let words = ["app", "create", "--name=x", "--idempotency-key=once"];
    let (first, second) = (plane.json(&words).await, plane.json(&words).await);
    assert_eq!(first, second);
    assert_eq!(plane.json(&["app", "list"]).await["apps"].as_array().unwrap().len(), 1);
    fails(plane.run(&["app", "create", "--name=y", "--idempotency-key=once"]).await, 1, "");
}

#[tokio::test]
async fn tokens_let_in_as_far_as_they_go() {
    let plane = Plane::start().await;
    for id in ["1", "2"] {
        plane.run(&["app", "create", "--id", id]).await.unwrap();
    }
    let made = plane.json(&["token", "create", "--name=pipeline", "--role=admin", "--app=1", "--lifetime=90d"]).await;
    let (id, text) = (made["token"]["id"].as_str().unwrap(), made["text"].as_str().unwrap());
    let run = |words: &'static [&'static str]| run_at(&plane.address, words, Some(text));
    eventually("the token is known", || async { run(&["app", "get", "1"]).await.is_ok().then_some(()) }).await;
    fails(run(&["app", "get", "2"]).await, 5, "");
    fails(run(&["cluster"]).await, 5, "");
    let doctor = run(&["doctor"]).await.unwrap();
    assert!(doctor.contains("FAIL  token: may not see the cluster"), "{doctor}");

    let listed = plane.run(&["token", "list"]).await.unwrap();
    assert!(listed.contains(id) && listed.contains("admin of app 1") && !listed.contains(text), "{listed}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    plane.run(&["token", "rotate", id, "--overlap=0s", "--save", file.to_str().unwrap()]).await.unwrap();
    eventually("the old text is refused", || async { run(&["app", "get", "1"]).await.is_err().then_some(()) }).await;
    let words = ["app", "get", "1", "--token-file", file.to_str().unwrap()];
    eventually("the new text is known", || async { run_at(&plane.address, &words, None).await.is_ok().then_some(()) })
        .await;
    assert_eq!(plane.run(&["token", "revoke", id]).await.unwrap(), format!("revoked {id}\n"));
    eventually("it is refused", || async { run_at(&plane.address, &words, None).await.is_err().then_some(()) }).await;
    fails(run_at(&plane.address, &words, None).await, 5, "");
}

#[tokio::test]
async fn what_was_done_is_in_the_audit_log() {
    let plane = Plane::start().await;
    plane.run(&["app", "create", "--id=1"]).await.unwrap();
    plane.run(&["app", "disable", "1"]).await.unwrap();
    fails(plane.run(&["app", "create", "--id=1"]).await, 1, "");
    let log = plane.run(&["audit", "--app=1", "--start=1h"]).await.unwrap();
    for words in ["bootstrap  AppService.DisableApp  1 ", "refused: ALREADY_EXISTS", "AppService.CreateApp"] {
        assert!(log.contains(words), "{words} in {log}");
    }
    let newest = plane.json(&["audit", "--most=1"]).await;
    assert_eq!(newest["entries"].as_array().unwrap().len(), 1);
    assert_eq!(newest["entries"][0]["outcome"], "AUDIT_OUTCOME_REFUSED");
    assert!(plane.json(&["audit", "--end=1h"]).await["entries"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn the_cluster_is_shown_and_its_nodes_are_drained() {
    let plane = Plane::start().await;
    assert_eq!(plane.run(&["health"]).await.unwrap(), "serving\n");
    assert_eq!(
        run_at(&plane.address, &["health", "--output=json"], None).await.unwrap(),
        "{\n  \"serving\": true\n}\n"
    );
    fails(plane.run(&["health", "--service=x.Y"]).await, 4, "");
    let listed = async || plane.json(&["node", "list"]).await["nodes"].clone();
    let one_leads = || async {
        let nodes = listed().await;
        let is_one = nodes.as_array().unwrap().len() == 1;
        (is_one && nodes[0]["leader"] == true && nodes[0]["state"] == "NODE_STATE_SERVING").then_some(nodes)
    };
    let nodes = eventually("the node reports and leads", one_leads).await;
    assert_eq!((&nodes[0]["name"], &nodes[0]["roles"]), (&json!("plane"), &json!(["control"])));
    let table = plane.run(&["node", "list"]).await.unwrap();
    assert!(table.contains("  plane  control  serving, leads  0.0.0 "), "{table}");
    let cluster = plane.run(&["cluster"]).await.unwrap();
    assert!(cluster.contains("state        in the one process\n") && cluster.contains(": seals; "), "{cluster}");

    let doctor = plane.json(&["doctor"]).await;
    let found = |check: &str| {
        let checks = doctor["checks"].as_array().unwrap();
        checks.iter().find(|finding| finding["check"] == check).unwrap()["level"].clone()
    };
    assert_eq!((found("leader"), found("clocks"), found("nodes")), (json!("ok"), json!("ok"), json!("ok")), "{doctor}");
    assert_eq!(found("edges"), "FAIL", "this process has no edge");
    assert_eq!(found("versions"), "warn");

    let id = nodes[0]["id"].as_str().unwrap();
    assert_eq!(plane.run(&["node", "drain", id]).await.unwrap(), "told to drain\n");
    eventually("the node is told", || async { plane.drain.is_cancelled().then_some(()) }).await;
}

#[tokio::test]
async fn usage_of_an_idle_app_is_empty() {
    let plane = Plane::start().await;
    plane.run(&["app", "create", "--id=1", "--namespace=tick=ephemeral"]).await.unwrap();
    let usage = plane.json(&["usage", "show", "1", "--interval=day", "--start=30d"]).await;
    assert_eq!(usage, json!({ "usage": [], "next_page_token": "" }));
    assert!(plane.run(&["usage", "show", "1"]).await.unwrap().starts_with("INTERVAL  IN  OUT"));
    fails(plane.run(&["usage", "show", "2"]).await, 4, "there is no app 2");
    let listed = plane.json(&["connection", "list", "1"]).await;
    assert_eq!(listed["connections"], json!([]));
    fails(plane.run(&["connection", "get", "1", "1.1"]).await, 4, "");
    fails(plane.run(&["channel", "history", "1", "tick"]).await, 1, "");
    let history = plane.run(&["channel", "history", "1", "kept", "--forwards"]).await.unwrap();
    assert_eq!(history, "POSITION  TIME  EVENT  ENCODING  DATA\n");
}

#[tokio::test]
async fn a_registry_is_backed_up_and_restored_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    let file = file.to_str().unwrap();
    let text = ClusterKeys::generate_text();
    let plane = Plane::start_with(text.parse().unwrap()).await;
    let created = plane.json(&["app", "create", "--id=1", "--name=kept", "--key-name=k"]).await;
    let shown = plane.run(&["backup", "--file", file]).await.unwrap();
    assert!(shown.contains(" written to "), "{shown}");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(file).unwrap();
    let secret = created["key"]["secret"].as_str().unwrap().as_bytes();
    assert!(!bytes.windows(secret.len()).any(|window| window == secret), "secrets in it are sealed");
    fails(plane.run(&["backup", "--file", file]).await, 2, "exists, and is not overwritten");
    fails(plane.run(&["restore", "--file", file]).await, 1, "");

    let other = Plane::start_with(text.parse().unwrap()).await;
    let restored = other.json(&["restore", "--file", file]).await;
    assert_eq!((&restored["apps"], &restored["tokens"]), (&json!(1), &json!(0)));
    assert_eq!(other.json(&["app", "get", "1"]).await["name"], "kept");
    other.run(&["app", "delete", "1"]).await.unwrap();
    other.run(&["restore", "--file", file, "--overwrite"]).await.unwrap();
    assert_eq!(other.json(&["app", "get", "1"]).await["name"], "kept");
}

#[tokio::test]
async fn secrets_are_sealed_anew() {
    let plane = Plane::start().await;
    plane.run(&["app", "create", "--id=1"]).await.unwrap();
    let answer = plane.json(&["reseal"]).await;
    assert_eq!(answer["resealed"], 0);
    assert!(answer["current"].as_u64().unwrap() >= 1);
}
