//! A message that was stored but never republished, on a channel that then falls silent: only a comparison of heads
//! finds it.
//!
//! A crash loses a republish now and then. Here one is lost for certain: the stream's republishing is switched off
//! while a message is stored, and on again before the leader is told to step down.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use backbone::{Attachment, Backbone, Config, Delivery};
use channels::Tier;
use testkit::{Nats, NatsCluster, eventually, within};

use crate::checker::*;

/// Longer than an attachment waits before it looks at its channel's head again.
const SECOND_LOOK: Duration = Duration::from_millis(1_500);

struct Silence {
    cluster: NatsCluster,
    publisher: Backbone,
    attachment: Attachment,
}

/// Stores a message that no subscriber hears of, then elects a new leader.
async fn lose_a_republish(config: &Config) -> Silence {
    let cluster = NatsCluster::start().await;
    let publisher = connect(config, cluster.urls_from(0)).await;
    let subscriber = connect(config, cluster.urls_from(1)).await;
    let mut attachment = subscriber.attach(&app(), &channel(0), Tier::Recoverable).await.unwrap();
    publisher.publish(publish(&channel(0), "heard".to_owned())).await.unwrap();
    assert_eq!(next(&mut attachment).await, "heard");

    let client = async_nats::connect(cluster.urls_from(0)).await.unwrap();
    let context = jetstream::new(client.clone());
    let usual = context.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    let quiet = stream::Config { republish: None, ..usual.clone() };
    context.update_stream(quiet).await.unwrap();
    past_the_second_look(&mut attachment).await;
    publisher.publish(publish(&channel(0), "unheard".to_owned())).await.unwrap();
    context.update_stream(usual).await.unwrap();

    let leader = cluster.leader(STREAM).await;
    eventually("another leader", || async {
        let step_down = format!("$JS.API.STREAM.LEADER.STEPDOWN.{STREAM}");
        client.request(step_down, bytes::Bytes::new()).await.ok()?;
        (cluster.leader(STREAM).await != leader).then_some(())
    })
    .await;
    Silence { cluster, publisher, attachment }
}

/// Waits until `attachment` has looked at its channel's head again, which is not what this is about: a second after the
/// attach, or later on a machine that stalls.
async fn past_the_second_look(attachment: &mut Attachment) {
    assert!(tokio::time::timeout(Duration::from_secs(5), attachment.next()).await.is_err());
}

/// An attachment past its own second look, to a stream that republishes nothing.
async fn without_republishing(config: &Config) -> Silence {
    let cluster = NatsCluster::start().await;
    let publisher = connect(config, cluster.urls_from(0)).await;
    let subscriber = connect(config, cluster.urls_from(1)).await;
    let mut attachment = subscriber.attach(&app(), &channel(0), Tier::Recoverable).await.unwrap();
    past_the_second_look(&mut attachment).await;
    let context = jetstream::new(async_nats::connect(cluster.urls_from(0)).await.unwrap());
    let usual = context.get_stream(STREAM).await.unwrap().cached_info().config.clone();
    context.update_stream(stream::Config { republish: None, ..usual }).await.unwrap();
    Silence { cluster, publisher, attachment }
}

async fn next(attachment: &mut Attachment) -> String {
    match within("a delivery", attachment.next()).await {
        Delivery::Record(_, record) => String::from_utf8(record.messages[0].data.to_vec()).unwrap(),
        Delivery::Gap(gap) => panic!("unexpected {gap:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_channel_is_healed_after_an_election() {
    let mut silence = lose_a_republish(&config()).await;
    assert_eq!(next(&mut silence.attachment).await, "unheard");
    drop(silence.cluster);
}

/// The same without comparing heads: the message does not come until a later one shows the hole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_comparing_heads_it_stays_silent() {
    let config = Config { compare_heads: false, ..config() };
    let mut silence = lose_a_republish(&config).await;
    // Another channel of the shard gets through, so the new leader serves.
    silence.publisher.publish(publish(&channel(1), "elsewhere".to_owned())).await.unwrap();
    let patience = Duration::from_secs(8);
    assert!(
        tokio::time::timeout(patience, silence.attachment.next()).await.is_err(),
        "something else healed it, so the test above proves nothing"
    );
    silence.publisher.publish(publish(&channel(0), "later".to_owned())).await.unwrap();
    assert_eq!(next(&mut silence.attachment).await, "unheard");
    assert_eq!(next(&mut silence.attachment).await, "later");
}

/// The slow sweep finds it even if no election and no reconnect gives a reason to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_finds_it_in_the_end() {
    let config = Config { sweep_interval: Duration::from_secs(5), ..config() };
    let Silence { cluster: _cluster, publisher, mut attachment } = without_republishing(&config).await;
    publisher.publish(publish(&channel(0), "unheard".to_owned())).await.unwrap();
    assert_eq!(next(&mut attachment).await, "unheard");
}

/// The head of a busy channel is ahead of its live messages, by more than the stream keeps if the subscriber's process
/// stands still for a moment: they are on their way, not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_its_way_is_not_missing() {
    let nats = Nats::start().await;
    let config = Config { replicas: 1, recoverable_messages: 1, ..config() };
    let publisher = connect(&config, vec![nats.url()]).await;
    let subscriber = connect(&config, vec![nats.url()]).await;
    let mut attachment = subscriber.attach(&app(), &channel(0), Tier::Recoverable).await.unwrap();
    // When it is looked at again, both are there: the second look that it is to take, and messages.
    tokio::time::sleep(SECOND_LOOK).await;
    for number in 0..100 {
        publisher.publish(publish(&channel(0), number.to_string())).await.unwrap();
    }
    for number in 0..100 {
        assert_eq!(next(&mut attachment).await, number.to_string());
    }
}

/// A publisher whose retry is answered "duplicate" cannot know whether its first attempt was republished: it pokes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_publish_pokes_its_subscribers() {
    let config = Config { compare_heads: false, ..config() };
    let Silence { cluster: _cluster, publisher, mut attachment } = without_republishing(&config).await;
    let mut once = publish(&channel(0), "unheard".to_owned());
    once.idempotency = Some(backbone::IdempotencyId::new("once").unwrap());
    let first = publisher.publish(once.clone()).await.unwrap();
    let again = publisher.publish(once).await.unwrap();
    assert!(again.duplicate && again.position == first.position);
    assert_eq!(next(&mut attachment).await, "unheard");
}
