//! Where a follower begins: here, behind a serial, or some messages back.

use super::*;
use crate::hub::due::Due;

const RESUMED: &[Flags] = &[Flags::RESUMED];

/// A client that was away gets what it has missed, from this node's memory, and nothing twice.
#[tokio::test]
async fn resuming_from_memory() {
    let f = Fixture::new().await;
    for medium in MEDIA {
        let mut reader = Reader::of(&f, "r", plain("a", medium));
        let mut stays = Reader::of(&f, "s", plain("a", JSON));
        reader.attached().await;
        stays.attached().await;
        f.publish("a", "1", None).await;
        assert_eq!(reader.message().await, "1");
        let serial = reader.serial;
        drop(reader);
        for data in ["2", "3"] {
            f.publish("a", data, None).await;
        }
        stays.messages(3).await;
        let mut back = Reader::of(&f, "r", Attach { from: after(serial), ..plain("a", medium) });
        let attached = back.next().await;
        assert_eq!(attached["channelSerial"], serial.unwrap().to_string());
        if medium != Medium::Events {
            let expected = flags(&[Flags::RESUMED, Flags::HAS_BACKLOG]);
            assert_eq!(attached["flags"].as_u64().unwrap() & 0xff, expected);
        }
        f.publish("a", "4", None).await;
        assert_eq!(back.messages(3).await, ["2", "3", "4"]);
    }
}

/// More than the memory of a node holds: the rest is read from the channel's history, page by page.
#[tokio::test]
async fn resuming_from_history() {
    let config = backbone::Config { recoverable_messages: 10_000, ..backbone::Config::default() };
    let f = Fixture::over(&config).await;
    for medium in MEDIA {
        let mut reader = Reader::of(&f, "r", plain("a", medium));
        reader.attached().await;
        let serial = reader.serial;
        drop(reader);
        let numbers: Vec<_> = (0..500).map(|number| number.to_string()).collect();
        for number in &numbers {
            f.publish("a", number, None).await;
        }
        let mut back = Reader::of(&f, "r", Attach { from: after(serial), ..plain("a", medium) });
        let attached = back.next().await;
        assert!(attached["error"].is_null(), "{attached}");
        assert_eq!(attached["channelSerial"], serial.unwrap().to_string());
        f.publish("a", "live", None).await;
        let got = back.messages(501).await;
        assert_eq!((&got[..500], &*got[500]), (&numbers[..], "live"));
        assert!(back.rest().is_empty());
    }
}

/// A backlog of any length never holds more than the queue of its connection may.
#[tokio::test]
async fn a_long_backlog_waits_for_its_reader() {
    let config = backbone::Config { recoverable_messages: 10_000, ..backbone::Config::default() };
    let f = Fixture::over(&config).await;
    let mut reader = Reader::of(&f, "r", plain("a", JSON));
    reader.attached().await;
    let serial = reader.serial;
    let data = "x".repeat(5_000);
    for _ in 0..400 {
        f.publish("a", &data, None).await;
        reader.message().await;
    }
    drop(reader);
    const LIMIT: usize = 100_000;
    let id = ConnectionId::new("r").unwrap();
    let peer = Arc::new(Peer::new(id, Arc::clone(&f.meter), fixtures::client(), LIMIT));
    let subscription = f.hub.attach(&peer, Attach { from: after(serial), ..plain("a", JSON) }).unwrap();
    // Nobody reads, while there is time to fill any queue.
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
        assert!(peer.queue.bytes() <= LIMIT, "{} bytes wait", peer.queue.bytes());
    }
    let mut reader = Reader { peer, subscription: Some(subscription), told: VecDeque::new(), serial: None };
    reader.attached().await;
    assert_eq!(reader.messages(400).await.len(), 400);
    f.publish("a", "live", None).await;
    assert_eq!(reader.message().await, "live");
}

