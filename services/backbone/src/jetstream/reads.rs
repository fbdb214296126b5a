//! Reads that are not stale, capped and in small pieces.

use std::time::Duration;

use tokio::time::sleep;

use super::Shared;
use super::direct::{Batch, From, ReadError, Stored};
use super::streams::ShardStream;
use super::subject::Store;

/// Messages per read. A larger batch holds the shard's lock, and so its publishers, for longer.
const CHUNK: usize = 16;

/// How often a lagging, frozen or absent replica is asked again before the leader is.
const REPLICA_TRIES: u32 = 4;

/// Pause before a replica that lags is asked again.
const REPLICA_PAUSE: Duration = Duration::from_millis(10);

/// The newest place of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Of its newest message; of a channel without messages, a sequence of its shard at which it had none.
    pub(super) sequence: u64,
    /// When that message was stored, nanoseconds since the Unix epoch; 0 without one.
    pub(super) stored_ns: i64,
    /// Whether it has no message.
    pub(super) is_empty: bool,
}

/// A piece of one channel's log.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Whether the message in front of it, which the reader knows, is still there: then nothing between was evicted.
    pub(super) anchor_found: bool,
    /// What follows. Empty if there is nothing up to the target.
    pub(super) messages: Vec<Stored>,
    /// At least as many messages of the channel as follow the anchor in all, counted after these were read: fewer than
    /// a channel may have proves that none was evicted meanwhile.
    pub(super) remaining: u64,
    /// Whether the reader saw beyond the target, so that an empty chunk is not a lagging replica's.
    reaches_target: bool,
}

impl Shared {
    /// A channel's newest message, as the leader has it.
    pub(super) async fn newest(&self, stream: &ShardStream, subject: &str) -> Result<Option<Stored>, ReadError> {
        self.reader.leader_head(&stream.name, subject).await
    }

    /// A channel's head, as the leader has it.
    pub(super) async fn read_head(&self, stream: &ShardStream, subject: &str) -> Result<Head, ReadError> {
        if let Some(newest) = self.newest(stream, subject).await? {
            return Ok(Head { sequence: newest.sequence, stored_ns: newest.stored_ns, is_empty: false });
        }
        let shard_newest = self.shard_newest(stream).await?;
        // Once more: the channel's first message may have come between the two.
        let newest = self.newest(stream, subject).await?;
        Ok(newest.map_or(Head { sequence: shard_newest, stored_ns: 0, is_empty: true }, |newest| Head {
            sequence: newest.sequence,
            stored_ns: newest.stored_ns,
            is_empty: false,
        }))
    }

    async fn shard_newest(&self, stream: &ShardStream) -> Result<u64, ReadError> {
        let everything = format!("{}.{}.>", stream.store.prefix(), stream.shard);
        Ok(self.newest(stream, &everything).await?.map_or(0, |newest| newest.sequence))
    }

    /// One batch from some replica, when it is this read's turn.
    pub(super) async fn read(
        &self,
        stream: &ShardStream,
        subject: &str,
        from: From,
        count: usize,
    ) -> Result<Batch, ReadError> {
        let turns = &self.read_turns[usize::from(stream.shard.get())];
        let _turn = turns.acquire().await.map_err(|_| ReadError::Closed)?;
        self.reader.batch(&stream.name, subject, from, count).await
    }

    /// The next messages of a channel in `(after, target]`, where `target` is known to have been stored: an answer
    /// that stops short of it is a lagging replica's.
    pub(super) async fn chunk(
        &self,
        stream: &ShardStream,
        subject: &str,
        after: u64,
        target: u64,
    ) -> Result<Chunk, ReadError> {
        for attempt in 0..REPLICA_TRIES {
            if attempt > 0 {
                sleep(REPLICA_PAUSE).await;
            }
            // From the known message on, to see whether it is still there.
            match self.read(stream, subject, From::Sequence(after.max(1)), CHUNK).await {
                Ok(batch) => {
                    let chunk = Chunk::of(batch, after, target);
                    if !chunk.messages.is_empty() || chunk.reaches_target {
                        return Ok(chunk);
                    }
                }
                Err(ReadError::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
        self.chunk_from_leader(stream, subject, after, target).await
    }

    /// One message at a time, but never stale.
    async fn chunk_from_leader(
        &self,
        stream: &ShardStream,
        subject: &str,
        after: u64,
        target: u64,
    ) -> Result<Chunk, ReadError> {
        let next = |from| self.reader.leader_next(&stream.name, subject, From::Sequence(from));
        let first = next(after.max(1)).await?;
        let anchor_found = first.as_ref().is_some_and(|first| first.sequence == after);
        let message = if anchor_found { next(after + 1).await? } else { first };
        let messages = message.into_iter().filter(|message| message.sequence <= target).collect();
        // Sequences count a whole shard, so their distance bounds the number of this channel's messages.
        let remaining = self.shard_newest(stream).await?.saturating_sub(after);
        Ok(Chunk { anchor_found, messages, remaining, reaches_target: true })
    }

    /// The sequence of a channel's first message stored at or after a time, or past its end.
    pub(super) async fn sequence_at(
        &self,
        stream: &ShardStream,
        subject: &str,
        stored_ns: i64,
        head: u64,
    ) -> Result<u64, ReadError> {
        let found = self.reader.leader_next(&stream.name, subject, From::Time(stored_ns)).await?;
        Ok(found.map_or(head + 1, |first| first.sequence))
    }

    /// Whether every message of the store's shard with a sequence above `after` is still there.
    pub(super) async fn nothing_expired_after(&self, stream: &ShardStream, after: u64) -> Result<bool, ReadError> {
        if stream.store == Store::Persistent {
            // Messages there expire each by its own time, so the oldest one says nothing about others.
            return Ok(false);
        }
        let info = self.context.get_stream(&stream.name).await.map_err(|_| ReadError::NoResponders)?;
        Ok(info.cached_info().state.first_sequence <= after + 1)
    }
}

impl Chunk {
    fn of(batch: Batch, after: u64, target: u64) -> Self {
        let anchor_found = batch.messages.first().is_some_and(|first| first.sequence == after);
        let new: Vec<Stored> = batch.messages.into_iter().filter(|message| message.sequence > after).collect();
        let remaining = new.len() as u64 + batch.pending;
        let reaches_target = new.iter().any(|message| message.sequence > target);
        let messages = new.into_iter().filter(|message| message.sequence <= target).collect();
        Self { anchor_found, messages, remaining, reaches_target }
    }
}
