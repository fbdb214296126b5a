//! A client's connection, whatever it speaks and whatever carries it.
//!
//! Each protocol has a session, a pure state machine, and tasks that read their client's frames into it and write what the
//! queue holds. What they have in common is here: who may have a connection, a connection's place in the node, its
//! queue's way to the socket, and its end. Everything a client gets passes its queue, in order.

pub(crate) mod ably;
mod opening;
pub(crate) mod pusher;
mod socket;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use channels::{ConnectionId, Record};
use proto::control::TailKind;
use telemetry::Counter;

use crate::connections::{Admission, Client, Peer};
use crate::metrics::{Metrics, OfProtocol};
use crate::queue::{Ending, Frame, Written};
use crate::server::Shared;
use crate::tail::Told;
pub(crate) use opening::{NotPlaced, Visitor, place};
pub(crate) use pusher::{WebSocketTask, admit, xhr};
pub(crate) use socket::{RefusedSocket, refuse};

/// WebSocket's number for a close without one.
const NO_CODE: u16 = 1005;

/// A connection's place in the node.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: Arc<Peer>,
    /// Given back at the very end.
    _admission: Admission,
}

impl Core {
    /// A connection that is part of the node from now on; its client began to connect when it `begun`.
    pub(crate) fn open(
        shared: Arc<Shared>,
        mut admission: Admission,
        id: ConnectionId,
        client: Client,
        begun: Instant,
    ) -> Self {
        let peer = Arc::new(Peer::new(id, Arc::clone(admission.meter()), client, shared.config.send_queue_bytes));
        admission.establish(&peer);
        // The app may have changed after it was looked at and before this connection could be told.
        peer.queue.recheck();
        if shared.closing.is_cancelled() {
            peer.queue.end(Ending::Draining);
        }
        let core = Self { shared, peer, _admission: admission };
        let of_protocol = core.of_protocol();
        of_protocol.handshake_seconds.record(begun.elapsed().as_secs_f64());
        of_protocol.connections(core.peer.client.transport).increment(1);
        of_protocol.opened.increment(1);
        core.tell(Told { kind: TailKind::Connected, ..core.told() });
        core
    }

    /// What is counted of its protocol.
    pub(crate) fn of_protocol(&self) -> &OfProtocol {
        self.shared.metrics.of(self.peer.client.protocol)
    }

    /// Tells those who tail the app.
    pub(crate) fn tell(&self, told: Told<'_>) {
        self.shared.tails.tell(&self.peer.app, told);
    }

    /// What they are told of this connection.
    pub(crate) fn told(&self) -> Told<'_> {
        Told { connection: self.peer.id.as_str(), ..Told::default() }
    }

    /// Closes the queue. With `flush`, gives what still waits there to be written; what does not get to the client is
    /// counted as `discarded`.
    pub(crate) fn close_queue(&self, flush: bool, discarded: &Counter) -> VecDeque<Frame> {
        let (mut rest, mut dropped) = self.peer.queue.close();
        if !flush {
            // The rest of a frame has to be written, or the close frame could not be read.
            let kept = usize::from(rest.front().is_some_and(|frame| frame.begun));
            dropped += rest.drain(kept..).map(|frame| u64::from(frame.messages)).sum::<u64>();
        }
        discarded.increment(dropped);
        if dropped > 0 {
            let reason = "not written before the connection ended";
            self.tell(Told { kind: TailKind::Dropped, reason, count: dropped, ..self.told() });
        }
        rest
    }

    /// Counts what was written.
    pub(crate) fn count(&self, written: Written) {
        self.of_protocol().sent(written);
    }

    /// Counts that its client did not part in time, so that it is cut.
    pub(crate) fn count_forced(&self) {
        self.shared.forced.fetch_add(1, Ordering::Relaxed);
        self.shared.metrics.forced_closes.increment(1);
    }

    /// Counts its end, with `code` if there was one, for this `reason`.
    pub(crate) fn count_out(&self, code: Option<u32>, reason: &str) {
        self.of_protocol().closed(code).increment(1);
        let (app, connection) = (&self.peer.app, self.peer.id.as_str());
        tracing::debug!(%app, connection, code, "a connection ended");
        self.shared.metrics.send_queue_peak.record(f64::from(self.peer.queue.peak()));
        self.tell(Told { kind: TailKind::Closed, code: code.unwrap_or_default(), reason, ..self.told() });
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // However it ended, a panic included.
        self.of_protocol().connections(self.peer.client.transport).decrement(1);
    }
}

/// The bytes of a record that its app is accounted for.
pub(crate) fn data_bytes(record: &Record) -> u64 {
    record.messages.iter().map(|message| message.data.len() as u64).sum()
}

/// Notes how long a measured delivery took, when the socket has taken its last byte.
pub(crate) fn measure(metrics: &Metrics, frame: &Frame) {
    if let Some(timing) = frame.timing() {
        metrics.delivery_queue.record(timing.queued.elapsed().as_secs_f64());
        metrics.delivery_total.record(clock::seconds_since(timing.accepted_ms));
    }
}
