//! One channel: its subscribers, its ring, and the task that feeds them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backbone::{Attachment, Delivery, Gap};
use channels::{AppId, ChannelName, Position, Record, Tier};
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::Notify;

use super::{Hub, Replay, Settings, ring::Ring};
use crate::clock;
use crate::connections::Peer;
use crate::queue::{Ending, Frame, Timing};
use crate::websocket::frame;

/// First and longest pause between attempts to attach.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A channel that somebody on this node is, or was a moment ago, subscribed to.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) app: AppId,
    pub(crate) name: ChannelName,
    state: Mutex<State>,
    /// How many subscribers `state` holds, to be read without waiting for a fan-out.
    subscriptions: AtomicU64,
    /// Whether its count waits to be told to the cluster.
    pub(crate) noted: AtomicBool,
    /// Wakes the task: the last subscriber left, or the app has changed.
    look: Notify,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    subscribers: Slab<Subscriber>,
    /// Confirmations owed to those who left before the channel was attached: pusher-js waits for them. At most one per
    /// connection, so that subscribing and leaving in a loop costs no memory.
    farewells: Vec<(Arc<Peer>, Frame)>,
    ring: Ring,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Subscribers wait for their confirmation.
    Attaching,
    /// Subscribers get every record.
    Live,
    /// Over: no longer in the hub's map.
    Ended,
}

#[derive(Debug)]
struct Subscriber {
    peer: Arc<Peer>,
    /// Until it is sent.
    confirmation: Option<Box<Frame>>,
}

/// A connection's subscription to a channel. Dropping it leaves the channel.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    channel: Arc<Channel>,
    key: usize,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.channel.leave(&self.hub, self.key);
    }
}

impl Channel {
    pub(super) fn new(app: AppId, name: ChannelName, settings: &Settings) -> Self {
        let state = State {
            phase: Phase::Attaching,
            subscribers: Slab::new(),
            farewells: Vec::new(),
            ring: Ring::new(settings.ring_messages, settings.ring_bytes),
        };
        Self {
            app,
            name,
            state: Mutex::new(state),
            subscriptions: AtomicU64::new(0),
            noted: AtomicBool::new(false),
            look: Notify::new(),
        }
    }

    /// Adds a subscriber; gives `confirmation` back if the channel is over.
    pub(super) fn join(
        self: &Arc<Self>,
        hub: &Arc<Hub>,
        peer: &Arc<Peer>,
        confirmation: Frame,
    ) -> Result<Subscription, Frame> {
        let mut state = self.state.lock();
        let confirmation = match state.phase {
            Phase::Ended => return Err(confirmation),
            Phase::Attaching => Some(Box::new(confirmation)),
            // Under the lock that every fan-out takes, so before any later record.
            Phase::Live => {
                peer.queue.push(confirmation);
                hub.metrics.subscribed.increment(1);
                None
            }
        };
        let key = state.subscribers.insert(Subscriber { peer: Arc::clone(peer), confirmation });
        let before = self.subscriptions.fetch_add(1, Ordering::Relaxed);
        drop(state);
        hub.metrics.subscriptions.of(self.name.as_str()).increment(1);
        if before == 0 {
            hub.metrics.channels.of(self.name.as_str()).increment(1);
            // While nobody was here nobody looked at the tier.
            self.look();
        }
        hub.changes.note(self);
        Ok(Subscription { hub: Arc::clone(hub), channel: Arc::clone(self), key })
    }

    fn leave(self: &Arc<Self>, hub: &Hub, key: usize) {
        let mut state = self.state.lock();
        let Subscriber { peer, confirmation } = state.subscribers.remove(key);
        let owed =
            state.phase == Phase::Attaching && !state.farewells.iter().any(|(other, _)| Arc::ptr_eq(other, &peer));
        if let Some(confirmation) = confirmation
            && owed
        {
            state.farewells.push((peer, *confirmation));
        }
        let left = self.subscriptions.fetch_sub(1, Ordering::Relaxed) - 1;
        drop(state);
        hub.metrics.subscriptions.of(self.name.as_str()).decrement(1);
        if left == 0 {
            hub.metrics.channels.of(self.name.as_str()).decrement(1);
            self.look();
        }
        hub.changes.note(self);
    }

    /// Has the task look at what changed.
    pub(super) fn look(&self) {
        self.look.notify_one();
    }

