//! What could not be delivered.

use std::time::Duration;

use backbone::dead_letters::DeadLetterError;
use testkit::within;

use crate::on_both;
use crate::support::*;

on_both!(
    given_up_listed_and_replayed,
    what_is_too_old_is_not_sent,
    beyond_the_bound_at_once,
    beyond_the_total_each_has_a_share,
    a_removed_webhook_ends_its_deliveries,
);

/// Gives up, though not before it has tried a few times.
fn impatient() -> worker::Config {
    worker::Config { give_up_after: Duration::from_secs(5), ..config() }
}

async fn given_up_listed_and_replayed(variant: Variant) {
    let (broken, good) = (Hook::start(Manner::Answer(503)).await, Hook::start(Manner::Answer(200)).await);
    let site = Site::start(variant, vec![webhook(&broken), webhook(&good)]).await;
    let worker = site.work(impatient());
    site.client_event("private-a", "0").await;
    let letters = site.dead_letters(1).await;
    assert_eq!(letters.len(), 1);
    let (channel, reason, attempts) = &letters[0];
    assert_eq!((channel.as_str(), reason.as_str()), ("private-a", "answered 503 Service Unavailable"));
    assert_eq!(*attempts as usize, broken.received().len(), "attempts are counted");
    assert!(*attempts > 3, "{attempts}");
    assert_eq!(good.wait_for(1).await, ["client_event private-a client-x 0"]);
    let page = site.backbone.dead_letters().list(&site.app, None, 10).await.unwrap();
    let (id, letter) = &page.letters[0];
    assert_eq!(letter.url, broken.url());
    broken.set(Manner::Answer(200));
    site.backbone.dead_letters().replay(&site.app, id).await.unwrap();
    assert_eq!(broken.wait_for(1).await, ["client_event private-a client-x 0"]);
    assert_eq!(good.told().len(), 1, "only the webhook that missed it");
    let again = site.backbone.dead_letters().replay(&site.app, id).await;
    assert!(matches!(again, Err(DeadLetterError::Missing)));
    worker.stop().await;
    assert_eq!(site.leftovers().await, 0, "nothing stays in the queue");
}

async fn what_is_too_old_is_not_sent(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    site.client_event_at("private-a", "old", unix_ms() - 301_000).await;
    site.client_event("private-a", "new").await;
    let _worker = site.work(config());
    assert_eq!(hook.wait_for(1).await, ["client_event private-a client-x new"]);
    let letters = site.dead_letters(1).await;
    assert_eq!((letters[0].1.as_str(), letters[0].2), ("its time was up before its turn came", 0));
    assert_eq!(hook.received().len(), 1);
}

async fn beyond_the_bound_at_once(variant: Variant) {
    let hook = Hook::start(Manner::Answer(500)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let _worker = site.work(worker::Config { waiting_events: 5, ..config() });
    for number in 0..8 {
        site.client_event("private-a", &number.to_string()).await;
    }
    let letters = site.dead_letters(3).await;
    assert_eq!(letters.len(), 3);
    assert!(
        letters.iter().all(|(_, reason, attempts)| reason.starts_with("too many") && *attempts == 0),
        "{letters:?}"
    );
    hook.set(Manner::Answer(200));
    let expected: Vec<_> = (0..5).map(|number| format!("client_event private-a client-x {number}")).collect();
    assert_eq!(hook.wait_for(5).await, expected);
}

async fn a_removed_webhook_ends_its_deliveries(variant: Variant) {
    let (gone, kept) = (Hook::start(Manner::Answer(500)).await, Hook::start(Manner::Answer(200)).await);
    let site = Site::start(variant, vec![webhook(&gone), webhook(&kept)]).await;
    let worker = site.work(config());
    for number in 0..5 {
        site.client_event("private-a", &number.to_string()).await;
    }
    kept.wait_for(5).await;
    gone.wait_for_requests(2).await;
    site.set_webhooks(vec![webhook(&kept)]).await;
    // It is quiet as soon as that is known; a request that was under way may still come.
    let quiet = async {
        let mut before = usize::MAX;
        while std::mem::replace(&mut before, gone.received().len()) != before {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    within("the removed webhook to be left alone", quiet).await;
    worker.stop().await;
    assert_eq!(site.leftovers().await, 0);
    assert!(site.backbone.dead_letters().list(&site.app, None, 1).await.unwrap().letters.is_empty());
}

/// Many dead receivers together must not fill the queue, and a good one has its share all the same.
async fn beyond_the_total_each_has_a_share(variant: Variant) {
    let (dead, good) = (Hook::start(Manner::Answer(500)).await, Hook::start(Manner::Answer(200)).await);
    let only = |hook: &Hook, prefix: &str| channels::Webhook { prefix: prefix.to_owned(), ..webhook(hook) };
    let site = Site::start(variant, vec![only(&dead, "private-dead"), only(&good, "private-good")]).await;
    let _worker = site.work(worker::Config { total_waiting_bytes: 64 << 10, ..config() });
    let data = "x".repeat(10_000);
    for _ in 0..10 {
        site.client_event("private-dead", &data).await;
    }
    // About 20 KB each in memory: three fit, the others are dead letters.
    assert_eq!(site.dead_letters(7).await.len(), 7);
    for _ in 0..5 {
        site.client_event("private-good", "x").await;
    }
    good.wait_for(5).await;
    assert_eq!(site.dead_letters(7).await.len(), 7);
}
