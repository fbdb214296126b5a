//! Tokens: had for a signed request, once; good for what they say; ended on every node.

use ably::credentials::{JwtClaims, Seconds, TokenRequest};
use channels::Secret;

use super::*;

const SECRET: &str = "app-secret";

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

fn signed(nonce: &str) -> TokenRequest {
    let request = TokenRequest {
        key_name: "app-key".to_owned(),
        timestamp: now() * 1000,
        nonce: Some(nonce.to_owned()),
        ..TokenRequest::default()
    };
    request.signed(&secret())
}

/// An app whose tokens can be revoked.
fn revocable() -> App {
    let mut app = fixtures::app();
    app.keys[0].revocable_tokens = true;
    app
}

impl Node {
    fn request_token(&self, request: &TokenRequest) -> Answer {
        let body = serde_json::to_vec(request).unwrap();
        self.exchange("POST", "/keys/app-key/requestToken", "Content-Type: application/json\r\n", &body)
    }

    /// A token made by the key's holder.
    fn token(&self, body: Value) -> String {
        let mut body = body;
        body["keyName"] = json!("app-key");
        body["timestamp"] = json!(now() * 1000);
        let answer = self.ably_post("/keys/app-key/requestToken", &body);
        assert_eq!(answer.status, 201, "{}", answer.value());
        answer.value()["token"].as_str().unwrap().to_owned()
    }

    fn with_token(&self, method: &str, target: &str, token: &str) -> Answer {
        let body: &[u8] = if method == "POST" { b"{}" } else { &[] };
        self.exchange(method, target, &bearer(token), body)
    }

    fn revoke(&self, body: &Value) -> Answer {
        self.ably_post("/keys/app-key/revokeTokens", body)
    }
}

#[test]
fn a_signed_request_gets_one_token_on_all_nodes() {
    let here = Node::start(quick());
    let there = here.another(quick());
    let request = signed("0123456789abcdef");
    let answer = here.request_token(&request);
    assert_eq!(answer.status, 201, "{}", answer.value());
    let details = answer.value();
    let (issued, expires) = (details["issued"].as_u64().unwrap(), details["expires"].as_u64().unwrap());
    assert_eq!((expires - issued, &details["keyName"]), (3_600_000, &json!("app-key")));
    for node in [&here, &there] {
        assert_eq!(node.request_token(&request).refused(), (401, 40105), "the nonce is spent");
    }
    let token = details["token"].as_str().unwrap();
    for node in [&here, &there] {
        assert_eq!(node.with_token("POST", "/channels/a/messages", token).status, 201);
        let raw = format!("/channels/a/messages?access_token={token}");
        assert_eq!(node.exchange("GET", &raw, "", &[]).status, 200);
    }
    assert_eq!(there.request_token(&signed("fedcba9876543210")).status, 201);
    let forged = TokenRequest { ttl: Some(1), ..signed("another-nonce-0001") };
    assert_eq!(here.request_token(&forged).refused(), (401, 40101));
    let late = TokenRequest { timestamp: 1, ..signed("another-nonce-0002") }.signed(&secret());
    assert_eq!(here.request_token(&late).refused(), (401, 40104));
    // Its nonce was not spent by what was refused.
    assert_eq!(here.request_token(&signed("another-nonce-0002")).status, 201);
}

