//! Live delivery in process.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use channels::Position;
use tokio::task::coop::consume_budget;

use super::inbox::Found;
use super::log::{Channel, Listening, Live};
use crate::attach::{Delivery, Gap};

/// A channel's live records in this process.
#[derive(Debug)]
pub struct Attachment {
    channel: Arc<Channel>,
    listening: Listening,
    /// The newest sequence that was delivered or told as missing.
    known: u64,
    ready: VecDeque<Delivery>,
}

impl Attachment {
    pub(super) fn new(channel: Arc<Channel>) -> Self {
        let listening = channel.listen();
        let known = listening.head;
        Self { channel, listening, known, ready: VecDeque::new() }
    }

    pub(crate) fn head(&self) -> Position {
        self.channel.position(self.listening.head)
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return delivery;
            }
            // Lets other tasks run if this one has been busy for long.
            consume_budget().await;
            match poll_fn(|cx| self.listening.inbox.poll_next(cx)).await {
                Found::Live(live) => self.on_live(live),
                // What was lost is newer than all that waited, and nothing newer may follow to show it.
                Found::Overflow => self.repair(self.channel.newest()),
            }
        }
    }

    fn on_live(&mut self, live: Live) {
        match live {
            Live::Passing(record) => self.ready.push_back(Delivery::Record(None, record)),
            Live::Stored { sequence, .. } if sequence <= self.known => {}
            Live::Stored { sequence, previous, record } => {
                if previous > self.known {
                    self.repair(previous);
                }
                self.known = sequence;
                self.ready.push_back(Delivery::Record(Some(self.channel.position(sequence)), record));
            }
        }
    }

    /// Queues the records in `(known, up_to]` from the log, after a gap if some are gone.
    fn repair(&mut self, up_to: u64) {
        let (records, missing_up_to) = self.channel.between(self.known, up_to);
        if missing_up_to > self.known {
            let gap = Gap { after: self.channel.position(self.known), resumes: self.channel.position(missing_up_to) };
            self.ready.push_back(Delivery::Gap(gap));
        }
        for (sequence, record) in records {
            self.ready.push_back(Delivery::Record(Some(self.channel.position(sequence)), record));
        }
        self.known = up_to;
    }
}
