//! The way out.

use tokio::net::TcpSocket;

use super::*;

#[test]
fn connections_are_told_to_reconnect_after_their_queue_is_flushed() {
    let mut node = Node::start(Config { close_timeout: PATIENCE, ..quick() });
    let mut clients: Vec<Client> = (0..20).map(|_| node.client()).collect();
    for client in &mut clients {
        client.subscribe("room");
    }
    node.publish("room", "last words");
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || (client.next()["data"].clone(), client.close_code(), client.socket.flush()))
        })
        .collect();
    assert!(node.readiness.is_ready());
    let drained = node.stop();
    assert_eq!((drained.closed, drained.forced), (20, 0));
    for reader in readers {
        let (data, code, _) = reader.join().unwrap();
        assert_eq!((data, code), (json!("last words"), 4200));
    }
    assert!(!node.readiness.is_ready());
    assert!(TcpStream::connect(node.address).is_err());
}

#[test]
fn one_who_does_not_answer_is_forced() {
    let mut node = Node::start(Config { close_timeout: Duration::from_millis(100), ..quick() });
    let _deaf = node.client();
    assert_eq!((node.metric("fanfare_draining"), node.metric("fanfare_forced_closes_total")), (0.0, 0.0));
    let drained = node.stop();
    assert_eq!((drained.closed, drained.forced), (1, 1));
    assert_eq!((node.metric("fanfare_draining"), node.metric("fanfare_forced_closes_total")), (1.0, 1.0));
}

#[test]
fn during_the_grace_requests_are_served_and_new_clients_let_in() {
    let node = Node::start(Config { drain_grace: Duration::from_secs(3600), ..quick() });
    let mut client = node.client();
    client.subscribe("room");
    node.shutdown.cancel();
    eventually(|| !node.readiness.is_ready(), || "still ready".to_owned());
    let mut late = node.client();
    late.subscribe("room");
    let body = json!({ "name": "e", "channel": "room", "data": "x" }).to_string();
    let query = signer().request("POST", "/apps/1001/events", &[], body.as_bytes(), now());
    // Reads to the end: keep-alive is over.
    let (status, _, _) = node.http(&request("POST", &format!("/apps/1001/events?{query}"), &body, ""));
    assert_eq!(status, 200);
    assert_eq!((&client.next()["data"], &late.next()["data"]), (&json!("x"), &json!("x")));
}

#[test]
fn behind_the_grace_new_clients_are_sent_elsewhere() {
    let node = Node::start(everlasting());
    node.close();
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4100);
}

/// A listener that closes resets whoever still waits in its backlog.
#[test]
fn whoever_has_come_before_the_listener_closes_is_answered() {
    let runtime = Node::runtime();
    let world = Arc::new(runtime.block_on(World::with(fixtures::app())));
    let listener = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(4096).unwrap()
    });
    let address = listener.local_addr().unwrap();
    let come = || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(request("GET", "/nothing", "", "").as_bytes()).unwrap();
        socket
    };
    // More than are accepted while the node is told to stop.
    let sockets: Vec<TcpStream> = (0..900).map(|_| come()).collect();
    let mut node = Node::listening(quick(), runtime, world, listener);
    node.stop();
    for mut socket in sockets {
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer:?}");
    }
}

/// Backends then ask over it what clients missed that were told to go.
#[test]
fn an_idle_http_connection_is_served_when_all_clients_were_told_to_go() {
    let mut node = Node::start(quick());
    let mut idle = node.tcp();
    let mut asks = || {
        let query = signer().request("GET", "/apps/1001/channels", &[], b"", now());
        idle.write_all(request("GET", &format!("/apps/1001/channels?{query}"), "", "").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(br#"{"channels":{}}"#) {
            let mut byte = [0];
            idle.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()
    };
    assert!(asks().starts_with("HTTP/1.1 200"));
    let clients = [node.client(), node.client()];
    node.shutdown.cancel();
    for mut client in clients {
        assert_eq!(client.close_code(), 4200);
    }
    node.await_metric(r#"fanfare_connections{protocol="pusher",transport="websocket"}"#, 0.0);
    assert!(asks().contains("connection: close"));
    node.stop();
}

/// Or the process would be cut by who waits for it, and exit as one that failed.
#[test]
fn sessions_that_part_slowly_take_none_of_the_time_behind_them() {
    let close_timeout = Duration::from_secs(5);
    let mut node = Node::start(Config { close_timeout, body_timeout: Duration::from_secs(3600), ..quick() });
    // One that does not come back for its next poll, and a request that never ends.
    let poll = request("POST", "/app/app-key/1/aaaaaaaa/xhr?protocol=7", "", "Connection: close\r\n");
    assert_eq!(node.http(&poll).0, 200);
    let query = signer().request("POST", "/apps/1001/events", &[], b"0123456789", now());
    let mut endless = node.tcp();
    let head = format!("POST /apps/1001/events?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    endless.write_all(head.as_bytes()).unwrap();
    // Sockets are accepted in their order.
    node.client().check();
    let drained = node.stop();
    assert_eq!(drained.forced, 1);
    let patience = close_timeout + Duration::from_secs(8);
    assert!((patience..patience + close_timeout).contains(&drained.took), "{:?}", drained.took);
}
