//! Limits for each client address, and whose address counts.

use super::*;
use crate::tests::sse;

#[test]
fn an_address_has_so_many_sockets_and_the_next_is_429() {
    let node = Node::start(Config { address_connections: 2, ..quick() });
    let (first, mut second) = (node.client(), node.tcp());
    assert_eq!(kept(&mut second, &publishing()).0, 200);
    let (status, head, body) = answer(node.tcp());
    assert_eq!(status, 429, "{head}");
    assert!(head.contains("retry-after: ") && head.contains("connection: close"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["error"]["statusCode"], 429);
    node.await_metric(&refused("address"), 1.0);
    node.greeted(node.tcp_from("127.0.0.2"), &[]).check();
    // Who is in is not asked again.
    assert_eq!(kept(&mut second, &publishing()).0, 200);
    drop(first);
    eventually(|| ask(node.tcp(), "").0 == 404, || "its place did not become free".to_owned());
}

#[test]
fn an_address_that_comes_too_often_has_to_wait() {
    let node = Node::start(Config { address_rate: 3, ..quick() });
    let (begun, mut served) = (Instant::now(), 0);
    let refused = loop {
        match ask(node.tcp(), "").0 {
            404 => served += 1,
            status => break status,
        }
        assert!(begun.elapsed() < PATIENCE, "never refused");
    };
    // A second's worth at once, and however long this took at that rate.
    let most = 3.0 + 3.0 * begun.elapsed().as_secs_f64();
    assert!(refused == 429 && served >= 3 && f64::from(served) <= most, "{refused} behind {served} of {most}");
    assert_eq!(ask(node.tcp_from("127.0.0.2"), "").0, 404);
    eventually(|| ask(node.tcp(), "").0 == 404, || "never let in again".to_owned());
}

#[test]
fn nobody_speaks_for_others_who_is_not_believed() {
    let node = Node::start(Config { trusted_proxies: networks(&["127.0.0.2"]), address_connections: 1, ..quick() });
    let spoofed = [("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")];
    let stream = node.tcp();
    let own = stream.local_addr().unwrap().to_string();
    let mut client = node.greeted(stream, &spoofed);
    assert_eq!(node.addresses(), [own]);
    // Neither for its own good nor to another's harm.
    assert_eq!(answer(node.tcp()).0, 429);
    node.greeted(node.tcp_from("127.0.0.2"), &[("X-Forwarded-For", "192.0.2.7")]).check();
    client.check();
}

#[test]
fn who_is_believed_speaks_for_the_last_one_that_is_not() {
    let node = Node::start(Config { trusted_proxies: networks(&["127.0.0.0/8", "10.0.0.0/8"]), ..quick() });
    for (headers, expected) in [
        (vec![("X-Forwarded-For", "192.0.2.7")], "192.0.2.7:0"),
        (vec![("X-Forwarded-For", "6.6.6.6, 192.0.2.7, 10.0.0.3")], "192.0.2.7:0"),
        (vec![("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "[2001:db8::7]:99")], "[2001:db8::7]:99"),
        (vec![("Forwarded", "for=\"[2001:db8::8]\";proto=https")], "[2001:db8::8]:0"),
    ] {
        let client = node.greeted(node.tcp(), &headers);
        assert_eq!(node.addresses(), [expected]);
        drop(client);
        eventually(|| node.addresses().is_empty(), || "still listed".to_owned());
    }
}

#[test]
fn clients_behind_a_proxy_have_their_own_limits_and_words() {
    let node = Node::start(Config { trusted_proxies: networks(&["127.0.0.1"]), address_connections: 1, ..quick() });
    let from = |address: &'static str| [("X-Forwarded-For", address)];
    let mut first = node.greeted(node.tcp(), &from("192.0.2.7"));
    let mut other = node.greeted(node.tcp(), &from("192.0.2.8"));
    let path = "/app/app-key?protocol=7";
    let (socket, _) = tungstenite::client::client(node.upgrade(path, &from("192.0.2.7")), node.tcp()).unwrap();
    assert_eq!(Client { socket, socket_id: String::new() }.close_code(), 4100);
    // Of one that may be tried again: after a 429 an Ably client would give up.
    let path = "/?key=app-key:app-secret";
    let (mut socket, _) = tungstenite::client::client(node.upgrade(path, &from("192.0.2.7")), node.tcp()).unwrap();
    let told: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
    assert_eq!((&told["action"], &told["error"]["code"]), (&json!(6), &json!(50005)), "{told}");
    let stream = format!("/sse?{}&channels=a", sse::KEY);
    let stream = request("GET", &stream, "", "X-Forwarded-For: 192.0.2.7\r\n");
    let (status, head) = kept(&mut node.tcp(), &stream);
    assert!(status == 429 && head.contains("retry-after: "), "{head}");
    node.await_metric(&refused("address"), 3.0);
    // Requests are no connections, and neither is the proxy.
    for _ in 0..5 {
        assert_eq!(ask(node.tcp(), "X-Forwarded-For: 192.0.2.7\r\n").0, 404);
    }
    first.check();
    other.check();
    drop(first);
    let free = || {
        let (socket, _) =
            tungstenite::client::client(node.upgrade("/app/app-key", &from("192.0.2.7")), node.tcp()).unwrap();
        Client { socket, socket_id: String::new() }.first_close().is_none()
    };
    eventually(free, || "its place did not become free".to_owned());
}

/// Their sockets come and go, and a session outlasts the one that it began on.
#[test]
fn sessions_of_the_fallback_have_the_place_of_their_first_socket() {
    let node = Node::start(Config { address_connections: 3, ..quick() });
    let polls = |node: &Node, session: u32| {
        let stream = node.tcp();
        let target = format!("/app/app-key/1/{session:08}/xhr?protocol=7");
        (&stream).write_all(request("POST", &target, "", "Connection: close\r\n").as_bytes()).ok();
        answer(stream).0
    };
    let statuses: Vec<_> = (0..6).map(|session| polls(&node, session)).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    // Where nobody asks for them again.
    let node = Node::start(Config { address_connections: 1, xhr_grace: Duration::from_secs(1), ..quick() });
    assert_eq!(polls(&node, 0), 200);
    node.await_metric(r#"fanfare_connections_closed_total{protocol="pusher",code="none"}"#, 1.0);
    eventually(|| ask(node.tcp(), "").0 == 404, || "its place did not become free".to_owned());
}

/// Otherwise its client could have as many as it likes.
#[test]
fn what_cannot_be_read_hides_nothing_that_a_proxy_wrote_behind_it() {
    let node = Node::start(Config { trusted_proxies: networks(&["127.0.0.1"]), address_connections: 1, ..quick() });
    let asks = || {
        let mut stream = node.tcp();
        let upgrade = "GET /app/app-key?protocol=7 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let line = b"X-Forwarded-For: \xff, 192.0.2.7\r\n\r\n";
        stream.write_all(&[upgrade.as_bytes(), line].concat()).unwrap();
        let mut first = [0; 1024];
        let read = stream.read(&mut first).unwrap();
        assert!(first[..read].starts_with(b"HTTP/1.1 101"));
        stream
    };
    let _first = asks();
    eventually(|| node.addresses() == ["192.0.2.7:0"], || format!("{:?}", node.addresses()));
    let _second = asks();
    node.await_metric(&refused("address"), 1.0);
}
