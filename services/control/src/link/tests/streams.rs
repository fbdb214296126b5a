//! Streams as nodes of other versions, strangers, and nodes that do not read make them.

use std::time::Duration;

use futures_util::stream;
use proto::control::link_service_client::LinkServiceClient;
use proto::control::node_message::{Hello, Message};
use proto::control::node_order::{ListConnections, Order};
use proto::control::{NodeMessage, NodeOrder};
use testkit::{eventually, within};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Request, Status, Streaming};

use super::support::{Node, Replica, TOKEN, keys, memory};

/// A stream that says what it is told to.
async fn attach(
    replica: &Replica,
    token: Option<&str>,
    first: NodeMessage,
) -> Result<(mpsc::Sender<NodeMessage>, Streaming<NodeOrder>), Status> {
    let (sender, receiver) = mpsc::channel(16);
    sender.try_send(first).unwrap();
    let messages =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|next| (next, receiver)) });
    let mut request = Request::new(messages);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut client = LinkServiceClient::connect(format!("http://{}", replica.address)).await.unwrap();
    let response = within("an answer", client.attach(request)).await?;
    Ok((sender, response.into_inner()))
}

fn hello(id: &str) -> NodeMessage {
    let hello = Hello { id: id.to_owned(), roles: vec!["edge".to_owned()], ..Hello::default() };
    NodeMessage { message: Some(Message::Hello(hello)) }
}

#[tokio::test]
async fn only_nodes_of_the_cluster_attach() {
    let replica = Replica::start(&memory()).await;
    let stranger = backbone::sealing::ClusterKeys::generate();
    let node = keys();
    for (token, code) in [
        (None, Code::Unauthenticated),
        (Some(stranger.node_token()), Code::Unauthenticated),
        // An admin is no node.
        (Some(TOKEN), Code::PermissionDenied),
    ] {
        let refused = attach(&replica, token, hello("a")).await.unwrap_err();
        assert_eq!(refused.code(), code, "{token:?}: {refused:?}");
    }
    attach(&replica, Some(node.node_token()), hello("a")).await.unwrap();
}

#[tokio::test]
async fn a_node_says_first_who_it_is() {
    let replica = Replica::start(&memory()).await;
    let keys = keys();
    for first in [NodeMessage::default(), hello(""), hello("a b"), hello(&"a".repeat(65))] {
        let refused = attach(&replica, Some(keys.node_token()), first).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    assert!(replica.link.nodes().attached().is_empty());
}

#[tokio::test]
async fn what_a_newer_node_says_is_passed_over() {
    let replica = Replica::start(&memory()).await;
    let (say, mut orders) = attach(&replica, Some(keys().node_token()), hello("a")).await.unwrap();
    say.send(NodeMessage { message: None }).await.unwrap();
    let listing = tokio::spawn({
        let nodes = replica.link.nodes().clone();
        async move { nodes.connections(ListConnections { most: 1, ..ListConnections::default() }).await }
    });
    let order = within("an order", orders.message()).await.unwrap();
    assert!(order.is_some(), "the stream goes on");
    assert_eq!(within("the listing", listing).await.unwrap().unreached, ["a"], "it did not answer");
}

#[tokio::test]
async fn the_same_node_on_another_stream_takes_the_place_of_the_first() {
    let replica = Replica::start(&memory()).await;
    let token = keys();
    let (_say, mut first) = attach(&replica, Some(token.node_token()), hello("a")).await.unwrap();
    let (_say, mut second) = attach(&replica, Some(token.node_token()), hello("a")).await.unwrap();
    assert!(within("the end of the first", first.message()).await.unwrap().is_none());
    assert_eq!(replica.link.nodes().attached().len(), 1);
    let nodes = replica.link.nodes().clone();
    let listing =
        tokio::spawn(async move { nodes.connections(ListConnections { most: 1, ..Default::default() }).await });
    assert!(within("an order", second.message()).await.unwrap().is_some());
    listing.abort();
}

/// A node that does not read holds up nobody, and takes no more memory than its queue.
#[tokio::test]
async fn a_node_that_does_not_read_is_left_aside() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    let node = Node::start(&backbone).await;
    replica.sees(1).await;
    node.connect(&["1.1"]);
    let (_say, _orders) = attach(&replica, Some(keys().node_token()), hello("deaf")).await.unwrap();
    eventually("both", || async { (replica.link.nodes().attached().len() == 2).then_some(()) }).await;
    // Large orders fill the stream's window, then the queue.
    let deaf = replica.link.nodes().attached().into_iter().find(|node| node.hello.id == "deaf").unwrap();
    let order = ListConnections { user_id: "x".repeat(64 << 10), most: 1, ..ListConnections::default() };
    let fill = async {
        // Time for the stream to take one.
        while deaf.tell(Order::ListConnections(order.clone())).is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("the queue to be full", fill).await;
    // Nobody waits for it any more, though a machine that stalls may make it look so once.
    eventually("an answer at once", || async {
        let begun = Instant::now();
        let listed = replica.link.nodes().connections(ListConnections { most: 1, ..Default::default() }).await;
        assert_eq!((listed.items.len(), listed.unreached), (1, vec!["deaf".to_owned()]));
        (begun.elapsed() < Duration::from_secs(1)).then_some(())
    })
    .await;
}
