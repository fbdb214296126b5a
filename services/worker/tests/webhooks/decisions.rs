//! What is told of who is where.

use std::time::Duration;

use channels::WebhookEvent;

use crate::on_both;
use crate::support::*;

on_both!(
    what_happens_is_told,
    a_return_within_the_grace_tells_neither,
    a_dead_edge_takes_its_members_along,
    a_new_webhook_is_told_of_what_is_there,
);

async fn what_happens_is_told(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let _worker = site.work(config());
    let edge = site.edge().await;
    edge.count("presence-a", 1).await;
    edge.enter("presence-a", "1.1", "ann").await;
    hook.wait_for(2).await;
    edge.enter("presence-a", "1.2", "bob").await;
    edge.enter("presence-a", "1.3", "bob").await;
    hook.wait_for(3).await;
    edge.leave("presence-a", "1.2", "bob").await;
    edge.leave("presence-a", "1.1", "ann").await;
    hook.wait_for(4).await;
    edge.leave("presence-a", "1.3", "bob").await;
    edge.count("presence-a", 0).await;
    let told = hook.wait_for(6).await;
    assert_eq!(
        told,
        [
            "channel_occupied presence-a",
            "member_added presence-a ann",
            "member_added presence-a bob",
            "member_removed presence-a ann",
            "member_removed presence-a bob",
            "channel_vacated presence-a",
        ]
    );
    edge.count("ticker", 3).await;
    edge.count("#server-to-user-ann", 1).await;
    let other = site.edge().await;
    other.count("#server-to-user-ann", 1).await;
    hook.wait_for(8).await;
    other.count("ticker", 4).await;
    let told = hook.wait_for(9).await;
    assert_eq!(told[6..], ["channel_occupied ticker", "subscription_count ticker 3", "subscription_count ticker 7"]);
}

async fn a_return_within_the_grace_tells_neither(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    // All that comes in between has to come within it.
    let grace = Duration::from_secs(8);
    let _worker = site.work(worker::Config { vacated_grace: grace, ..config() });
    let (one, two) = (site.edge().await, site.edge().await);
    one.count("presence-a", 1).await;
    one.enter("presence-a", "1.1", "ann").await;
    hook.wait_for(2).await;
    one.leave("presence-a", "1.1", "ann").await;
    one.count("presence-a", 0).await;
    two.count("presence-a", 1).await;
    two.enter("presence-a", "1.2", "ann").await;
    // A mark, behind which anything told of the absence would have to stand.
    tokio::time::sleep(grace + Duration::from_millis(200)).await;
    one.count("mark", 1).await;
    let told = hook.wait_for(3).await;
    assert_eq!(told[..3], ["channel_occupied presence-a", "member_added presence-a ann", "channel_occupied mark"]);
}

async fn a_dead_edge_takes_its_members_along(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let _worker = site.work(config());
    let (dying, living) = (site.edge().await, site.edge().await);
    dying.count("presence-a", 1).await;
    dying.enter("presence-a", "1.1", "ann").await;
    hook.wait_for(2).await;
    living.count("presence-a", 1).await;
    living.enter("presence-a", "2.1", "bob").await;
    hook.wait_for(3).await;
    dying.die().await;
    assert_eq!(hook.wait_for(4).await[3], "member_removed presence-a ann");
    living.die().await;
    assert_eq!(hook.wait_for(6).await[4..], ["member_removed presence-a bob", "channel_vacated presence-a"]);
}

async fn a_new_webhook_is_told_of_what_is_there(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, Vec::new()).await;
    let _worker = site.work(config());
    let edge = site.edge().await;
    edge.count("presence-a", 1).await;
    edge.enter("presence-a", "1.1", "ann").await;
    edge.count("b", 1).await;
    let members = channels::Webhook {
        events: [WebhookEvent::MemberAdded].into_iter().collect(),
        prefix: "presence-".to_owned(),
        ..webhook(&hook)
    };
    site.set_webhooks(vec![members.clone()]).await;
    assert_eq!(hook.wait_for(1).await, ["member_added presence-a ann"]);
    // Once nobody wanted it, and wanted again, it is told again.
    site.set_webhooks(Vec::new()).await;
    let announced = site.backbone.kv(backbone::Bucket::Announced);
    testkit::eventually("what was told to be withdrawn", || async {
        let entries = announced.entries().await.ok()?;
        entries.iter().all(|entry| entry.key == "confirmed").then_some(())
    })
    .await;
    site.set_webhooks(vec![members]).await;
    assert_eq!(hook.wait_for(2).await[1..], ["member_added presence-a ann"]);
}