    /// How many connections are subscribed.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    pub(super) fn replay(&self, after: Position, limit: usize) -> Option<Replay> {
        self.state.lock().ring.after(after, limit)
    }

    /// Lets everybody in who waits.
    pub(super) fn go_live(&self, hub: &Hub, head: Position) {
        let mut state = self.state.lock();
        state.phase = Phase::Live;
        state.ring.restart(head);
        for (peer, confirmation) in std::mem::take(&mut state.farewells) {
            peer.queue.push(confirmation);
        }
        for (_, subscriber) in &mut state.subscribers {
            if let Some(confirmation) = subscriber.confirmation.take() {
                subscriber.peer.queue.push(*confirmation);
                hub.metrics.subscribed.increment(1);
            }
        }
    }

    /// Hands a record to every subscriber but the connection it came from.
    fn deliver(&self, hub: &Hub, position: Option<Position>, record: &Arc<Record>) {
        let received = Instant::now();
        // Nobody can be owed the record who is not subscribed by now: it was published before.
        let frame = (self.subscriptions() > 0).then(|| self.encode(record));
        let mut state = self.state.lock();
        if let Some(position) = position {
            state.ring.push(position, Arc::clone(record));
        }
        let Some(frame) = frame.filter(|frame| frame.messages > 0) else { return };
        // One delivery of each record is measured: any more would cost every delivery. Which one goes round.
        let measured = position.map_or(record.timestamp_ms, |position| position.sequence);
        let measured = usize::try_from(measured).unwrap_or_default() % state.subscribers.len().max(1);
        let mut size = 0_u32;
        for (index, (_, subscriber)) in state.subscribers.iter().enumerate() {
            let peer = &subscriber.peer;
            if record.connection.as_ref().is_some_and(|connection| *connection == peer.id) {
                continue;
            }
            let mut frame = frame.clone();
            if index == measured {
                frame.timing = Some(Box::new(Timing { accepted_ms: record.timestamp_ms, queued: Instant::now() }));
            }
            peer.queue.push(frame);
            size += 1;
        }
        drop(state);
        hub.metrics.fanout_size.record(f64::from(size));
        hub.metrics.delivery_fanout.record(received.elapsed().as_secs_f64());
        hub.metrics.delivery_backbone.record(clock::seconds_since(record.timestamp_ms));
    }

    fn encode(&self, record: &Record) -> Frame {
        frame::texts(&pusher::encode_record(&self.name, record))
    }

    /// Ends every subscriber's connection: stock Pusher clients know no other sign that messages may be missing. They
    /// come back at once, subscribe anew, and applications that care load what they missed on `connected`.
    fn tell_missed(&self, resumes: Position) {
        let mut state = self.state.lock();
        state.ring.restart(resumes);
        for (_, subscriber) in &state.subscribers {
            subscriber.peer.queue.end(Ending::Missed);
        }
    }

    /// Goes back to where it came from: whoever is there is told to reconnect, whoever comes waits.
    pub(super) fn start_over(&self) {
        let mut state = self.state.lock();
        state.phase = Phase::Attaching;
        state.ring.stop();
        for (_, subscriber) in &state.subscribers {
            subscriber.peer.queue.end(Ending::Missed);
        }
    }

    /// Gives up: whoever waits is sent to another node.
    pub(super) fn fail(&self, hub: &Hub) -> bool {
        let mut state = self.state.lock();
        state.phase = Phase::Ended;
        state.farewells = Vec::new();
        for (_, subscriber) in &state.subscribers {
            subscriber.peer.queue.end(Ending::Unavailable);
            if subscriber.confirmation.is_some() {
                hub.metrics.subscribe_unavailable.increment(1);
            }
        }
        true
    }

    /// Ends it if nobody is subscribed.
    fn end_if_vacant(&self) -> bool {
        let mut state = self.state.lock();
        if state.subscribers.is_empty() {
            state.phase = Phase::Ended;
        }
        state.phase == Phase::Ended
    }
}

/// The channel's task: attaches, feeds, lingers, ends.
pub(super) async fn run(hub: Arc<Hub>, channel: Arc<Channel>) {
    let stop = hub.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = feed(&hub, &channel) => {}
    }
}

async fn feed(hub: &Arc<Hub>, channel: &Arc<Channel>) {
    loop {
        let timeout = tokio::time::sleep(hub.settings.attach_timeout);
        let (attachment, tier) = tokio::select! {
            attached = attach(hub, channel) => attached,
            () = timeout => {
                tracing::warn!(app = %channel.app, channel = %channel.name, "a channel could not be attached in time");
                hub.remove(channel, |channel| channel.fail(hub));
                return;
            }
        };
        channel.go_live(hub, attachment.head());
        match pass_on(hub, channel, attachment, tier).await {
            Over::Vacant => return,
            // Other rules, other promises: continuity across the change is unknown, and said so.
            Over::OtherTier => {
                tracing::info!(app = %channel.app, channel = %channel.name, "attaching anew for another tier");
                channel.start_over();
            }
        }
    }
}

/// Why an attachment is not needed any more.
enum Over {
    /// The channel has ended.
    Vacant,
    /// Its app wants it on another tier.
    OtherTier,
}

/// Passes on what the attachment yields.
async fn pass_on(hub: &Arc<Hub>, channel: &Arc<Channel>, mut attachment: Attachment, tier: Tier) -> Over {
    // When the channel is to end, while it has no subscriber.
    let mut ends: Option<tokio::time::Instant> = None;
    // What happened while it was being attached.
    channel.look();
    loop {
        let linger = async {
            match ends {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            delivery = attachment.next() => match delivery {
                Delivery::Record(position, record) => channel.deliver(hub, position, &record),
                Delivery::Gap(gap) => tell_gap(hub, channel, gap),
            },
            () = channel.look.notified() => {
                if hub.tier(channel) != tier {
                    return Over::OtherTier;
                }
                let vacant = channel.subscriptions() == 0;
                ends = vacant.then(|| tokio::time::Instant::now() + hub.settings.detach_linger);
            }
            () = linger => {
                if hub.remove(channel, Channel::end_if_vacant) {
                    return Over::Vacant;
                }
                ends = None;
            }
        }
    }
}

/// Attaches, however long it takes.
async fn attach(hub: &Hub, channel: &Channel) -> (Attachment, Tier) {
    let mut pause = BACKOFF.0;
    loop {
        let tier = hub.tier(channel);
        match hub.backbone.attach(&channel.app, &channel.name, tier).await {
            Ok(attachment) => return (attachment, tier),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(app = %channel.app, channel = %channel.name, error, "attach failed, trying again");
            }
        }
        tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

fn tell_gap(hub: &Hub, channel: &Channel, gap: Gap) {
    hub.metrics.gaps.increment(1);
    tracing::error!(
        app = %channel.app, channel = %channel.name, after = %gap.after, resumes = %gap.resumes,
        subscribers = channel.subscriptions(), "messages of a channel may be missing; its subscribers are told to reconnect"
    );
    channel.tell_missed(gap.resumes);
}
