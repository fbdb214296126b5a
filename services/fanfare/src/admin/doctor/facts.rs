//! What the doctor looks at, gathered in a few calls.

use std::time::{Duration, Instant};

use proto::control as wire;
use proto::control::node_service_client::NodeServiceClient;
use proto::control::webhook_service_client::WebhookServiceClient;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::admin::client::{Connection, Way};
use crate::admin::{Failure, app, health};

/// A cluster as one replica tells it, and how it was asked.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) address: String,
    /// Whether what is said can be read on the way, and the way leaves this machine.
    pub(super) is_open_to_readers: bool,
    pub(super) is_serving: bool,
    /// What the token, or certificate, may see: why not the cluster as a whole.
    pub(super) refused: Option<String>,
    pub(super) cluster: wire::Cluster,
    pub(super) nodes: Vec<wire::Node>,
    /// Our clock halfway through the call that told the server's, milliseconds since the Unix epoch.
    pub(super) our_time_ms: u64,
    /// How long that call took: the two clocks cannot be compared any better.
    pub(super) round_trip: Duration,
    /// How long it took to ask for the cluster and for its nodes: that far apart the server may have looked at its clock.
    pub(super) asking: Duration,
    /// Our version.
    pub(super) our_version: String,
    /// Apps with dead letters, and how many, up to a page full.
    pub(super) dead_letters: Vec<(String, usize)>,
    /// Apps whose dead letters were not counted.
    pub(super) apps_not_looked_at: usize,
}

/// Dead letters of one app that are counted; more are "at least so many".
pub(super) const COUNTED: u32 = 1_000;

/// Asks. What cannot be reached at all is a failure of the command, not a finding.
pub(super) async fn gather(way: &Way, most_apps: u32) -> Result<Facts, Failure> {
    let mut facts = Facts {
        address: way.address.clone(),
        is_open_to_readers: way.is_plain() && !way.is_local(),
        our_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Facts::default()
    };
    let connection = way.open().await?;
    facts.is_serving = health::serving(way, String::new()).await? == ServingStatus::Serving;
    let mut client = NodeServiceClient::new(connection.clone());
    let (asked, asked_ms) = (Instant::now(), clock::unix_ms());
    match client.get_cluster(wire::GetClusterRequest {}).await {
        Ok(cluster) => facts.cluster = cluster.into_inner(),
        Err(status) if status.code() == tonic::Code::PermissionDenied => {
            facts.refused = Some(status.message().to_owned());
            return Ok(facts);
        }
        Err(status) => return Err(status.into()),
    }
    facts.round_trip = asked.elapsed();
    facts.our_time_ms = asked_ms + clock::millis(facts.round_trip / 2);
    facts.nodes = client.list_nodes(wire::ListNodesRequest {}).await?.into_inner().nodes;
    facts.asking = asked.elapsed();
    dead_letters(&mut facts, connection, most_apps).await?;
    Ok(facts)
}

async fn dead_letters(facts: &mut Facts, connection: Connection, most_apps: u32) -> Result<(), Failure> {
    let request = wire::ListAppsRequest { page_size: 1_000, page_token: String::new() };
    let page = app::client(connection.clone()).list_apps(request).await?.into_inner();
    // Only apps with webhooks make dead letters; the rest would be asked in vain.
    let with_webhooks: Vec<_> = page.apps.into_iter().filter(|app| !app.webhooks.is_empty()).collect();
    let mut client = WebhookServiceClient::new(connection);
    let most = usize::try_from(most_apps).unwrap_or(usize::MAX);
    facts.apps_not_looked_at = with_webhooks.len().saturating_sub(most);
    if !page.next_page_token.is_empty() {
        let listed = 1_000;
        facts.apps_not_looked_at += usize::try_from(facts.cluster.apps).unwrap_or(usize::MAX).saturating_sub(listed);
    }
    for app in with_webhooks.into_iter().take(most) {
        let request =
            wire::ListDeadLettersRequest { app_id: app.id.clone(), page_size: COUNTED, page_token: String::new() };
        match client.list_dead_letters(request).await {
            Ok(letters) => match letters.into_inner().dead_letters.len() {
                0 => {}
                some => facts.dead_letters.push((app.id, some)),
            },
            // Deleted meanwhile.
            Err(status) if status.code() == tonic::Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    Ok(())
}
