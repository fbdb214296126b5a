//! Finding what live delivery lost: comparisons of heads for all attached channels at once.
//!
//! The gap check of [`super::live`] heals a hole when a later message shows it. This heals channels that fall silent
//! right at a loss: after a reconnect, after a leader election, and in a slow sweep for whatever those missed. It also
//! notices streams that were made anew.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use channels::{Epoch, Shard};
use clock::sleep_until;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use telemetry::metrics::{BACKBONE_RECONNECTS, BACKBONE_STREAM_LEADER_CHANGES};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, sleep};
use tracing::{debug, info, warn};

use super::Shared;
use super::connection::Ups;
use super::direct::{MAX_SUBJECTS, ReadError};
use super::streams::ShardStream;
use super::subject::Store;

/// Advisories of elections: ordinary messages in the same account.
pub(super) const ELECTIONS: &str = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.>";

/// When heads are compared after an event. More than once, since the replica that answers may itself lag behind; with
/// jitter, since every edge hears of an election at the same instant.
const COMPARE_AFTER: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4)];
const JITTER: Duration = Duration::from_millis(250);

/// Tries of one comparison while the stream has no leader, and the pause between them.
const TRIES: u32 = 20;
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Comparisons at one time.
const CONCURRENCY: usize = 4;

/// What a comparison tells an attachment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// Which life of the stream this is.
    pub(super) epoch: Epoch,
    /// The channel's newest sequence that anybody has seen in it.
    pub(super) head: u64,
}

type StreamKey = (Store, Shard);

/// The attached channels, by stream.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    attached: Mutex<Attached>,
    /// Streams that may have been made anew.
    suspects: Mutex<Vec<StreamKey>>,
    suspected: Notify,
}

#[derive(Debug, Default)]
struct Attached {
    next: u64,
    streams: HashMap<StreamKey, HashMap<u64, Channel>>,
}

#[derive(Debug)]
struct Channel {
    subject: String,
    hints: watch::Sender<Hint>,
}

/// An attached channel's entry; dropping it removes the channel.
#[derive(Debug)]
pub(super) struct Registration {
    repairs: Arc<Repairs>,
    stream: StreamKey,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut attached = self.repairs.attached.lock();
        if let Some(channels) = attached.streams.get_mut(&self.stream) {
            channels.remove(&self.id);
        }
    }
}

impl Repairs {
    /// Adds a channel to all comparisons of its stream.
    pub(super) fn register(
        self: &Arc<Self>,
        stream: &ShardStream,
        subject: String,
    ) -> (Registration, watch::Receiver<Hint>) {
        let key = (stream.store, stream.shard);
        let (hints, receiver) = watch::channel(Hint { epoch: stream.epoch(), head: 0 });
        let mut attached = self.attached.lock();
        attached.next += 1;
        let id = attached.next;
        attached.streams.entry(key).or_default().insert(id, Channel { subject, hints });
        (Registration { repairs: Arc::clone(self), stream: key, id }, receiver)
    }

    /// Asks for a look at whether a stream was made anew.
    pub(super) fn suspect(&self, store: Store, shard: Shard) {
        let mut suspects = self.suspects.lock();
        if !suspects.contains(&(store, shard)) {
            suspects.push((store, shard));
        }
        self.suspected.notify_one();
    }

    fn subjects(&self, stream: StreamKey) -> Vec<String> {
        let attached = self.attached.lock();
        let channels = attached.streams.get(&stream).into_iter().flat_map(HashMap::values);
        channels.map(|channel| channel.subject.clone()).collect()
    }

    fn hint(&self, stream: StreamKey, epoch: Epoch, heads: &HashMap<String, u64>, asked: &[String]) {
        let asked: std::collections::HashSet<&str> = asked.iter().map(String::as_str).collect();
        let attached = self.attached.lock();
        let channels = attached.streams.get(&stream).into_iter().flat_map(HashMap::values);
        for channel in channels.filter(|channel| asked.contains(channel.subject.as_str())) {
            let head = heads.get(&channel.subject).copied().unwrap_or(0);
            channel.hints.send_replace(Hint { epoch, head });
        }
    }
}

