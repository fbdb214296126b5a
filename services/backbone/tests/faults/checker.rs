//! Load, and the record of what was promised and what happened.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use backbone::{Attachment, Backbone, Config, Delivery, HistoryQuery, Publish, PublishError};
use channels::{AppId, ChannelName, Message, Position, Record, RecordKind, Tier};
use testkit::{NatsCluster, eventually, within};
use tokio::task::JoinSet;

pub use crate::connect::connect;

/// One shard, so that the server that is killed leads all channels; and a history that forgets nothing.
pub fn config() -> Config {
    Config {
        shards: 1,
        replicas: 3,
        recoverable_messages: 1_000_000,
        // Long enough for a stalled machine: an unknown outcome proves nothing.
        publish_deadline: Duration::from_secs(90),
        // The default would hide a missed comparison.
        sweep_interval: Duration::from_secs(60),
        ..Config::default()
    }
}

/// The stream of the only shard.
pub const STREAM: &str = "fanfare-recoverable-0";

/// A handle through each server of the cluster.
pub async fn connect_each(config: &Config, cluster: &NatsCluster) -> Vec<Backbone> {
    let mut handles = Vec::new();
    for node in cluster.nodes() {
        handles.push(connect(config, vec![node.url()]).await);
    }
    handles
}

pub fn app() -> AppId {
    AppId::new("1001").unwrap()
}

pub fn channel(number: usize) -> ChannelName {
    ChannelName::new(&format!("room-{number}")).unwrap()
}

pub fn publish(name: &ChannelName, text: String) -> Publish {
    let record = Record {
        id: None,
        kind: RecordKind::Messages,
        connection: None,
        client: None,
        timestamp_ms: 1,
        messages: vec![Message::text("n", text)],
        traceparent: None,
    };
    Publish { app: app(), channel: name.clone(), tier: Tier::Recoverable, record, idempotency: None }
}

/// Publishers, one for each channel, that number their messages and publish each when the one before was accepted.
pub struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    publishers: JoinSet<(usize, Vec<Position>)>,
}

impl Load {
    /// Publisher `i` uses handle `i` of `handles`, in turn.
    pub fn start(handles: &[Backbone], channels: usize) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut publishers = JoinSet::new();
        for number in 0..channels {
            let backbone = handles[number % handles.len()].clone();
            let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
            publishers.spawn(async move {
                let mut positions = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match backbone.publish(publish(&channel(number), positions.len().to_string())).await {
                        Ok(published) => positions.push(published.position.unwrap()),
                        Err(error @ (PublishError::UnknownOutcome | PublishError::Unavailable)) => {
                            panic!("no server for longer than a deadline: {error}")
                        }
                        Err(error) => panic!("{error}"),
                    }
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                (number, positions)
            });
        }
        Self { stop, accepted, publishers }
    }

    /// Waits until `count` more messages have been accepted.
    pub async fn accept(&self, count: usize) {
        let target = self.accepted.load(Ordering::Relaxed) + count;
        eventually(&format!("{count} more accepted publishes"), || async {
            (self.accepted.load(Ordering::Relaxed) >= target).then_some(())
        })
        .await;
    }

    /// Stops publishing; gives the position of each accepted message of each channel, by its number.
    pub async fn stop(mut self) -> HashMap<usize, Vec<Position>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut accepted = HashMap::new();
        while let Some(publisher) = within("a publisher to finish", self.publishers.join_next()).await {
            let (number, positions) = publisher.unwrap();
            accepted.insert(number, positions);
        }
        accepted
    }
}

/// What one subscriber saw of one channel.
#[derive(Debug, Default)]
pub struct Seen {
    records: Vec<(Position, usize)>,
    /// How many records had come when each gap was told.
    gaps: Vec<usize>,
}

pub async fn attach_all(backbone: &Backbone, channels: usize) -> Vec<Attachment> {
    let attach = |number| async move {
        let name = channel(number);
        eventually("an attach", || async { backbone.attach(&app(), &name, Tier::Recoverable).await.ok() }).await
    };
    futures_util::future::join_all((0..channels).map(attach)).await
}

/// Reads each attachment until it has delivered `accepted`'s last position, in the background.
pub struct Subscribers {
    readers: JoinSet<(usize, Seen)>,
    /// The last position each channel must reach; set when publishing is over.
    targets: tokio::sync::watch::Sender<Option<Arc<HashMap<usize, Position>>>>,
}

