//! `fanfare admin node …`

use clap::Subcommand;
use proto::control as wire;
use proto::control::node_service_client::NodeServiceClient;

use super::client::Way;
use super::table::{bytes, list as table};
use super::{Answer, Failure, moment};

/// What can be done with the processes of the cluster.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List every node that lives
    List,
    /// Have a node send its clients to other ones and end, as at a SIGTERM
    Drain {
        /// The node's id
        id: String,
    },
}

impl Command {
    pub(super) async fn run(self, way: &Way) -> Result<Answer, Failure> {
        let mut client = NodeServiceClient::new(way.open().await?);
        match self {
            Self::List => {
                let nodes = client.list_nodes(wire::ListNodesRequest {}).await?.into_inner();
                Ok(Answer::new(&nodes, list(&nodes.nodes)))
            }
            Self::Drain { id } => {
                let drained = client.drain_node(wire::DrainNodeRequest { id }).await?.into_inner();
                Ok(Answer::new(&drained, "told to drain\n"))
            }
        }
    }
}

fn list(nodes: &[wire::Node]) -> String {
    let now_ms = clock::unix_ms();
    let rows = nodes.iter().map(|node| {
        let load = node.load.unwrap_or_default();
        let state = match node.state() {
            wire::NodeState::Serving => "serving",
            wire::NodeState::Draining => "draining",
            wire::NodeState::Silent => "silent",
            wire::NodeState::Unspecified => "unknown",
        };
        [
            node.id.clone(),
            node.name.clone(),
            node.roles.join(","),
            format!("{state}{}", if node.leader { ", leads" } else { "" }),
            node.version.clone(),
            moment::show_age(now_ms.saturating_sub(node.started_ms)),
            format!("{} of {}", load.connections, load.max_connections),
            load.channels.to_string(),
            format!("{:.1}", load.messages_in_per_second),
            format!("{:.1}", load.messages_out_per_second),
            bytes(load.memory_bytes),
            format!("{:.2}", load.cpu),
        ]
    });
    let heads =
        ["ID", "NAME", "ROLES", "STATE", "VERSION", "AGE", "CONNECTIONS", "CHANNELS", "IN/S", "OUT/S", "MEMORY", "CPU"];
    table(heads, rows)
}
