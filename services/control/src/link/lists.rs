//! What all nodes have, put together.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use proto::control::node_message::Answer;
use proto::control::node_order::{CloseConnection, ListChannels, ListConnections, Order};
use proto::control::{Channel, Connection};

use super::node::Unreached;
use super::nodes::Nodes;

/// Part of an ordered list, from all nodes that answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed<T> {
    /// What is in it, in order.
    pub(crate) items: Vec<T>,
    /// Whether there is more behind it.
    pub(crate) more: bool,
    /// Nodes that did not answer in time, by id; an edge that is not attached by the id of its lease.
    pub(crate) unreached: Vec<String>,
}

/// Why a connection is not closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CloseError {
    /// No node has it.
    #[error("there is no such connection")]
    Unknown,
    /// No node that answered has it; these did not.
    #[error("no node that can be reached has it; not reached: {}", .0.join(", "))]
    Unreached(Vec<String>),
}

impl Nodes {
    /// Connections as `order` says, whose id is filled in here; `most` must not be 0.
    pub(crate) async fn connections(&self, order: ListConnections) -> Listed<Connection> {
        let most = usize::try_from(order.most).unwrap_or(usize::MAX);
        let (answers, unreached) =
            self.ask_edges(|id| Order::ListConnections(ListConnections { id, ..order.clone() })).await;
        let mut more = answers.iter().any(|answer| answer.more);
        let mut items: Vec<Connection> = answers.into_iter().flat_map(|answer| answer.connections).collect();
        items.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        // Each node tells its first ones, so that the first of all are among them.
        more |= items.len() > most;
        items.truncate(most);
        Listed { items, more, unreached }
    }

    /// Channels as `order` says, whose id is filled in here; `most` must not be 0.
    pub(crate) async fn channels(&self, order: ListChannels) -> Listed<Channel> {
        let most = usize::try_from(order.most).unwrap_or(usize::MAX);
        let (answers, unreached) = self.ask_edges(|id| Order::ListChannels(ListChannels { id, ..order.clone() })).await;
        let mut more = answers.iter().any(|answer| answer.more);
        let mut channels: BTreeMap<String, Channel> = BTreeMap::new();
        for channel in answers.into_iter().flat_map(|answer| answer.channels) {
            match channels.get_mut(&channel.name) {
                // Each says how many there are in the cluster, some a little later than others.
                Some(known) => {
                    known.subscriptions = known.subscriptions.max(channel.subscriptions);
                    known.users = known.users.max(channel.users);
                }
                None => drop(channels.insert(channel.name.clone(), channel)),
            }
        }
        more |= channels.len() > most;
        Listed { items: channels.into_values().take(most).collect(), more, unreached }
    }

    /// Closes a connection, wherever it is.
    pub(crate) async fn close(&self, app: &str, connection: &str, is_final: bool) -> Result<(), CloseError> {
        let (app_id, connection) = (app.to_owned(), connection.to_owned());
        let order = CloseConnection { id: 0, app_id, connection, r#final: is_final };
        let (answers, unreached) =
            self.ask_edges(|id| Order::CloseConnection(CloseConnection { id, ..order.clone() })).await;
        if answers.iter().any(|answer| answer.error.is_empty()) {
            return Ok(());
        }
        Err(if unreached.is_empty() { CloseError::Unknown } else { CloseError::Unreached(unreached) })
    }

    /// What the edges answer, and those that do not.
    async fn ask_edges(&self, order: impl Fn(u64) -> Order) -> (Vec<Answer>, Vec<String>) {
        let mut unreached = self.missing_edges();
        let edges = self.edges();
        let asked = edges.iter().map(|node| {
            let id = self.next_order();
            node.ask(id, order(id))
        });
        let mut answers = Vec::with_capacity(edges.len());
        for (node, answer) in edges.iter().zip(join_all(asked).await) {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(Unreached) => unreached.push(node.hello.id.clone()),
            }
        }
        (answers, unreached)
    }
}
