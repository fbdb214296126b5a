//! Calls that do what they are asked to, and are the same as over gRPC.

use std::collections::BTreeSet;

use serde_json::json;

use crate::http::Http;
use crate::support::{Plane, TOKEN};

#[tokio::test]
async fn every_verb() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    let new =
        json!({ "id": "shop", "key": { "name": "shop.main", "secret": "12345678" }, "quota": { "connections": 5 } });
    let made = http.good("POST", "/v1/apps", Some(new)).await;
    assert_eq!(made["key"]["secret"], "12345678");
    let app = http.good("GET", "/v1/apps/shop", None).await;
    assert_eq!(app, made["app"], "a get is what the create answered");
    assert_eq!(app["quota"]["connections"], 5);
    assert_eq!(app["quota"]["channels"], json!(null));
    let over_grpc = plane.client().await.get("shop").await.unwrap();
    assert_eq!(app, serde_json::from_str::<serde_json::Value>(&proto::json::to_string(&over_grpc)).unwrap());
    let rule = json!({ "namespace": { "prefix": "chat-", "tier": "TIER_PERSISTENT", "retentionSeconds": "3600" } });
    let app = http.good("PUT", "/v1/apps/shop/namespaces", Some(rule)).await;
    assert_eq!(app["namespaces"][0]["retention_seconds"], 3600);
    let app = http.good("DELETE", "/v1/apps/shop/namespaces?prefix=chat%2D", None).await;
    assert_eq!(app["namespaces"], json!([]));
    let app = http.good("POST", "/v1/apps/shop:disable", None).await;
    assert_eq!(app["enabled"], false);
    assert_eq!(http.good("DELETE", "/v1/apps/shop", None).await, json!({}));
    assert_eq!(http.get("/v1/apps/shop").await.status, 404);
    let audit = http.good("GET", "/v1/audit?app_id=shop", None).await;
    let entries = audit["entries"].as_array().unwrap();
    // Those of one millisecond are in no order.
    let methods: BTreeSet<_> = entries.iter().map(|entry| entry["method"].as_str().unwrap()).collect();
    let done = ["AppService.CreateApp", "AppService.DeleteApp", "AppService.DisableApp"];
    let rules = ["NamespaceService.DeleteNamespace", "NamespaceService.SetNamespace"];
    assert_eq!(methods, done.into_iter().chain(rules).collect(), "as if they had come over gRPC");
    assert!(audit["entries"][0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{audit}");
}

#[tokio::test]
async fn a_patch_changes_what_is_there_or_what_its_mask_names() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    let rule = json!({ "prefix": "chat-", "tier": "TIER_EPHEMERAL" });
    let new = json!({ "id": "1", "name": "old", "quota": { "connections": 5, "channels": 6 }, "namespaces": [rule] });
    http.good("POST", "/v1/apps", Some(new)).await;
    let patch = |body| http.good("PATCH", "/v1/apps/1", Some(body));
    let app = patch(json!({ "app": { "name": "new", "quota": { "connections": 7 } } })).await;
    assert_eq!(
        (&app["name"], &app["quota"]["connections"], &app["quota"]["channels"]),
        (&json!("new"), &json!(7), &json!(6))
    );
    let app = patch(json!({ "app": { "name": "newer" }, "update_mask": "quota.connections,namespaces" })).await;
    assert_eq!(
        (&app["name"], &app["quota"]["connections"], &app["quota"]["channels"]),
        (&json!("new"), &json!(null), &json!(6))
    );
    assert_eq!(app["namespaces"], json!([]));
    // A whole app as it was answered changes nothing.
    let same = patch(json!({ "app": app, "revision": app["revision"] })).await;
    assert_eq!((&same["name"], &same["quota"]), (&app["name"], &app["quota"]));
    let stale = http.call("PATCH", "/v1/apps/1", Some(json!({ "app": { "name": "x" }, "revision": 1 }))).await;
    assert_eq!(stale.refusal(), (409, "STALE_REVISION"));
    let other = http.call("PATCH", "/v1/apps/1", Some(json!({ "app": { "id": "2" } }))).await;
    assert_eq!(other.refusal(), (400, "INVALID_FIELD"));
}

