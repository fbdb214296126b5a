//! What concerns every request: methods, paths, formats, credentials, browsers.

use super::*;

#[test]
fn the_time_needs_no_credentials() {
    let node = Node::start(quick());
    let before = now() * 1000;
    let answer = node.exchange("GET", "/time", "", &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let times = answer.value();
    assert!(times[0].as_u64().unwrap() >= before && times.as_array().unwrap().len() == 1, "{times}");
    let packed = node.exchange("GET", "/time", "Accept: application/x-msgpack\r\n", &[]);
    assert_eq!(packed.header("content-type"), Some("application/x-msgpack"));
    assert!(packed.value()[0].as_u64().unwrap() >= before);
    let head = node.exchange("HEAD", "/time", "", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[test]
fn errors_are_told_in_the_callers_format_and_in_headers() {
    let node = Node::start(quick());
    let auth = basic();
    let packed = format!("{auth}Accept: application/x-msgpack\r\n");
    for (method, target, headers, expected) in [
        ("GET", "/", &auth, (404, 40400)),
        ("GET", "/nothing", &packed, (404, 40400)),
        ("GET", "/channels/a/nothing", &auth, (404, 40400)),
        ("GET", "/push/deviceRegistrations", &auth, (404, 40400)),
        ("DELETE", "/channels/a/messages", &packed, (405, 40500)),
        ("POST", "/time", &auth, (405, 40500)),
        ("GET", "/channels/a/messages/s/versions", &auth, (400, 93002)),
        ("GET", "/channels/a/objects", &auth, (400, 92000)),
        ("GET", "/channels/a/messages?limit=0", &auth, (400, 40003)),
        ("GET", "/channels/a/messages?limit=1001", &packed, (400, 40003)),
        ("GET", "/channels/a/messages?direction=up", &auth, (400, 40003)),
        ("GET", "/channels/%3Ahell/messages", &auth, (400, 40010)),
        ("POST", "/channels/%5Binvalid/messages", &auth, (400, 40010)),
        ("POST", "/channels/%23server-to-user-1/messages", &auth, (400, 40010)),
        ("GET", "/channels/a/messages?v=x", &packed, (400, 40017)),
        ("GET", "/channels/a/messages", &String::new(), (401, 40101)),
        ("GET", "/channels/a/messages", &basic_of("app-key:wrong"), (401, 40101)),
        ("GET", "/channels/a/messages", &basic_of("other-key:app-secret"), (401, 40101)),
        ("GET", "/channels/a/messages", &"Authorization: Basic eA==\r\n".to_owned(), (400, 40005)),
        ("GET", "/channels/a/messages?access_token=nonsense", &String::new(), (401, 40143)),
    ] {
        let body: &[u8] = if method == "POST" { b"{}" } else { &[] };
        let answer = node.exchange(method, target, headers, body);
        assert_eq!(answer.refused(), expected, "{method} {target}");
        let format = if *headers == packed { "application/x-msgpack" } else { "application/json" };
        assert_eq!(answer.header("content-type"), Some(format), "{method} {target}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(node.exchange("DELETE", "/channels/a/messages", &auth, &[]).header("allow"), Some("GET, POST"));
}

#[test]
fn the_pusher_api_is_where_it_was() {
    let node = Node::start(quick());
    let (status, _, body) = node.http(&request("GET", "/apps/1001/nothing", "", "Connection: close\r\n"));
    assert_eq!(status, 404);
    assert!(serde_json::from_str::<Value>(&body).unwrap()["error"].is_string(), "{body}");
    assert_eq!(node.publish("room", "x").0, 200);
    // Even where a channel is called like it.
    node.ably_publish("apps", &json!({ "name": "n" }));
    node.ably_publish("app", &json!({ "name": "n" }));
    let history = node.ably_get("/channels/apps/messages").value();
    assert_eq!(each(history.as_array().unwrap(), "name"), ["n"]);
}

#[test]
fn browsers_may_ask_from_anywhere() {
    let node = Node::start(quick());
    let asked = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    for target in ["/channels/a/messages", "/sse", "/keys/k/requestToken", "/stats"] {
        let answer = node.exchange("OPTIONS", target, asked, &[]);
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("https://a.example")));
        // Libraries ask as with cookies, for which `*` would not do.
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{target}");
        let allowed = answer.header("access-control-allow-headers").unwrap();
        for header in ["Authorization", "Content-Type", "X-Ably-Version", "X-Ably-ClientId", "Ably-Agent"] {
            assert!(allowed.contains(header), "{allowed}");
        }
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    }
    for target in ["/channels/a/messages", "/nothing", "/sse"] {
        let page = node.exchange("GET", target, &format!("{}Origin: https://a.example\r\n", basic()), &[]);
        assert_eq!(page.header("access-control-allow-origin"), Some("https://a.example"), "{target}");
        assert_eq!(page.header("access-control-allow-credentials"), Some("true"), "{target}");
        assert_eq!(page.header("vary"), Some("Origin"), "{target}");
    }
    let answer = node.ably_get("/channels/a/messages");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("Link") && exposed.contains("X-Ably-ErrorCode"), "{exposed}");
}

#[test]
fn an_envelope_holds_status_and_headers() {
    let node = Node::start(quick());
    let answer = node.ably_get("/channels/a/messages?envelope=json&limit=1");
    let value = answer.value();
    assert_eq!((answer.status, &value["statusCode"], &value["response"]), (200, &json!(200), &json!([])));
    assert!(value["headers"]["link"].as_str().unwrap().contains("rel=\"first\""), "{value}");
    let refused = node.ably_get("/nothing?envelope=json");
    assert_eq!((refused.status, &refused.value()["statusCode"]), (200, &json!(404)));
    assert_eq!(refused.value()["response"]["error"]["code"], 40400);
}

#[test]
fn bodies_are_bounded_before_they_are_held() {
    let node = Node::start(Config { max_body_bytes: 4096, close_timeout: PATIENCE, ..quick() });
    let large = json!({ "data": "x".repeat(8192) });
    assert_eq!(node.ably_post("/channels/a/messages", &large).refused(), (400, 40009));
    // A batch may be larger than any request of the other API.
    let batch = json!([{ "channels": "a", "messages": large }]);
    assert_eq!(node.ably_post("/messages", &batch).status, 201);
    let huge = json!([{ "channels": "a", "messages": [{ "data": "x".repeat(2 * 1024 * 1024) }] }]);
    assert_eq!(node.ably_post("/messages", &huge).refused(), (400, 40009));
    // Who has no credentials is not listened to.
    let mut stream = node.tcp();
    stream.write_all(b"POST /channels/a/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
