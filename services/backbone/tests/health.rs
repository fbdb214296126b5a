//! What monitoring is told of the backbone, over real servers.

#![allow(clippy::unwrap_used, clippy::large_futures, reason = "a test says unwrap, and its size is no matter")]

mod connect;

use std::sync::OnceLock;
use std::time::Duration;

use async_nats::jetstream;
use backbone::survey::{Holdings, StreamTier, Survey};
use backbone::{Backbone, Config, Publish};
use channels::{AppId, ChannelName, Message, Record, RecordKind, Tier};
use connect::connect;
use telemetry::Exporter;
use testkit::{Nats, NatsCluster, NatsOptions, Signal, eventually, within};
use tokio_util::task::AbortOnDropHandle;

const RECOVERABLE: &str = "fanfare-recoverable-0";

/// What an account may store, in bytes.
const ACCOUNT_LIMIT: u64 = 1 << 30;

fn config(replicas: usize) -> Config {
    // Long enough for more than one election.
    Config { shards: 1, replicas, publish_deadline: Duration::from_secs(90), ..Config::default() }
}

fn publish(tier: Tier, bytes: usize) -> Publish {
    let record = Record {
        id: None,
        kind: RecordKind::Messages,
        connection: None,
        client: None,
        timestamp_ms: 1,
        messages: vec![Message::text("event", "x".repeat(bytes))],
        traceparent: None,
    };
    let (app, channel) = (AppId::new("1").unwrap(), ChannelName::new("room").unwrap());
    Publish { app, channel, tier, record, idempotency: None }
}

/// Looks until every tier is known, and as `expected`. A stream that does not answer in time is not looked at.
async fn look(survey: &mut Survey, expected: impl Fn(&Survey) -> bool) {
    let looks = async {
        loop {
            survey.look().await;
            if StreamTier::ALL.iter().all(|tier| survey.of(*tier).is_some()) && expected(survey) {
                break;
            }
        }
    };
    within("every stream to say what it holds", looks).await;
}

/// Counts for the whole of this test's process.
fn exporter() -> &'static Exporter {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    EXPORTER.get_or_init(|| Exporter::install("test").unwrap())
}