/// A serial behind which something is gone: said so, and everything that is left comes.
#[tokio::test]
async fn what_is_gone_is_told() {
    let config = backbone::Config { recoverable_messages: 3, ..backbone::Config::default() };
    let f = Fixture::over(&config).await;
    for medium in MEDIA {
        let mut reader = Reader::of(&f, "r", plain("a", medium));
        reader.attached().await;
        let serial = reader.serial;
        drop(reader);
        // The next one is to find no memory of it.
        let channel = f.hub.find(&fixtures::app().id, &name("a")).unwrap();
        for number in 0..10 {
            f.publish("a", &number.to_string(), None).await;
        }
        channel.start_over();
        let head = f.world.backbone.head(&fixtures::app().id, &name("a"), Tier::Recoverable).await.unwrap();
        channel.go_live(&f.hub, channel::Loaded { head, stored: true, roster: None, cached: None });
        let mut back = Reader::of(&f, "r", Attach { from: after(serial), ..plain("a", medium) });
        let (flags, error) = back.attached().await;
        assert_eq!((flags & 4, error), (0, Some(90003)));
        assert_eq!(back.messages(3).await, ["7", "8", "9"]);
        f.publish("a", "live", None).await;
        assert_eq!(back.message().await, "live");
    }
}

#[tokio::test]
async fn serials_that_mean_nothing_here() {
    let f = Fixture::new().await;
    f.publish("a", "before", None).await;
    for from in [elsewhere(7), From::Unreadable] {
        for medium in MEDIA {
            let mut reader = Reader::of(&f, "r", Attach { from, ..plain("a", medium) });
            assert_eq!(reader.attached().await, (0, Some(90005)));
            let serial = reader.serial;
            f.publish("a", "live", None).await;
            assert_eq!(reader.message().await, "live");
            // And from there it goes on.
            drop(reader);
            let mut reader = Reader::of(&f, "r", Attach { from: after(serial), ..plain("a", medium) });
            assert_eq!(reader.attached().await.1, None);
            assert_eq!(reader.message().await, "live");
        }
    }
}

/// Another node may have delivered what this one has not seen yet: nothing of it comes again, and nothing is missing.
#[tokio::test]
async fn a_serial_ahead_of_this_node() {
    let f = Fixture::new().await;
    for medium in MEDIA {
        let mut stays = Reader::of(&f, "s", plain("a", medium));
        stays.attached().await;
        let channel = f.hub.find(&fixtures::app().id, &name("a")).unwrap();
        let head = stays.serial.unwrap();
        // What the client has had elsewhere, while the channel's task here has not run.
        let ahead = Position { sequence: head.sequence + 2, ..head };
        let mut back = Reader::of(&f, "r", Attach { from: After(ahead), ..plain("a", medium) });
        assert_eq!(back.attached().await.1, None);
        assert_eq!(back.serial, Some(ahead));
        for (by, data) in [(1, "seen"), (2, "seen too"), (3, "new")] {
            let position = Position { sequence: head.sequence + by, ..head };
            channel.deliver(&f.hub, &mut Due::default(), Some(position), &Arc::new(record(&[data])));
        }
        assert_eq!(back.message().await, "new");
        assert_eq!(stays.messages(3).await, ["seen", "seen too", "new"]);
        // Attaching once more in between changes nothing.
        back.subscription().reattach(plain("a", medium));
        assert_eq!(back.attached().await.1, None);
        assert_eq!(back.serial, Some(Position { sequence: head.sequence + 3, ..head }));
        drop(back);
        drop(stays);
        channel.start_over();
        let head = f.world.backbone.head(&fixtures::app().id, &name("a"), Tier::Recoverable).await.unwrap();
        channel.go_live(&f.hub, channel::Loaded { head, stored: true, roster: None, cached: None });
    }
}

#[expect(non_snake_case, reason = "reads like the variant")]
fn After(position: Position) -> From {
    From::After(position.into())
}

