//! Refusals, and requests that mean nothing.

use serde_json::json;

use crate::http::Http;
use crate::support::{Plane, TOKEN, config, memory};
use control::Config;

#[tokio::test]
async fn refusals_are_googles() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    let none = http.get("/v1/apps/none").await;
    assert_eq!(none.status, 404);
    assert_eq!(none.header("content-type"), Some("application/json"));
    assert_eq!(none.header("cache-control"), Some("no-store"));
    let info = json!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "NO_SUCH_APP", "domain": "fanfare", "metadata": {} });
    let message = none.body["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("none"), "{message}");
    let expected = json!({ "error": { "code": 404, "status": "NOT_FOUND", "message": message, "details": [info] } });
    assert_eq!(none.body, expected);

    http.good("POST", "/v1/apps", Some(json!({ "id": "1" }))).await;
    assert_eq!(http.call("POST", "/v1/apps", Some(json!({ "id": "1" }))).await.refusal(), (409, "APP_EXISTS"));

    let invalid = http.call("POST", "/v1/apps", Some(json!({ "id": "a b", "quota": { "connections": 0 } }))).await;
    assert_eq!(invalid.refusal(), (400, "INVALID_FIELD"));
    let details = &invalid.body["error"]["details"][1];
    assert_eq!(details["@type"], "type.googleapis.com/google.rpc.BadRequest");
    let fields: Vec<_> =
        details["field_violations"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["id", "quota.connections"]);

    let nobody = Http::nobody(&plane).get("/v1/apps").await;
    assert_eq!(nobody.refusal(), (401, "NO_TOKEN"));
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
    assert_eq!(Http::with(&plane, "wrong").get("/v1/apps").await.refusal(), (401, "WRONG_TOKEN"));
}

#[tokio::test]
async fn requests_that_mean_nothing() {
    let plane = Plane::start_with(Config { max_request_bytes: 2_000, ..config() }, &memory()).await;
    let http = Http::admin(&plane);
    let json = [("content-type", "application/json")];
    assert_eq!(http.get("/").await.refusal(), (404, "NO_SUCH_PATH"));
    assert_eq!(http.get("/v1/apps/1/colours").await.refusal(), (404, "NO_SUCH_PATH"));
    assert_eq!(http.get("/fanfare.control.v1.AppService/ListApps").await.refusal(), (404, "NO_SUCH_PATH"));
    for verb in ["PUT", "OPTIONS", "HEAD2", "TRACE"] {
        let wrong = http.raw(verb, "/v1/apps/1", &[], "").await;
        assert_eq!(wrong.refusal(), (405, "NO_SUCH_VERB"));
        assert_eq!(wrong.header("allow"), Some("GET, PATCH, DELETE"));
    }
    assert_eq!(http.raw("POST", "/v1/openapi.json", &[], "").await.header("allow"), Some("GET"));
    for (body, field) in [
        ("{", "body"),
        ("[]", "body"),
        ("{\"id\":\"\u{1}\"}", "body"),
        (r#"{"colour":1}"#, "colour"),
        (r#"{"id":7}"#, "id"),
        (r#"{"quota":{"connections":"many"}}"#, "quota.connections"),
        (r#"{"namespaces":[{"prefix":"a"},{"prefix":[]}]}"#, "namespaces[1].prefix"),
    ] {
        let wrong = http.raw("POST", "/v1/apps", &json, body).await;
        assert_eq!(wrong.refusal(), (400, "INVALID_FIELD"), "{body}");
        assert_eq!(wrong.body["error"]["details"][1]["field_violations"][0]["field"], field, "{wrong:?}");
    }
    let deep = http.raw("POST", "/v1/apps", &json, &"[".repeat(1_900)).await;
    assert_eq!(deep.refusal(), (400, "INVALID_FIELD"));
    let large = http.raw("POST", "/v1/apps", &json, &format!("{{\"name\":\"{}\"}}", "n".repeat(2_000))).await;
    assert_eq!(large.refusal(), (413, "BODY_TOO_LARGE"));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(http.raw("POST", "/v1/apps", &form, "{}").await.refusal(), (415, "CONTENT_TYPE"));
    assert_eq!(http.raw("POST", "/v1/apps", &[], "{}").await.refusal(), (415, "CONTENT_TYPE"));
    let query = http.get("/v1/apps?page_size=many").await;
    assert_eq!(query.body["error"]["details"][1]["field_violations"][0]["field"], "page_size");
    assert_eq!(http.good("GET", "/v1/apps", None).await["apps"], json!([]), "none of it did anything");
}

/// A browser shows a client certificate, or a proxy's token, whoever's page it is on.
#[tokio::test]
async fn pages_of_other_sites_change_nothing_and_read_nothing() {
    let plane = Plane::start().await;
    let http = Http::admin(&plane);
    for header in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")]
    {
        let refused = http.raw("POST", "/v1/apps", &[header, ("content-type", "application/json")], "{}").await;
        assert_eq!(refused.refusal(), (403, "CROSS_SITE"));
        let read = http.raw("GET", "/v1/apps", &[header], "").await;
        assert!(read.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{read:?}");
    }
    assert_eq!(http.good("GET", "/v1/apps", None).await["apps"], json!([]));
}

/// A token must be right before any of a body is taken.
#[tokio::test]
async fn nobody_is_refused_before_the_body_is_read() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let plane = Plane::start().await;
    for (token, status) in [("wrong", "HTTP/1.1 401 "), (TOKEN, "")] {
        let mut socket = tokio::net::TcpStream::connect(plane.address).await.unwrap();
        let head = format!(
            "POST /v1/apps HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 13];
        if status.is_empty() {
            socket.write_all(b"{}").await.unwrap();
            testkit::within("an answer", socket.read_exact(&mut start)).await.unwrap();
            assert_eq!(&start, b"HTTP/1.1 200 ");
        } else {
            testkit::within("the refusal", socket.read_exact(&mut start)).await.unwrap();
            assert_eq!(&start, status.as_bytes());
        }
    }
}
