//! `fanfare admin cluster`

use proto::control as wire;
use proto::control::node_service_client::NodeServiceClient;

use super::client::Way;
use super::table::{details, or_dash};
use super::{Answer, Failure, moment};

pub(super) async fn run(way: &Way) -> Result<Answer, Failure> {
    let mut client = NodeServiceClient::new(way.open().await?);
    let cluster = client.get_cluster(wire::GetClusterRequest {}).await?.into_inner();
    let text = text(&cluster);
    Ok(Answer::new(&cluster, text))
}

fn text(cluster: &wire::Cluster) -> String {
    let state = if cluster.nats { "in NATS" } else { "in the one process" };
    let mut rows = vec![
        ("answered by", cluster.replica.clone()),
        ("led by", or_dash(&cluster.leader)),
        ("replicas", or_dash(&cluster.replicas.join(", "))),
        ("edges", or_dash(&cluster.edges.join(", "))),
        ("version", cluster.version.clone()),
        ("state", state.to_owned()),
        ("schema", cluster.schema.to_string()),
        ("apps", cluster.apps.to_string()),
        ("clock", moment::show(cluster.time_ms)),
    ];
    rows.extend(cluster.unreadable.iter().map(|app| ("unreadable app", format!("{}: {}", app.id, app.reason))));
    rows.extend(cluster.key_ids.iter().enumerate().map(|(index, id)| {
        let use_of = if index == 0 { "seals" } else { "opens only" };
        let sealed = cluster.sealed_by.get(id).copied().unwrap_or_default();
        ("cluster key", format!("{id}: {use_of}; {sealed} entries are sealed with it"))
    }));
    details(rows)
}
