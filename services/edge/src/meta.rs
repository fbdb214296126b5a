//! What metachannels tell of an app's clients, to whoever subscribes to them.
//!
//! Owns the way from something that happened to a message on a metachannel. Nothing is published that nobody subscribes to,
//! so these channels have no history of times without subscribers; what more happens than can be published is not told.
//! Nobody is charged for these messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ably::ErrorInfo;
use ably::meta::{Connection, Event, Metachannel};
use backbone::Publish;
use backbone::usage::UsageStore;
use channels::{App, AppId, ClientId, ConnectionId, Record, RecordKind};
use metering::usage::{Interval, Period};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::connections::Peer;
use crate::metrics::Metrics;
use crate::server::Shared;

/// Messages that wait to be published.
const WAITING: usize = 1024;

/// Connections that are away and may yet come back. The end of what is more is not told.
const AWAY: usize = 10_000;

/// The end of the queue at which things are told.
#[derive(Debug)]
pub(crate) struct Meta {
    queue: mpsc::Sender<Publish>,
    /// In the order in which their time is over.
    away: Mutex<VecDeque<Away>>,
}

/// A connection that nobody has told goodbye.
#[derive(Debug)]
struct Away {
    until: Instant,
    app: AppId,
    connection: ConnectionId,
    generation: u32,
    client: Option<ClientId>,
    transport: &'static str,
    error: Option<ErrorInfo>,
}

impl Meta {
    /// A queue, and its other end for [`run`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Publish>) {
        let (queue, told) = mpsc::channel(WAITING);
        (Self { queue, away: Mutex::default() }, told)
    }

    /// Tells those of the cluster who want to know what happened in `app`.
    pub(crate) fn tell(&self, shared: &Shared, app: &App, event: &Event<'_>) {
        for metachannel in event.channels() {
            let channel = metachannel.channel();
            if shared.occupancy.counts(&app.id, &channel).subscriptions == 0 {
                continue;
            }
            let record = Record {
                id: Some(format!("{:016x}", rand::random::<u64>())),
                kind: RecordKind::Messages,
                connection: None,
                client: None,
                timestamp_ms: clock::unix_ms(),
                messages: vec![event.message()],
                traceparent: None,
            };
            let tier = app.tier(&channel);
            self.enqueue(&shared.metrics, Publish { app: app.id.clone(), channel, tier, record, idempotency: None });
        }
    }

    fn enqueue(&self, metrics: &Metrics, publish: Publish) {
        if self.queue.try_send(publish).is_err() {
            // Full: there is more to tell than anybody could read.
            metrics.discarded_meta.increment(1);
        }
    }

    /// Tells that the transport of `peer` is gone, if its connection is not resumed in time.
    pub(crate) fn away(&self, shared: &Shared, peer: &Peer, generation: u32, error: Option<ErrorInfo>) {
        let Some(app) = shared.apps.get(&peer.app) else { return };
        let closed = Event::ConnectionClosed(connection(peer), None);
        let wanted = |channel: &Metachannel| shared.occupancy.counts(&app.id, &channel.channel()).subscriptions > 0;
        if !closed.channels().iter().any(wanted) {
            return;
        }
        let mut away = self.away.lock();
        if away.len() >= AWAY {
            shared.metrics.discarded_meta.increment(1);
        } else {
            away.push_back(Away {
                until: Instant::now() + shared.config.ably_connection_state_ttl,
                app: peer.app.clone(),
                connection: peer.id.clone(),
                generation,
                client: peer.user().cloned(),
                transport: peer.client.transport.name(),
                error,
            });
        }
    }
}

/// A connection as it is told.
pub(crate) fn connection(peer: &Peer) -> Connection<'_> {
    Connection { connection_id: &peer.id, client_id: peer.user(), transport: peer.client.transport.name() }
}

