//! What the backbone promises, held to both variants: in process without and with a data directory, on one NATS server,
//! and between two processes on a cluster of three.

#![allow(clippy::unwrap_used, clippy::large_futures, reason = "a test says unwrap, and its size is no matter")]

#[path = "../connect/mod.rs"]
mod connect;
mod delivery;
mod history;
mod kv;
mod publishing;
mod queue;
mod registry;
mod support;

use backbone::{Backbone, Config};
use support::{Nodes, config};
use testkit::{Nats, NatsCluster};

/// Runs every case on `nodes`, each with an app of its own.
async fn conforms(nodes: &Nodes) {
    delivery::cases(nodes).await;
    history::cases(nodes).await;
    kv::cases(nodes).await;
    publishing::cases(nodes).await;
    queue::cases(nodes).await;
    registry::cases(nodes).await;
}

#[tokio::test]
async fn in_process() {
    let backbone = Backbone::memory(&config(1));
    conforms(&Nodes { a: backbone.clone(), b: backbone }).await;
}

#[tokio::test]
async fn in_process_with_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let backbone = Backbone::open(&config(1), dir.path()).unwrap();
    let nodes = Nodes { a: backbone.clone(), b: backbone };
    conforms(&nodes).await;
    kv::durable_cases(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_one_server() {
    let nats = Nats::start().await;
    let config = config(1);
    let nodes = Nodes {
        a: support::connect(&config, vec![nats.url()]).await,
        b: support::connect(&config, vec![nats.url()]).await,
    };
    conforms(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_three_servers() {
    let cluster = NatsCluster::start().await;
    let config = Config { replicas: 3, ..config(3) };
    let nodes = Nodes {
        a: support::connect(&config, vec![cluster.nodes()[0].url()]).await,
        b: support::connect(&config, vec![cluster.nodes()[1].url()]).await,
    };
    conforms(&nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moves_to_another_cluster() {
    registry::a_registry_moves_to_an_empty_cluster().await;
}
