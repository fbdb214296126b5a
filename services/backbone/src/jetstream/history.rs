//! History over JetStream: bounds become sequences, reads go in small pieces, identical ones are made once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use channels::{AppId, ChannelName, Position, Tier};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared as SharedFuture, WeakShared};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

use super::direct::{From, ReadError, Stored};
use super::streams::ShardStream;
use super::subject::Store;
use super::{JetStream, Shared};
use crate::envelope;
use crate::history::{Direction, History, HistoryError, HistoryQuery, StoredRecord};

/// How long a read is tried again while a shard has no leader.
const READ_DEADLINE: Duration = Duration::from_secs(12);

/// Pause between tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// First guess of how many of a shard's sequences hold one page of a channel, per message wanted.
const SPAN_PER_MESSAGE: u64 = 16;

type Answer = Result<Arc<History>, HistoryError>;
type Reading = WeakShared<BoxFuture<'static, Answer>>;

/// Reads under way, so that a crowd that asks the same at once costs one read. The channel's head is part of what is
/// asked: whoever comes after another message was accepted must not be given an answer without it.
///
/// Held weakly: a read that everybody has stopped waiting for ends, and gives its turn back.
#[derive(Debug, Default)]
pub(super) struct Coalesced(Mutex<HashMap<(HistoryQuery, Position), Reading>>);

impl JetStream {
    pub(crate) async fn history(&self, query: HistoryQuery) -> Result<History, HistoryError> {
        let (mut head, mut is_empty) = self.newest_place(&query.app, &query.channel, query.tier).await?;
        let bounds = [query.after, query.before].into_iter().flatten();
        if bounds.clone().any(|bound| bound.epoch == head.epoch && bound.sequence > head.sequence) {
            // A place that this log has not reached: it may have been made anew a moment ago.
            self.recheck_epoch(&query).await?;
            (head, is_empty) = self.newest_place(&query.app, &query.channel, query.tier).await?;
        }
        if bounds.clone().any(|bound| bound.epoch != head.epoch) {
            return Err(HistoryError::OtherEpoch { head });
        }
        if is_empty {
            // What was behind the position may have expired.
            let complete = match query.after {
                Some(after) if after.sequence < head.sequence => self.nothing_expired(&query, after.sequence).await?,
                Some(_) | None => true,
            };
            return Ok(History { records: Vec::new(), more: false, complete, head });
        }
        self.reading(query, head).await.map(Arc::unwrap_or_clone)
    }

    /// Whether every message of the channel's shard behind `after` is still there.
    async fn nothing_expired(&self, query: &HistoryQuery, after: u64) -> Result<bool, HistoryError> {
        let store = Store::of(query.tier).ok_or(HistoryError::NotStored)?;
        let shard = self.shared.subjects(&query.app, &query.channel).shard;
        let stream = self.shared.streams.get(store, shard);
        retry(|| self.shared.nothing_expired_after(stream, after)).await
    }

    /// Joins the read of the same that is under way, or begins it.
    fn reading(&self, query: HistoryQuery, head: Position) -> SharedFuture<BoxFuture<'static, Answer>> {
        let mut under_way = self.shared.coalesced.0.lock();
        under_way.retain(|_, reading| reading.upgrade().is_some_and(|reading| reading.peek().is_none()));
        let key = (query, head);
        if let Some(reading) = under_way.get(&key).and_then(WeakShared::upgrade) {
            return reading;
        }
        let (shared, query) = (Arc::clone(&self.shared), key.0.clone());
        let reading = async move { retry(|| shared.read_history(&query, head)).await.map(Arc::new) }.boxed().shared();
        under_way.extend(reading.downgrade().map(|weak| (key, weak)));
        reading
    }

    async fn recheck_epoch(&self, query: &HistoryQuery) -> Result<(), HistoryError> {
        let store = Store::of(query.tier).ok_or(HistoryError::NotStored)?;
        let shard = self.shared.subjects(&query.app, &query.channel).shard;
        let recheck = self.shared.streams.recheck_epoch(self.shared.streams.get(store, shard)).await;
        recheck.map(drop).map_err(|_| HistoryError::Unavailable)
    }

    pub(crate) async fn head(&self, app: &AppId, channel: &ChannelName, tier: Tier) -> Result<Position, HistoryError> {
        Ok(self.newest_place(app, channel, tier).await?.0)
    }

    /// The channel's head, and whether it has no message.
    async fn newest_place(
        &self,
        app: &AppId,
        channel: &ChannelName,
        tier: Tier,
    ) -> Result<(Position, bool), HistoryError> {
        let store = Store::of(tier).ok_or(HistoryError::NotStored)?;
        let subjects = self.shared.subjects(app, channel);
        let stream = self.shared.streams.get(store, subjects.shard);
        self.shared.streams.ensure(stream).await.map_err(|_| HistoryError::Unavailable)?;
        let subject = subjects.stored(store);
        let head = retry(|| self.shared.read_head(stream, &subject)).await?;
        Ok((Position { epoch: stream.epoch(), sequence: head.sequence }, head.is_empty))
    }
}

/// Repeats `read` while the stream has no leader.
async fn retry<T, F>(mut read: impl FnMut() -> F) -> Result<T, HistoryError>
where
    F: Future<Output = Result<T, ReadError>>,
{
    let deadline = Instant::now() + READ_DEADLINE;
    loop {
        match read().await {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() + RETRY_PAUSE < deadline => {
                debug!(%error, "a history read failed; it is tried again");
                sleep(RETRY_PAUSE).await;
            }
            Err(_) => return Err(HistoryError::Unavailable),
        }
    }
}

