//! The OpenAPI document: that it is one, that it is current, and that it says what the server does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Map, Value, json};

use crate::http::Http;
use crate::node::Node;
use crate::support::{Plane, memory};

/// The rules of OpenAPI 3.1 as its authors have them: `https://spec.openapis.org/oas/3.1/schema/2022-10-07`.
const RULES: &str = include_str!("openapi-3.1.schema.json");

fn committed() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json")
}

async fn document(plane: &Plane) -> Value {
    Http::nobody(plane).good("GET", "/v1/openapi.json", None).await
}

/// Verb, path and description of every operation.
fn operations(document: &Value) -> Vec<(String, &str, &Map<String, Value>)> {
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        for (verb, operation) in item.as_object().unwrap() {
            all.push((verb.to_uppercase(), path.as_str(), operation.as_object().unwrap()));
        }
    }
    all
}

#[tokio::test]
async fn the_committed_document_is_current() {
    let plane = Plane::start().await;
    let document = document(&plane).await;
    if env::var_os("FANFARE_BLESS").is_some() {
        fs::write(committed(), format!("{document:#}\n")).unwrap();
    }
    let old = fs::read_to_string(committed()).unwrap_or_default();
    assert!(
        serde_json::from_str(&old).ok() == Some(document),
        "docs/openapi.json differs from control.proto; run FANFARE_BLESS=1 cargo test -p control --test gateway described"
    );
}

#[tokio::test]
async fn the_document_keeps_the_rules() {
    let plane = Plane::start().await;
    let document = document(&plane).await;
    Schema::new(serde_json::from_str(RULES).unwrap()).holds(&document);
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        described(&document, &json!({ "$ref": format!("#/components/schemas/{name}") }));
    }
    // What the schema of OpenAPI cannot say.
    let mut ids = BTreeSet::new();
    for (verb, path, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{verb} {path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{verb} {path}");
        let parameters = operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        let declared = parameters.iter().filter(|one| one["in"] == "path").map(|one| one["name"].as_str().unwrap());
        let used = path.split('{').skip(1).map(|rest| rest.split_once('}').unwrap().0);
        assert_eq!(declared.collect::<Vec<_>>(), used.collect::<Vec<_>>(), "{verb} {path}");
    }
    let pool = proto::json::descriptors();
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    assert_eq!(ids.len(), methods.filter(|method| !method.is_client_streaming()).count(), "every method is there");
    // The comments are in it.
    let app = &document["components"]["schemas"]["App"];
    assert_eq!(app["properties"]["id"]["description"], "1 to 32 letters, digits, '-' or '_'.");
    assert!(document["info"]["description"].as_str().unwrap().starts_with("The control plane: "));
}

/// A JSON schema.
struct Schema {
    all: Schemas,
    index: SchemaIndex,
}

