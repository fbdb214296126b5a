//! `UsageService`: what apps have used, and what they are using.

use std::pin::Pin;
use std::time::Duration;

use backbone::registry::Registry;
use backbone::usage::UsageStore;
use clock::unix_ms;
use futures_util::{Stream, StreamExt as _, stream};
use metering::usage::{Counts, Interval, Period};
use proto::control as wire;
use tokio::time::{MissedTickBehavior, interval};
use tonic::{Request, Response, Status};

use crate::access::{Caller, Guarded};
use crate::apps::{existing, page_size};
use crate::link::Link;
use crate::mistakes::Mistakes;
use crate::status::{invalid, within};

mod folding;

pub(crate) use folding::Folding;

/// How often a watcher is told.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How long after the end of an interval everything of it is written, as a rule: a node writes every ten seconds.
const COMPLETE_AFTER_MS: u64 = 90_000;

/// Answers calls about usage.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) store: Guarded<UsageStore>,
    pub(crate) link: Guarded<Link>,
    pub(crate) registry: Guarded<Registry>,
    pub(crate) patience: Duration,
}

fn read_interval(interval: i32, mistakes: &mut Mistakes) -> Interval {
    match wire::Interval::try_from(interval) {
        Ok(wire::Interval::Minute) => Interval::Minute,
        Ok(wire::Interval::Unspecified | wire::Interval::Hour) => Interval::Hour,
        Ok(wire::Interval::Day) => Interval::Day,
        Ok(wire::Interval::Month) => Interval::Month,
        Err(_) => {
            mistakes.add("interval", "is unknown");
            Interval::Hour
        }
    }
}

/// The period behind which a page begins.
fn read_token(token: &str, interval: Interval, mistakes: &mut Mistakes) -> Option<Period> {
    if token.is_empty() {
        return None;
    }
    let period = token.parse::<Period>().ok().filter(|period| period.interval() == interval);
    mistakes.keep("page_token", period.ok_or("is not from an earlier answer"))
}

fn usage(period: Period, counts: Counts, now_ms: u64) -> wire::Usage {
    let refused = counts.refused.iter().map(|(kind, count)| (kind.name().to_owned(), count));
    wire::Usage {
        interval_id: period.to_string(),
        start_ms: period.start_ms(),
        refused: refused.collect(),
        messages_in: counts.messages_in,
        messages_out: counts.messages_out,
        bytes_in: counts.bytes_in,
        bytes_out: counts.bytes_out,
        peak_connections: counts.peak_connections,
        peak_channels: counts.peak_channels,
        connections_opened: counts.connections_opened,
        webhooks_delivered: counts.webhooks_delivered,
        webhooks_failed: counts.webhooks_failed,
        complete: period.end_ms() + COMPLETE_AFTER_MS <= now_ms,
    }
}

/// Live usage until the caller leaves.
type Live = Pin<Box<dyn Stream<Item = Result<wire::LiveUsage, Status>> + Send>>;

#[tonic::async_trait]
impl wire::usage_service_server::UsageService for Usage {
    async fn query_usage(
        &self,
        request: Request<wire::QueryUsageRequest>,
    ) -> Result<Response<wire::QueryUsageResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::QueryUsageRequest { app_id, interval, start_ms, end_ms, page_size: size, page_token } =
            request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let mut mistakes = Mistakes::default();
        let interval = read_interval(interval, &mut mistakes);
        let size = page_size(size, &mut mistakes);
        let after = read_token(&page_token, interval, &mut mistakes);
        let now_ms = unix_ms();
        // Beyond the year 9999 a period has no id.
        let end_ms = if end_ms == 0 { now_ms } else { end_ms.min(now_ms) };
        if start_ms > end_ms {
            mistakes.add("start_ms", "must not be after the end, nor after now");
        }
        mistakes.unless_any(Some(())).map_err(invalid)?;
        existing(&self.registry, &app, self.patience).await?;
        let from_ms = after.map_or(start_ms, |after| after.end_ms().max(start_ms));
        if from_ms > end_ms {
            return Ok(Response::new(wire::QueryUsageResponse::default()));
        }
        let query = self.store.open(&app).query(&app, interval, from_ms, end_ms, now_ms);
        let mut used = within(self.patience, Box::pin(query)).await?;
        let more = used.len() > size;
        used.truncate(size);
        let next_page_token = used.last().filter(|_| more).map(|(last, _)| last.to_string()).unwrap_or_default();
        let usage = used.into_iter().map(|(period, counts)| usage(period, counts, now_ms)).collect();
        Ok(Response::new(wire::QueryUsageResponse { usage, next_page_token }))
    }

    type WatchUsageStream = Live;

    async fn watch_usage(&self, request: Request<wire::WatchUsageRequest>) -> Result<Response<Live>, Status> {
        let caller = Caller::of(&request)?;
        let app = caller.app("app_id", &request.get_ref().app_id)?;
        existing(&self.registry, &app, self.patience).await?;
        let mut ticks = interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let link = self.link.open(&app).clone();
        let stopping = link.stopping();
        let live = stream::unfold((link, app, ticks), async |(link, app, mut ticks)| {
            ticks.tick().await;
            Some((Ok(link.live_usage(&app)), (link, app, ticks)))
        });
        Ok(Response::new(Box::pin(live.take_until(stopping.cancelled_owned()))))
    }
}
