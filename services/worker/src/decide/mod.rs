//! Deciding what webhooks are told of who is where: occupied and vacated channels, members that come and go, and how many
//! subscribe. Runs in the one active worker.
//!
//! Follows the facts that edges share (counts, rosters, and leases, which say whose facts to believe) and compares them
//! with the announcements, which say what is told. Each difference is announced first, and put into the queue second under
//! an id that derives from the announcement's revision. Now and again it is noted how far announcements are in the queue
//! for certain: a worker that dies is followed by one that puts the others into the queue again, which drops what it has.
//! What becomes of an event in the queue is not known here.

mod announced;
mod confirmation;
mod interest;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use backbone::facts::{Count, CountKey, decode_member, edge_of_lease, parse_roster_key};
use backbone::registry::Apps;
use backbone::{
    Backbone, Bucket, Entry, IdempotencyId, Kv, KvError, Queue, QueueError, WEBHOOK_EVENT_FORMAT, Watch, WatchEvent,
};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prost::Message as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::unix_ms;
use announced::CONFIRMED;
use confirmation::Confirmation;
use interest::Interest;
use state::{Action, Note, Outcome, Place, State, Step};

/// Steps under way at one time, each of another channel.
const CONCURRENT_STEPS: usize = 64;

/// Pause before everything is read anew after a failed watch.
const BACKOFF: Duration = Duration::from_secs(1);

/// Pause before announcements are read again from a replica that lags.
const LAG: Duration = Duration::from_millis(50);

/// How often it is noted how far announcements are in the queue. What was announced since is put into it again by the
/// next worker.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// What decides. Holds nothing between runs: everything is read when it begins.
#[derive(Debug)]
pub(crate) struct Decider {
    counts: Kv,
    roster: Kv,
    leases: Kv,
    announced: Kv,
    queue: Queue,
    apps: Apps,
    grace: Duration,
}

impl Decider {
    pub(crate) fn new(backbone: &Backbone, apps: Apps, grace: Duration) -> Self {
        Self {
            counts: backbone.kv(Bucket::Occupancy),
            roster: backbone.kv(Bucket::Roster),
            leases: backbone.kv(Bucket::Leases),
            announced: backbone.kv(Bucket::Announced),
            queue: backbone.webhook_queue(),
            apps,
            grace,
        }
    }

