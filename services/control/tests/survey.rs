//! What the streams hold is told by the replica that leads, and by no other.

#![allow(clippy::unwrap_used, clippy::large_futures, reason = "a test says unwrap, and its size is no matter")]

mod support;

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use backbone::{Backbone, NatsConfig};
use control::{Config, Parts, Server};
use telemetry::Exporter;
use testkit::{Nats, eventually};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A replica that counts for itself.
struct Replica {
    exporter: Exporter,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Replica {
    async fn start(nats: &Nats) -> Self {
        let to = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
        let of = backbone::Config { shards: 1, replicas: 1, ..backbone::Config::default() };
        let connect = || async { Backbone::connect(&of, &to).await.ok() };
        let backbone = eventually("the backbone to start", connect).await;
        // Nobody waits for its end: it is released.
        let config = Config { lease_ttl: Duration::from_secs(30), ..support::config() };
        let server = Server::new(&config, Parts::new(&backbone, support::cluster_keys())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (recorder, exporter) = Exporter::build().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut serve = pin!(server.serve(listener, stopped.cancelled_owned()));
            poll_fn(|context| metrics::with_local_recorder(&recorder, || serve.as_mut().poll(context))).await.unwrap();
        });
        Self { exporter, stop, task: AbortOnDropHandle::new(task) }
    }

    /// The lines that tell of streams.
    fn told(&self) -> Vec<String> {
        let text = self.exporter.render();
        let streams = |line: &&str| {
            line.starts_with("fanfare_backbone_stream_") || line.starts_with("fanfare_backbone_consumers")
        };
        text.lines().filter(streams).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn only_the_replica_that_leads_tells_what_streams_hold() {
    let nats = Nats::start().await;
    let one = Replica::start(&nats).await;
    let mut told = Vec::new();
    for line in [
        "fanfare_backbone_stream_bytes{tier=\"recoverable\"} 0",
        "fanfare_backbone_stream_messages{tier=\"persistent\"} 0",
        "fanfare_backbone_stream_limit_bytes{tier=\"webhooks\"} 268435456",
        "fanfare_backbone_consumers{tier=\"webhooks\"} 0",
    ] {
        // Not at once if a stream does not answer in time.
        let told_by_now = || async { Some(one.told()).filter(|told| told.iter().any(|each| each == line)) };
        told = eventually(line, told_by_now).await;
    }
    let limits = told.iter().filter(|line| line.contains("_limit_bytes{")).count();
    assert_eq!(limits, 1, "where there is no limit there is no number: {told:#?}");

    let other = Replica::start(&nats).await;
    let Replica { exporter, stop, task } = one;
    eventually("the other replica to know that it does not lead", || async {
        other.exporter.render().contains("fanfare_control_leader 0").then_some(())
    })
    .await;
    assert_eq!(other.told(), Vec::<String>::new(), "it does not lead");
    stop.cancel();
    task.await.unwrap();
    drop(exporter);
    eventually("the other replica to tell", || async { (!other.told().is_empty()).then_some(()) }).await;
}
