//! Asking nodes, from whichever replica.

use channels::AppId;
use proto::control::node_order::{ListChannels, ListConnections};
use proto::control::{self as wire, Channel, NodeState, TailEvent, TailRequest};
use testkit::{eventually, within};

use super::support::{Node, Replica, memory};
use crate::link::{CloseError, DrainError};

fn connections(after: &str, most: u32) -> ListConnections {
    ListConnections { app_id: "a".to_owned(), after: after.to_owned(), most, ..ListConnections::default() }
}

#[tokio::test]
async fn a_node_is_seen_by_every_replica_for_as_long_as_it_is_there() {
    let backbone = memory();
    let (a, b) = (Replica::start(&backbone).await, Replica::start(&backbone).await);
    let node = Node::start(&backbone).await;
    for replica in [&a, &b] {
        replica.sees(1).await;
        // With its first report, which comes a moment after it has said who it is.
        let nodes = eventually("a report", || async {
            let nodes = replica.link.nodes().list();
            let loaded = |seen: &wire::Node| seen.id == node.id && seen.load.is_some_and(|load| load.memory_bytes > 0);
            nodes.iter().any(loaded).then_some(nodes)
        })
        .await;
        let seen = nodes.iter().find(|seen| seen.id == node.id).unwrap();
        assert_eq!((seen.name.as_str(), seen.version.as_str(), seen.state()), ("a node", "1.2.3", NodeState::Serving));
        let replicas = nodes.iter().filter(|seen| seen.roles == ["control"]).count();
        assert_eq!(replicas, 2, "{nodes:?}");
    }
    a.leads().await;
    eventually("one leader in the list", || async {
        let leaders: Vec<_> = b.link.nodes().list().into_iter().filter(|node| node.leader).collect();
        (leaders.len() == 1 && leaders[0].id == a.link.id()).then_some(())
    })
    .await;
    node.stop().await;
    for replica in [&a, &b] {
        eventually("the node to be gone", || async { replica.link.nodes().attached().is_empty().then_some(()) }).await;
        assert!(replica.link.nodes().list().iter().all(|seen| seen.roles == ["control"]));
    }
}

#[tokio::test]
async fn what_nodes_have_is_put_together_in_order() {
    let backbone = memory();
    let (leader, replica) = (Replica::start(&backbone).await, Replica::start(&backbone).await);
    leader.leads().await;
    let (x, y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    replica.sees(2).await;
    assert!(!replica.link.is_leader(), "any replica will do");
    x.connect(&["1.1", "1.4", "1.5"]);
    y.connect(&["1.2", "1.3", "1.6"]);
    let nodes = replica.link.nodes();
    let (mut ids, mut after) = (Vec::new(), String::new());
    loop {
        let listed = nodes.connections(connections(&after, 2)).await;
        assert_eq!(listed.unreached, Vec::<String>::new());
        ids.extend(listed.items.iter().map(|each| (each.id.clone(), each.node == x.id)));
        after = listed.items.last().unwrap().id.clone();
        if !listed.more {
            break;
        }
    }
    let expected = [("1.1", true), ("1.2", false), ("1.3", false), ("1.4", true), ("1.5", true), ("1.6", false)];
    assert_eq!(ids, expected.map(|(id, is_x)| (id.to_owned(), is_x)));

    let channel = |name: &str, subscriptions| Channel { name: name.to_owned(), subscriptions, ..Channel::default() };
    *x.clients.channels.lock() = vec![channel("a", 1), channel("b", 3)];
    *y.clients.channels.lock() = vec![channel("b", 2), channel("c", 1)];
    let order = |after: &str| ListChannels { after: after.to_owned(), most: 2, ..ListChannels::default() };
    let first = nodes.channels(order("")).await;
    assert_eq!((first.items, first.more), (vec![channel("a", 1), channel("b", 3)], true));
    let second = nodes.channels(order("b")).await;
    assert_eq!((second.items, second.more), (vec![channel("c", 1)], false));
}

#[tokio::test]
async fn a_node_that_is_not_there_is_named() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    let (there, away) = (Node::start(&backbone).await, Node::start(&backbone).await);
    replica.sees(2).await;
    there.connect(&["1.1"]);
    let edge = away.edge.to_string();
    // Its lease stays.
    drop(away);
    eventually("the stream to end", || async { (replica.link.nodes().attached().len() == 1).then_some(()) }).await;
    let listed = replica.link.nodes().connections(connections("", 10)).await;
    assert_eq!((listed.items.len(), &listed.unreached), (1, &vec![edge.clone()]));
    let close = replica.link.nodes().close("a", "9.9", false).await;
    assert_eq!(close, Err(CloseError::Unreached(vec![edge.clone()])));
    let silent = replica.link.nodes().list().into_iter().find(|node| node.id == edge).unwrap();
    assert_eq!(silent.state(), NodeState::Silent);
    assert_eq!(replica.link.nodes().drain(&edge).await, Err(DrainError::Unreached));
}

