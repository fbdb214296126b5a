//! Live delivery of one channel over core NATS, with its holes found and filled from the stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use channels::{Epoch, Namespaces, Position, Tier};
use clock::sleep_until;
use futures_util::StreamExt as _;
use telemetry::metrics::DISCARDED;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::time::{Instant, sleep};
use tracing::{debug, error, warn};

use super::continuity::{Continuity, Verdict};
use super::direct::{number, parse_time};
use super::reads::Chunk;
use super::repair::{Hint, Registration};
use super::streams::ShardStream;
use super::subject::{ChannelSubjects, Store};
use super::{JetStream, Shared};
use crate::attach::{AttachError, Delivery, Gap};
use crate::envelope;

/// Names the stream of a republished message, and of a poke.
pub(super) const STREAM_HEADER: &str = "Nats-Stream";

/// Carries the sequence that a publisher doubts was ever delivered.
pub(super) const POKE_HEADER: &str = "Fanfare-Poke";

/// When the head is compared once more after an attach, so that a channel which falls silent inside the attach's own
/// window is healed too; and after a comparison that came to nothing.
const RECHECK_AFTER: Duration = Duration::from_secs(1);

/// Pauses while the stream has no leader.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A channel's live records over JetStream.
#[derive(Debug)]
pub struct Attachment {
    shared: Arc<Shared>,
    /// Comparisons of heads must go on for as long as somebody is attached.
    _tasks: Arc<JoinSet<()>>,
    subjects: ChannelSubjects,
    live: Subscriber,
    head: Position,
    /// `None` on the ephemeral tier, where nothing is stored and nothing can be repaired.
    log: Option<Log>,
    /// A message from another store, which is to be followed there.
    moved: Option<(Store, Message)>,
    /// How many messages were read in a row without having to wait.
    unbroken: usize,
    ready: VecDeque<Delivery>,
}

/// What an attachment knows of its channel's log.
#[derive(Debug)]
struct Log {
    store: Store,
    epoch: Epoch,
    continuity: Continuity,
    /// How long the channel's messages live.
    window: Duration,
    /// Where comparisons of heads made for all channels at once come in.
    hints: watch::Receiver<Hint>,
    _registration: Registration,
    recheck: Option<Instant>,
    repair: Option<Repair>,
}

/// A repair under way. Kept outside the future that works on it, so that cancelling that future loses nothing.
#[derive(Debug)]
struct Repair {
    up_to: u64,
    /// The record whose arrival showed the hole; delivered when the hole is filled.
    then: Option<LiveRecord>,
    pause: Duration,
}

#[derive(Debug)]
struct LiveRecord {
    sequence: u64,
    previous: u64,
    stored_ns: i64,
    payload: bytes::Bytes,
}

enum Event {
    Message(Option<Message>),
    /// Everything that waited has been read, and so much had waited that some may have been dropped.
    CaughtUp,
    Hint,
    Recheck,
}

impl Attachment {
    /// Registers interest first and reads the head afterwards, with a pause in between: in a cluster interest travels
    /// to the stream's leader over another route than the read, and 1 to 7 % of attaches would otherwise miss a
    /// message that the head read did not see either.
    pub(super) async fn begin(
        jetstream: &JetStream,
        subjects: ChannelSubjects,
        tier: Tier,
    ) -> Result<Self, AttachError> {
        let shared = &jetstream.shared;
        let live = shared.live.subscribe(subjects.delivery()).await;
        let live = live.map_err(|error| AttachError::Unavailable(Box::new(error)))?;
        let Some(store) = Store::of(tier) else {
            shared.settle().await.map_err(|error| AttachError::Unavailable(Box::new(error)))?;
            let head = Position { epoch: Epoch::new(0), sequence: 0 };
            return Ok(Self::new(jetstream, subjects, live, head, None));
        };
        let stream = shared.streams.get(store, subjects.shard);
        shared.streams.ensure(stream).await.map_err(|error| AttachError::Unavailable(Box::new(error)))?;
        let window = shared.streams.lifetime(tier);
        let mut log = Log::begin(shared, stream, subjects.stored(store), 0, window);
        shared.settle().await.map_err(|error| AttachError::Unavailable(Box::new(error)))?;
        let head = shared.read_head(stream, &subjects.stored(store)).await;
        let head = head.map_err(|error| AttachError::Unavailable(Box::new(error)))?;
        log.continuity = Continuity::new(head.sequence, head.stored_ns, window, Instant::now());
        let head = Position { epoch: log.epoch, sequence: head.sequence };
        Ok(Self::new(jetstream, subjects, live, head, Some(log)))
    }

