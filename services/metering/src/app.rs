//! What one app does in this process, and whether it may.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use channels::{AppId, Quota, QuotaKind};
use parking_lot::Mutex;

use crate::counters::{Counters, Totals};
use crate::gate::{Gate, SHARES_MOVE, Wait};
use crate::gauge::Gauge;
use crate::stored::{PERSISTENT_AFTER, Stored};
use crate::usage::{AppMinute, Counts, SAMPLES};
use crate::{AppReport, AppTotals, Levels, Live, Portion, Refused, SHARE_TTL, Share};

/// When to come back to an app that is at its limit of things that are given back at a time nobody knows.
const FULL: Duration = Duration::from_secs(10);

/// How long an app does nothing before its meter is forgotten.
const IDLE: Duration = Duration::from_secs(300);

/// One app's meter: every way into and out of the app asks it or tells it. The calls of the hot path are a few atomic
/// additions, and one short lock for each rate that is limited; none allocates.
#[derive(Debug)]
pub struct AppMeter {
    app: AppId,
    /// When it was made.
    made: Instant,
    counters: Counters,
    connections: Gauge,
    presence_members: Gauge,
    channels: Gauge,
    messages_in: Gate,
    messages_out: Gate,
    /// Publishes while the cluster delivers about as much as the app may.
    paced: Gate,
    webhooks: Gate,
    stored: Stored,
    standing: Mutex<Standing>,
    /// Set when a share was used up that another node may have some of.
    short: Arc<AtomicBool>,
}

/// What changes about once a second.
#[derive(Debug)]
struct Standing {
    quota: Quota,
    /// What the leader granted, and when it came.
    share: Option<(Share, Instant)>,
    live: Live,
    /// Counters at the last report.
    reported: Totals,
    /// Counters when the current minute began.
    minute: Totals,
    /// Connections at the samples of the current minute so far.
    samples: [Option<u64>; SAMPLES],
    /// Since when, and at which counters, nothing has happened.
    idle: Option<(Instant, Totals)>,
}

impl AppMeter {
    pub(crate) fn new(app: AppId, quota: Quota, share: Option<(Share, Instant)>, live: Live, now: Instant) -> Self {
        let meter = Self {
            app,
            made: now,
            counters: Counters::default(),
            connections: Gauge::default(),
            presence_members: Gauge::default(),
            channels: Gauge::default(),
            messages_in: Gate::default(),
            messages_out: Gate::default(),
            paced: Gate::default(),
            webhooks: Gate::default(),
            stored: Stored::default(),
            standing: Mutex::new(Standing {
                quota,
                share,
                live,
                reported: Totals::default(),
                minute: Totals::default(),
                samples: [None; SAMPLES],
                idle: None,
            }),
            short: Arc::default(),
        };
        meter.settle(&meter.standing.lock(), now, 0);
        meter
    }

    /// Whether `messages` messages of `bytes` bytes in all may be published, and counts them: all or none. `stored_for`
    /// is how long the channel keeps them, `None` where it keeps none. To be asked before anything is done.
    ///
    /// # Errors
    /// [`QuotaKind::MessagesIn`]; [`QuotaKind::MessagesOut`] while more was delivered than the app may;
    /// [`QuotaKind::HistoryBytes`].
    pub fn publish(
        &self,
        messages: u64,
        bytes: u64,
        stored_for: Option<Duration>,
        now: Instant,
    ) -> Result<(), Refused> {
        self.publish_all(messages, bytes, stored_for.map(|time| (time, bytes)).as_slice(), now)
    }

    /// The same for messages to several channels: `kept` says for how long they keep how many of the bytes.
    ///
    /// # Errors
    /// As those of [`Self::publish`].
    pub fn publish_all(
        &self,
        messages: u64,
        bytes: u64,
        kept: &[(Duration, u64)],
        now: Instant,
    ) -> Result<(), Refused> {
        let admitted = self.admit(messages, kept, now);
        let stored: u64 = persistent(kept).map(|(_, bytes)| bytes).sum();
        match admitted {
            Ok(()) => {
                self.counters.messages_in.fetch_add(messages, Relaxed);
                self.counters.bytes_in.fetch_add(bytes, Relaxed);
                self.counters.history_bytes.fetch_add(stored, Relaxed);
            }
            Err(refused) => {
                self.counters.messages_in_refused.fetch_add(messages, Relaxed);
                self.counters.history_bytes_refused.fetch_add(stored, Relaxed);
                self.refused(refused.quota);
            }
        }
        admitted
    }