/// Publishes what is `told` until `stop`.
pub(crate) async fn run(shared: Arc<Shared>, mut told: mpsc::Receiver<Publish>, stop: CancellationToken) {
    /// How often those who are away are looked at.
    const LOOK: Duration = Duration::from_secs(1);
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut counted = until_counted();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => look(&shared).await,
            () = tokio::time::sleep_until(counted) => {
                tell_stats(&shared).await;
                counted = until_counted();
            }
            publish = told.recv() => {
                let Some(publish) = publish else { return };
                if let Err(error) = shared.backbone.publish(publish).await {
                    shared.metrics.discarded_meta.increment(1);
                    tracing::debug!(error = &error as &dyn std::error::Error, "a metachannel was not told");
                }
            }
        }
    }
}

/// When the minute that runs now is over, and every node has had the time to write what it counted in it.
fn until_counted() -> Instant {
    /// Nodes write every ten seconds.
    const WRITTEN: Duration = Duration::from_secs(15);
    let running = Period::of(Interval::Minute, clock::unix_ms().saturating_sub(clock::millis(WRITTEN)));
    let left = (running.end_ms() + clock::millis(WRITTEN)).saturating_sub(clock::unix_ms());
    Instant::now() + Duration::from_millis(left.max(1))
}

/// Tells the statistics of the minute before this one, if this edge is the one to do it.
async fn tell_stats(shared: &Shared) {
    if !shared.membership.cleans_up() {
        return;
    }
    let (store, channel) = (UsageStore::reader(&shared.backbone), Metachannel::StatsMinute.channel());
    let now_ms = clock::unix_ms();
    let minute = Period::of(Interval::Minute, Period::of(Interval::Minute, now_ms).start_ms() - 1);
    let snapshot = shared.apps.snapshot();
    let wanted = snapshot.iter().filter(|app| shared.occupancy.counts(&app.id, &channel).subscriptions > 0);
    for app in wanted {
        match store.query(&app.id, Interval::Minute, minute.start_ms(), minute.end_ms() - 1, now_ms).await {
            Ok(used) => {
                for (period, counts) in &used {
                    let item = ably::rest::stats_item(&app.id, *period, counts);
                    shared.meta.tell(shared, app, &Event::Stats(&item));
                }
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, app = %app.id, "statistics were not told");
            }
        }
    }
}

/// Tells the end of those whose time is over.
async fn look(shared: &Shared) {
    loop {
        let now = Instant::now();
        let over = {
            let mut away = shared.meta.away.lock();
            if away.front().is_some_and(|away| away.until <= now) { away.pop_front() } else { None }
        };
        let Some(Away { app, connection, generation, client, transport, error, .. }) = over else { return };
        if shared.resumes.was_resumed(&app, &connection, generation).await {
            continue;
        }
        if let Some(app) = shared.apps.get(&app) {
            let connection = Connection { connection_id: &connection, client_id: client.as_ref(), transport };
            shared.meta.tell(shared, &app, &Event::ConnectionClosed(connection, error.as_ref()));
        }
    }
}

#[cfg(test)]
mod tests {
    use channels::Tier;

    use super::*;

    #[test]
    fn what_is_more_than_can_be_told_is_counted() {
        let (recorder, exporter) = telemetry::Exporter::build().unwrap();
        let metrics = ::metrics::with_local_recorder(&recorder, Metrics::new);
        let (meta, _told) = Meta::new();
        for _ in 0..WAITING + 3 {
            let record = Record {
                id: None,
                kind: RecordKind::Messages,
                connection: None,
                client: None,
                timestamp_ms: 0,
                messages: Vec::new(),
                traceparent: None,
            };
            let (app, channel) = (AppId::new("1").unwrap(), Metachannel::Log.channel());
            meta.enqueue(&metrics, Publish { app, channel, tier: Tier::Ephemeral, record, idempotency: None });
        }
        let series = "fanfare_discarded_total{reason=\"metachannel\",intentional=\"false\"} 3\n";
        assert!(exporter.render().contains(series), "{}", exporter.render());
    }
}
