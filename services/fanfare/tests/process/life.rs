//! Starting, running and stopping.

use std::net::TcpListener;

use testkit::Nats;
use tokio::net::TcpSocket;

use crate::server::{Server, finished};

const TOKEN: &str = "hush-hush-hush-hush";
const CLUSTER_KEY: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2";

/// A single NATS server and a cluster made for it.
const SMALL: [(&str, &str); 6] = [
    ("FANFARE_ADMIN_TOKEN", TOKEN),
    ("FANFARE_CLUSTER_KEY", CLUSTER_KEY),
    ("FANFARE_BACKBONE_SHARDS", "2"),
    ("FANFARE_BACKBONE_REPLICAS", "1"),
    ("FANFARE_DRAIN_GRACE", "0s"),
    ("FANFARE_DRAIN_DURATION", "0s"),
];

#[test]
fn dev_greets_serves_and_drains() {
    let mut server = Server::start(&["dev"], &[]);
    server.wait_for("app-secret");
    assert_eq!(server.wait_until_ready_is(200), "ready\nbackbone: ready\nedge: ready\ncontrol: ready\nworker: ready\n");
    let (_, metrics) = server.get("/metrics");
    for metric in ["fanfare_build_info{version=", "fanfare_backbone_up 1", "process_open_fds "] {
        assert!(metrics.contains(metric), "{metric} in\n{metrics}");
    }
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("\"message\":\"drained\""), "{log}");
    // One line says how the clients fared, and its absence that they were cut.
    let lines: Vec<serde_json::Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> = lines.iter().filter(|line| line["message"] == "edge has drained").collect();
    let [told] = told[..] else { panic!("one line, and not {told:?}") };
    assert_eq!((&told["closed"], &told["forced"]), (&0.into(), &0.into()), "{told}");
    assert!(told["took"].is_string(), "{told}");
}

#[test]
fn a_draining_process_is_alive_and_not_ready_until_somebody_is_in_a_hurry() {
    let mut server = Server::start(&["dev", "--set", "drain.grace=1h"], &[]);
    server.wait_until_ready_is(200);
    server.signal("TERM");
    server.wait_for("\"message\":\"draining");
    server.signal("TERM");
    assert!(server.wait_until_ready_is(503).starts_with("draining\n"));
    assert_eq!(server.get("/livez").0, 200);
    server.signal("INT");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("told to hurry: stopping at once"), "{log}");
}

#[test]
fn without_nats_it_waits_and_says_for_what() {
    // Bound and not listening: refuses connections, and nobody else gets the port.
    let closed = TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nats = format!("nats://{}", closed.local_addr().unwrap());
    let mut server = Server::start(&["run", "--nats", &nats], &SMALL);
    server.wait_for("NATS is not there yet");
    let body = server.wait_until_ready_is(503);
    assert!(body.contains("backbone: not ready: NATS is not there yet"), "{body}");
    assert_eq!(server.get("/livez").0, 200, "a process that waits is alive");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, error) = crate::server::run(&["dev", "--listen", &address, "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(code, 1);
    assert!(error.contains(&format!("fanfare: cannot listen on {address} (listen): ")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_another_shape_is_refused_with_a_sentence() {
    let nats = Nats::start().await;
    let first = Server::start(&["run", "--nats", &nats.url()], &SMALL);
    first.wait_until_ready_is(200);
    let mut command = crate::server::command(&["run", "--nats", &nats.url(), "--listen", "127.0.0.1:0"]);
    command.args(["--control-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    let output = command.envs(SMALL).env("FANFARE_BACKBONE_SHARDS", "3").output().unwrap();
    let (code, _, error) = finished(output);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("fanfare: the backbone refuses these settings: "), "{error}");
    first.signal("TERM");
    let (_, log) = first.wait();
    assert!(!log.contains(TOKEN) && !log.contains(CLUSTER_KEY), "logs carry no secrets:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_serves_while_no_control_plane_is_there() {
    let nats = Nats::start().await;
    let directory = tempfile::tempdir().unwrap();
    let seed = directory.path().join("apps.toml");
    std::fs::write(&seed, "[[app]]\nid = \"1001\"\n[[app.key]]\nname = \"app-key\"\nsecret = \"app-secret\"\n")
        .unwrap();
    let whole = Server::start(&["run", "--nats", &nats.url(), "--seed", seed.to_str().unwrap()], &SMALL);
    whole.wait_until_ready_is(200);
    whole.signal("TERM");
    let (status, log) = whole.wait();
    assert_eq!(status.code(), Some(0), "{log}");

    let edge = Server::start(&["run", "--nats", &nats.url(), "--role", "edge"], &SMALL);
    edge.wait_until_ready_is(200);
    assert!(crate::admin::publish(&edge).contains(" 200 "), "it knows the app from the backbone");
    edge.signal("TERM");
    let (status, log) = edge.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}
