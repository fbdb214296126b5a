//! Live delivery of one channel.

use std::sync::Arc;

use channels::{Position, Record};

use crate::{jetstream, memory};

/// What an attachment yields.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A record, in the channel's order. Without a position it was never stored (ephemeral tier, client events).
    Record(Option<Position>, Arc<Record>),
    /// Records may be missing here.
    Gap(Gap),
}

/// Records between two positions that an attachment cannot deliver, or whose absence it cannot prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Everything up to here was delivered.
    pub after: Position,
    /// Everything beyond here will be. In another epoch if the channel's log was made anew.
    pub resumes: Position,
}

/// Why a channel could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The backbone did not answer. Try again.
    #[error("the backbone did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A channel's live records. Dropping it ends the delivery.
#[derive(Debug)]
pub enum Attachment {
    /// Over JetStream.
    JetStream(Box<jetstream::Attachment>),
    /// In this process.
    Memory(memory::Attachment),
}

impl Attachment {
    /// The newest position when the delivery began: history up to here and the attachment's records from here make
    /// one whole.
    pub fn head(&self) -> Position {
        match self {
            Self::JetStream(attachment) => attachment.head(),
            Self::Memory(attachment) => attachment.head(),
        }
    }

    /// The next delivery. Waits through outages of the backbone. Cancel-safe: what is not returned comes next time.
    pub async fn next(&mut self) -> Delivery {
        match self {
            Self::JetStream(attachment) => attachment.next().await,
            Self::Memory(attachment) => attachment.next().await,
        }
    }
}