/// Spec §5.2: attaching while attached is answered, with nothing twice.
#[tokio::test]
async fn attaching_once_more() {
    let f = Fixture::new().await;
    for medium in [MEDIA[0], MEDIA[1]] {
        let mut reader = Reader::of(&f, "r", plain("a", medium));
        reader.attached().await;
        f.publish("a", "1", None).await;
        reader.message().await;
        for from in [From::Now, From::NowWithoutRewind, after(reader.serial)] {
            let again = with("a", medium, &[("modes", "subscribe"), ("rewind", "5")]);
            reader.subscription().reattach(Attach { from, ..again });
            let attached = reader.next().await;
            assert_eq!(attached["flags"], Flags::RESUMED.bits() | Modes::SUBSCRIBE.bits());
            assert_eq!(attached["params"], json!({ "modes": "subscribe", "rewind": "5" }));
        }
        // What may still be on its way does not come twice.
        let serial = reader.serial;
        f.publish("a", "2", None).await;
        assert_eq!(reader.message().await, "2");
        reader.subscription().reattach(Attach { from: after(serial), ..plain("a", medium) });
        assert_eq!(reader.attached().await, (flags(RESUMED), None));
        f.publish("a", "3", None).await;
        assert_eq!(reader.message().await, "3");
    }
}

#[tokio::test]
async fn rewinding() {
    let f = Fixture::new().await;
    for (ring, medium) in MEDIA.iter().flat_map(|medium| [(true, medium), (false, medium)]) {
        let channel = format!("a{}{ring}", medium.index());
        let mut stays = ring.then(|| Reader::of(&f, "s", plain(&channel, JSON)));
        if let Some(stays) = &mut stays {
            stays.attached().await;
        }
        for data in [&["1"] as &[_], &["2", "3", "4"], &["5"]] {
            publish(&f.world, &channel, record(data)).await;
        }
        if let Some(stays) = &mut stays {
            stays.messages(5).await;
        }
        let rewound = async |params: &[(&str, &str)]| {
            let mut reader = Reader::of(&f, "r", with(&channel, *medium, params));
            let (flags, error) = reader.attached().await;
            let live = format!("{params:?}");
            publish(&f.world, &channel, record(&[&live])).await;
            let mut got = Vec::new();
            while got.last() != Some(&live) {
                got.extend(reader.messages(1).await);
            }
            got.pop();
            assert_eq!(flags & 4, 0, "never resumed");
            (error, got)
        };
        assert_eq!(rewound(&[("rewind", "3")]).await, (None, ["3", "4", "5"].map(str::to_owned).to_vec()));
        assert_eq!(rewound(&[("rewind", "1")]).await.1.len(), 1);
        let (error, got) = rewound(&[("rewind", "100s")]).await;
        assert_eq!((error, got.len()), (None, 7));
        let (error, got) = rewound(&[("rewind", "100s"), ("rewindLimit", "2")]).await;
        assert_eq!((error, got.len()), (Some(90004), 2));
        let resumed = Attach { from: From::NowWithoutRewind, ..with(&channel, *medium, &[("rewind", "3")]) };
        let mut reader = Reader::of(&f, "r", resumed);
        reader.attached().await;
        assert!(reader.rest().is_empty());
    }
}

#[tokio::test]
async fn rewinding_where_nothing_is() {
    let f = Fixture::new().await;
    for (channel, rewind) in [("empty", "5"), ("empty", "10s"), ("tick-a", "5")] {
        for medium in MEDIA {
            let mut reader = Reader::of(&f, "r", with(channel, medium, &[("rewind", rewind)]));
            assert_eq!(reader.attached().await, (0, None));
            assert!(reader.rest().is_empty());
        }
    }
}

/// What is not stored has no places to go on from.
#[tokio::test]
async fn a_channel_that_stores_nothing() {
    let f = Fixture::new().await;
    for medium in MEDIA {
        let mut reader = Reader::of(&f, "r", plain("tick-a", medium));
        let attached = reader.next().await;
        assert!(attached["channelSerial"].is_null());
        publish(&f.world, "tick-a", record(&["1"])).await;
        assert_eq!(reader.message().await, "1");
        reader.subscription().reattach(plain("tick-a", medium));
        let expected = if medium == Medium::Events { 0 } else { flags(RESUMED) };
        assert_eq!(reader.attached().await, (expected, None));
        let mut back = Reader::of(&f, "r", Attach { from: elsewhere(1), ..plain("tick-a", medium) });
        assert_eq!(back.attached().await, (0, Some(90003)));
    }
}

