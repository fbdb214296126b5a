//! A process that starts while NATS is away.

use backbone::sealing::ClusterKeys;
use proto::control::CreateAppRequest;
use testkit::{Nats, Signal, eventually};

use crate::cluster::alone;
use crate::single::Single;

/// What a process says each time that it has tried.
const AWAY: &str = "NATS is not there yet";

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_waits_for_nats_and_says_so() {
    let _alone = alone().await;
    let mut nats = Nats::start().await;
    let key = ClusterKeys::generate_text();
    let mut first = Single::over_nats(&nats.url(), &key);
    first.start().await;
    let app = first.create_app(CreateAppRequest::default()).await;
    first.node.stop().await;
    nats.stop(Signal::Kill).await;

    // An edge, which has never seen a control plane.
    let mut edge = Single::over_nats(&nats.url(), &key);
    edge.node.set("FANFARE_ROLES", "edge");
    edge.node.start();
    let said = edge.node.readiness_is(503).await;
    assert!(said.contains("NATS"), "{said}");
    eventually("several attempts", || async { (edge.node.log().matches(AWAY).count() >= 3).then_some(()) }).await;
    let said = edge.node.readiness_is(503).await;
    assert!(said.contains(AWAY), "{said}");

    nats.restart().await;
    edge.node.ready().await;
    edge.serves(&app).await;
    first.finish();
    edge.finish();
}