impl Subscribers {
    pub fn start(attachments: Vec<Attachment>) -> Self {
        let (targets, target) = tokio::sync::watch::channel::<Option<Arc<HashMap<usize, Position>>>>(None);
        let mut readers = JoinSet::new();
        for (number, mut attachment) in attachments.into_iter().enumerate() {
            let mut target = target.clone();
            readers.spawn(async move {
                let mut seen = Seen::default();
                let mut last = attachment.head();
                loop {
                    let wanted = target.borrow().as_ref().map(|targets| targets[&number]);
                    if wanted.is_some_and(|wanted| last.sequence >= wanted.sequence) {
                        return (number, seen);
                    }
                    tokio::select! {
                        delivery = attachment.next() => match delivery {
                            Delivery::Record(position, record) => {
                                last = position.expect("only stored records are published");
                                let text = std::str::from_utf8(&record.messages[0].data).unwrap();
                                seen.records.push((last, text.parse().unwrap()));
                            }
                            Delivery::Gap(gap) => {
                                last = gap.resumes;
                                seen.gaps.push(seen.records.len());
                            }
                        },
                        changed = target.changed() => changed.unwrap(),
                    }
                }
            });
        }
        Self { readers, targets }
    }

    /// Waits until every reader has come to the end, with nothing more published to help it.
    pub async fn finish(mut self, ends: &HashMap<usize, Position>, what: &str) -> HashMap<usize, Seen> {
        self.targets.send_replace(Some(Arc::new(ends.clone())));
        let mut seen = HashMap::new();
        while let Some(reader) = within(what, self.readers.join_next()).await {
            let (number, of_channel) = reader.unwrap();
            seen.insert(number, of_channel);
        }
        seen
    }
}

/// The last accepted position of each channel.
pub fn ends(accepted: &HashMap<usize, Vec<Position>>) -> HashMap<usize, Position> {
    accepted.iter().map(|(number, positions)| (*number, *positions.last().expect("something was accepted"))).collect()
}

/// What history holds of each channel, checked against what was accepted.
pub async fn check_history(
    backbone: &Backbone,
    accepted: &HashMap<usize, Vec<Position>>,
) -> HashMap<usize, Vec<(Position, usize)>> {
    let mut histories = HashMap::new();
    for (number, positions) in accepted {
        let stored = history(backbone, *number).await;
        let numbers: Vec<usize> = stored.iter().map(|(_, number)| *number).collect();
        let in_order: Vec<usize> = (0..positions.len()).collect();
        assert_eq!(numbers, in_order, "room-{number}: accepted messages once and in the publisher's order");
        for (message, position) in positions.iter().enumerate() {
            assert_eq!(stored[message].0, *position, "room-{number}: the acknowledged position of message {message}");
        }
        histories.insert(*number, stored);
    }
    histories
}

async fn history(backbone: &Backbone, number: usize) -> Vec<(Position, usize)> {
    let mut stored = Vec::new();
    let mut query = HistoryQuery::all(app(), channel(number), Tier::Recoverable);
    loop {
        let page = eventually("a history", || async { backbone.history(query.clone()).await.ok() }).await;
        for record in &page.records {
            let text = std::str::from_utf8(&record.record.messages[0].data).unwrap();
            stored.push((record.position, text.parse().unwrap()));
        }
        query.after = page.records.last().map(|last| last.position);
        if !page.more {
            return stored;
        }
    }
}

/// Everything once and in order, but for what a gap was told of; gives the number of gaps.
pub fn check_seen(seen: &HashMap<usize, Seen>, histories: &HashMap<usize, Vec<(Position, usize)>>) -> usize {
    for (number, history) in histories {
        let seen = &seen[number];
        let mut expected = history.iter();
        for (index, record) in seen.records.iter().enumerate() {
            if seen.gaps.contains(&index) {
                expected.by_ref().find(|stored| *stored == record).expect("what comes after a gap is in history");
            } else {
                assert_eq!(expected.next(), Some(record), "room-{number}: delivery {index}");
            }
        }
        let rest = expected.count();
        assert!(rest == 0 || seen.gaps.contains(&seen.records.len()), "room-{number}: {rest} never came");
    }
    seen.values().map(|seen| seen.gaps.len()).sum()
}