    fn new(
        jetstream: &JetStream,
        subjects: ChannelSubjects,
        live: Subscriber,
        head: Position,
        log: Option<Log>,
    ) -> Self {
        Self {
            shared: Arc::clone(&jetstream.shared),
            _tasks: Arc::clone(&jetstream.tasks),
            subjects,
            live,
            head,
            log,
            moved: None,
            unbroken: 0,
            ready: VecDeque::new(),
        }
    }

    pub(crate) fn head(&self) -> Position {
        self.head
    }

    pub(crate) async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.ready.pop_front() {
                return delivery;
            }
            // Boxed, all that is seldom waited for: this future is a part of every channel's task for as long as it lives.
            if self.log.as_ref().is_some_and(|log| log.repair.is_some()) {
                Box::pin(self.repair_step()).await;
                continue;
            }
            if self.moved.is_some() {
                Box::pin(self.follow_move()).await;
                continue;
            }
            match self.event().await {
                Event::Message(Some(message)) => self.on_message(message),
                // The connection was closed for good: the process is ending.
                Event::Message(None) => return std::future::pending().await,
                Event::CaughtUp => {
                    if let Some(log) = &mut self.log {
                        log.recheck = Some(Instant::now());
                    }
                }
                Event::Hint => self.on_hint(),
                Event::Recheck => Box::pin(self.on_recheck()).await,
            }
        }
    }

    async fn event(&mut self) -> Event {
        // Lets other tasks run if this one has been busy for long.
        consume_budget().await;
        let Self { shared, live, unbroken, log, .. } = self;
        let capacity = shared.config.attach_buffer;
        let message = poll_fn(|cx| poll_message(live, unbroken, capacity, cx));
        let Some(log) = log else { return message.await };
        tokio::select! {
            event = message => event,
            // The sender lives as long as the registration.
            _ = log.hints.changed() => Event::Hint,
            () = sleep_until(log.recheck) => Event::Recheck,
        }
    }

    fn on_message(&mut self, message: Message) {
        let Some(headers) = &message.headers else {
            return self.deliver_passing(message.payload);
        };
        let (Some(name), Some(log)) = (headers.get(STREAM_HEADER), &mut self.log) else {
            // Without a log: stored by a publisher that already knows of a new tier; passing on is all this one promises.
            return self.deliver_passing(message.payload);
        };
        let is_own = name.as_str() == self.shared.streams.get(log.store, self.subjects.shard).name;
        if let Some(poked) = number(headers, POKE_HEADER) {
            // One about another log is from a publisher that does not know of a new tier yet.
            if is_own && let Verdict::Missing { up_to } = log.continuity.on_head(poked, Instant::now()) {
                log.repair = Some(Repair::new(up_to, None));
            }
            return;
        }
        if !is_own {
            match self.shared.streams.by_name(name.as_str()) {
                Some(other) => self.moved = Some((other.store, message)),
                None => self.deliver_passing(message.payload),
            }
            return;
        }
        let Some(sequence) = number(headers, "Nats-Sequence") else { return };
        let previous = number(headers, "Nats-Last-Sequence").unwrap_or(0);
        let time = headers.get("Nats-Time-Stamp").map(|time| parse_time(time.as_str()));
        let stored_ns = time.and_then(Result::ok).unwrap_or(0);
        let record = LiveRecord { sequence, previous, stored_ns, payload: message.payload };
        self.on_record(record, Instant::now());
    }

    /// The channel's tier has changed, so its order goes on in another stream, which this process may not know yet.
    async fn follow_move(&mut self) {
        let Some((store, message)) = &self.moved else { return };
        let stream = self.shared.streams.get(*store, self.subjects.shard);
        if let Err(error) = self.shared.streams.ensure(stream).await {
            debug!(%error, stream = stream.name, "the channel's new stream is not reachable yet");
            return sleep(MAX_RETRY_PAUSE).await;
        }
        let previous = message.headers.as_ref().and_then(|headers| number(headers, "Nats-Last-Sequence")).unwrap_or(0);
        // The new rule is not known here, so messages may live as short as any rule may say.
        let window = match store {
            Store::Recoverable => self.shared.streams.window(Store::Recoverable),
            Store::Persistent => Namespaces::SHORTEST_RETENTION,
        };
        let log = Log::begin(&self.shared, stream, self.subjects.stored(*store), previous, window);
        let resumes = Position { epoch: log.epoch, sequence: previous };
        if let Some(old) = self.log.replace(log) {
            let after = Position { epoch: old.epoch, sequence: old.continuity.known() };
            self.ready.push_back(Delivery::Gap(Gap { after, resumes }));
        }
        if let Some((_, message)) = self.moved.take() {
            self.on_message(message);
        }
    }

    fn on_record(&mut self, record: LiveRecord, now: Instant) {
        let Some(log) = &mut self.log else { return };
        match log.continuity.on_record(record.sequence, record.previous, record.stored_ns, now) {
            Verdict::Duplicate => {}
            Verdict::InOrder => self.deliver(record.sequence, record.stored_ns, record.payload),
            Verdict::Missing { up_to } => log.repair = Some(Repair::new(up_to, Some(record))),
            Verdict::Unknown => {
                self.tell_gap(record.previous.max(record.sequence - 1));
                self.deliver(record.sequence, record.stored_ns, record.payload);
            }
            Verdict::Suspect => self.shared.repairs.suspect(log.store, self.subjects.shard),
        }
    }

    fn on_hint(&mut self) {
        let Some(log) = &mut self.log else { return };
        let hint = *log.hints.borrow_and_update();
        let now = Instant::now();
        if hint.epoch != log.epoch {
            // The log was made anew: all it holds came after what was delivered from the old one.
            let after = Position { epoch: log.epoch, sequence: log.continuity.known() };
            let resumes = Position { epoch: hint.epoch, sequence: 0 };
            log.epoch = hint.epoch;
            log.continuity = Continuity::new(0, 0, log.window, now);
            self.ready.push_back(Delivery::Gap(Gap { after, resumes }));
        }
        if let Verdict::Missing { up_to } = log.continuity.on_head(hint.head, now) {
            log.repair = Some(Repair::new(up_to, None));
        }
    }

    async fn on_recheck(&mut self) {
        let Some(log) = &mut self.log else { return };
        let stream = self.shared.streams.get(log.store, self.subjects.shard);
        match self.shared.newest(stream, &self.subjects.stored(log.store)).await {
            Ok(newest) => {
                log.recheck = None;
                let head = newest.map_or(0, |newest| newest.sequence);
                if let Verdict::Missing { up_to } = log.continuity.on_head(head, Instant::now()) {
                    log.repair = Some(Repair::new(up_to, None));
                }
            }
            Err(_) => log.recheck = Some(Instant::now() + RECHECK_AFTER),
        }
    }

    fn deliver_passing(&mut self, payload: bytes::Bytes) {
        match envelope::decode(payload) {
            Ok(record) => self.ready.push_back(Delivery::Record(None, Arc::new(record))),
            Err(error) => {
                warn!(%error, "an unreadable record was passed by");
                DISCARDED.with(["malformed_record", "false"]).increment(1);
            }
        }
    }

    fn deliver(&mut self, sequence: u64, stored_ns: i64, payload: bytes::Bytes) {
        let Some(log) = &mut self.log else { return };
        match envelope::decode(payload) {
            Ok(record) => {
                log.continuity.advance(sequence, stored_ns, Instant::now());
                let position = Position { epoch: log.epoch, sequence };
                self.ready.push_back(Delivery::Record(Some(position), Arc::new(record)));
            }
            // Written by a newer server: this subscriber cannot have it, and is told so.
            Err(error) => {
                error!(%error, sequence, "an unreadable record is told as a gap");
                DISCARDED.with(["malformed_record", "false"]).increment(1);
                self.tell_gap(sequence);
            }
        }
    }

    fn tell_gap(&mut self, up_to: u64) {
        let Some(log) = &mut self.log else { return };
        let position = |sequence| Position { epoch: log.epoch, sequence };
        let gap = Gap { after: position(log.continuity.known()), resumes: position(up_to) };
        log.continuity.advance(up_to, 0, Instant::now());
        self.ready.push_back(Delivery::Gap(gap));
    }

    /// One read of the repair under way, or its end.
    async fn repair_step(&mut self) {
        let Some(log) = &mut self.log else { return };
        let Some(repair) = &mut log.repair else { return };
        if log.continuity.known() >= repair.up_to {
            let then = log.repair.take().and_then(|repair| repair.then);
            if let Some(record) = then {
                // Checked again: the repair may have gone past it.
                self.on_record(record, Instant::now());
            }
            return;
        }
        if log.hints.borrow().epoch != log.epoch {
            // What is being repaired is gone; the hint tells.
            log.repair = None;
            return self.on_hint();
        }
        let stream = self.shared.streams.get(log.store, self.subjects.shard);
        let subject = self.subjects.stored(log.store);
        match self.shared.chunk(stream, &subject, log.continuity.known(), repair.up_to).await {
            Ok(chunk) => self.on_chunk(chunk),
            Err(error) => {
                debug!(%error, stream = stream.name, "a repair read failed; it is tried again");
                sleep(repair.pause).await;
                repair.pause = (repair.pause * 2).min(MAX_RETRY_PAUSE);
            }
        }
    }

    fn on_chunk(&mut self, chunk: Chunk) {
        let Some(log) = &mut self.log else { return };
        let Some(repair) = &mut log.repair else { return };
        repair.pause = RETRY_PAUSE;
        let up_to = repair.up_to;
        let anchored = is_anchored(&chunk, &log.continuity, self.shared.streams.messages_per_channel(log.store));
        let mut messages = chunk.messages;
        let is_whole = anchored && !messages.is_empty();
        if !is_whole && repair.then.is_none() && log.may_be_on_its_way(Instant::now()) {
            log.repair = None;
            return;
        }
        let Some(last) = messages.last() else {
            // The leader itself has nothing of what is missing.
            return self.tell_gap(up_to);
        };
        if !anchored {
            // Messages may have been evicted while these were read, so even between them there may be holes.
            let before_last = last.sequence - 1;
            messages.drain(..messages.len() - 1);
            self.tell_gap(before_last);
        }
        for message in messages {
            self.deliver(message.sequence, message.stored_ns, message.payload);
        }
    }
}

