//! Clients that mean harm: slow ones, endless ones, and those that want to be unpacked. Each costs what its limit says, and
//! the others notice nothing. More of it stands in `limits`, `fuzz`, `socket` and `xhr`.

use std::io::ErrorKind;

use tungstenite::client::IntoClientRequest as _;

use super::fuzz::masked;
use super::*;
use crate::TlsConfig;

/// Writes a byte every 20 ms until the other side answers or closes, which it does about `patience` after it `begun` to
/// wait. Gives the status of its answer, if there is one.
fn dribble(stream: &mut TcpStream, byte: u8, begun: Instant, patience: Duration) -> u16 {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut answer = [0; 1024];
    let status = loop {
        // It may have closed, behind an answer.
        stream.write_all(&[byte]).ok();
        match stream.read(&mut answer) {
            Ok(read) => break parse(&String::from_utf8_lossy(&answer[..read])).0,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break 0,
            Err(_) => assert!(begun.elapsed() < PATIENCE, "still read"),
        }
    };
    // A timer may be a millisecond early. As late as one that nobody has set it is not.
    let took = begun.elapsed() + Duration::from_millis(50);
    assert!((patience..PATIENCE / 2).contains(&took), "{took:?} of {patience:?}");
    status
}

#[test]
fn a_head_that_dribbles_in_is_cut() {
    let times = Duration::from_millis(300);
    let node = Node::start(Config { handshake_timeout: times, ..quick() });
    let begun = Instant::now();
    let mut first = node.tcp();
    first.write_all(b"GET /app/app-key HTTP/1.1\r\nX: ").unwrap();
    assert_eq!(dribble(&mut first, b'x', begun, times), 0);
    node.await_metric(r#"fanfare_connections_refused_total{reason="handshake_timeout"}"#, 1.0);
    node.client_in_time().check();
    // Behind an answer, too.
    let node = Node::start(Config { keep_alive_timeout: times * 2, ..quick() });
    let begun = Instant::now();
    let mut second = node.tcp();
    second.write_all(request("GET", "/", "", "").as_bytes()).unwrap();
    assert_ne!(second.read(&mut [0; 4096]).unwrap(), 0);
    second.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    dribble(&mut second, b'x', begun, times * 2);
    node.client().check();
}

#[test]
fn a_body_that_dribbles_in_is_cut() {
    let times = Duration::from_millis(300);
    let node = Node::start(Config { body_timeout: times, ..quick() });
    let query = signer().request("POST", "/apps/1001/events", &[], &[b'x'; 100_000], now());
    let head = format!("POST /apps/1001/events?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    let begun = Instant::now();
    let mut stream = node.tcp();
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(dribble(&mut stream, b'x', begun, times), 408);
    node.client().check();
}

#[test]
fn a_tls_handshake_that_dribbles_in_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = Some(TlsConfig::new(cert, key));
    let times = Duration::from_millis(300);
    let node = Node::start(Config { tls, handshake_timeout: times, ..quick() });
    let begun = Instant::now();
    let mut stream = node.tcp();
    // A ClientHello of 16 KiB, which never comes.
    stream.write_all(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3]).unwrap();
    dribble(&mut stream, 0, begun, times);
    assert_eq!(node.tcp().read(&mut [0; 1]).unwrap(), 0, "who says nothing at all");
    node.await_metric(r#"fanfare_connections_refused_total{reason="handshake_timeout"}"#, 2.0);
}

#[test]
fn too_many_headers_are_431() {
    let node = Node::start(quick());
    let headers = |count: u32| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let (status, ..) = node.http(&request("GET", "/", "", &format!("{}Connection: close\r\n", headers(50))));
    assert_eq!(status, 404);
    let (status, ..) = node.http(&request("GET", "/", "", &headers(1000)));
    assert_eq!(status, 431);
    node.client().check();
}

#[test]
fn fragments_without_end_are_too_large_at_some_point() {
    let node = Node::start(quick());
    let mut client = node.client();
    let socket = client.socket.get_mut();
    socket.write_all(&masked(0x01, &[b'x'; 1000])).unwrap();
    let fragment = masked(0x00, &[b'x'; 1000]);
    let mut sent = 1;
    while socket.write_all(&fragment).is_ok() && sent < 10_000 {
        sent += 1;
        if node.metric(r#"fanfare_connections_closed_total{protocol="pusher",code="1009"}"#) > 0.0 {
            break;
        }
    }
    node.await_metric(r#"fanfare_connections_closed_total{protocol="pusher",code="1009"}"#, 1.0);
    node.client().check();
}

/// They are no sign of life, so that who sends nothing else is given up like one that is silent.
#[test]
fn empty_fragments_without_end_are_silence() {
    let config =
        Config { activity_timeout: Duration::from_secs(1), pong_timeout: Duration::from_millis(500), ..quick() };
    let node = Node::start(config);
    let mut client = node.client();
    let socket = client.socket.get_mut();
    socket.write_all(&masked(0x01, b"")).unwrap();
    let (fragments, begun) = (masked(0x00, b"").repeat(100), Instant::now());
    while socket.write_all(&fragments).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    node.await_metric(r#"fanfare_connections_closed_total{protocol="pusher",code="4201"}"#, 1.0);
    node.client().check();
}

/// Pongs wait for who pings and does not read them; beyond a few, it is not read either.
#[test]
fn a_flood_of_pings_is_held_back() {
    let _alone = MEMORY.lock();
    let node = Node::start(Config { close_timeout: Duration::from_millis(200), ..quick() });
    let (mut client, mut other) = (node.client(), node.client());
    let socket = client.socket.get_mut();
    socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let pings = masked(0x89, &[b'x'; 120]).repeat(1000);
    let before = telemetry::Resources::of_this_process().unwrap().memory_bytes;
    let (mut sent, mut stuck) = (0_usize, false);
    while !stuck && sent < 256 << 20 {
        // Whole frames, however slowly they are taken.
        match socket.write(&pings[sent % pings.len()..]) {
            Ok(bytes) => sent += bytes,
            // Not one that was closed.
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                stuck = true;
            }
        }
    }
    assert!(stuck, "all of {sent} bytes were read");
    let after = telemetry::Resources::of_this_process().unwrap().memory_bytes;
    // Of other tests, too.
    assert!(after < before + (128 << 20), "{before} {after}");
    other.check();
}

#[test]
fn thousands_of_subscriptions_stop_at_the_limit_of_the_app() {
    let mut app = fixtures::app();
    app.limits.channels_per_connection = 500;
    let node = Node::with_app(quick(), app);
    let mut client = node.client();
    let mut results = [0, 0];
    for number in 0..2000 {
        client.send(&json!({ "event": "pusher:subscribe", "data": { "channel": format!("c-{number}") } }));
        let answer = loop {
            let answer = client.next();
            if answer["event"] != "pusher:pong" {
                break answer;
            }
        };
        results[usize::from(answer["event"] == "pusher:subscription_error")] += 1;
    }
    assert_eq!(results, [500, 1500]);
    node.await_metric(r#"fanfare_subscribe_total{result="over_limit"}"#, 1500.0);
    client.check();
}

/// What is never unpacked cannot burst.
#[test]
fn compression_is_neither_agreed_to_nor_undone() {
    let node = Node::start(quick());
    let mut asking = format!("ws://{}/app/app-key?protocol=7", node.address).into_client_request().unwrap();
    let offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame".parse().unwrap();
    asking.headers_mut().insert("Sec-WebSocket-Extensions", offer);
    let (socket, response) = tungstenite::client::client(asking, node.tcp()).unwrap();
    assert!(!response.headers().contains_key("Sec-WebSocket-Extensions"), "{response:?}");
    let mut client = Client { socket, socket_id: String::new() };
    assert_eq!(client.next()["event"], "pusher:connection_established");
    // With the bit that says "compressed".
    client.socket.get_mut().write_all(&masked(0xc1, b"\x01")).unwrap();
    assert_eq!(client.close_code(), 1002);

    // gzip of a publish, {"name":"e","channel":"room","data":"xxx…"}, which would be done if it were unpacked; the
    // signature is that of the bytes as they are.
    let packed =
        b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabV\xcaK\xccMU\xb2RJU\xd2QJ\xceH\xcc\xcbK\xcd\x01\xf2\x8a\xf2\xf3s\x81\x02)\
        \x89%\x89@^\x05\x1d\x80R-\0\xeb\xb5\x19\xe0\x8b\0\0\0";
    let query = signer().request("POST", "/apps/1001/events", &[], packed, now());
    let head = format!(
        "POST /apps/1001/events?{query} HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        packed.len()
    );
    let mut stream = node.tcp();
    stream.write_all(&[head.as_bytes(), packed].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(parse(&answer).0, 400, "{answer}");
    let (_, head, _) = node.http(&request("GET", "/", "", "Accept-Encoding: gzip, br\r\nConnection: close\r\n"));
    assert!(!head.contains("content-encoding"), "{head}");
}