    /// Takes back what was counted of messages that were let in and could not be published. What they took of a rate
    /// stays taken: the attempt was made.
    pub fn unpublished(&self, messages: u64, bytes: u64, kept: &[(Duration, u64)]) {
        self.counters.messages_in_undone.fetch_add(messages, Relaxed);
        self.counters.bytes_in_undone.fetch_add(bytes, Relaxed);
        persistent(kept).for_each(|(seconds, bytes)| self.stored.give_back(bytes, seconds));
    }

    /// Whether anything may be published now, for a refusal before it is known what. Counts nothing but refusals:
    /// [`Self::publish`] is to be asked all the same.
    ///
    /// # Errors
    /// [`QuotaKind::MessagesIn`] and [`QuotaKind::MessagesOut`], as those of [`Self::publish`].
    pub fn may_publish(&self, now: Instant) -> Result<(), Refused> {
        let paced = || self.paced.check(now).map_err(|wait| over(QuotaKind::MessagesOut, wait));
        let free = || self.messages_in.check(now).map_err(|wait| over(QuotaKind::MessagesIn, wait));
        let admitted = self.repaid(now).and_then(|()| paced()).and_then(|()| free());
        admitted.inspect_err(|refused| {
            self.counters.messages_in_refused.fetch_add(1, Relaxed);
            self.refused(refused.quota);
        })
    }

    fn admit(&self, messages: u64, kept: &[(Duration, u64)], now: Instant) -> Result<(), Refused> {
        self.repaid(now)?;
        self.paced.try_take(messages, now).map_err(|wait| over(QuotaKind::MessagesOut, wait))?;
        let mut stored = 0;
        let give_back = |stored| {
            self.paced.give_back(messages);
            persistent(kept).take(stored).for_each(|(seconds, bytes)| self.stored.give_back(bytes, seconds));
        };
        for (seconds, bytes) in persistent(kept) {
            self.stored.try_store(bytes, seconds).map_err(|shared| {
                give_back(stored);
                full(QuotaKind::HistoryBytes, shared)
            })?;
            stored += 1;
        }
        self.messages_in.try_take(messages, now).map_err(|wait| {
            give_back(stored);
            over(QuotaKind::MessagesIn, wait)
        })
    }

    /// Whether no more was delivered than the app may.
    fn repaid(&self, now: Instant) -> Result<(), Refused> {
        let blocked = self.messages_out.blocked_for(now);
        if blocked.is_zero() {
            return Ok(());
        }
        Err(Refused { quota: QuotaKind::MessagesOut, retry_after: blocked, shared: true })
    }

    /// Counts `messages` deliveries to subscribers, of `bytes` bytes in all. None is ever refused: the app pays with
    /// publishes that are.
    pub fn delivered(&self, messages: u64, bytes: u64, now: Instant) {
        self.counters.messages_out.fetch_add(messages, Relaxed);
        self.counters.bytes_out.fetch_add(bytes, Relaxed);
        self.messages_out.take(messages, now);
    }

    /// Whether one more connection may be opened, and counts it. It ends with [`Self::disconnected`].
    ///
    /// # Errors
    /// [`QuotaKind::Connections`].
    pub fn connect(&self) -> Result<(), Refused> {
        if !self.connections.enter() {
            return Err(self.full(QuotaKind::Connections, self.connections.none_free()));
        }
        self.counters.connections_opened.fetch_add(1, Relaxed);
        Ok(())
    }

    /// A connection that [`Self::connect`] let in has ended.
    pub fn disconnected(&self) {
        self.connections.leave();
    }

    /// Whether one more connection may become a member of a presence channel, and counts it. It ends with
    /// [`Self::left_member`].
    ///
    /// # Errors
    /// [`QuotaKind::PresenceMembers`].
    pub fn enter_member(&self) -> Result<(), Refused> {
        if !self.presence_members.enter() {
            return Err(self.full(QuotaKind::PresenceMembers, self.presence_members.none_free()));
        }
        Ok(())
    }

    /// A member that [`Self::enter_member`] let in has left.
    pub fn left_member(&self) {
        self.presence_members.leave();
    }

    /// Sets how many channels are occupied, distinct in the cluster. Whoever knows enforces the quota, and tells
    /// [`Self::refused`].
    pub fn set_channels(&self, channels: u64) {
        self.channels.assign(channels);
    }