impl Schema {
    /// Panics if it is none.
    fn new(schema: Value) -> Self {
        let (mut all, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("schema.json", schema).unwrap();
        let index = compiler.compile("schema.json", &mut all).unwrap_or_else(|error| panic!("{error:#}"));
        Self { all, index }
    }

    fn is_kept_by(&self, value: &Value) -> bool {
        self.all.validate(value, self.index).is_ok()
    }

    #[track_caller]
    fn holds(&self, value: &Value) {
        if let Err(error) = self.all.validate(value, self.index) {
            panic!("{error:#}\n{value:#}");
        }
    }
}

/// A schema that stands in the document.
fn described(document: &Value, schema: &Value) -> Schema {
    let mut whole = schema.clone();
    whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    whole["components"] = document["components"].clone();
    Schema::new(whole)
}

/// The document with schemas that allow no field that they do not name, and want all that they name.
fn strict(mut document: Value) -> Value {
    for schema in document["components"]["schemas"].as_object_mut().unwrap().values_mut() {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        let names: Vec<_> = properties.keys().cloned().collect();
        schema["required"] = json!(names);
        schema["additionalProperties"] = json!(false);
    }
    document
}

#[test]
fn a_strict_schema_refuses_what_is_not_described() {
    let a = json!({ "type": "object", "properties": { "a": { "type": ["string", "null"] } } });
    let document = strict(json!({ "components": { "schemas": { "A": a } } }));
    let schema = described(&document, &json!({ "$ref": "#/components/schemas/A" }));
    schema.holds(&json!({ "a": null }));
    for wrong in [json!({}), json!({ "a": 1 }), json!({ "a": "", "b": "" })] {
        assert!(!schema.is_kept_by(&wrong), "{wrong}");
    }
}

/// Id of an operation, variables in its path, query and body.
type Call = (&'static str, &'static [(&'static str, &'static str)], &'static str, Value);

/// Every operation with one answer, in an order in which they can be done. `{token}` is that of the token that was made,
/// `{node}` that of the node.
fn calls() -> Vec<Call> {
    let app: &[_] = &[("id", "7")];
    let of_app: &[_] = &[("app_id", "7")];
    let key: &[_] = &[("app_id", "7"), ("name", "7.two")];
    let connection: &[_] = &[("app_id", "7"), ("id", "1.1")];
    let none = || json!(null);
    vec![
        ("createApp", &[], "", json!({ "id": "7", "key": { "name": "7.one" }, "quota": { "connections": 9 } })),
        ("getApp", app, "", none()),
        ("listApps", &[], "?page_size=1", none()),
        ("updateApp", app, "", json!({ "app": { "name": "n", "webhooks": [{ "url": "https://example.com/" }] } })),
        ("disableApp", app, "", none()),
        ("enableApp", app, "", json!({})),
        (
            "createKey",
            of_app,
            "",
            json!({ "key": { "name": "7.two", "capability": { "resources": { "a": { "operations": ["subscribe"] } } } } }),
        ),
        ("rotateKey", key, "", json!({ "overlap_seconds": 60 })),
        ("revokeKey", key, "", none()),
        ("listKeys", of_app, "", none()),
        ("setNamespace", of_app, "", json!({ "namespace": { "prefix": "chat-", "tier": "TIER_PERSISTENT" } })),
        ("listNamespaces", of_app, "", none()),
        ("deleteNamespace", of_app, "?prefix=chat-", none()),
        ("listDeadLetters", of_app, "", none()),
        ("replayDeadLetters", of_app, "", json!({ "all": true })),
        ("deleteDeadLetters", of_app, "", json!({ "ids": ["0000000000000-0000000000000000"] })),
        ("queryUsage", of_app, "?interval=INTERVAL_MINUTE", none()),
        ("listNodes", &[], "", none()),
        ("getCluster", &[], "", none()),
        ("listConnections", of_app, "?page_size=1", none()),
        ("getConnection", connection, "", none()),
        ("closeConnection", connection, "", json!({ "final": true })),
        ("listChannels", of_app, "", none()),
        ("getChannel", of_app, "?name=a", none()),
        ("readHistory", of_app, "?name=a&forwards=true", none()),
        ("createToken", &[], "", json!({ "name": "t", "scope": { "role": "ROLE_READER", "app_id": "7" } })),
        ("listTokens", &[], "", none()),
        ("rotateToken", &[("id", "{token}")], "", json!({ "overlap_seconds": 5 })),
        ("revokeToken", &[("id", "{token}")], "", none()),
        ("listAudit", &[], "", none()),
        ("reseal", &[], "", none()),
        ("drainNode", &[("id", "{node}")], "", none()),
        ("deleteApp", app, "", none()),
    ]
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let backbone = memory();
    let plane = Plane::start_with(crate::support::config(), &backbone).await;
    let node = Node::start(&backbone, &["1.1", "1.2"]).await;
    let http = Http::admin(&plane);
    testkit::eventually("the node to be listed", || async {
        let nodes = http.good("GET", "/v1/nodes", None).await;
        (nodes["nodes"][0]["state"] == "NODE_STATE_SERVING").then_some(())
    })
    .await;
    let document = document(&plane).await;
    let operations: BTreeMap<_, _> = operations(&document)
        .into_iter()
        .filter(|(_, _, operation)| operation["responses"]["200"]["content"].get("application/json").is_some())
        .map(|(verb, path, operation)| (operation["operationId"].as_str().unwrap(), (verb, path, operation)))
        .collect();
    let calls = calls();
    assert_eq!(calls.iter().map(|call| call.0).collect::<BTreeSet<_>>(), operations.keys().copied().collect());
    let strictly = strict(document.clone());
    let error = described(&document, &json!({ "$ref": "#/components/schemas/Error" }));
    let mut token = String::new();
    for (id, variables, query, body) in calls {
        let (verb, template, operation) = &operations[id];
        let mut path = (*template).to_owned();
        for (name, value) in variables {
            let value = value.replace("{token}", &token).replace("{node}", &node.id);
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        assert!(!path.contains('{'), "{id}: {path}");
        if !body.is_null()
            && let Some(request) = operation.get("requestBody")
        {
            described(&document, &request["content"]["application/json"]["schema"]).holds(&body);
        }
        let refused = Http::nobody(&plane).call(verb, &format!("{path}{query}"), None).await;
        assert_eq!(refused.status, 401, "{id}");
        error.holds(&refused.body);
        let answer = http.call(verb, &format!("{path}{query}"), Some(body).filter(|body| !body.is_null())).await;
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        described(&strictly, &operation["responses"]["200"]["content"]["application/json"]["schema"])
            .holds(&answer.body);
        if id == "createToken" {
            token = answer.body["token"]["id"].as_str().unwrap().to_owned();
        }
    }
}
