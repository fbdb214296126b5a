use backbone::facts::{Count, CountKey, Parts};
use backbone::{Bucket, Entry, WatchEvent};
use channels::EdgeId;

use super::*;
use crate::config::Config;
use crate::fixtures::{self, World};

const TTL: Duration = Duration::from_secs(8);

fn occupancy(world: &World) -> Arc<Occupancy> {
    let parts = world.parts(TTL);
    let hub = Hub::new(&Config::default(), parts.clone(), world.stop.child_token());
    let users = Arc::new(Users::new(&parts.backbone, Arc::clone(&parts.changes), Arc::clone(&parts.news)));
    let meters = Arc::new(Meters::new(std::time::Instant::now()));
    Arc::new(Occupancy::new(&parts, hub, users, meters, Duration::from_millis(10)))
}

fn count(name: &str, subscriptions: u64, users: impl Into<Option<u64>>) -> Count {
    Count { channel: ChannelName::new(name).unwrap(), subscriptions, users: users.into(), parts: Parts::default() }
}

#[tokio::test]
async fn what_an_edge_wrote_after_it_came_back_stays() {
    let world = World::with(fixtures::app()).await;
    let occupancy = occupancy(&world);
    let counts = world.backbone.kv(Bucket::Occupancy);
    let edge = EdgeId::from_random(0xdead_beef);
    let app = fixtures::app().id;
    for (name, comes_back) in [("gone", false), ("back", true)] {
        let key = CountKey::new(&app, &ChannelName::new(name).unwrap(), &edge).to_key();
        let value = count(name, 1, 0).encode();
        let revision = counts.put(&key, value.clone()).await.unwrap();
        let put = WatchEvent::Put(Entry { key: key.clone(), value, revision });
        occupancy.apply(&mut occupancy.cluster.lock(), put);
        if comes_back {
            // The watch has not told us yet.
            counts.put(&key, count(name, 2, 0).encode()).await.unwrap();
        }
    }
    occupancy.bury(&edge).await;
    let left: Vec<_> = counts.entries().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(Count::decode(left[0].value.clone()).unwrap().subscriptions, 2);
}

/// Users are counted for the whole cluster by every edge, so they do not add up: the newest word counts.
#[tokio::test(start_paused = true)]
async fn subscriptions_add_up_and_the_newest_knows_the_users() {
    let world = World::with(fixtures::app()).await;
    let occupancy = occupancy(&world);
    let (running, joining) = (Arc::clone(&occupancy), Arc::clone(&occupancy.membership));
    let (stop, stop_too) = (world.stop.child_token(), world.stop.child_token());
    tokio::spawn(async move { running.run(stop).await });
    tokio::spawn(async move { joining.run(stop_too, || false).await });
    let app = fixtures::app().id;
    let room = ChannelName::new("presence-room").unwrap();
    let counts = world.backbone.kv(Bucket::Occupancy);
    for (number, subscriptions, users, alive) in
        [(1, 3, Some(2), true), (2, 1, Some(3), true), (3, 9, Some(9), false), (4, 1, None, true)]
    {
        let edge = EdgeId::from_random(number);
        if alive {
            let value = edge.to_string().into();
            // Not renewed, but the test is over before it lapses.
            world.backbone.lease(&backbone::facts::edge_lease_key(&edge), value, TTL).await.unwrap();
        }
        let key = CountKey::new(&app, &room, &edge).to_key();
        counts.put(&key, count("presence-room", subscriptions, users).encode()).await.unwrap();
    }
    let known = async {
        while occupancy.counts(&app, &room) != (Counts { subscriptions: 5, users: 3 }) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TTL / 2, known).await.expect("the counts of living edges in time");
    assert_eq!(occupancy.occupied(&app).into_keys().collect::<Vec<_>>(), [room]);
}

/// How connections take part adds up over living edges.
#[tokio::test(start_paused = true)]
async fn how_they_take_part_adds_up() {
    let world = World::with(fixtures::app()).await;
    let occupancy = occupancy(&world);
    let (running, joining) = (Arc::clone(&occupancy), Arc::clone(&occupancy.membership));
    let (stop, stop_too) = (world.stop.child_token(), world.stop.child_token());
    tokio::spawn(async move { running.run(stop).await });
    tokio::spawn(async move { joining.run(stop_too, || false).await });
    let (app, room) = (fixtures::app().id, ChannelName::new("room").unwrap());
    let meter = fixtures::meter(&fixtures::app());
    let id = channels::ConnectionId::new("c0nn").unwrap();
    let peer = Arc::new(crate::connections::Peer::new(id, meter, fixtures::client(), 1 << 20));
    let name = ably::Name::parse("room").unwrap();
    let attach = hub::Attach {
        params: ably::ChannelParams::parse(name.params(), []).unwrap(),
        name,
        medium: hub::Medium::Events,
        modes: ably::Modes::DEFAULT,
        echo: true,
        from: hub::From::Now,
        resumed: false,
    };
    let _attached = occupancy.hub.attach(&peer, attach).unwrap();
    let counts = world.backbone.kv(Bucket::Occupancy);
    for number in [1, 2, 3] {
        let edge = EdgeId::from_random(number);
        if number < 3 {
            let value = edge.to_string().into();
            world.backbone.lease(&backbone::facts::edge_lease_key(&edge), value, TTL).await.unwrap();
        }
        let parts = Parts {
            publishers: number,
            subscribers: 2,
            presence_subscribers: 1,
            presence_members: 3,
            presence_connections: 2,
        };
        let key = CountKey::new(&app, &room, &edge).to_key();
        counts.put(&key, Count { parts, ..count("room", 2, None) }.encode()).await.unwrap();
    }
    let expected = Metrics {
        connections: 5,
        publishers: 4,
        subscribers: 5,
        presence_connections: 4,
        presence_members: 6,
        presence_subscribers: 3,
        ..Metrics::default()
    };
    let known = async {
        while occupancy.metrics(&app, &room) != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TTL / 2, known).await.expect("the counts of living edges in time");
    assert_eq!(occupancy.occupied_metrics(&app).into_iter().collect::<Vec<_>>(), [(room.clone(), expected)]);
    // And this edge has told its own.
    let key = CountKey::new(&app, &room, &occupancy.membership.me()).to_key();
    let told = Count::decode(counts.get(&key).await.unwrap().unwrap().value).unwrap();
    assert_eq!((told.parts.publishers, told.parts.presence_subscribers), (1, 1));
}
