//! One worker after the other.

use std::collections::HashSet;
use std::time::Duration;

use backbone::Bucket;
use prost::Message as _;
use proto::backbone::{Announced, Confirmed};
use testkit::{Signal, eventually};

use crate::on_both;
use crate::support::*;

on_both!(
    after_a_crash_the_next_tells_what_is_new_and_nothing_twice,
    after_a_clean_stop_the_next_takes_over_at_once,
    what_was_under_way_is_delivered_by_the_next,
    what_was_told_is_not_told_again_if_that_is_not_known,
    what_was_announced_and_not_told_is_told,
    decided_once_however_often_workers_die,
);

/// Where the lease of a dead worker has to lapse.
fn short_lease() -> worker::Config {
    worker::Config { lease_ttl: Duration::from_secs(5), ..config() }
}

/// Waits until everything that is announced is confirmed.
async fn confirmed(site: &Site) {
    let announced = site.backbone.kv(Bucket::Announced);
    eventually("everything to be confirmed", || async {
        let entries = announced.entries().await.ok()?;
        let (confirmed, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.key == "confirmed");
        let newest = others.iter().map(|entry| entry.revision).max()?;
        let confirmed = Confirmed::decode(confirmed.first()?.value.clone()).unwrap();
        (confirmed.revision >= newest).then_some(())
    })
    .await;
}

async fn after_a_crash_the_next_tells_what_is_new_and_nothing_twice(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let first = site.work(short_lease());
    let edge = site.edge().await;
    for channel in ["presence-a", "presence-b"] {
        edge.count(channel, 1).await;
        edge.enter(channel, "1.1", "ann").await;
    }
    hook.wait_for(4).await;
    // The standby.
    let _second = site.work(short_lease());
    // By then what was delivered is acknowledged, too.
    confirmed(&site).await;
    first.crash().await;
    edge.count("presence-c", 1).await;
    edge.leave("presence-a", "1.1", "ann").await;
    edge.count("presence-a", 0).await;
    edge.enter("presence-b", "2.1", "bob").await;
    let told = hook.wait_for(8).await;
    let mut new = told[4..].to_vec();
    new.sort();
    assert_eq!(
        new,
        [
            "channel_occupied presence-c",
            "channel_vacated presence-a",
            "member_added presence-b bob",
            "member_removed presence-a ann",
        ]
    );
    edge.count("mark", 1).await;
    let told = hook.wait_for(10).await;
    assert_eq!(told.len(), 10, "{told:?}");
}

async fn after_a_clean_stop_the_next_takes_over_at_once(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    // Longer than anybody here waits, even a fraction of it.
    let patient = worker::Config { lease_ttl: Duration::from_secs(600), ..config() };
    let first = site.work(patient.clone());
    site.client_event("private-a", "0").await;
    hook.wait_for(1).await;
    let second = site.work(patient);
    // The second knows by now that it has to wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.stop().await;
    site.client_event("private-a", "1").await;
    assert_eq!(hook.wait_for(2).await.len(), 2);
    second.stop().await;
    assert_eq!(site.leftovers().await, 0);
}

async fn what_was_under_way_is_delivered_by_the_next(variant: Variant) {
    let hook = Hook::start(Manner::Hang).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let first = site.work(short_lease());
    for number in 0..5 {
        site.client_event("private-a", &number.to_string()).await;
    }
    hook.wait_for_requests(1).await;
    first.crash().await;
    hook.set(Manner::Answer(200));
    let _second = site.work(short_lease());
    let expected: Vec<_> = (0..5).map(|number| format!("client_event private-a client-x {number}")).collect();
    assert_eq!(hook.wait_for(5).await, expected);
}

async fn what_was_told_is_not_told_again_if_that_is_not_known(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let worker = site.work(config());
    let edge = site.edge().await;
    edge.count("presence-a", 1).await;
    edge.enter("presence-a", "1.1", "ann").await;
    hook.wait_for(2).await;
    confirmed(&site).await;
    worker.stop().await;
    // As a worker leaves it that dies before it noted how far it has come.
    let announced = site.backbone.kv(Bucket::Announced);
    eventually("the note to go", || async { announced.remove("confirmed", None).await.ok() }).await;
    let worker = site.work(config());
    eventually("everything to be confirmed", || async { announced.get("confirmed").await.ok().flatten() }).await;
    edge.enter("presence-a", "1.2", "bob").await;
    let told = hook.wait_for(3).await;
    assert_eq!(told[2..], ["member_added presence-a bob"]);
    worker.stop().await;
}

