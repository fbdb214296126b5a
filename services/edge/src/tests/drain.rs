//! The way out.

use super::*;

#[test]
fn connections_are_told_to_reconnect_after_their_queue_is_flushed() {
    let mut node = Node::start(quick());
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
    let drained = node.stop();
    assert_eq!((drained.closed, drained.forced), (1, 1));
}

#[test]
fn during_the_grace_requests_are_served_and_new_clients_sent_elsewhere() {
    let node = Node::start(Config { drain_grace: Duration::from_secs(3600), ..quick() });
    let mut client = node.client();
    client.subscribe("room");
    let idle = node.tcp();
    node.shutdown.cancel();
    eventually(|| !node.readiness.is_ready(), || "still ready".to_owned());
    let body = json!({ "name": "e", "channel": "room", "data": "x" }).to_string();
    let query = signer().request("POST", "/apps/1001/events", &[], body.as_bytes(), now());
    // Reads to the end: keep-alive is over.
    let (status, _, _) = node.http(&request("POST", &format!("/apps/1001/events?{query}"), &body, ""));
    assert_eq!(status, 200);
    assert_eq!(client.next()["data"], "x");
    assert_eq!(node.upgraded("/app/app-key").close_code(), 4100);
    drop(idle);
}
