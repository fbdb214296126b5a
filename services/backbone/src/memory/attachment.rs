//! Live delivery in process.

use std::collections::VecDeque;
use std::sync::Arc;

use channels::Position;
use tokio::sync::broadcast::{self, error::RecvError};

use super::log::{Channel, Live};
use crate::attach::{Delivery, Gap};

/// A channel's live records in this process.
#[derive(Debug)]
pub struct Attachment {
    channel: Arc<Channel>,
    live: broadcast::Receiver<Live>,
    head: u64,
    /// The newest sequence that was delivered or told as missing.
    known: u64,
    stored: bool,
    ready: VecDeque<Delivery>,
}

impl Attachment {
    pub(super) fn new(channel: Arc<Channel>, stored: bool) -> Self {
        let (live, head) = channel.subscribe();
        Self { channel, live, head, known: head, stored, ready: VecDeque::new() }
    }

    pub(crate) fn head(&self) -> Position {
        self.channel.position(self.head)
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return delivery;
            }
            match self.live.recv().await {
                Ok(Live::Passing(record)) => return Delivery::Record(None, record),
                Ok(Live::Stored { sequence, .. }) if sequence <= self.known => {}
                Ok(Live::Stored { sequence, previous, record }) => {
                    if previous > self.known {
                        self.repair(previous);
                    }
                    self.known = sequence;
                    self.ready.push_back(Delivery::Record(Some(self.channel.position(sequence)), record));
                }
                Err(RecvError::Lagged(_)) => {
                    if self.stored {
                        self.repair(self.channel.newest());
                    }
                }
                // The channel, and with it the sender, is held by this attachment.
                Err(RecvError::Closed) => return std::future::pending().await,
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