#[tokio::test]
async fn pages() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    for id in 0..5 {
        http.good("POST", "/v1/apps", Some(json!({ "id": format!("app{id}") }))).await;
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = http.good("GET", &format!("/v1/apps?page_size=2&page_token={token}"), None).await;
        let ids = page["apps"].as_array().unwrap().iter().map(|app| app["id"].as_str().unwrap().to_owned());
        seen.push(ids.collect::<Vec<_>>());
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [vec!["app0", "app1"], vec!["app2", "app3"], vec!["app4"]]);
}

#[tokio::test]
async fn a_create_that_is_repeated_creates_once() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    let new = || Some(json!({ "name": "n", "idempotency_key": "k1" }));
    let first = http.good("POST", "/v1/apps", new()).await;
    let mut over_grpc = plane.client().await;
    let again = proto::control::CreateAppRequest {
        name: "n".to_owned(),
        idempotency_key: "k1".to_owned(),
        ..proto::control::CreateAppRequest::default()
    };
    let again = over_grpc.create(again).await.unwrap();
    assert_eq!(again.app.unwrap().id, first["app"]["id"].as_str().unwrap(), "one memory for both surfaces");
}

/// A sample of the matrix, whose every cell is tested over gRPC: the gateway has no checks of its own to get wrong.
#[tokio::test]
async fn scopes_are_what_they_are_over_grpc() {
    let plane = Plane::start().await;
    let admin = Http::admin(&plane);
    for id in ["own", "other"] {
        admin.good("POST", "/v1/apps", Some(json!({ "id": id }))).await;
    }
    let mut tokens = vec![("nobody", None), ("bootstrap", Some(TOKEN.to_owned()))];
    for (name, role, app) in
        [("reader", "ROLE_READER", ""), ("own admin", "ROLE_ADMIN", "own"), ("own reader", "ROLE_READER", "own")]
    {
        let new = json!({ "name": name, "scope": { "role": role, "app_id": app } });
        let made = admin.good("POST", "/v1/tokens", Some(new)).await;
        tokens.push((name, Some(made["text"].as_str().unwrap().to_owned())));
    }
    tokens.push(("node", Some(crate::support::cluster_keys().node_token().to_owned())));
    let columns = ["nobody", "bootstrap", "reader", "own admin", "own reader", "node"];
    #[rustfmt::skip]
    let table = [
        ("GET",    "/v1/apps",                       [401, 200, 200, 200, 200, 403]),
        ("GET",    "/v1/apps/own",                   [401, 200, 200, 200, 200, 403]),
        ("GET",    "/v1/apps/other",                 [401, 200, 200, 403, 403, 403]),
        ("GET",    "/v1/apps/none",                  [401, 404, 404, 403, 403, 403]),
        ("POST",   "/v1/apps/other:disable",         [401, 200, 403, 403, 403, 403]),
        ("POST",   "/v1/apps/own/keys",              [401, 200, 403, 200, 403, 403]),
        ("POST",   "/v1/apps/other/keys",            [401, 200, 403, 403, 403, 403]),
        ("GET",    "/v1/nodes",                      [401, 200, 200, 403, 403, 403]),
        ("GET",    "/v1/audit",                      [401, 200, 200, 200, 200, 403]),
        ("POST",   "/v1/registry:reseal",            [401, 200, 403, 403, 403, 403]),
        ("GET",    "/v1/apps/own/usage?colour=red",  [401, 400, 400, 400, 400, 403]),
        ("GET",    "/v1/openapi.json",               [200, 200, 200, 200, 200, 200]),
        ("GET",    "/v1/none",                       [404, 404, 404, 404, 404, 404]),
    ];
    for (column, name) in columns.iter().enumerate() {
        let token = tokens.iter().find(|(of, _)| of == name).unwrap().1.clone();
        for (verb, path, expected) in &table {
            let http = token.as_ref().map_or_else(|| Http::nobody(&plane), |token| Http::with(&plane, token));
            // The tokens' live copy follows a moment behind.
            testkit::eventually("the right status", || async {
                let answer = http.call(verb, path, None).await;
                (answer.status == expected[column]).then_some(())
            })
            .await;
        }
    }
}
