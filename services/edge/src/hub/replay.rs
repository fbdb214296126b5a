//! Bringing a follower what it has missed: a task for each follower that is far behind, which reads the channel's history
//! page by page, as its connection takes it, until this node's memory reaches back far enough.
//!
//! However long the backlog, one page of it is in memory, beside what waits in the queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ably::{Code, Rewind};
use backbone::{Direction, History, HistoryError, HistoryQuery};
use channels::{Epoch, EventPosition, Position, Record, Tier};
use clock::Backoff;
use tokio::time::Instant;

use super::Hub;
use super::channel::Channel;
use super::follower::Start;
use super::following::{Begun, Search, since};

/// Records read at a time.
const PAGE: usize = 32;

/// Pages that are read back to find where a rewind begins: members that come and go may stand between messages.
const PAGES_BACK: usize = 64;

/// Pauses before a read that failed, or that a replica answered that lags, is tried again.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// How often a replica that knows less than this node is asked again.
const STALE_READS: usize = 6;

/// What a follower has missed.
#[derive(Debug)]
pub(super) struct Replay {
    /// It has got everything up to here. `None` before it is known where it rewinds to.
    pub(super) after: Option<EventPosition>,
    /// Records that were read and are next.
    pub(super) page: VecDeque<(Position, Arc<Record>)>,
    /// Whether its client has been told from where it goes on.
    pub(super) announced: bool,
    /// Whether it is a rewind.
    pub(super) rewinds: bool,
    /// Whether there is more than it may bring.
    pub(super) truncated: bool,
    /// Presence is told only beyond this place: who is there at that time is told anyway.
    pub(super) with_presence_beyond: Option<Position>,
}

impl Replay {
    /// Of what this node holds behind `after`.
    pub(super) fn resuming(after: EventPosition) -> Self {
        Self { announced: true, ..Self::unsure(after) }
    }

    /// Of what may be left behind `after`.
    pub(super) fn unsure(after: EventPosition) -> Self {
        Self {
            after: Some(after),
            page: VecDeque::new(),
            announced: false,
            rewinds: false,
            truncated: false,
            with_presence_beyond: None,
        }
    }

    /// A rewind to `after`, which this node holds, by one who came at `head`.
    pub(super) fn rewinding(after: EventPosition, head: Position) -> Self {
        Self { rewinds: true, with_presence_beyond: Some(head), ..Self::resuming(after) }
    }

    /// Of nothing but who is there.
    pub(super) fn of_members(at: Option<Position>) -> Self {
        let at = at.unwrap_or(Position { epoch: Epoch::new(0), sequence: 0 });
        Self::resuming(at.into())
    }

    /// A rewind to who knows where.
    pub(super) fn unknown(head: Position) -> Self {
        Self { after: None, announced: false, ..Self::rewinding(head.into(), head) }
    }
}

/// How a step of a replay went.
#[derive(Clone, Copy, Debug)]
pub(super) enum Progress {
    /// There may be more to do at once.
    More,
    /// The connection has to read first.
    Full,
    /// It is live.
    Live,
    /// The follower is gone, or begins anew.
    Over,
    /// What comes behind `after` is to be read, from somebody who knows at least what happened up to `floor`.
    Behind { after: EventPosition, floor: Option<Position> },
    /// Where it rewinds to is to be looked for, from `head` back.
    Rewind { rewind: Rewind, head: Position },
}

/// Some of a channel's history.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<(Position, Arc<Record>)>,
    /// Whether nothing is missing in front of them.
    pub(super) complete: bool,
    /// Whether there are more.
    pub(super) more: bool,
}

impl Hub {
    /// Starts the task of a replay, if there is one to be brought.
    pub(super) fn replay_missed(self: &Arc<Self>, channel: &Arc<Channel>, begun: Option<Begun>) {
        if let Some(begun) = begun {
            let (hub, channel) = (Arc::clone(self), Arc::clone(channel));
            self.tasks.spawn(async move {
                let stop = hub.stop.clone();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = bring(&hub, &channel, begun) => {}
                }
            });
        }
    }
}