#[test]
fn a_token_is_good_for_what_it_says() {
    let node = Node::start(quick());
    let capability = json!({ "chat:*": ["publish"], "news": ["history"] }).to_string();
    let token = node.token(json!({ "capability": capability, "clientId": "bob" }));
    assert_eq!(node.with_token("POST", "/channels/chat%3Aa/messages", &token).status, 201);
    for (method, target) in [
        ("POST", "/channels/news/messages"),
        ("GET", "/channels/chat%3Aa/messages"),
        ("GET", "/channels/news/presence"),
        ("GET", "/channels/news"),
        ("GET", "/channels"),
        ("GET", "/stats"),
    ] {
        assert_eq!(node.with_token(method, target, &token).refused(), (401, 40160), "{method} {target}");
    }
    assert_eq!(node.with_token("GET", "/channels/news/messages", &token).status, 200);
    let items = node.ably_get("/channels/chat%3Aa/messages").value();
    assert_eq!(items[0]["clientId"], "bob", "stamped");
    let body = json!({ "clientId": "eve" }).to_string();
    let headers = format!("{}Content-Type: application/json\r\n", bearer(&token));
    let claimed = node.exchange("POST", "/channels/chat%3Aa/messages", &headers, body.as_bytes());
    assert_eq!(claimed.refused(), (400, 40012));
    // An expired one.
    let short = node.token(json!({ "ttl": 1 }));
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(node.with_token("GET", "/channels/a/messages", &short).refused(), (401, 40142));
    let claims = JwtClaims {
        issued: Seconds::Whole(now()),
        expires: Seconds::Whole(now() + 60),
        capability: None,
        client_id: Some("jay".to_owned()),
        revocation_key: None,
    };
    let jwt = claims.sign(&fixtures::app().keys[0].name, &secret());
    assert_eq!(node.with_token("POST", "/channels/a/messages", &jwt).status, 201);
    let raw = format!("Authorization: Bearer {jwt}\r\n");
    assert_eq!(node.exchange("GET", "/channels/a/messages", &raw, &[]).status, 200);
}

#[test]
fn who_may_revoke() {
    let node = Node::start(quick());
    let body = json!({ "targets": ["clientId:bob"] });
    assert_eq!(node.revoke(&body).refused(), (401, 40163), "a key whose tokens cannot be revoked");
    let node = Node::with_app(quick(), revocable());
    let token = node.token(json!({}));
    let with_token = node.exchange("POST", "/keys/app-key/revokeTokens", &bearer(&token), body.to_string().as_bytes());
    assert_eq!(with_token.refused(), (401, 40162));
    assert_eq!(node.ably_post("/keys/other/revokeTokens", &body).refused(), (401, 40133));
    assert_eq!(node.revoke(&json!({ "targets": [] })).refused().0, 400);
    let future = json!({ "targets": ["clientId:bob"], "issuedBefore": (now() + 60) * 1000 });
    assert_eq!(node.revoke(&future).refused().0, 400);
    let answer = node.revoke(&json!({ "targets": ["clientId:bob", "nonsense:x"] }));
    let value = answer.value();
    assert_eq!((answer.status, &value["successCount"], &value["failureCount"]), (201, &json!(1), &json!(1)));
    assert_eq!(
        (&value["results"][0]["target"], &value["results"][1]["error"]["statusCode"]),
        (&json!("clientId:bob"), &json!(400))
    );
    assert!(value["results"][0]["issuedBefore"].is_u64() && value["results"][0]["appliesAt"].is_u64());
}

#[test]
fn what_is_revoked_is_refused_everywhere_at_once() {
    let here = Node::with_app(quick(), revocable());
    let there = here.another(quick());
    let (bob, eve) = (here.token(json!({ "clientId": "bob" })), here.token(json!({ "clientId": "eve" })));
    let room = here.token(json!({ "capability": json!({ "room": ["*"] }).to_string() }));
    let read = |node: &Node, token: &str| node.with_token("GET", "/channels/room/messages", token).status;
    for token in [&bob, &eve, &room] {
        assert_eq!((read(&here, token), read(&there, token)), (200, 200));
    }
    // Tokens of the same millisecond are not issued before it.
    std::thread::sleep(Duration::from_millis(5));
    let begun = Instant::now();
    assert_eq!(here.revoke(&json!({ "targets": ["clientId:bob", "channel:room"] })).status, 201);
    for node in [&here, &there] {
        for token in [&bob, &room] {
            eventually(|| read(node, token) == 401, || "still good".to_owned());
            assert_eq!(node.with_token("GET", "/channels/room/messages", token).refused(), (401, 40141));
        }
        assert_eq!(read(node, &eve), 200);
    }
    // A busy machine adds some.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // A new one for the same client is good, here and on a node that comes later.
    let later = here.another(quick());
    let renewed = here.token(json!({ "clientId": "bob" }));
    eventually(|| read(&later, &renewed) == 200, || "not ready".to_owned());
    assert_eq!((read(&later, &bob), read(&later, &renewed), read(&there, &renewed)), (401, 200, 200));
}