#[tokio::test]
async fn a_connection_is_closed_wherever_it_is() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    let (x, y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    replica.sees(2).await;
    x.connect(&["1.1"]);
    y.connect(&["1.2"]);
    assert_eq!(replica.link.nodes().close("a", "1.2", true).await, Ok(()));
    assert!(y.clients.connections.lock().is_empty() && x.clients.connections.lock().len() == 1);
    assert_eq!(replica.link.nodes().close("a", "1.2", true).await, Err(CloseError::Unknown));
}

#[tokio::test]
async fn a_node_is_told_to_drain() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    let (x, y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    replica.sees(2).await;
    assert_eq!(replica.link.nodes().drain(&x.id).await, Ok(()));
    within("the order", x.drain.cancelled()).await;
    assert!(!y.drain.is_cancelled());
    assert_eq!(replica.link.nodes().drain(&x.id).await, Ok(()), "again is no matter");
    assert_eq!(replica.link.nodes().drain("0000").await, Err(DrainError::Unknown));
}

#[tokio::test]
async fn a_tail_sees_all_nodes_and_those_that_come_and_ends_everywhere() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    let x = Node::start(&backbone).await;
    replica.sees(1).await;
    let request = TailRequest { app_id: "a".to_owned(), ..TailRequest::default() };
    let mut tail = replica.link.nodes().tail(request).unwrap();
    let y = Node::start(&backbone).await;
    let taps = [&x, &y].map(|node| &node.clients.taps);
    for taps in taps {
        eventually("the tail to begin", || async { (!taps.lock().is_empty()).then_some(()) }).await;
        assert_eq!(taps.lock()[0].app(), "a");
        taps.lock()[0].tell(|| TailEvent { channel: "c".to_owned(), ..TailEvent::default() });
    }
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let event = within("an event", tail.next()).await.unwrap();
        assert_eq!(event.channel, "c");
        nodes.push(event.node);
    }
    nodes.sort();
    let mut expected = [x.id.clone(), y.id.clone()];
    expected.sort();
    assert_eq!(nodes, expected);
    drop(tail);
    for taps in taps {
        eventually("the tail to end", || async { taps.lock()[0].is_over().then_some(()) }).await;
    }
}

#[tokio::test]
async fn use_is_seen_live() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    let app = super::support::register(&backbone, "1", super::support::messages_in(50)).await;
    let (x, y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    replica.sees(2).await;
    for node in [&x, &y] {
        node.meters.meter(&app).connect().unwrap();
        node.meters.meter(&app).set_channels(3);
    }
    let _pressure = x.press(&app);
    let app = AppId::new("1").unwrap();
    eventually("the use of both nodes", || async {
        let usage = replica.link.live_usage(&app);
        let all = usage.nodes == 2 && usage.connections == 2 && usage.channels == 3;
        let refused = usage.refused.get("messages_in").is_some_and(|count| *count > 0);
        (all && refused && (10.0..150.0).contains(&usage.messages_in_per_second)).then_some(())
    })
    .await;
}
