//! Publishing: what is asked, what is answered, and order among one publisher's publishes.

use std::collections::HashMap;

use channels::{AppId, ChannelName, Position, Record, Tier};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Backbone;

/// Longest idempotency id in bytes.
const MAX_ID_BYTES: usize = 256;

/// What makes two publishes the same: within the dedupe window the second is acknowledged with the first one's
/// position and not stored again. Unique per app and channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyId(String);

/// A text that is not an [`IdempotencyId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("idempotency id must be 1 to {MAX_ID_BYTES} bytes without control characters")]
pub struct InvalidIdempotencyId;

impl IdempotencyId {
    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidIdempotencyId> {
        if id.is_empty() || id.len() > MAX_ID_BYTES || id.chars().any(char::is_control) {
            return Err(InvalidIdempotencyId);
        }
        Ok(Self(id.to_owned()))
    }

    /// An id nobody else has, which makes the backbone's own retries safe.
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One record for one channel.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The app.
    pub app: AppId,
    /// The channel.
    pub channel: ChannelName,
    /// The channel's tier, from the app's namespaces.
    pub tier: Tier,
    /// What to publish.
    pub record: Record,
    /// What makes a retry by the publisher harmless. `None`: each call is a publish of its own.
    pub idempotency: Option<IdempotencyId>,
}

/// An accepted publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where it stands in the channel's order; `None` on the ephemeral tier, which has none.
    pub position: Option<Position>,
    /// A publish with the same id was accepted before; this is its position.
    pub duplicate: bool,
}

/// Why a publish was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The record is larger than the backbone takes.
    #[error("the record is larger than the backbone takes")]
    TooLarge,
    /// The backbone could not take it for as long as the deadline lasts. It was not stored.
    #[error("the backbone is not available; the message was not accepted")]
    Unavailable,
    /// No answer within the deadline: it may or may not have been stored. Publishing again with the same id is safe
    /// within the dedupe window.
    #[error("the backbone did not answer in time; the message may or may not have been accepted")]
    UnknownOutcome,
}

/// Orders one publisher's publishes: those to one channel are stored in the order [`Publisher::publish`] was called,
/// those to different channels run concurrently.
///
/// A channel's next publish is sent when its previous one has been answered. Sending on without waiting could store
/// two messages in the wrong order when a leader steps down between them and the first is retried.
#[derive(Debug)]
pub struct Publisher {
    backbone: Backbone,
    /// For each channel, what becomes ready when its latest publish is done.
    tails: Mutex<HashMap<(AppId, ChannelName), oneshot::Receiver<()>>>,
}

impl Publisher {
    /// A publisher with nothing under way.
    pub fn new(backbone: Backbone) -> Self {
        Self { backbone, tails: Mutex::default() }
    }

    /// Publishes after all earlier calls for the same channel. The place in line is taken by the call itself, not when
    /// the future is first polled; dropping the future gives it up.
    pub fn publish(&self, publish: Publish) -> impl Future<Output = Result<Published, PublishError>> + use<> {
        let (done, tail) = oneshot::channel::<()>();
        let mut tails = self.tails.lock();
        // A tail whose publish is done holds nobody back.
        tails.retain(|_, tail| matches!(tail.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let previous = tails.insert((publish.app.clone(), publish.channel.clone()), tail);
        drop(tails);
        let backbone = self.backbone.clone();
        async move {
            // Dropped, never sent into: it tells the next in line even if this future is dropped half-way.
            let _done = done;
            if let Some(previous) = previous {
                let _closed = previous.await;
            }
            backbone.publish(publish).await
        }
    }
}