/// The worker died after it announced and before it told, and meanwhile nobody is there any more.
async fn what_was_announced_and_not_told_is_told(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let announced = site.backbone.kv(Bucket::Announced);
    for (key, user, event) in [("presence-a", "", "channel_occupied"), ("presence-a.ann", "ann", "member_added")] {
        let value = Announced {
            version: 1,
            channel: "presence-a".to_owned(),
            user_id: user.to_owned(),
            event: event.to_owned(),
            subscription_count: 0,
        };
        announced.put(&format!("{}.{key}", site.app), value.encode_to_vec().into()).await.unwrap();
    }
    let worker = site.work(config());
    let told = hook.wait_for(4).await;
    assert_eq!(
        told,
        [
            "channel_occupied presence-a",
            "member_added presence-a ann",
            "member_removed presence-a ann",
            "channel_vacated presence-a",
        ]
    );
    worker.stop().await;
    let left = announced.entries().await.unwrap();
    assert!(left.iter().all(|entry| entry.key == "confirmed"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_away_for_longer_than_the_lease() {
    let hook = Hook::start(Manner::Answer(200)).await;
    let mut site = Site::start(Variant::Nats, vec![webhook(&hook)]).await;
    let worker = site.work(short_lease());
    let edge = site.edge().await;
    edge.count("presence-a", 1).await;
    edge.enter("presence-a", "1.1", "ann").await;
    hook.wait_for(2).await;
    // A server that restarts forgets the ids of what was taken out of the queue, so what is not confirmed may come twice.
    confirmed(&site).await;
    let nats = site.nats.as_mut().unwrap();
    nats.stop(Signal::Terminate).await;
    tokio::time::sleep(short_lease().lease_ttl + Duration::from_secs(1)).await;
    nats.restart().await;
    eventually("the backbone to be back", || async { site.backbone.is_up().then_some(()) }).await;
    edge.enter("presence-a", "1.2", "bob").await;
    edge.leave("presence-a", "1.1", "ann").await;
    let told = hook.wait_for(4).await;
    assert_eq!(told[2..], ["member_added presence-a bob", "member_removed presence-a ann"]);
    worker.stop().await;
}

/// What the worker wanted to note just then, and did not, is no reason to tell again what it had told before: the server has
/// forgotten its id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_away_when_something_is_to_be_told() {
    let hook = Hook::start(Manner::Answer(200)).await;
    let mut site = Site::start(Variant::Nats, vec![webhook(&hook)]).await;
    let grace = Duration::from_secs(2);
    let patient = worker::Config { lease_ttl: Duration::from_secs(60), vacated_grace: grace, ..config() };
    let worker = site.work(patient);
    let edge = site.edge().await;
    edge.count("presence-a", 1).await;
    edge.enter("presence-a", "1.1", "ann").await;
    hook.wait_for(2).await;
    confirmed(&site).await;
    edge.leave("presence-a", "1.1", "ann").await;
    let nats = site.nats.as_mut().unwrap();
    nats.stop(Signal::Terminate).await;
    // The removal is due by then, and cannot be noted.
    tokio::time::sleep(grace + Duration::from_millis(500)).await;
    nats.restart().await;
    let told = hook.wait_for(3).await;
    assert_eq!(told[2..], ["member_removed presence-a ann"]);
    worker.stop().await;
}

/// Workers crash again and again while channels come and go. A crash may make a request be sent again, which is then the
/// same to the byte; a decision taken twice would have another time.
async fn decided_once_however_often_workers_die(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let hasty = worker::Config { vacated_grace: Duration::from_millis(20), ..config() };
    // Many, so that each crash finds some that are told and not noted yet.
    let channels: Vec<String> = (0..40).map(|number| format!("private-{number}")).collect();
    let edge = site.edge().await;
    let churn = async {
        for round in 0..u64::MAX {
            for (index, channel) in channels.iter().enumerate() {
                edge.count(channel, u64::from((round + index as u64).is_multiple_of(2))).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let crashes = async {
        for life in (0..20).map(|life| 20 + 17 * life % 100) {
            let worker = site.work(hasty.clone());
            // Until it acts, and a while longer.
            eventually("the worker to act", || async {
                site.backbone.kv(Bucket::Leases).get("worker").await.ok().flatten()
            })
            .await;
            tokio::time::sleep(Duration::from_millis(life)).await;
            worker.crash().await;
            // Nobody has to wait for the lease of the dead: that is another case.
            let leases = site.backbone.kv(Bucket::Leases);
            eventually("the lease to go", || async { leases.remove("worker", None).await.ok() }).await;
        }
    };
    tokio::select! {
        () = churn => {}
        () = crashes => {}
    }
    for channel in &channels {
        edge.count(channel, 0).await;
    }
    edge.count("end", 1).await;
    let worker = site.work(hasty);
    let last = |channel: &str| -> Option<String> {
        let told = hook.told();
        of_channel(&told, channel).into_iter().rfind(|text| text.starts_with("channel_"))
    };
    eventually("the last word on every channel", || async {
        let vacated = channels
            .iter()
            .all(|channel| last(channel).is_none_or(|last| last == format!("channel_vacated {channel}")));
        (vacated && last("end").is_some()).then_some(())
    })
    .await;
    worker.stop().await;
    let mut seen = HashSet::new();
    let mut told = Vec::new();
    for received in hook.received() {
        if received.status == 200 && seen.insert(received.body.clone()) {
            told.extend(received.events());
        }
    }
    for channel in &channels {
        let of: Vec<&str> = told
            .iter()
            .filter(|event| event["channel"] == **channel)
            .filter_map(|event| event["name"].as_str())
            .filter(|name| name.starts_with("channel_"))
            .collect();
        let alternate = of
            .iter()
            .enumerate()
            .all(|(index, name)| *name == if index % 2 == 0 { "channel_occupied" } else { "channel_vacated" });
        assert!(alternate, "{channel}: {of:?}");
    }
}
