//! Tails: what all nodes see of an app, for one who asked.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::control::node_message::TailBatch;
use proto::control::node_order::{BeginTail, EndTail, Order};
use proto::control::{TailEvent, TailRequest};
use tokio::sync::mpsc;

use super::node::{Node, Unreached};
use super::nodes::Nodes;

/// Most tails at one time on one replica; a node takes no more from one either.
const MAX_TAILS: usize = 16;

/// Events that wait to be read by who asked. What comes while so many do is left out, and counted.
const WAITING: usize = 1000;

/// As many tails as there may be are running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_TAILS} tails are running on this replica already")]
pub(crate) struct TooManyTails;

/// What is tailed.
#[derive(Debug, Default)]
pub(super) struct Tails(Mutex<HashMap<u64, Running>>);

#[derive(Debug)]
struct Running {
    request: TailRequest,
    events: mpsc::Sender<TailEvent>,
    /// Left out since the last event that was not.
    omitted: u64,
}

/// What nodes see. Dropping it ends the tail on all of them.
#[derive(Debug)]
pub(crate) struct Tail {
    id: u64,
    events: mpsc::Receiver<TailEvent>,
    nodes: Nodes,
}

impl Nodes {
    /// Begins a tail on every node, and on those that come.
    pub(crate) fn tail(&self, request: TailRequest) -> Result<Tail, TooManyTails> {
        let id = self.next_order();
        let (sender, events) = mpsc::channel(WAITING);
        let mut running = self.tails().0.lock();
        if running.len() >= MAX_TAILS {
            return Err(TooManyTails);
        }
        running.insert(id, Running { request: request.clone(), events: sender, omitted: 0 });
        drop(running);
        // A node that attaches just now is told twice, which is once.
        self.edges().iter().for_each(|node| begin(node, id, &request));
        Ok(Tail { id, events, nodes: self.clone() })
    }
}

impl Tails {
    /// Has a node that has just come take part in everything that is running.
    pub(super) fn begin_all(&self, node: &Arc<Node>) {
        self.0.lock().iter().for_each(|(id, running)| begin(node, *id, &running.request));
    }

    /// Hands on what a node has seen. Never waits.
    pub(super) fn saw(&self, batch: TailBatch) {
        let mut tails = self.0.lock();
        let Some(running) = tails.get_mut(&batch.id) else { return };
        for mut event in batch.events {
            let omitted = event.omitted;
            event.omitted += running.omitted;
            match running.events.try_send(event) {
                Ok(()) => running.omitted = 0,
                Err(_) => running.omitted += omitted + 1,
            }
        }
    }
}

impl Tail {
    /// The next event.
    pub(crate) async fn next(&mut self) -> Option<TailEvent> {
        self.events.recv().await
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.nodes.tails().0.lock().remove(&self.id);
        for node in self.nodes.edges() {
            // A node that is not told keeps it until its stream ends; what it sends is dropped.
            if node.tell(Order::EndTail(EndTail { id: self.id })) == Err(Unreached) {
                tracing::debug!(node = node.hello.id, "a node was not told that a tail has ended");
            }
        }
    }
}

fn begin(node: &Node, id: u64, request: &TailRequest) {
    let order = BeginTail { id, request: Some(request.clone()) };
    if node.tell(Order::BeginTail(order)) == Err(Unreached) {
        tracing::warn!(node = node.hello.id, "a node takes no orders, and is missing from a tail");
    }
}
