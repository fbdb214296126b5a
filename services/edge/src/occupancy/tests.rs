use backbone::{Entry, WatchEvent};
use prost::Message as _;
use proto::backbone::Occupancy as Count;

use super::*;
use crate::config::Config;
use crate::fixtures::{self, World};
use crate::metrics::Metrics;

const TTL: Duration = Duration::from_secs(8);

fn occupancy(world: &World) -> Arc<Occupancy> {
    let changes = Arc::new(Changes::default());
    let (backbone, apps, stop) = (world.backbone.clone(), world.apps.clone(), world.stop.child_token());
    let hub =
        Hub::new(&Config::default(), backbone.clone(), apps, Arc::clone(&changes), Arc::new(Metrics::new()), stop);
    Arc::new(Occupancy::new(backbone, hub, changes, Duration::from_millis(10), TTL))
}

fn count(subscriptions: u64) -> Vec<u8> {
    Count { version: 1, channel: "room".to_owned(), subscriptions }.encode_to_vec()
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_taken_again_with_the_next_renewal() {
    let world = World::with(fixtures::app()).await;
    let occupancy = occupancy(&world);
    let running = Arc::clone(&occupancy);
    let stop = world.stop.child_token();
    tokio::spawn(async move { running.run(stop).await });
    let leases = world.backbone.kv(Bucket::Leases);
    let key = format!("{LEASE_PREFIX}{}", occupancy.me);
    tokio::time::sleep(TTL / 8).await;
    assert!(leases.get(&key).await.unwrap().is_some());
    leases.remove(&key, None).await.unwrap();
    tokio::time::sleep(TTL / 4).await;
    assert!(leases.get(&key).await.unwrap().is_some());
    // And it is kept.
    tokio::time::sleep(TTL * 3).await;
    assert!(leases.get(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn what_an_edge_wrote_after_it_came_back_stays() {
    let world = World::with(fixtures::app()).await;
    let occupancy = occupancy(&world);
    let counts = world.backbone.kv(Bucket::Occupancy);
    let edge = EdgeId("00000000deadbeef".into());
    let app = fixtures::app().id;
    for (name, comes_back) in [("gone", false), ("back", true)] {
        let key = cluster::count_key(&app, ChannelName::new(name).unwrap().token().as_str(), &edge);
        let revision = counts.put(&key, count(1).into()).await.unwrap();
        let put = WatchEvent::Put(Entry { key: key.clone(), value: count(1).into(), revision });
        occupancy.apply(Bucket::Occupancy, &mut occupancy.cluster.lock(), put);
        if comes_back {
            // The watch has not told us yet.
            counts.put(&key, count(2).into()).await.unwrap();
        }
    }
    occupancy.bury(&edge).await;
    let left: Vec<_> = counts.entries().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(Count::decode(left[0].value.clone()).unwrap().subscriptions, 2);
}