impl Shared {
    /// Everything `query` asks for up to `head`, in whose epoch its bounds are.
    async fn read_history(&self, query: &HistoryQuery, head: Position) -> Result<History, ReadError> {
        let subjects = self.subjects(&query.app, &query.channel);
        let store = Store::of(query.tier).ok_or_else(|| ReadError::Unexpected("nothing is stored".to_owned()))?;
        let stream = self.streams.get(store, subjects.shard);
        let subject = &subjects.stored(store);
        let head_sequence = head.sequence;
        // All bounds as one range of sequences: (after, target].
        let mut after = query.after.map_or(0, |after| after.sequence);
        if let Some(start_ms) = query.start_ms {
            let first = self.sequence_at(stream, subject, to_ns(start_ms), head_sequence).await?;
            after = after.max(first.saturating_sub(1));
        }
        let mut target =
            query.before.map_or(head_sequence, |before| head_sequence.min(before.sequence.saturating_sub(1)));
        if let Some(end_ms) = query.end_ms {
            let beyond = self.sequence_at(stream, subject, to_ns(end_ms.saturating_add(1)), head_sequence).await?;
            target = target.min(beyond.saturating_sub(1));
        }
        let limit = query.limit.clamp(1, HistoryQuery::MAX_LIMIT);
        let mut messages = match query.direction {
            Direction::Forward => self.first_messages(stream, subject, after, target, limit + 1).await?,
            Direction::Backward => self.last_messages(stream, subject, after, target, limit + 1).await?,
        };
        // Looked at afterwards: what was there then was there all the time.
        let complete = match query.after {
            Some(position) => self.is_complete(stream, subject, position.sequence, head_sequence).await?,
            None => true,
        };
        let more = messages.len() > limit;
        messages.truncate(limit);
        let records = messages.into_iter().filter_map(|message| to_record(message, stream)).collect();
        Ok(History { records, more, complete, head })
    }

    /// Whether nothing of the channel behind `after` has been evicted or has expired.
    async fn is_complete(&self, stream: &ShardStream, subject: &str, after: u64, head: u64) -> Result<bool, ReadError> {
        if after >= head {
            return Ok(true);
        }
        let chunk = self.chunk(stream, subject, after, head).await?;
        // Sequences count a whole shard: where the next one is the channel's own, nothing lies between.
        let adjoins = chunk.messages.first().is_some_and(|first| first.sequence == after + 1);
        if chunk.anchor_found || adjoins {
            return Ok(true);
        }
        let few = chunk.remaining < self.streams.messages_per_channel(stream.store);
        Ok(few && self.nothing_expired_after(stream, after).await?)
    }

    /// The first `count` messages in `(after, target]`, oldest first.
    async fn first_messages(
        &self,
        stream: &ShardStream,
        subject: &str,
        mut after: u64,
        target: u64,
        count: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let mut messages = Vec::new();
        while after < target && messages.len() < count {
            let chunk = self.chunk(stream, subject, after, target).await?;
            let Some(last) = chunk.messages.last() else { break };
            after = last.sequence;
            messages.extend(chunk.messages);
        }
        messages.truncate(count);
        Ok(messages)
    }

    /// The last `count` messages in `(after, target]`, newest first.
    ///
    /// The server reads forward only, so a start is sought from which at least `count` remain: further and further
    /// back, counting by reads of one message, which are cheap.
    async fn last_messages(
        &self,
        stream: &ShardStream,
        subject: &str,
        after: u64,
        target: u64,
        count: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        if after >= target {
            return Ok(Vec::new());
        }
        let wanted = count as u64;
        let beyond = self.count_from(stream, subject, target + 1).await?;
        let mut span = wanted.saturating_mul(SPAN_PER_MESSAGE);
        loop {
            let start = target.saturating_sub(span).max(after);
            span = span.saturating_mul(4);
            let may_do =
                start == after || self.count_from(stream, subject, start + 1).await?.saturating_sub(beyond) >= wanted;
            if !may_do {
                continue;
            }
            let messages = self.newest_of(stream, subject, start, target, count).await?;
            // The replicas that counted may have disagreed.
            if messages.len() >= count || start == after {
                return Ok(messages);
            }
        }
    }

    /// Reads everything in `(after, target]` and keeps the last `count`, newest first.
    async fn newest_of(
        &self,
        stream: &ShardStream,
        subject: &str,
        mut after: u64,
        target: u64,
        count: usize,
    ) -> Result<Vec<Stored>, ReadError> {
        let mut newest = VecDeque::new();
        while after < target {
            let chunk = self.chunk(stream, subject, after, target).await?;
            let Some(last) = chunk.messages.last() else { break };
            after = last.sequence;
            newest.extend(chunk.messages);
            newest.drain(..newest.len().saturating_sub(count));
        }
        Ok(newest.into_iter().rev().collect())
    }

    /// How many messages of the channel have this sequence or a later one, as some replica has them.
    async fn count_from(&self, stream: &ShardStream, subject: &str, sequence: u64) -> Result<u64, ReadError> {
        let batch = self.read(stream, subject, From::Sequence(sequence.max(1)), 1).await?;
        Ok(batch.messages.len() as u64 + batch.pending)
    }
}

fn to_ns(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

fn to_record(message: Stored, stream: &ShardStream) -> Option<StoredRecord> {
    let position = Position { epoch: stream.epoch(), sequence: message.sequence };
    let stored_ms = u64::try_from(message.stored_ns / 1_000_000).unwrap_or(0);
    match envelope::decode(message.payload) {
        Ok(record) => Some(StoredRecord { position, stored_ms, record: Arc::new(record) }),
        Err(error) => {
            error!(%error, %position, "history holds an unreadable record");
            None
        }
    }
}