/// What a line of the exposition says.
fn value(name: &str) -> Option<f64> {
    exporter().render().lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[tokio::test]
async fn a_survey_tells_what_each_tier_holds_and_may_hold() {
    let account = format!(
        "accounts {{ A {{ jetstream: {{ max_file: {ACCOUNT_LIMIT} }}, users: [{{ user: a, password: b }}] }} }}"
    );
    let mut nats = Nats::start_with(NatsOptions { extra: format!("{account}\nno_auth_user: a") }).await;
    let backbone = connect(&config(1), vec![nats.url()]).await;
    let mut survey = backbone.survey();
    assert!(StreamTier::ALL.iter().all(|tier| survey.of(*tier).is_none()), "nothing is known yet");
    look(&mut survey, |_| true).await;
    let nothing = Holdings { bytes: 0, limit_bytes: None, messages: Some(0), consumers: 0 };
    assert_eq!(survey.of(StreamTier::Recoverable), Some(nothing));
    assert_eq!(survey.of(StreamTier::Persistent), Some(nothing), "there is no such stream yet");
    let limit_bytes = Some(config(1).webhook_queue_bytes);
    assert_eq!(survey.of(StreamTier::Webhooks), Some(Holdings { limit_bytes, ..nothing }));
    assert!(survey.of(StreamTier::Buckets).unwrap().messages >= Some(1), "the cluster's constants");
    assert_eq!(survey.of(StreamTier::Account).unwrap().limit_bytes, Some(ACCOUNT_LIMIT));

    let persistent = Tier::Persistent { retention: Duration::from_secs(3600) };
    for tier in [Tier::Recoverable, Tier::Recoverable, Tier::Recoverable, persistent, persistent] {
        backbone.publish(publish(tier, 10_000)).await.unwrap();
    }
    let messages = |survey: &Survey, tier| survey.of(tier).unwrap().messages;
    look(&mut survey, |survey| {
        let tiers = [StreamTier::Recoverable, StreamTier::Persistent];
        tiers.map(|tier| messages(survey, tier)) == [Some(3), Some(2)]
    })
    .await;
    let (recoverable, persistent) = (survey.of(StreamTier::Recoverable), survey.of(StreamTier::Persistent));
    assert!((30_000..33_000).contains(&recoverable.unwrap().bytes), "{recoverable:?}");
    assert!((20_000..22_000).contains(&persistent.unwrap().bytes), "{persistent:?}");
    let account = survey.of(StreamTier::Account).unwrap();
    assert!(account.bytes >= 50_000 && account.messages.is_none(), "{account:?}");

    // A watch is a consumer.
    let watch = backbone.kv(backbone::Bucket::Apps).watch().await.unwrap();
    look(&mut survey, |survey| survey.of(StreamTier::Buckets).unwrap().consumers >= 1).await;
    drop(watch);

    nats.stop(Signal::Kill).await;
    within("an answer all the same", survey.look()).await;
    assert_eq!(survey.of(StreamTier::Recoverable), recoverable, "what was said last is taken to hold");
}

#[tokio::test]
async fn nothing_is_told_of_streams_where_there_are_none() {
    let mut survey = Backbone::memory(&config(1)).survey();
    survey.look().await;
    assert!(StreamTier::ALL.iter().all(|tier| survey.of(*tier).is_none()));
}

/// One test for what is counted, since all of a process count together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lag_and_pending_publishes_show_without_deliveries() {
    exporter();
    let nats = Nats::start().await;
    let backbone = connect(&config(1), vec![nats.url()]).await;
    // Tests beside this one publish, too.
    eventually("nothing to be pending", || async {
        value("fanfare_backbone_pending_messages ").filter(|pending| *pending == 0.0)
    })
    .await;
    let measuring = {
        let backbone = backbone.clone();
        AbortOnDropHandle::new(tokio::spawn(async move { backbone.measure_lag().await }))
    };
    let within_s = |bound: &str| value(&format!("fanfare_backbone_lag_seconds_bucket{{le=\"{bound}\"}} "));
    eventually("a probe to come back", || async { within_s("5").filter(|count| *count >= 1.0) }).await;

    // Without its stream nothing comes back. More than once, as a missing stream is made anew when it is noticed.
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    eventually("a probe that did not come back", || async {
        context.delete_stream(RECOVERABLE).await.ok();
        (within_s("10") > within_s("5")).then_some(())
    })
    .await;
    drop(measuring);

    // And nothing is acknowledged.
    let publishing = {
        let backbone = backbone.clone();
        tokio::spawn(async move { backbone.publish(publish(Tier::Recoverable, 1)).await })
    };
    eventually("a pending publish", || async {
        value("fanfare_backbone_pending_messages ").filter(|pending| *pending == 1.0)
    })
    .await;
    publishing.abort();
    eventually("none to be pending", || async {
        value("fanfare_backbone_pending_messages ").filter(|pending| *pending == 0.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections_show_and_the_account_counts_every_copy() {
    exporter();
    let mut cluster = NatsCluster::start().await;
    // On one server alone, which is not to lead when the leader dies.
    let aside = Config { ignore_discovered_servers: true, ..config(3) };
    let backbone = connect(&aside, vec![cluster.nodes()[0].url()]).await;
    for _ in 0..50 {
        backbone.publish(publish(Tier::Recoverable, 20_000)).await.unwrap();
    }
    let mut survey = backbone.survey();
    look(&mut survey, |survey| {
        let (stream, account) = (survey.of(StreamTier::Recoverable).unwrap(), survey.of(StreamTier::Account).unwrap());
        stream.bytes >= 1_000_000 && account.bytes >= 3 * stream.bytes
    })
    .await;
    let client = async_nats::connect(cluster.urls_from(1)).await.unwrap();
    let leader = eventually("a leader elsewhere", || async {
        let leader = cluster.leader(RECOVERABLE).await;
        if leader == 0 {
            let step_down = format!("$JS.API.STREAM.LEADER.STEPDOWN.{RECOVERABLE}");
            client.request(step_down, bytes::Bytes::new()).await.ok()?;
        }
        (leader != 0).then_some(leader)
    })
    .await;
    let changes = || value("fanfare_backbone_stream_leader_changes_total ").unwrap_or(0.0);
    let before = changes();
    cluster.node(leader).stop(Signal::Kill).await;
    eventually("an election", || async { (changes() > before).then_some(()) }).await;
}