async fn bring(hub: &Arc<Hub>, channel: &Arc<Channel>, mut begun: Begun) {
    let Some(peer) = channel.peer_of(begun) else { return };
    loop {
        let read = match channel.advance(hub, begun) {
            Progress::Live | Progress::Over => return,
            Progress::More => {
                tokio::task::yield_now().await;
                continue;
            }
            Progress::Full => {
                peer.queue.room().await;
                continue;
            }
            Progress::Behind { after, floor } => read(hub, channel, after, floor).await.map(|page| {
                channel.take_page(hub, begun, page);
            }),
            Progress::Rewind { rewind, head } => {
                look_back(hub, channel, &rewind, head).await.map(|(after, truncated)| {
                    channel.take_rewind(begun, after, truncated);
                })
            }
        };
        let lost = match read {
            Ok(()) => continue,
            Err(HistoryError::NotStored) => Code::ContinuityLost,
            Err(HistoryError::OtherEpoch { .. }) => Code::ForeignSerial,
            Err(HistoryError::Unavailable) => return channel.give_up(hub, begun),
        };
        match channel.begin_instead(hub, begun, Start::Lost(lost)) {
            Some(instead) => begun = instead,
            None => return,
        }
    }
}

async fn read(
    hub: &Hub,
    channel: &Channel,
    after: EventPosition,
    floor: Option<Position>,
) -> Result<Page, HistoryError> {
    let mut backoff = BACKOFF;
    for attempt in 1.. {
        let query = HistoryQuery { after: Some(after.position), limit: PAGE, ..query(hub, channel) };
        let History { records, more, complete, head } = patiently(hub, query).await?;
        // Who knows less than this node cannot say that nothing lies between.
        let stale = floor.is_some_and(|floor| floor.epoch == head.epoch && head.sequence < floor.sequence);
        if stale && records.is_empty() && attempt < STALE_READS {
            tokio::time::sleep(backoff.pause()).await;
            continue;
        }
        let records = records.into_iter().map(|stored| (stored.position, stored.record)).collect();
        return Ok(Page { records, complete, more });
    }
    Err(HistoryError::Unavailable)
}

/// Where `rewind` begins, and whether there is more than it may bring.
async fn look_back(
    hub: &Hub,
    channel: &Channel,
    rewind: &Rewind,
    head: Position,
) -> Result<(EventPosition, bool), HistoryError> {
    let since = since(rewind, clock::unix_ms());
    let mut search = Search::new(rewind, since);
    let mut query = HistoryQuery {
        direction: Direction::Backward,
        limit: PAGE,
        before: Some(Position { sequence: head.sequence + 1, ..head }),
        start_ms: since,
        ..query(hub, channel)
    };
    for _ in 0..PAGES_BACK {
        let history = patiently(hub, query.clone()).await?;
        for stored in &history.records {
            if let Some(found) = search.take(stored.position, &stored.record) {
                return Ok(found);
            }
        }
        match history.records.last().filter(|_| history.more) {
            Some(oldest) => query.before = Some(oldest.position),
            None => break,
        }
    }
    Ok((search.begins.unwrap_or(head.into()), false))
}

fn query(hub: &Hub, channel: &Channel) -> HistoryQuery {
    HistoryQuery::all(channel.app.clone(), channel.name.clone(), hub.tier(channel))
}

/// Reads for as long as a client may be left waiting.
async fn patiently(hub: &Hub, query: HistoryQuery) -> Result<History, HistoryError> {
    let until = Instant::now() + hub.settings.attach_timeout;
    let mut backoff = BACKOFF;
    loop {
        if query.tier == Tier::Ephemeral {
            return Err(HistoryError::NotStored);
        }
        match hub.backbone.history(query.clone()).await {
            Err(HistoryError::Unavailable) if Instant::now() < until => {}
            answer => return answer,
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}