/// More than the attachment buffers and the log keeps: a follower is told on the channel, and stays.
#[tokio::test]
async fn a_gap_is_told_on_the_channel() {
    let tiny = backbone::Config { attach_buffer: 16, recoverable_messages: 1, ..backbone::Config::default() };
    let f = Fixture::over(&tiny).await;
    for medium in MEDIA {
        let mut reader = Reader::of(&f, "r", plain("a", medium));
        reader.attached().await;
        for number in 0..100 {
            f.publish("a", &number.to_string(), None).await;
        }
        let mut last = None;
        let error = loop {
            let frame = reader.next().await;
            if frame["action"] == 11 {
                break frame["error"]["code"].clone();
            }
            let number: u32 = frame["messages"][0]["data"].as_str().unwrap().parse().unwrap();
            assert!(last.is_none_or(|last| last < number));
            last = Some(number);
        };
        assert_eq!(error, 90003);
        f.publish("a", "live", None).await;
        let mut got = Vec::new();
        while got.last().is_none_or(|last| last != "live") {
            got.extend(reader.messages(1).await);
        }
        assert!(f.hub.find(&fixtures::app().id, &name("a")).is_some());
    }
}

/// A change of the tier is another log: followers are told, and go on there.
#[tokio::test]
async fn a_new_tier() {
    let f = Fixture::new().await;
    let app = fixtures::app().id;
    let mut reader = Reader::of(&f, "r", plain("a", JSON));
    reader.attached().await;
    let rules = vec![Namespace::new("a", Tier::Ephemeral)];
    let change = AppChange { namespaces: Some(Namespaces::new(rules).unwrap()), ..AppChange::default() };
    let mut changed = f.world.apps.changed();
    changed.mark_unchanged();
    f.world.registry.update(&app, None, &change).await.unwrap();
    changed.changed().await.unwrap();
    f.hub.recheck(&[app]);
    assert_eq!(reader.attached().await, (0, Some(90003)));
    let record = record(&["passing"]);
    let publish =
        Publish { app: fixtures::app().id, channel: name("a"), tier: Tier::Ephemeral, record, idempotency: None };
    f.world.backbone.publish(publish).await.unwrap();
    assert_eq!(reader.message().await, "passing");
}

/// A channel that is attached anew goes on where it was, and what came meanwhile is not lost.
#[tokio::test]
async fn between_two_attachments() {
    let f = Fixture::new().await;
    for medium in MEDIA {
        let channel_name = format!("a{}", medium.index());
        let mut reader = Reader::of(&f, "r", plain(&channel_name, medium));
        reader.attached().await;
        publish(&f.world, &channel_name, record(&["1"])).await;
        reader.message().await;
        let channel = f.hub.find(&fixtures::app().id, &name(&channel_name)).unwrap();
        channel.start_over();
        let position = publish(&f.world, &channel_name, record(&["2"])).await.unwrap();
        tokio::task::yield_now().await;
        channel.go_live(&f.hub, channel::Loaded { head: position, stored: true, roster: None, cached: None });
        assert_eq!(reader.attached().await.1, None);
        assert_eq!(reader.message().await, "2");
    }
}

/// What a stream has had of a record it does not get again: an event's place may be within one.
#[tokio::test]
async fn resuming_within_a_record() {
    let f = Fixture::new().await;
    let mut reader = Reader::of(&f, "r", plain("a", Medium::Events));
    reader.attached().await;
    let position = publish(&f.world, "a", record(&["1", "2", "3"])).await.unwrap();
    assert_eq!(reader.messages(3).await, ["1", "2", "3"]);
    let place = EventPosition::of_message(position, 1, 3);
    let mut back = Reader::of(&f, "s", Attach { from: From::After(place), ..plain("a", Medium::Events) });
    back.attached().await;
    publish(&f.world, "a", record(&["4", "5"])).await;
    assert_eq!(back.messages(3).await, ["3", "4", "5"]);
}
