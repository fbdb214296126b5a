//! Traces, as a collector gets them from a cluster: of one publish, from its request to its deliveries on other nodes.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use proto::control::{CreateAppRequest, Webhook};
use serde_json::json;
use testkit::{eventually, free_port, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cluster::Cluster;
use crate::collector::Collector;
use crate::node::Node;
use crate::publisher::Credentials;
use crate::subscriber::Subscriber;

/// What must be in no span and no line of a log.
const CHANNEL: &str = "orders-of-jane-doe";
const PAYLOAD: &str = "her-card-ends-in-4242";
const EVENT: &str = "card-was-charged";
const IN_THE_URL: &str = "t0ken-in-the-url";
/// How long an edge waits for an answer of NATS before it publishes once more.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A cluster that is traced to `endpoint`, where nobody but the worker decides about traces.
async fn traced_cluster(endpoint: &str) -> Cluster {
    let mut cluster = Cluster::prepare().await;
    for node in cluster.edges.iter_mut() {
        node.set("FANFARE_TRACE_ENDPOINT", endpoint);
        node.set("FANFARE_TRACE_SAMPLE_RATIO", "0");
    }
    cluster.worker.set("FANFARE_TRACE_ENDPOINT", endpoint);
    cluster.worker.set("FANFARE_TRACE_SAMPLE_RATIO", "1");
    cluster.start_all();
    cluster.ready().await;
    cluster
}

fn traceparent(trace: u128, flags: &str) -> (String, String) {
    let trace = format!("{trace:032x}");
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-{flags}");
    (trace, traceparent)
}

/// Publishes by the Ably protocol, as part of a trace.
async fn publish_by_ably(edge: &Node, credentials: &Credentials, traceparent: &str) -> String {
    let key = STANDARD.encode(format!("{}:{}", credentials.key, credentials.secret));
    let body = json!({ "name": EVENT, "data": PAYLOAD }).to_string();
    let request = format!(
        "POST /channels/{CHANNEL}/messages HTTP/1.1\r\nhost: x\r\nauthorization: Basic {key}\r\n\
         traceparent: {traceparent}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_the_publisher_to_every_edge_that_delivers() {
    let collector = Collector::start(0).await;
    let mut cluster = traced_cluster(&collector.url()).await;
    // Nobody answers there: what is told of a webhook is how it fails.
    let webhook = Webhook {
        url: format!("http://127.0.0.1:{}/{IN_THE_URL}", free_port()),
        prefix: CHANNEL.to_owned(),
        ..Webhook::default()
    };
    let app = cluster.create_app(0, CreateAppRequest { webhooks: vec![webhook], ..CreateAppRequest::default() }).await;
    for secret in [PAYLOAD, CHANNEL, EVENT, IN_THE_URL] {
        cluster.keep_secret(secret);
    }
    let mut subscribers = Vec::new();
    for edge in [1, 2] {
        subscribers.push(Subscriber::on(cluster.edges[edge].address(), &app.key, CHANNEL).await);
    }

    // One that nobody wants recorded, and one about which nobody says anything.
    let (unsampled, header) = traceparent(1, "00");
    for publisher in [cluster.publisher(0, &app).traced(&header), cluster.publisher(0, &app)] {
        let mut publisher = publisher;
        assert_eq!(publisher.publish(CHANNEL, PAYLOAD).await.unwrap().status, 200);
    }

    let (trace, header) = traceparent(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, "01");
    assert_eq!(cluster.publisher(0, &app).traced(&header).publish(CHANNEL, PAYLOAD).await.unwrap().status, 200);
    let publish = collector.wait_for(&trace, "publish", 1).await.remove(0);
    assert_eq!((publish.node.as_str(), publish.parent().as_str()), ("edge-0", "00f067aa0ba902b7"));
    assert_eq!(publish.span.kind(), SpanKind::Server);
    assert_eq!(
        (publish.attribute("fanfare.app"), publish.attribute("fanfare.source")),
        (app.app.clone(), "http".to_owned())
    );
    assert_eq!(publish.attribute("http.response.status_code"), "200");
    let backbone = collector.wait_for(&trace, "backbone publish", 1).await.remove(0);
    assert_eq!((backbone.node.as_str(), backbone.parent()), ("edge-0", publish.id()));
    assert_eq!(backbone.attribute("fanfare.tier"), "recoverable");
    let took = Duration::from_nanos(backbone.span.end_time_unix_nano - backbone.span.start_time_unix_nano);
    let is_duplicate = backbone.attribute("fanfare.duplicate");
    // Tried again, if the first answer of NATS is not there in time.
    assert!(is_duplicate == "false" || took >= ANSWERS_WITHIN, "{is_duplicate:?} after {took:?}");
    let within_publish = publish.span.start_time_unix_nano..=publish.span.end_time_unix_nano;
    assert!(within_publish.contains(&backbone.span.start_time_unix_nano), "{backbone:?} in {publish:?}");
    let mut deliveries = collector.wait_for(&trace, "fan-out", 2).await;
    deliveries.sort_by(|one, other| one.node.cmp(&other.node));
    let nodes: Vec<_> = deliveries.iter().map(|delivery| delivery.node.as_str()).collect();
    assert_eq!(nodes, ["edge-1", "edge-2"], "where somebody is subscribed");
    for delivery in &deliveries {
        assert_eq!((delivery.parent(), delivery.attribute("fanfare.subscribers")), (backbone.id(), "1".to_owned()));
        assert_eq!(delivery.attribute("fanfare.channel_hash"), backbone.attribute("fanfare.channel_hash"));
        assert!(delivery.span.start_time_unix_nano > publish.span.start_time_unix_nano, "one machine has one clock");
    }

    let (by_ably, header) = traceparent(3, "01");
    let answer = publish_by_ably(&cluster.edges[2], &app, &header).await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(!answer.contains(&by_ably));
    let publish = collector.wait_for(&by_ably, "publish", 1).await.remove(0);
    assert_eq!((publish.node.as_str(), publish.attribute("fanfare.source").as_str()), ("edge-2", "ably_rest"));
    collector.wait_for(&by_ably, "fan-out", 2).await;

    let attempt = eventually("a webhook attempt", || async {
        collector.spans().into_iter().find(|each| each.span.name == "webhook attempt")
    });
    let attempt = attempt.await;
    assert_eq!((attempt.node.as_str(), attempt.attribute("fanfare.app")), ("worker-0", app.app.clone()));
    assert_eq!(attempt.span.status.as_ref().map(|status| status.message.as_str()), Some("no connection"));

    // What is left is flushed at the end.
    let (last, header) = traceparent(4, "01");
    assert_eq!(cluster.publisher(0, &app).traced(&header).publish(CHANNEL, PAYLOAD).await.unwrap().status, 200);
    cluster.edges[0].stop().await;
    let flushed = collector.spans().into_iter().filter(|each| each.trace() == last && each.node == "edge-0").count();
    assert_eq!(flushed, 2, "the publish, and its way to the backbone");

    // The untraced ones came before all of these, and subscribers were sent them like any others.
    let traces = [&trace, &by_ably, &last];
    let others = collector.spans().into_iter().filter(|each| !traces.contains(&&each.trace()));
    let others: Vec<_> = others.filter(|each| each.span.name != "webhook attempt").collect();
    assert!(others.is_empty(), "{unsampled} or nobody's: {others:?}");
    for subscriber in &mut subscribers {
        for _ in 0..5 {
            assert_eq!(subscriber.event_with(|event| event == EVENT || event == "e").await, json!(PAYLOAD));
        }
    }
    let everything = collector.everything();
    for secret in [PAYLOAD, CHANNEL, EVENT, IN_THE_URL, &app.secret, &subscribers[0].socket_id] {
        assert!(!everything.contains(secret), "{secret} is in a span");
    }
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_deaf_is_nobodys_problem() {
    // One that takes connections and never says anything.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (deaf_url, port) = (format!("http://{}", deaf.local_addr().unwrap()), free_port());
    let mut cluster = Cluster::prepare().await;
    for (edge, url) in [(0, deaf_url), (1, format!("http://127.0.0.1:{port}"))] {
        cluster.edges[edge].set("FANFARE_TRACE_ENDPOINT", &url);
        cluster.edges[edge].set("FANFARE_TRACE_SAMPLE_RATIO", "0");
        cluster.edges[edge].set("FANFARE_TRACE_MAX_PER_SECOND", "1");
    }
    cluster.start_all();
    cluster.ready().await;
    let app = cluster.create_app(0, CreateAppRequest::default()).await;
    let (_, header) = traceparent(7, "01");
    for edge in [0, 1] {
        let mut publisher = cluster.publisher(edge, &app).traced(&header);
        for _ in 0..50 {
            assert_eq!(publisher.publish(CHANNEL, PAYLOAD).await.unwrap().status, 200);
        }
        let metrics = metrics(&cluster.edges[edge]).await;
        assert!(counter(&metrics, "fanfare_traces_limited_total") > 0, "{metrics}");
        eventually("spans to be given up", || async {
            let failed = "fanfare_trace_spans_total{result=\"failed\"}";
            (counter(&self::metrics(&cluster.edges[edge]).await, failed) > 0).then_some(())
        })
        .await;
    }
    // It comes up, and is told what there is from now on.
    let collector = Collector::start(port).await;
    let (later, header) = traceparent(8, "01");
    eventually("a trace", || async {
        let answer = cluster.publisher(1, &app).traced(&header).publish(CHANNEL, PAYLOAD).await.ok()?;
        assert_eq!(answer.status, 200);
        collector.spans().iter().any(|each| each.trace() == later).then_some(())
    })
    .await;
    // Nor does the end wait for long.
    let header = traceparent(9, "01").1;
    assert_eq!(cluster.publisher(0, &app).traced(&header).publish(CHANNEL, PAYLOAD).await.unwrap().status, 200);
    let begun = Instant::now();
    cluster.edges[0].stop().await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    cluster.finish();
}

async fn metrics(node: &Node) -> String {
    node.get("/metrics").await.unwrap().1
}

/// The value of a counter, 0 if it is not there.
fn counter(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
