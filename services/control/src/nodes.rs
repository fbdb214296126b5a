//! `NodeService`: the processes of the cluster, and what a replica knows of it as a whole.

use std::time::Duration;

use backbone::Backbone;
use backbone::registry::{self, Registry};
use backbone::schema::SchemaError;
use backbone::sealing::ClusterKeys;
use clock::unix_ms;
use proto::control as wire;
use tonic::{Code, Request, Response, Status};

use crate::access::{Caller, Guarded, OfCluster};
use crate::audit::{Intent, Recorder};
use crate::link::{DrainError, Link};
use crate::status::{Refusal, refusal, unavailable, within};

/// Most unreadable apps in an answer.
const MAX_UNREADABLE: usize = 100;

/// Answers calls about nodes.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    pub(crate) sources: Guarded<Sources>,
    pub(crate) recorder: Recorder,
    pub(crate) patience: Duration,
}

/// Where answers come from.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) link: Link,
    pub(crate) backbone: Backbone,
    pub(crate) registry: Registry,
    pub(crate) apps: registry::Apps,
    pub(crate) keys: std::sync::Arc<ClusterKeys>,
}

impl Refusal for DrainError {
    fn status(self) -> Status {
        match self {
            Self::Unknown => refusal(Code::NotFound, "NO_SUCH_NODE", self.to_string()),
            Self::Unreached => unavailable("the node is there and does not answer this replica"),
        }
    }
}

impl Refusal for SchemaError {
    fn status(self) -> Status {
        match self {
            Self::Registry(error) => error.status(),
            Self::Newer(_) | Self::Damaged => refusal(Code::FailedPrecondition, "SCHEMA", self.to_string()),
        }
    }
}

impl Nodes {
    async fn cluster(&self, proof: OfCluster) -> Result<wire::Cluster, Status> {
        let Sources { link, backbone, registry, apps, keys } = self.sources.open(&proof);
        let members = link.members();
        let seals = within(self.patience, Box::pin(registry.seal_report())).await?;
        let schema = within(self.patience, registry.schema()).await?;
        let snapshot = apps.snapshot();
        let unreadable = if snapshot.unreadable() == 0 { Vec::new() } else { self.unreadable(registry).await? };
        Ok(wire::Cluster {
            replica: link.id().to_owned(),
            leader: members.leader.map(|leader| leader.node).unwrap_or_default(),
            replicas: members.replicas.into_keys().collect(),
            edges: members.edges.iter().map(|edge| edge.as_str().to_owned()).collect(),
            schema,
            apps: snapshot.iter().count() as u64,
            unreadable,
            sealed_by: seals.entries.into_iter().map(|(id, entries)| (id.to_string(), entries as u64)).collect(),
            key_ids: keys.ids().map(|id| id.to_string()).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nats: matches!(backbone, Backbone::JetStream(_)),
            time_ms: unix_ms(),
        })
    }

    async fn unreadable(&self, registry: &Registry) -> Result<Vec<wire::UnreadableApp>, Status> {
        let mut unreadable = Vec::new();
        let mut after = None;
        loop {
            let page = within(self.patience, registry.list(after.as_ref(), 1_000)).await?;
            unreadable.extend(
                page.unreadable
                    .into_iter()
                    .map(|(id, reason)| wire::UnreadableApp { id: id.to_string(), reason: reason.to_string() }),
            );
            match page.next {
                Some(next) if unreadable.len() < MAX_UNREADABLE => after = Some(next),
                Some(_) | None => break,
            }
        }
        unreadable.truncate(MAX_UNREADABLE);
        Ok(unreadable)
    }
}

#[tonic::async_trait]
impl wire::node_service_server::NodeService for Nodes {
    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let cluster = Caller::of(&request)?.cluster()?;
        let nodes = self.sources.open(&cluster).link.nodes().list();
        Ok(Response::new(wire::ListNodesResponse { nodes }))
    }

    async fn drain_node(
        &self,
        request: Request<wire::DrainNodeRequest>,
    ) -> Result<Response<wire::DrainNodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let cluster = caller.cluster()?;
        let id = request.into_inner().id;
        let work = async {
            within(self.patience, self.sources.open(&cluster).link.nodes().drain(&id)).await?;
            Ok((wire::DrainNodeResponse {}, 0))
        };
        self.recorder.record(&caller, Intent::to(format!("node {id}")), work).await.map(Response::new)
    }

    async fn get_cluster(&self, request: Request<wire::GetClusterRequest>) -> Result<Response<wire::Cluster>, Status> {
        let cluster = Caller::of(&request)?.cluster()?;
        self.cluster(cluster).await.map(Response::new)
    }
}
