//! Limits on heads, bodies and time.

use super::*;

#[test]
fn a_large_head_is_431_and_a_large_body_413() {
    let node = Node::start(Config { max_header_bytes: 8 * 1024, max_body_bytes: 2048, ..quick() });
    let large = format!("X-Large: {}\r\nConnection: close\r\n", "x".repeat(9 * 1024));
    let mut stream = node.tcp();
    stream.write_all(request("GET", "/", "", &large).as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    assert_eq!(parse(&String::from_utf8_lossy(&answer)).0, 431);
    let fits = format!("X-Large: {}\r\nConnection: close\r\n", "x".repeat(7 * 1024));
    assert_eq!(node.http(&request("GET", "/", "", &fits)).0, 404);

    // By its announced length, before anything is sent.
    let announced = "POST /apps/1001/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2049\r\n\r\n";
    let (status, head, body) = node.http(announced);
    assert_eq!((status, body.contains("2048 bytes")), (413, true), "{body}");
    assert!(head.contains("connection: close"), "{head}");
    // And without one.
    let chunk = "x".repeat(3000);
    let query = signer().request("POST", "/apps/1001/events", &[], chunk.as_bytes(), now());
    let chunked = format!(
        "POST /apps/1001/events?{query} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
        chunk.len()
    );
    assert_eq!(node.http(&chunked).0, 413);
}

/// Most libraries send all of a body before they look for an answer. A socket closed with unread bytes would be reset,
/// and the answer lost with it.
#[test]
fn a_client_that_sends_on_still_gets_its_413() {
    let node = Node::start(Config { max_body_bytes: 2048, close_timeout: PATIENCE, ..quick() });
    let body = "x".repeat(5 * 1024 * 1024);
    for _ in 0..5 {
        assert_eq!(node.http(&request("POST", "/apps/1001/events", &body, "")).0, 413);
    }
}

#[test]
fn who_never_stops_sending_is_left() {
    let node = Node::start(Config { max_body_bytes: 2048, close_timeout: Duration::from_millis(200), ..quick() });
    let mut stream = node.tcp();
    stream.write_all(b"POST /apps/1001/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n").unwrap();
    let begun = Instant::now();
    while stream.write_all(&[b'x'; 1024]).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "still read");
    }
}

#[test]
fn who_cannot_sign_is_refused_before_the_body() {
    let node = Node::start(Config { body_timeout: Duration::from_secs(3600), ..quick() });
    for (query, status) in [
        (String::new(), 401),
        (signer().request("POST", "/apps/1001/events", &[], b"{}", now() - 700), 401),
        (signer().request("POST", "/apps/1001/batch_events", &[], b"{}", now()), 401),
        ("a=1&a=2".to_owned(), 401),
        ("a=%ff".to_owned(), 400),
    ] {
        let head = format!("POST /apps/1001/events?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(node.http(&head).0, status, "{query}");
    }
    let nowhere = "POST /apps/77/events HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(node.http(nowhere).0, 404);
}

#[test]
fn who_says_nothing_is_put_out() {
    let node = Node::start(Config { handshake_timeout: Duration::from_millis(200), ..quick() });
    let mut silent = node.tcp();
    let mut half = node.tcp();
    half.write_all(b"GET /app/app-key HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut bytes = Vec::new();
    silent.read_to_end(&mut bytes).unwrap();
    half.read_to_end(&mut bytes).ok();
    assert!(bytes.is_empty());
    node.await_metric(r#"fanfare_connections_refused_total{reason="handshake_timeout"}"#, 2.0);
    // Who said something in time is not.
    node.client_in_time().check();
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let node = Node::start(Config { body_timeout: Duration::from_millis(100), ..quick() });
    let query = signer().request("POST", "/apps/1001/events", &[], b"0123456789", now());
    let late = format!("POST /apps/1001/events?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(node.http(&late).0, 408);
}

#[test]
fn an_idle_keep_alive_connection_is_closed() {
    let node = Node::start(Config { keep_alive_timeout: Duration::from_millis(200), ..quick() });
    let begun = Instant::now();
    let answer = node.http(&request("GET", "/", "", ""));
    assert_eq!(answer.0, 404);
    assert!(begun.elapsed() > Duration::from_millis(150), "it was not kept");
}

#[test]
fn a_full_node_tells_sockets_to_come_back_without_reading_them() {
    let node = Node::start(Config { max_connections: 1, ..quick() });
    // One connection, a sixteenth of one, and 64 more.
    let idle: Vec<TcpStream> = (0..65).map(|_| node.tcp()).collect();
    let mut answer = String::new();
    node.tcp().read_to_string(&mut answer).unwrap();
    let (status, head, body) = parse(&answer);
    assert_eq!(status, 503, "{answer}");
    assert!(head.contains("retry-after: ") && head.contains("connection: close"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"]["code"], 50005);
    node.await_metric(r#"fanfare_connections_refused_total{reason="connection_limit"}"#, 1.0);
    drop(idle);
    eventually(|| node.publish_is_served(), || "no socket became free".to_owned());
}

impl Node {
    fn publish_is_served(&self) -> bool {
        let mut stream = self.tcp();
        stream.write_all(request("GET", "/", "", "Connection: close\r\n").as_bytes()).ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        parse(&answer).0 == 404
    }
}