    /// Decides until `stop`, and then ends what is under way. May be dropped at any moment. When other events become wanted
    /// everything is read anew.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut changed = self.apps.changed();
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.apps.ready() => {}
        }
        while !stop.is_cancelled() {
            changed.mark_unchanged();
            let interest = Interest::of(&self.apps.snapshot());
            let mut others = changed.clone();
            let other = async {
                // Cannot fail: `self.apps` holds the sender.
                while others.changed().await.is_ok() && Interest::of(&self.apps.snapshot()) == interest {}
            };
            tokio::select! {
                ended = self.follow(interest.clone(), &stop) => match ended {
                    Ok(()) => {
                        // Told to stop, or nobody wants anything and nothing is announced.
                        tokio::select! {
                            () = stop.cancelled() => {}
                            _ = changed.changed() => {}
                        }
                    }
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "lost the facts for webhooks; reading them anew"
                        );
                        sleep(BACKOFF).await;
                    }
                },
                () = other => tracing::debug!("other webhook events are wanted than before"),
            }
        }
    }

    /// Announces and tells differences until `stop`, until there is nothing to look after, or until a watch fails.
    async fn follow(&self, interest: Interest, stop: &CancellationToken) -> Result<(), KvError> {
        let mut state = State::new(interest, self.grace);
        let (confirmed, entries) = self.announcements().await?;
        let mut confirmation = Confirmation::new(confirmed);
        for stored in entries.into_iter().filter_map(announced::decode) {
            let known = confirmation.found(&stored);
            state.announced(&stored.place, &stored.channel, stored.user, known);
        }
        if state.is_idle() {
            return Ok(());
        }
        let mut leases = self.leases.watch().await?;
        let mut counts = self.counts.watch().await?;
        let mut roster = self.roster.watch().await?;
        // Leases first: what an edge says is believed as soon as it is known to be alive.
        snapshot(&mut leases, |event| take_lease(&mut state, event)).await?;
        snapshot(&mut counts, |event| take_count(&mut state, event)).await?;
        snapshot(&mut roster, |event| take_member(&mut state, event)).await?;
        let mut confirm = interval(CONFIRM_INTERVAL);
        confirm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way = FuturesUnordered::new();
        while !(state.is_idle() || stop.is_cancelled() && under_way.is_empty()) {
            while !stop.is_cancelled()
                && under_way.len() < CONCURRENT_STEPS
                && let Some(step) = state.next(Instant::now())
            {
                confirmation.begin(&step);
                under_way.push(self.carry_out(step));
            }
            let wake = state.wake().filter(|_| under_way.len() < CONCURRENT_STEPS);
            tokio::select! {
                event = leases.next() => take_lease(&mut state, event?),
                event = counts.next() => take_count(&mut state, event?),
                event = roster.next() => take_member(&mut state, event?),
                Some((step, outcome)) = under_way.next(), if !under_way.is_empty() => {
                    confirmation.end(&step, outcome);
                    state.done(&step, outcome, Instant::now());
                }
                _ = confirm.tick() => self.confirm(&mut confirmation).await,
                () = crate::sleep_until(wake) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        self.confirm(&mut confirmation).await;
        Ok(())
    }

    /// What is confirmed, and all announcements, at least as new as that. They are read from a replica, which may lag
    /// behind what the worker before has written last; its last word is always a confirmation.
    async fn announcements(&self) -> Result<(u64, Vec<Entry>), KvError> {
        loop {
            let newest = self.announced.get(CONFIRMED).await?;
            let entries = self.announced.entries().await?;
            let seen = entries.iter().find(|entry| entry.key == CONFIRMED).map(|entry| entry.revision);
            if seen >= newest.as_ref().map(|entry| entry.revision) {
                return Ok((newest.map_or(0, |entry| announced::decode_confirmed(entry.value)), entries));
            }
            sleep(LAG).await;
        }
    }

    async fn confirm(&self, confirmation: &mut Confirmation) {
        let Some(revision) = confirmation.news() else { return };
        match self.announced.put(CONFIRMED, announced::encode_confirmed(revision)).await {
            Ok(_) => confirmation.noted(revision),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "cannot note how far webhook events are in the queue");
            }
        }
    }

    async fn carry_out(&self, step: Step) -> (Step, Outcome) {
        let key = announced::key(&step.place, step.user.as_ref());
        let outcome = match step.action {
            Action::Announce { note, wanted, revision } => {
                let value = announced::encode(&step.channel, step.user.as_ref(), note);
                let written = match revision {
                    0 => self.announced.create(&key, value).await,
                    revision => self.announced.update(&key, value, revision).await,
                };
                match written {
                    Ok(revision) if wanted => self.tell(&step, note, revision).await,
                    Ok(revision) => Outcome::Told(note, revision),
                    // A worker before this one was later than it should have been, or an answer was lost.
                    Err(KvError::Exists | KvError::Conflict) => self.read(&key).await,
                    Err(KvError::Unavailable(_) | KvError::InvalidKey) => Outcome::Unknown,
                }
            }
            Action::Tell { note, revision } => self.tell(&step, note, revision).await,
            Action::Forget { revision } => match self.announced.remove(&key, Some(revision)).await {
                Ok(_) => Outcome::Nothing,
                Err(KvError::Exists | KvError::Conflict) => self.read(&key).await,
                Err(KvError::Unavailable(_) | KvError::InvalidKey) => Outcome::Unknown,
            },
            Action::Read => self.read(&key).await,
        };
        (step, outcome)
    }

    /// An announcement as it is; by whom, and whether it was told, is not known.
    async fn read(&self, key: &str) -> Outcome {
        match self.announced.get(key).await {
            Ok(Some(entry)) => match announced::decode(entry) {
                Some(stored) => Outcome::Written(stored.note, stored.revision),
                None => Outcome::Unknown,
            },
            Ok(None) => Outcome::Nothing,
            Err(_) => Outcome::Unknown,
        }
    }

    /// Puts what is announced into the queue.
    async fn tell(&self, step: &Step, note: Note, revision: u64) -> Outcome {
        let value = proto::backbone::WebhookEvent {
            version: WEBHOOK_EVENT_FORMAT,
            app_id: step.place.app.as_str().to_owned(),
            name: note.event.name().to_owned(),
            channel: step.channel.as_str().to_owned(),
            time_ms: unix_ms(),
            user_id: step.user.as_ref().map(|user| user.as_str().to_owned()).unwrap_or_default(),
            subscription_count: note.count,
            ..proto::backbone::WebhookEvent::default()
        };
        // The same for every worker that finds this announcement.
        let id = IdempotencyId::new(&format!("announced/{revision}")).expect("short, and without control characters");
        match self.queue.push(&step.place.app, &id, value.encode_to_vec().into()).await {
            Ok(()) => Outcome::Told(note, revision),
            Err(QueueError::TooLarge) => {
                // It will never fit.
                tracing::error!(channel = %step.channel, "a webhook event is too large to be told");
                Outcome::Told(note, revision)
            }
            Err(error @ (QueueError::Full | QueueError::Unavailable)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a webhook event has to wait");
                Outcome::Written(note, revision)
            }
        }
    }
}

/// Takes everything that is there now.
async fn snapshot(watch: &mut Watch, mut take: impl FnMut(WatchEvent)) -> Result<(), KvError> {
    loop {
        match watch.next().await? {
            WatchEvent::Current => return Ok(()),
            event @ (WatchEvent::Put(_) | WatchEvent::Removed(_)) => take(event),
        }
    }
}

fn take_lease(state: &mut State, event: WatchEvent) {
    let (key, alive) = match event {
        WatchEvent::Put(entry) => (entry.key, true),
        WatchEvent::Removed(key) => (key, false),
        WatchEvent::Current => return,
    };
    if let Some(edge) = edge_of_lease(&key) {
        state.edge(edge, alive);
    }
}

fn take_count(state: &mut State, event: WatchEvent) {
    match event {
        WatchEvent::Put(entry) => {
            let Some(CountKey { app, token, edge }) = CountKey::parse(&entry.key) else { return };
            let Some(count) = Count::decode(entry.value) else { return };
            state.count(&Place { app, token }, Some(&count.channel), edge, count.subscriptions);
        }
        WatchEvent::Removed(key) => {
            let Some(CountKey { app, token, edge }) = CountKey::parse(&key) else { return };
            state.count(&Place { app, token }, None, edge, 0);
        }
        WatchEvent::Current => {}
    }
}

fn take_member(state: &mut State, event: WatchEvent) {
    match event {
        WatchEvent::Put(entry) => {
            let Some(CountKey { app, token, edge }) = parse_roster_key(&entry.key) else { return };
            let key = entry.key.clone();
            let Some((channel, member)) = decode_member(entry) else { return };
            state.enter(&Place { app, token }, &channel, &key, edge, member.member.user);
        }
        WatchEvent::Removed(key) => {
            let Some(CountKey { app, token, .. }) = parse_roster_key(&key) else { return };
            state.leave(&Place { app, token }, &key);
        }
        WatchEvent::Current => {}
    }
}
