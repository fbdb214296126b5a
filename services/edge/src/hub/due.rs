//! The connections that a channel's task has something for, and has to write it to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::connection::measure;
use crate::connections::Peer;
use crate::metrics::{Metrics, Protocol};
use crate::queue::{Frame, Written};

/// How many sockets are written to before others get their turn: about half a millisecond.
const TURN: usize = 64;

/// Connections with room in their sockets, in whose queues something waits. Each is here once, whatever waits for it: what
/// comes faster than it is written leaves together. Those that are dropped write by themselves.
#[derive(Debug, Default)]
pub(super) struct Due {
    peers: VecDeque<Arc<Peer>>,
}

impl Due {
    /// Hands `frame` to `peer`.
    pub(super) fn push(&mut self, peer: &Arc<Peer>, frame: Frame) {
        if peer.queue.push_asleep(frame) {
            self.peers.push_back(Arc::clone(peer));
        }
    }

    /// Whether nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Writes to some of them, and lets others have their turn if there are more. Can be dropped at any time.
    pub(super) async fn write(&mut self, metrics: &Metrics) {
        let now = Instant::now();
        let (mut pusher, mut ably) = (Written::default(), Written::default());
        for peer in self.peers.drain(..TURN.min(self.peers.len())) {
            let written = peer.queue.flush(now, |frame| measure(metrics, frame));
            *match peer.client.protocol {
                Protocol::Pusher => &mut pusher,
                Protocol::Ably => &mut ably,
            } += written;
        }
        metrics.of(Protocol::Pusher).sent(pusher);
        metrics.of(Protocol::Ably).sent(ably);
        if self.peers.is_empty() {
            self.peers = VecDeque::new();
        } else {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.peers.iter().for_each(|peer| peer.queue.rouse());
    }
}
