//! Starting: connect, check that cluster and configuration fit, make what is missing.

use std::sync::Arc;

use async_nats::jetstream::context::ContextBuilder;
use channels::ShardCount;
use prost::Message as _;
use proto::backbone::ClusterMeta;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::direct::{MAX_ANSWERS, Reader};
use super::history::Coalesced;
use super::pending::Pending;
use super::publish::ACK_TIMEOUT;
use super::repair::{self, ELECTIONS, Repairs};
use super::streams::Streams;
use super::{JetStream, Shared, connection, kv, queue};
use crate::FORMAT;
use crate::config::{Config, NatsConfig, StartError};
use crate::kv::{Bucket, Kv, KvError};

/// Key of the cluster's constants.
pub(crate) const CLUSTER_KEY: &str = "cluster";

impl JetStream {
    pub(crate) async fn connect(config: &Config, nats: &NatsConfig) -> Result<Self, StartError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(StartError::Refused(problems.join("; ")));
        }
        let shards = ShardCount::new(config.shards).map_err(|error| StartError::Refused(error.to_string()))?;
        let (live, ups) = connection::connect(config, nats, "live", config.attach_buffer).await?;
        let (reads, _) = connection::connect(config, nats, "history", MAX_ANSWERS).await?;
        let (watches, _) = connection::connect(config, nats, "buckets", kv::WATCH_BUFFER).await?;
        let context = ContextBuilder::new()
            .max_ack_inflight(config.publishes_in_flight)
            .backpressure_on_inflight(true)
            .ack_timeout(ACK_TIMEOUT)
            .timeout(ACK_TIMEOUT)
            .build(live.clone());
        let watches = ContextBuilder::new().timeout(ACK_TIMEOUT).build(watches);
        let reader = Reader::new(reads);
        let mut buckets = Vec::new();
        for bucket in Bucket::ALL {
            buckets.push((bucket, kv::prepare(&live, &context, &watches, config, &reader, bucket).await?));
            if bucket == Bucket::Meta {
                // Before anything else is touched.
                let meta = Kv::JetStream(Box::new(buckets[0].1.clone()));
                check_cluster(&meta, shards).await?;
            }
        }
        // Elections are listened for before the first stream exists, so that none is missed.
        let elections = live.subscribe(ELECTIONS).await;
        let elections = elections.map_err(|error| StartError::Unreachable(error.to_string()))?;
        let webhook_queue = queue::prepare(&live, &context, config).await?;
        let streams = Streams::new(context.clone(), config, shards);
        streams.prepare().await?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            shards,
            live,
            context,
            reader,
            streams,
            repairs: Arc::new(Repairs::default()),
            coalesced: Coalesced::default(),
            read_turns: shards.shards().map(|_| Semaphore::new(config.reads_per_shard)).collect(),
            buckets,
            webhook_queue,
            pending: Pending::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(repair::run(Arc::clone(&shared), ups, elections));
        Ok(Self { shared, tasks: Arc::new(tasks) })
    }
}

/// Writes the cluster's constants if this is its first process, and otherwise compares them.
pub(crate) async fn check_cluster(meta: &Kv, shards: ShardCount) -> Result<(), StartError> {
    let unreachable = |error: KvError| StartError::Unreachable(format!("cluster constants: {error}"));
    let ours = ClusterMeta { format: FORMAT, shards: u32::from(shards.get()) };
    match meta.create(CLUSTER_KEY, ours.encode_to_vec().into()).await {
        Ok(_) => return Ok(()),
        Err(KvError::Exists | KvError::Conflict) => {}
        Err(error @ (KvError::InvalidKey | KvError::Unavailable(_))) => return Err(unreachable(error)),
    }
    let entry = meta.get(CLUSTER_KEY).await.map_err(unreachable)?;
    let entry = entry.ok_or_else(|| StartError::Unreachable("cluster constants vanished; try again".to_owned()))?;
    let theirs = ClusterMeta::decode(entry.value)
        .map_err(|error| StartError::Refused(format!("the cluster's constants cannot be read: {error}")))?;
    if theirs.format != FORMAT {
        let relation = if theirs.format < FORMAT { "an older" } else { "a newer" };
        return Err(StartError::Refused(format!(
            "this NATS holds data of {relation} format ({}); this server reads and writes format {FORMAT}",
            theirs.format
        )));
    }
    if theirs.shards != ours.shards {
        return Err(StartError::Refused(format!(
            "this cluster was made with {} shards, but {} are configured; the number cannot change while data exists",
            theirs.shards, ours.shards
        )));
    }
    Ok(())
}
