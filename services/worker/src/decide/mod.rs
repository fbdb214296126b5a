//! Deciding what webhooks are told of who is where: occupied and vacated channels, members that come and go, and how many
//! subscribe. Runs in the one active worker.
//!
//! Follows the facts that edges share (counts, rosters, and leases, which say whose facts to believe) and compares them
//! with the announcements, which say what was told last. Each difference is put into the queue first and noted second,
//! under an id that derives from the announcement's revision: a worker that dies in between is followed by one that puts
//! the same event into the queue again, which drops it. What becomes of an event in the queue is not known here.

mod announced;
mod interest;
mod state;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::time::Duration;

use backbone::facts::{Count, CountKey, decode_member, edge_of_lease, parse_roster_key};
use backbone::registry::Apps;
use backbone::{Backbone, Bucket, IdempotencyId, Kv, KvError, Queue, QueueError, Watch, WatchEvent};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channels::WebhookEvent;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::clock::unix_ms;
use crate::event;
use interest::Interest;
use state::{Note, Outcome, Place, State, Step};

/// Steps under way at one time, each of another channel.
const CONCURRENT_STEPS: usize = 64;

/// Pause before everything is read anew after a failed watch.
const BACKOFF: Duration = Duration::from_secs(1);

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

    /// Decides until dropped, which may happen at any moment. When other events become wanted everything is read anew.
    pub(crate) async fn run(&self) -> Infallible {
        self.apps.ready().await;
        let mut changed = self.apps.changed();
        loop {
            changed.mark_unchanged();
            let interest = Interest::of(&self.apps.snapshot());
            let other = async {
                // Cannot fail: `self.apps` holds the sender.
                while changed.changed().await.is_ok() && Interest::of(&self.apps.snapshot()) == interest {}
            };
            tokio::select! {
                ended = self.follow(interest.clone()) => match ended {
                    // Nobody wants anything, and what was told is forgotten.
                    Ok(()) => {
                        changed.changed().await.ok();
                    }
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn std::error::Error, "lost the facts for webhooks; reading them anew");
                        tokio::time::sleep(BACKOFF).await;
                    }
                },
                () = other => tracing::debug!("other webhook events are wanted than before"),
            }
        }
    }

    /// Tells and notes differences, until there is nothing to look after or a watch fails.
    async fn follow(&self, interest: Interest) -> Result<(), KvError> {
        let mut state = State::new(interest, self.grace);
        for entry in self.announced.entries().await? {
            if let Some(stored) = announced::decode(entry) {
                let told = (stored.note, stored.revision);
                state.announced(&stored.place, &stored.channel, stored.user, told, Instant::now());
            }
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
        let mut under_way = FuturesUnordered::new();
        while !state.is_idle() {
            while under_way.len() < CONCURRENT_STEPS
                && let Some(step) = state.next(Instant::now())
            {
                under_way.push(self.carry_out(step));
            }
            let wake = state.wake();
            tokio::select! {
                event = leases.next() => take_lease(&mut state, event?),
                event = counts.next() => take_count(&mut state, event?),
                event = roster.next() => take_member(&mut state, event?),
                Some((step, outcome)) = under_way.next(), if !under_way.is_empty() => {
                    state.done(&step, outcome, Instant::now());
                }
                () = crate::sleep_until(wake) => {}
            }
        }
        Ok(())
    }

    /// Tells first and notes second.
    async fn carry_out(&self, step: Step) -> (Step, Outcome) {
        let key = announced::key(&step.place, step.user.as_ref());
        if let Some(event) = step.tell
            && let Err(error) = self.tell(&key, &step, event).await
        {
            match error {
                // It will never fit; noted all the same, or it would be tried for ever.
                QueueError::TooLarge => {
                    tracing::error!(channel = %step.channel, "a webhook event is too large to be told")
                }
                QueueError::Full | QueueError::Unavailable => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a webhook event has to wait");
                    return (step, Outcome::Failed);
                }
            }
        }
        let noted = match announced::encode(&step.channel, step.user.as_ref(), step.note) {
            Some(value) if step.revision == 0 => self.announced.create(&key, value).await,
            Some(value) => self.announced.update(&key, value, step.revision).await,
            None => self.announced.remove(&key, Some(step.revision)).await.map(|_| 0),
        };
        let outcome = match noted {
            Ok(revision) => Outcome::Noted(step.note, revision),
            // A worker before this one was later than it should have been, or an answer was lost.
            Err(KvError::Exists | KvError::Conflict) => match self.announced.get(&key).await {
                Ok(Some(entry)) => match announced::decode(entry) {
                    Some(stored) => Outcome::Noted(stored.note, stored.revision),
                    None => Outcome::Failed,
                },
                Ok(None) => Outcome::Noted(Note::Nothing, 0),
                Err(_) => Outcome::Failed,
            },
            Err(KvError::Unavailable(_) | KvError::InvalidKey) => Outcome::Failed,
        };
        (step, outcome)
    }

    async fn tell(&self, key: &str, step: &Step, event: WebhookEvent) -> Result<(), QueueError> {
        let subscription_count = match (event, step.note) {
            (WebhookEvent::SubscriptionCount, Note::Here { count }) => count,
            _ => 0,
        };
        let value = proto::backbone::WebhookEvent {
            version: event::VERSION,
            app_id: step.place.app.as_str().to_owned(),
            name: event.name().to_owned(),
            channel: step.channel.as_str().to_owned(),
            time_ms: unix_ms(),
            user_id: step.user.as_ref().map(|user| user.as_str().to_owned()).unwrap_or_default(),
            subscription_count,
            ..proto::backbone::WebhookEvent::default()
        };
        let id = event_id(event, step.revision, key);
        self.queue.push(&step.place.app, &id, value.encode_to_vec().into()).await
    }
}

/// The same for every worker that finds the same difference. A revision is that of one entry only, but without an entry
/// there is none, so the key takes part; hashed, since it may be longer than an id.
fn event_id(event: WebhookEvent, revision: u64, key: &str) -> IdempotencyId {
    let key = URL_SAFE_NO_PAD.encode(Sha256::digest(key));
    IdempotencyId::new(&format!("{}/{revision}/{key}", event.name())).expect("short, and without control characters")
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
