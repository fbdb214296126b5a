//! What a connection has asked for and has no answer to: publishes, and changes of presence.
//!
//! They run side by side and end in any order; publishes to one channel are stored in the order in which they were asked
//! for. Dropping them with the connection gives up those that have not begun; what is on its way may still be done, and
//! a client that resumes asks for it again under the same id. Who closes does not come back, so it is waited for.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ably::Code;
use ably::ErrorInfo;
use ably::session::{Cause, Denied, Presence, Publish};
use backbone::{Backbone, IdempotencyId, PublishError, Published, Publisher};
use channels::Tier;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;

use super::Connection;
use crate::connection::data_bytes;
use crate::hub::MemberRequest;
use crate::metrics::PublishResult;
use crate::tail::Told;
use crate::trace;

/// Bytes of messages that one connection may have under way, but for the last publish: beyond, its client is not read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Something that has its answer.
#[derive(Debug)]
pub(super) enum Done {
    /// A publish.
    Published { msg_serial: u64, result: Result<Published, PublishError> },
    /// A change of presence.
    Entered { msg_serial: u64, result: Result<(), ErrorInfo> },
}

/// What has no answer yet.
pub(super) struct UnderWay {
    publisher: Publisher,
    tasks: FuturesUnordered<BoxFuture<'static, (Done, u64)>>,
    bytes: u64,
}

impl UnderWay {
    fn new(backbone: Backbone) -> Box<Self> {
        Box::new(Self { publisher: Publisher::new(backbone), tasks: FuturesUnordered::new(), bytes: 0 })
    }

    /// Whether more may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < MAX_BYTES
    }

    /// Whether everything has its answer.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Waits until everything has its answer.
    pub(super) async fn settle(&mut self) {
        while self.tasks.next().await.is_some() {}
    }

    /// The next that has its answer.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        match self.tasks.poll_next_unpin(cx) {
            Poll::Ready(Some((done, bytes))) => {
                self.bytes -= bytes;
                Poll::Ready(done)
            }
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Connection {
    fn under_way(&mut self) -> &mut UnderWay {
        let backbone = &self.core.shared.backbone;
        self.under_way.get_or_insert_with(|| UnderWay::new(backbone.clone()))
    }

    /// Publishes as far as the app's quotas allow.
    pub(super) fn publish(&mut self, publish: Publish) {
        let Publish { msg_serial, channel, record, key, ephemeral, bytes: _ } = publish;
        let Some(app) = self.app() else { return };
        let Ok(idempotency) = IdempotencyId::new(&key) else {
            let error = Code::MessageId.says("a message id is too long");
            return self.session.published(msg_serial, Err(error), &mut self.outputs);
        };
        let tier = if ephemeral { Tier::Ephemeral } else { app.tier(&channel) };
        let (messages, bytes) = (record.messages.len() as u64, data_bytes(&record));
        let kept: Option<(Duration, u64)> = match tier {
            Tier::Ephemeral | Tier::Recoverable => None,
            Tier::Persistent { retention } => Some((retention, bytes)),
        };
        let begun = Instant::now();
        let (shared, peer) = (Arc::clone(&self.core.shared), Arc::clone(&self.core.peer));
        if let Err(refused) = peer.meter.publish_all(messages, bytes, kept.as_slice(), begun) {
            shared.metrics.over_quota(refused.quota);
            let error = Code::Rate.says(refused.to_string());
            self.deny(Denied::Publish(Cause::OverQuota), channel.as_str(), &error);
            return self.session.published(msg_serial, Err(error), &mut self.outputs);
        }
        let tailed = shared.tails.any().then(|| (channel.clone(), record.clone()));
        let mut publish =
            backbone::Publish { app: app.id.clone(), channel, tier, record, idempotency: Some(idempotency) };
        let mut span = trace::publish("ably_realtime", &app.id, None, begun);
        if let Some(span) = span.as_deref_mut() {
            trace::hand_on(span, std::iter::once(&mut publish));
        }
        let under_way = self.under_way();
        let publishing = under_way.publisher.publish(publish);
        under_way.bytes += bytes;
        under_way.tasks.push(Box::pin(async move {
            let result = publishing.await;
            if let Some(mut span) = span {
                trace::published(&mut span, &result);
            }
            let metrics = &shared.metrics.ably_realtime;
            metrics.seconds.record(begun.elapsed().as_secs_f64());
            metrics.result(PublishResult::of(&result)).increment(1);
            match &result {
                // What was sent again was counted the first time.
                Ok(Published { duplicate: true, .. }) | Err(PublishError::TooLarge | PublishError::Unavailable) => {
                    peer.meter.unpublished(messages, bytes, kept.as_slice());
                }
                Ok(Published { duplicate: false, .. }) | Err(PublishError::UnknownOutcome) => {}
            }
            if let Some((channel, record)) = tailed {
                for message in &record.messages {
                    let event = message.name.as_deref().unwrap_or_default();
                    let told = Told { connection: peer.id.as_str(), event, ..Told::default() };
                    shared.tell_published(&peer.app, &channel, told, &result);
                }
            }
            (Done::Published { msg_serial, result }, bytes)
        }));
    }

    /// Has members enter, update and leave.
    pub(super) fn change_presence(&mut self, presence: Presence) {
        let Presence { msg_serial, name, channel: _, changes } = presence;
        let Some(attachment) = self.attachments.get(&name) else {
            let error = Code::PresenceState.info();
            return self.session.presence_done(msg_serial, Err(error), &mut self.outputs);
        };
        let changes: Vec<_> = changes
            .into_iter()
            .map(|change| {
                let said = change.data;
                attachment.presence(MemberRequest { user: change.client, action: change.action, said })
            })
            .collect();
        self.under_way().tasks.push(Box::pin(async move {
            let results = join_all(changes).await;
            let result = results.iter().find_map(|result| result.as_ref().err());
            let result = result.map_or(Ok(()), |refused| Err(refused.into()));
            (Done::Entered { msg_serial, result }, 0)
        }));
    }
}
