//! The last event of a cache channel: what each new subscriber gets first.
//!
//! It is nothing but the newest message in the channel's history, which is stored for at least as long as the app's
//! cache lasts; a channel with subscribers keeps it at hand.

use std::sync::Arc;
use std::time::Duration;

use backbone::{Direction, HistoryError, HistoryQuery};
use channels::{App, ChannelName, Message, Position, Record, RecordKind};

use super::{Channel, Hub};
use crate::queue::Frame;
use crate::websocket::frame;

/// Records read at a time while looking for one that holds messages, and how often: members that come and go may stand
/// between.
const PAGE: usize = 16;
const PAGES: usize = 64;

/// An event as it was published.
#[derive(Clone, Debug)]
pub(crate) struct Cached {
    pub(super) position: Position,
    pub(super) record: Arc<Record>,
}

impl Cached {
    /// The event.
    pub(crate) fn message(&self) -> Option<&Message> {
        self.record.messages.last()
    }

    /// How long it is kept yet; `None` if its time is over.
    pub(crate) fn ttl(&self, app: &App) -> Option<Duration> {
        let age = Duration::from_millis(clock::unix_ms().saturating_sub(self.record.timestamp_ms));
        app.limits.cache_ttl.checked_sub(age).filter(|left| !left.is_zero())
    }
}

impl Hub {
    /// The event that `channel` holds now.
    pub(crate) async fn cached(&self, app: &App, channel: &ChannelName) -> Result<Option<Cached>, HistoryError> {
        let here = self.find(&app.id, channel).and_then(|channel| channel.cached());
        let cached = match here {
            Some(cached) => cached,
            None => self.read_cached(app, channel, None).await?,
        };
        Ok(cached.filter(|cached| cached.ttl(app).is_some()))
    }

    /// The newest message in the channel's history, or the newest up to `head`: what comes after that is delivered live.
    pub(super) async fn read_cached(
        &self,
        app: &App,
        channel: &ChannelName,
        head: Option<Position>,
    ) -> Result<Option<Cached>, HistoryError> {
        let tier = app.tier(channel);
        let mut query = HistoryQuery::all(app.id.clone(), channel.clone(), tier);
        query.direction = Direction::Backward;
        query.limit = PAGE;
        query.before = head.map(|head| Position { sequence: head.sequence + 1, ..head });
        for _ in 0..PAGES {
            let history = self.backbone.history(query.clone()).await?;
            let oldest = history.records.last().map(|stored| stored.position);
            let newest = history.records.into_iter().find(|stored| stored.record.kind == RecordKind::Messages);
            if let Some(stored) = newest {
                return Ok(Some(Cached { position: stored.position, record: stored.record }));
            }
            match oldest.filter(|_| history.more) {
                Some(oldest) => query.before = Some(oldest),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What a new subscriber is sent: the event, with the bytes of its data, or that there is none.
    pub(super) fn cached_frame(&self, channel: &Channel, cached: Option<&Cached>) -> (Frame, Option<usize>) {
        let app = self.apps.get(&channel.app);
        let cached = cached.filter(|cached| app.as_ref().is_some_and(|app| cached.ttl(app).is_some()));
        let text = cached.and_then(|Cached { position, record }| {
            let position = self.tells_positions(&channel.app).then_some(*position);
            let text = pusher::encode_record(&channel.name, record, position).pop()?;
            Some((text, record.messages.last()?.data.len()))
        });
        match text {
            Some((text, bytes)) => (frame::text(&text), Some(bytes)),
            None => {
                if let Some(app) = app {
                    self.webhooks.cache_miss(&app, &channel.name);
                }
                (frame::text(&pusher::cache_miss(&channel.name)), None)
            }
        }
    }
}