/// Runs all comparisons until dropped.
pub(super) async fn run(shared: Arc<Shared>, mut ups: Ups, mut elections: Subscriber) {
    let mut due: BTreeMap<Instant, Vec<(StreamKey, Look)>> = BTreeMap::new();
    let mut comparisons = JoinSet::new();
    // Streams being compared, each with what was asked for meanwhile.
    let mut under_way: HashMap<StreamKey, Option<Look>> = HashMap::new();
    let turns = Arc::new(Semaphore::new(CONCURRENCY));
    let mut sweep = tokio::time::interval(shared.config.sweep_interval);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ups.mark_unchanged();
    let leader_changes = BACKBONE_STREAM_LEADER_CHANGES.handle();
    let reconnects = BACKBONE_RECONNECTS.handle();
    loop {
        let next_due = due.keys().next().copied();
        tokio::select! {
            up = ups.changed() => {
                if up.is_err() {
                    return;
                }
                info!("NATS connection is back; comparing the heads of all attached channels");
                reconnects.increment(1);
                for stream in shared.streams.iter() {
                    schedule(&mut due, stream, &COMPARE_AFTER);
                }
            }
            election = elections.next() => {
                let Some(election) = election else { return };
                let name = election.subject.rsplit('.').next().unwrap_or_default();
                if shared.tier_of(name).is_some() {
                    leader_changes.increment(1);
                }
                if let Some(stream) = shared.streams.by_name(name) {
                    debug!(stream = name, "a leader was elected; comparing heads");
                    schedule(&mut due, stream, &COMPARE_AFTER);
                }
            }
            () = shared.repairs.suspected.notified() => {
                for (store, shard) in std::mem::take(&mut *shared.repairs.suspects.lock()) {
                    schedule(&mut due, shared.streams.get(store, shard), &COMPARE_AFTER[..1]);
                }
            }
            _ = sweep.tick() => {
                for stream in shared.streams.iter() {
                    schedule(&mut due, stream, &COMPARE_AFTER[..1]);
                }
            }
            () = sleep_until(next_due) => {
                let Some((_, looks)) = due.pop_first() else { continue };
                for (stream, look) in looks {
                    match under_way.get_mut(&stream) {
                        Some(again) => *again = (*again).max(Some(look)),
                        None => {
                            under_way.insert(stream, None);
                            comparisons.spawn(compare_with_retries(Arc::clone(&shared), Arc::clone(&turns), stream, look));
                        }
                    }
                }
            }
            Some(Ok(stream)) = comparisons.join_next() => {
                if let Some(Some(look)) = under_way.remove(&stream) {
                    under_way.insert(stream, None);
                    comparisons.spawn(compare_with_retries(Arc::clone(&shared), Arc::clone(&turns), stream, look));
                }
            }
        }
    }
}

/// What a comparison looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    /// Heads only.
    Heads,
    /// First whether the stream is still the same, then heads.
    StreamAndHeads,
}

fn schedule(due: &mut BTreeMap<Instant, Vec<(StreamKey, Look)>>, stream: &ShardStream, after: &[Duration]) {
    if !stream.is_created() {
        return;
    }
    let begin = Instant::now() + JITTER.mul_f64(rand::random());
    for (index, pause) in after.iter().enumerate() {
        let look = if index == 0 { Look::StreamAndHeads } else { Look::Heads };
        due.entry(begin + *pause).or_default().push(((stream.store, stream.shard), look));
    }
}

async fn compare_with_retries(shared: Arc<Shared>, turns: Arc<Semaphore>, key: StreamKey, look: Look) -> StreamKey {
    let stream = shared.streams.get(key.0, key.1);
    for _ in 0..TRIES {
        // For each try anew, so that streams without a leader do not keep others waiting.
        let Ok(turn) = turns.acquire().await else { return key };
        let compared = compare(&shared, key, stream, look).await;
        drop(turn);
        match compared {
            Ok(()) => return key,
            Err(error) => {
                debug!(stream = stream.name, %error, "heads could not be compared yet");
                sleep(RETRY_PAUSE).await;
            }
        }
    }
    warn!(stream = stream.name, "heads could not be compared; the next sweep tries again");
    key
}

async fn compare(shared: &Shared, key: StreamKey, stream: &ShardStream, look: Look) -> Result<(), ReadError> {
    if look == Look::StreamAndHeads {
        let recheck = shared.streams.recheck_epoch(stream).await;
        if recheck.map_err(|error| ReadError::Unexpected(error.to_string()))? {
            warn!(stream = stream.name, "the stream was made anew; positions in it begin a new epoch");
        }
    }
    if !shared.config.compare_heads {
        return Ok(());
    }
    let epoch = stream.epoch();
    let subjects = shared.repairs.subjects(key);
    for asked in subjects.chunks(MAX_SUBJECTS) {
        let heads = read_heads(shared, stream, asked).await?;
        if stream.epoch() != epoch {
            return Err(ReadError::Unexpected("the stream was made anew meanwhile".to_owned()));
        }
        shared.repairs.hint(key, epoch, &heads, asked);
    }
    Ok(())
}

/// The newest sequence of each channel that has a message.
async fn read_heads(
    shared: &Shared,
    stream: &ShardStream,
    subjects: &[String],
) -> Result<HashMap<String, u64>, ReadError> {
    let mut heads = HashMap::new();
    let mut rest: Vec<&str> = subjects.iter().map(String::as_str).collect();
    loop {
        let answer = shared.reader.heads(&stream.name, &rest).await?;
        let nothing_new = answer.messages.is_empty();
        heads.extend(answer.messages.into_iter().map(|head| (head.subject, head.sequence)));
        if answer.pending == 0 || nothing_new {
            return Ok(heads);
        }
        // There was no room in the answer for the others.
        rest.retain(|subject| !heads.contains_key(*subject));
    }
}