    /// Whether a webhook request may be made now.
    ///
    /// # Errors
    /// [`QuotaKind::Webhooks`]; the request waits for as long as it says.
    pub fn webhook(&self, now: Instant) -> Result<(), Refused> {
        self.webhooks.try_take(1, now).map_err(|wait| {
            self.refused(QuotaKind::Webhooks);
            over(QuotaKind::Webhooks, wait)
        })?;
        self.counters.webhooks.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Counts a webhook request that was made, and whether it was answered with success.
    pub fn count_webhook(&self, delivered: bool) {
        let counter = if delivered { &self.counters.webhooks_delivered } else { &self.counters.webhooks_failed };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a refusal that was made elsewhere. Those made here are counted already.
    pub fn refused(&self, kind: QuotaKind) {
        self.counters.count_refusal(kind);
    }

    /// The app.
    pub fn app(&self) -> &AppId {
        &self.app
    }

    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.connections.used()
    }

    /// Occupied channels, distinct in the cluster as far as is known here.
    pub fn channels(&self) -> u64 {
        self.channels.used()
    }

    /// Connections that are members of presence channels.
    pub fn presence_members(&self) -> u64 {
        self.presence_members.used()
    }

    /// Has `short` set whenever a share was used up that another node may have some of.
    pub(crate) fn telling(self, short: Arc<AtomicBool>) -> Self {
        Self { short, ..self }
    }

    /// Counts a refusal of something that is given back some time.
    fn full(&self, quota: QuotaKind, shared: bool) -> Refused {
        self.refused(quota);
        if !shared {
            self.short.store(true, Relaxed);
        }
        full(quota, shared)
    }

    /// Takes the app's new quota.
    pub(crate) fn set_quota(&self, quota: &Quota, now: Instant) {
        let mut standing = self.standing.lock();
        if standing.quota != *quota {
            standing.quota = quota.clone();
            self.settle(&standing, now, 0);
        }
    }

    /// Takes a share.
    pub(crate) fn apply(&self, share: Share, now: Instant) {
        let mut standing = self.standing.lock();
        standing.share = Some((share, now));
        self.settle(&standing, now, 0);
        self.messages_out.close_until((!share.out_blocked_for.is_zero()).then(|| now + share.out_blocked_for));
    }

    /// Once a second: forgets a share that is too old, and keeps to the limit divided by the live nodes without one.
    pub(crate) fn tick(&self, now: Instant, unix_ms: u64, live: Live) {
        let mut standing = self.standing.lock();
        standing.live = live;
        standing.share = standing.share.filter(|(_, came)| now.saturating_duration_since(*came) <= SHARE_TTL);
        if standing.share.is_none() && standing.quota != Quota::default() {
            self.settle(&standing, now, unix_ms);
        }
    }

    /// Looks how many connections there are, for `sample` of the minute. The first look counts.
    pub(crate) fn sample(&self, sample: usize) {
        let mut standing = self.standing.lock();
        if let Some(sample @ None) = standing.samples.get_mut(sample) {
            *sample = Some(self.connections.used());
        }
    }

    /// What there is to say since the last call, if anything.
    pub(crate) fn report(&self, unix_ms: u64) -> Option<AppReport> {
        let totals = self.counters.totals();
        let mut standing = self.standing.lock();
        let gauges = [&self.connections, &self.presence_members, &self.channels];
        let quiet = totals == standing.reported && gauges.iter().all(|gauge| gauge.used() == 0);
        if quiet {
            return None;
        }
        let since = totals.since(&standing.reported);
        standing.reported = totals;
        Some(AppReport {
            app: self.app.clone(),
            connections: self.connections.used(),
            presence_members: self.presence_members.used(),
            channels: self.channels.used(),
            counts: self.with_peaks(since.counts),
            messages_in_wanted: since.messages_in_wanted,
            webhooks_wanted: since.webhooks_wanted,
            history_bytes_wanted: since.history_bytes_wanted,
            history_bytes: self.stored.take_recent(unix_ms),
        })
    }

    /// What there is, and what happened since the meter was made.
    pub(crate) fn totals(&self) -> AppTotals {
        let levels = Levels {
            connections: self.connections.used(),
            presence_members: self.presence_members.used(),
            channels: self.channels.used(),
        };
        let counts = self.with_peaks(self.counters.totals().counts);
        AppTotals { app: self.app.clone(), made: self.made, levels, counts }
    }

    /// The current minute so far.
    pub(crate) fn minute(&self) -> AppMinute {
        let standing = self.standing.lock();
        let counts = self.with_peaks(self.counters.totals().since(&standing.minute).counts);
        AppMinute { counts, connections: trimmed(&standing.samples) }
    }

    /// The current minute, which is over.
    pub(crate) fn close_minute(&self) -> AppMinute {
        let totals = self.counters.totals();
        let mut standing = self.standing.lock();
        let mut counts = totals.since(&standing.minute).counts;
        counts.peak_connections = self.connections.take_peak();
        counts.peak_channels = self.channels.take_peak();
        let connections = trimmed(&standing.samples);
        standing.minute = totals;
        standing.samples = [None; SAMPLES];
        AppMinute { counts, connections }
    }

    /// Whether nothing has happened for long and nothing is held, so that nobody misses the meter.
    pub(crate) fn is_idle(&self, now: Instant, unix_ms: u64) -> bool {
        let totals = self.counters.totals();
        let gauges = [&self.connections, &self.presence_members, &self.channels];
        let mut standing = self.standing.lock();
        // What was stored here is what it may still store without a leader.
        if gauges.iter().any(|gauge| gauge.used() > 0) || self.stored.live(unix_ms) > 0 {
            standing.idle = None;
            return false;
        }
        match &standing.idle {
            Some((since, before)) if *before == totals => now.saturating_duration_since(*since) >= IDLE,
            Some(_) | None => {
                standing.idle = Some((now, totals));
                false
            }
        }
    }

    fn with_peaks(&self, counts: Counts) -> Counts {
        Counts { peak_connections: self.connections.peak(), peak_channels: self.channels.peak(), ..counts }
    }

    /// Puts in force what `standing` says. Where the share has nothing for a limit, that is the limit divided by the
    /// live nodes.
    fn settle(&self, standing: &Standing, now: Instant, unix_ms: u64) {
        let Standing { quota, live, .. } = standing;
        let share = standing.share.map(|(share, _)| share).unwrap_or_default();
        let (edges, workers) = (u64::from(live.edges.max(1)), u64::from(live.workers.max(1)));

        let gauge = |limit: Option<u64>, granted: Option<Portion>| {
            limit.map(|limit| {
                // Rounded up, so that a small limit is not zero everywhere.
                let portion = granted.unwrap_or(Portion { share: limit.div_ceil(edges), free: u64::MAX });
                if portion.share >= limit { Portion { share: limit, free: 0 } } else { portion }
            })
        };
        self.connections.set(gauge(quota.connections, share.connections));
        self.presence_members.set(gauge(quota.presence_members, share.presence_members));

        let rate = |limit: Option<u64>, granted: Option<f64>, live: u64| {
            limit.map(|limit| {
                let limit = limit as f64;
                (granted.unwrap_or(limit / live as f64).clamp(0.0, limit), limit)
            })
        };
        self.messages_in.set_rate(rate(quota.messages_in_per_second, share.messages_in_per_second, edges), now);
        self.messages_out.set_rate(rate(quota.messages_out_per_second, share.messages_out_per_second, edges), now);
        // Only the leader knows how many deliveries a publish makes; without one, only the node's own debt counts.
        let paced = share.paced_messages_in_per_second.filter(|_| quota.messages_out_per_second.is_some());
        self.paced.set_rate(paced.map(|pace| (pace, pace)), now);
        self.webhooks.set_rate(rate(quota.webhooks_per_second, share.webhooks_per_second, workers), now);

        self.stored.set_budget(quota.history_bytes.map(|limit| {
            let alone = || {
                let budget = (limit / edges).saturating_sub(self.stored.live(unix_ms));
                Portion { share: budget, free: if edges == 1 { budget } else { u64::MAX } }
            };
            share.history_bytes.unwrap_or_else(alone)
        }));
    }
}

/// What of `kept` counts as stored, in seconds and bytes.
fn persistent(kept: &[(Duration, u64)]) -> impl Iterator<Item = (u64, u64)> {
    let kept = kept.iter().filter(|(time, _)| *time > PERSISTENT_AFTER);
    kept.map(|(time, bytes)| (time.as_secs(), *bytes))
}

/// The refusal of a rate that is used up.
fn over(quota: QuotaKind, wait: Wait) -> Refused {
    Refused { quota, retry_after: wait.time, shared: wait.shared }
}

/// The refusal of something that is given back some time.
fn full(quota: QuotaKind, shared: bool) -> Refused {
    Refused { quota, retry_after: if shared { FULL } else { SHARES_MOVE }, shared }
}

/// The samples without the zeros at their end.
fn trimmed(samples: &[Option<u64>]) -> Vec<u64> {
    let used = samples.iter().rposition(|sample| sample.is_some_and(|count| count > 0)).map_or(0, |last| last + 1);
    samples[..used].iter().map(|sample| sample.unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests;
