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
mod facts;
#[cfg(test)]
mod formats;
mod interest;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use backbone::registry::Apps;
use backbone::{Backbone, Bucket, Entry, IdempotencyId, Kv, KvError, Queue, QueueError, WEBHOOK_EVENT_FORMAT};
use channels::ChannelHash;
use clock::{sleep_until, unix_ms};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prost::Message as _;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use announced::CONFIRMED;
use confirmation::Confirmation;
use facts::{Facts, Following};
use interest::Interest;
use state::{Action, Note, Outcome, State, Step};

/// Steps under way at one time, each of another channel.
const CONCURRENT_STEPS: usize = 64;

/// Pause before facts are read anew after a failed watch.
const BACKOFF: Duration = Duration::from_secs(1);

/// Pause before announcements are read again from a replica that lags.
const LAG: Duration = Duration::from_millis(50);

/// How often it is noted how far announcements are in the queue. What was announced since is put into it again by the
/// next worker.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// What decides. Holds nothing between runs: everything is read when it begins.
#[derive(Debug)]
pub(crate) struct Decider {
    facts: Facts,
    announced: Kv,
    queue: Queue,
    apps: Apps,
    grace: Duration,
}

impl Decider {
    pub(crate) fn new(backbone: &Backbone, apps: Apps, grace: Duration) -> Self {
        Self {
            facts: Facts::new(backbone),
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
                            "cannot read who is where and what webhooks were told yet"
                        );
                        sleep(BACKOFF).await;
                    }
                },
                () = other => tracing::debug!("other webhook events are wanted than before"),
            }
        }
    }

    /// Announces and tells differences until `stop`, or until there is nothing to look after. Fails only at its beginning.
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
        let mut following = self.facts.follow(&mut state).await?;
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
                changed = following.next(&mut state) => if let Err(error) = changed {
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        anew = self.follow_anew(&mut state, error) => following = anew,
                    }
                },
                Some((step, outcome)) = under_way.next(), if !under_way.is_empty() => {
                    confirmation.end(&step, outcome);
                    state.done(&step, outcome, Instant::now());
                }
                _ = confirm.tick() => self.confirm(&mut confirmation).await,
                () = sleep_until(wake) => {}
                () = stop.cancelled(), if !stop.is_cancelled() => {}
            }
        }
        self.confirm(&mut confirmation).await;
        Ok(())
    }

    /// Follows the facts again after a watch has failed. What was announced stays known, and what is under way ends: nothing
    /// has to be told once more for want of having been noted.
    async fn follow_anew(&self, state: &mut State, mut error: KvError) -> Following {
        loop {
            tracing::warn!(error = &error as &dyn std::error::Error, "lost the facts for webhooks; reading them anew");
            sleep(BACKOFF).await;
            match self.facts.follow(state).await {
                Ok(following) => return following,
                Err(again) => error = again,
            }
        }
    }

    /// What is confirmed, and all announcements, at least as new as now. They are read from a replica, which may lag behind
    /// what the worker before has written last: one that has a mark has all that was written before it.
    async fn announcements(&self) -> Result<(u64, Vec<Entry>), KvError> {
        let known = self.announced.get(CONFIRMED).await?;
        let (revision, confirmed) =
            known.map_or((0, 0), |entry| (entry.revision, announced::decode_confirmed(entry.value)));
        let again = announced::encode_confirmed(confirmed);
        let mark = match revision {
            0 => self.announced.create(CONFIRMED, again).await?,
            revision => self.announced.update(CONFIRMED, again, revision).await?,
        };
        loop {
            let entries = self.announced.entries().await?;
            if entries.iter().any(|entry| entry.key == CONFIRMED && entry.revision >= mark) {
                return Ok((confirmed, entries));
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
                    Err(KvError::Exists | KvError::Conflict) => self.read(&key, revision).await,
                    Err(KvError::Unavailable(_) | KvError::InvalidKey) => Outcome::Unknown,
                }
            }
            Action::Tell { note, revision } => self.tell(&step, note, revision).await,
            Action::Forget { revision } => match self.announced.remove(&key, Some(revision)).await {
                Ok(_) => Outcome::Nothing,
                Err(KvError::Exists | KvError::Conflict) => self.read(&key, revision).await,
                Err(KvError::Unavailable(_) | KvError::InvalidKey) => Outcome::Unknown,
            },
            Action::Read { told } => self.read(&key, told).await,
        };
        (step, outcome)
    }

    /// An announcement as it is. Unless it is the one at revision `told`, it is not known by whom, and whether it was told.
    async fn read(&self, key: &str, told: u64) -> Outcome {
        match self.announced.get(key).await {
            Ok(Some(entry)) => match announced::decode(entry) {
                Some(stored) if stored.revision == told => Outcome::Told(stored.note, stored.revision),
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
                let (app, channel_hash) = (&step.place.app, ChannelHash::of(&step.place.app, &step.channel));
                tracing::error!(%app, %channel_hash, "a webhook event is too large to be told");
                Outcome::Told(note, revision)
            }
            Err(error @ (QueueError::Full | QueueError::Unavailable)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a webhook event has to wait");
                Outcome::Written(note, revision)
            }
        }
    }
}
