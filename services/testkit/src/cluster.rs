//! Three `nats-server` processes that form one cluster.

use serde_json::Value;

use crate::free_port;
use crate::nats::{Nats, Signal};
use crate::wait::eventually;

/// A cluster of three, on loopback.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<Nats>,
}

impl NatsCluster {
    /// Starts three servers and waits until all are healthy and agree on a leader.
    pub async fn start() -> Self {
        let route_ports = [free_port(), free_port(), free_port()];
        let routes: Vec<String> = route_ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
        let mut nodes = Vec::new();
        for (index, port) in route_ports.iter().enumerate() {
            let extra = format!("cluster {{ name: test, listen: 127.0.0.1:{port}, routes: [{}] }}", routes.join(", "));
            let mut node = Nats::prepare(&format!("n{index}"), free_port(), &extra);
            node.spawn();
            nodes.push(node);
        }
        let mut cluster = Self { nodes };
        for node in &mut cluster.nodes {
            node.ready().await;
        }
        cluster
    }

    /// The servers.
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// One server, to stop or restart.
    pub fn node(&mut self, index: usize) -> &mut Nats {
        &mut self.nodes[index]
    }

    /// The URLs of all servers, beginning with `first`.
    pub fn urls_from(&self, first: usize) -> Vec<String> {
        let count = self.nodes.len();
        (0..count).map(|offset| self.nodes[(first + offset) % count].url()).collect()
    }

    /// The index of the server that leads `stream`, once there is one.
    pub async fn leader(&self, stream: &str) -> usize {
        eventually(&format!("a leader of {stream}"), || self.leader_now(stream)).await
    }

    async fn leader_now(&self, stream: &str) -> Option<usize> {
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            let Some(answer) = node.monitor("/jsz?streams=true").await else { continue };
            let leader = stream_details(&answer)
                .find(|details| details["name"] == stream)
                .and_then(|details| details["cluster"]["leader"].as_str().map(str::to_owned));
            let found = leader.and_then(|name| self.nodes.iter().position(|node| node.name() == name));
            if let Some(index) = found.filter(|index| self.nodes[*index].is_running()) {
                return Some(index);
            }
        }
        None
    }

    /// Kills or stops the leader of `stream`; gives its index.
    pub async fn stop_leader(&mut self, stream: &str, signal: Signal) -> usize {
        let leader = self.leader(stream).await;
        self.nodes[leader].stop(signal).await;
        leader
    }

    /// Kills or stops a server that does not lead `stream`; gives its index.
    pub async fn stop_follower(&mut self, stream: &str, signal: Signal) -> usize {
        let follower = (self.leader(stream).await + 1) % self.nodes.len();
        self.nodes[follower].stop(signal).await;
        follower
    }
}

fn stream_details(answer: &Value) -> impl Iterator<Item = &Value> {
    let accounts = answer["account_details"].as_array().into_iter().flatten();
    accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten())
}