/// The next message, and whether the buffer may have overflowed before.
///
/// A full buffer drops the newest messages and keeps the oldest, so on a channel that falls silent then nothing shows the
/// loss. But whoever reads a buffer that was full reads at least its capacity without waiting once.
fn poll_message(live: &mut Subscriber, unbroken: &mut usize, capacity: usize, cx: &mut Context<'_>) -> Poll<Event> {
    // Unconstrained, because a task that has used up its budget is told to wait though messages are there.
    match pin!(unconstrained(live.next())).poll(cx) {
        Poll::Ready(message) => {
            *unbroken += 1;
            Poll::Ready(Event::Message(message))
        }
        Poll::Pending => {
            let may_have_overflowed = std::mem::take(unbroken) >= capacity;
            if may_have_overflowed { Poll::Ready(Event::CaughtUp) } else { Poll::Pending }
        }
    }
}

impl Log {
    /// Takes part in comparisons of heads from now on; everything up to `known` counts as delivered.
    fn begin(shared: &Shared, stream: &ShardStream, subject: String, known: u64, window: Duration) -> Self {
        let (registration, hints) = shared.repairs.register(stream, subject);
        let now = Instant::now();
        Self {
            store: stream.store,
            epoch: stream.epoch(),
            continuity: Continuity::new(known, 0, window, now),
            window,
            hints,
            _registration: registration,
            recheck: Some(now + RECHECK_AFTER),
            repair: None,
        }
    }

    /// Whether what only a head shows to be missing may still arrive. The head of a busy channel is ahead of its live
    /// messages, by more than the stream keeps if this process or a NATS node stands still for a moment; a hole between
    /// them would show itself. So it is given up only when nothing comes.
    fn may_be_on_its_way(&mut self, now: Instant) -> bool {
        let until = self.continuity.doubted_since(now) + RECHECK_AFTER;
        let waits = now < until;
        if waits {
            self.recheck = Some(until);
        }
        waits
    }
}

impl Repair {
    fn new(up_to: u64, then: Option<LiveRecord>) -> Self {
        Self { up_to, then, pause: RETRY_PAUSE }
    }
}

/// Whether `chunk` directly follows what is known, with nothing evicted or expired in front of it or while it was read.
fn is_anchored(chunk: &Chunk, continuity: &Continuity, messages_per_channel: u64) -> bool {
    let none_evicted = chunk.remaining < messages_per_channel;
    none_evicted && (chunk.anchor_found || continuity.nothing_can_have_expired(Instant::now()))
}
