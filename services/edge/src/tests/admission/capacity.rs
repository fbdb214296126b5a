//! A node that is full says so, to those who ask and to those who come.

use telemetry::State;

use super::*;
use crate::MemoryLimit;
use crate::tests::sse;

const MIB: usize = 1 << 20;

impl Node {
    /// Why it is not ready; empty if it is.
    fn unready(&self) -> String {
        match &self.readiness.report().checks[0].state {
            State::Ready => String::new(),
            State::NotReady(reason) => reason.to_string(),
        }
    }
}

#[test]
fn a_node_with_all_its_connections_is_not_ready_until_some_are_gone() {
    let node = Node::start(Config { max_connections: 40, ..quick() });
    eventually(|| node.readiness.is_ready(), || node.unready());
    let mut clients: Vec<_> = (0..40).map(|_| node.client()).collect();
    eventually(|| node.unready().contains("40 connections"), || node.unready());
    let gone = |clients: &mut Vec<Client>, left: usize| {
        clients.truncate(left);
        let connections = r#"fanfare_connections{protocol="pusher",transport="websocket"}"#;
        node.await_metric(connections, f64::from(u32::try_from(left).unwrap()));
    };
    // One is not enough, or it would be ready and not by turns. It is looked at ten times a second.
    gone(&mut clients, 39);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!node.readiness.is_ready());
    gone(&mut clients, 38);
    eventually(|| node.readiness.is_ready(), || node.unready());
}

/// What a process has that is told to keep room for `more`.
fn limit(more: usize) -> MemoryLimit {
    let resident = telemetry::Resources::of_this_process().unwrap().memory_bytes;
    MemoryLimit::Bytes(resident + more as u64)
}

#[test]
fn a_node_without_memory_keeps_who_is_there_and_takes_nobody() {
    let _alone = MEMORY.lock();
    let node = Node::start(Config { memory_limit: limit(256 * MIB), ..quick() });
    eventually(|| node.readiness.is_ready(), || node.unready());
    let mut client = node.client();
    client.subscribe("room");
    let (mut publisher, mut upgrading, mut realtime, mut streaming) = (node.tcp(), node.tcp(), node.tcp(), node.tcp());
    for stream in [&mut publisher, &mut upgrading, &mut realtime, &mut streaming] {
        assert_eq!(kept(stream, &publishing()).0, 200);
        assert_eq!(client.next()["data"], "x");
    }

    let ballast = std::hint::black_box(vec![1_u8; 512 * MIB]);
    eventually(|| node.unready().contains("MiB of memory"), || node.unready());
    let (status, head, body) = answer(node.tcp());
    assert!(status == 503 && head.contains("retry-after: ") && body.contains("memory"), "{head}\n{body}");
    // What is there goes on; what wants to become a connection is told in its own words.
    assert_eq!(kept(&mut publisher, &publishing()).0, 200);
    assert_eq!(client.next()["data"], "x");
    let (socket, _) = tungstenite::client::client(node.upgrade("/app/app-key", &[]), upgrading).unwrap();
    assert_eq!(Client { socket, socket_id: String::new() }.close_code(), 4100);
    let path = "/?key=app-key:app-secret";
    let (mut socket, _) = tungstenite::client::client(node.upgrade(path, &[]), realtime).unwrap();
    let told: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
    assert_eq!((&told["action"], &told["error"]["statusCode"]), (&json!(6), &json!(503)), "{told}");
    let (status, head) = kept(&mut streaming, &request("GET", &format!("/sse?{}&channels=a", sse::KEY), "", ""));
    assert!(status == 503 && head.contains("retry-after: "), "{head}");
    node.await_metric(&refused("memory"), 4.0);

    drop(ballast);
    eventually(|| node.readiness.is_ready(), || node.unready());
    node.client().check();
}
