//! What operators see of nodes, connections and channels, through a replica that does not lead, and what they do to them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use proto::control as wire;
use proto::control::{
    CloseConnectionRequest, CreateAppRequest, CreateTokenRequest, DrainNodeRequest, GetAppRequest, GetChannelRequest,
    GetConnectionRequest, ListChannelsRequest, ListConnectionsRequest, ListNodesRequest, Namespace, NodeState,
    ReadHistoryRequest, Role, Scope, SlowConsumers, TailEvent, TailKind, TailRequest, Tier, WatchUsageRequest, Webhook,
};
use serde_json::json;
use testkit::{PATIENCE, eventually, within};
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::publisher::Credentials;
use crate::subscriber::Subscriber;

#[tokio::test(flavor = "multi_thread")]
async fn any_replica_shows_everything() {
    let mut cluster = Cluster::start().await;
    let follower = (cluster.leader(&[0, 1, 2]).await + 1) % 3;
    let admin = cluster.admin(follower);
    let rules = vec![
        Namespace { prefix: "kept-".to_owned(), tier: Tier::Persistent.into(), ..Namespace::default() },
        Namespace {
            prefix: "slow-".to_owned(),
            tier: Tier::Ephemeral.into(),
            slow_consumers: SlowConsumers::KeepLatest.into(),
            ..Namespace::default()
        },
    ];
    // Nothing goes out to this machine, which a worker may well say, but not with the header.
    let header = "a value of a webhook's header";
    cluster.keep_secret(header);
    let webhook = Webhook {
        url: "http://127.0.0.1:9/".to_owned(),
        headers: [("x-secret".to_owned(), header.to_owned())].into(),
        ..Webhook::default()
    };
    let request = CreateAppRequest { namespaces: rules, webhooks: vec![webhook], ..CreateAppRequest::default() };
    let app = cluster.create_app(follower, request).await;
    let tenant = tenant(&mut cluster, follower, &app.app).await;

    let mut tail = tail(&tenant, &app.app).await;
    every_edge_is_in(&mut tail, &cluster, &app).await;
    let mut clients = Vec::new();
    for edge in &cluster.edges {
        clients.push(Subscriber::on(edge.address(), &app.key, "kept-c").await);
    }
    connections_are_listed(&cluster, &tenant, &app, &clients).await;
    channels_are_read(&cluster, &tenant, &app).await;
    use_is_watched(&tenant, &app).await;
    connections_are_closed(&tenant, &app, &mut clients).await;
    tails_tell(&cluster, &app, &mut tail).await;
    drop(clients);
    drops_are_told(&cluster, &app, &mut tail).await;
    nodes_are_drained(&mut cluster, &admin, &app).await;
    cluster.finish();
}

/// Who administers the app and nothing else.
async fn tenant(cluster: &mut Cluster, replica: usize, app: &str) -> Admin {
    let scope = Scope { role: Role::Admin.into(), app_id: app.to_owned() };
    let request = CreateTokenRequest { name: "tenant".to_owned(), scope: Some(scope), ..CreateTokenRequest::default() };
    let text = cluster.admin((replica + 1) % 3).access().create_token(request).await.unwrap().into_inner().text;
    cluster.keep_secret(&text);
    let tenant = Admin::new(&cluster.control[replica].control_url(), &text);
    eventually("a token to be known to another replica", || async {
        tenant.apps().get_app(GetAppRequest { id: app.to_owned() }).await.ok()
    })
    .await;
    let refused = tenant.nodes().list_nodes(ListNodesRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    tenant
}

async fn connections_are_listed(cluster: &Cluster, admin: &Admin, app: &Credentials, clients: &[Subscriber]) {
    let expected: BTreeSet<_> = clients.iter().map(|client| client.socket_id.clone()).collect();
    // A node that is slow to answer is left out, and named.
    let listed = eventually("every node to answer", || async {
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request =
                ListConnectionsRequest { app_id: app.app.clone(), page_size: 2, page_token, ..Default::default() };
            let page = admin.connections().list_connections(request).await.unwrap().into_inner();
            if !page.unreached.is_empty() {
                return None;
            }
            listed.extend(page.connections);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Some(listed);
            }
        }
    })
    .await;
    assert!(listed.is_sorted_by_key(|connection| connection.id.clone()));
    assert_eq!(listed.iter().map(|connection| connection.id.clone()).collect::<BTreeSet<_>>(), expected);
    assert_eq!(listed.len(), clients.len());
    let nodes: BTreeSet<_> = listed.iter().map(|connection| &connection.node).collect();
    assert_eq!(nodes.len(), cluster.edges.len(), "each is on a node of its own");
    let id = clients[0].socket_id.clone();
    let request = GetConnectionRequest { app_id: app.app.clone(), id };
    let one = answered(|| async { admin.connections().get_connection(request.clone()).await }).await.unwrap();
    assert_eq!((one.key.as_str(), one.channels.as_slice()), (app.key.as_str(), &["kept-c".to_owned()][..]));
    let request = GetConnectionRequest { app_id: app.app.clone(), id: "1.1".to_owned() };
    let nobody = answered(|| async { admin.connections().get_connection(request.clone()).await }).await;
    assert_eq!(nobody.unwrap_err().code(), Code::NotFound);
}

/// The answer to a call, once nothing that it needs is too slow for it.
async fn answered<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    eventually("an answer", || async {
        match call().await {
            Ok(answer) => Some(Ok(answer.into_inner())),
            Err(status) if status.code() == Code::Unavailable => None,
            Err(status) => Some(Err(status)),
        }
    })
    .await
}

async fn channels_are_read(cluster: &Cluster, admin: &Admin, app: &Credentials) {
    for data in ["one", "two", "three"] {
        assert_eq!(cluster.publisher(1, app).publish("kept-c", data).await.unwrap().status, 200);
    }
    let channel = eventually("a channel with its subscribers", || async {
        let request = ListChannelsRequest { app_id: app.app.clone(), ..Default::default() };
        let page = admin.channels().list_channels(request).await.unwrap().into_inner();
        let channel = page.channels.into_iter().find(|channel| channel.name == "kept-c")?;
        (channel.subscriptions == 3).then_some(channel)
    })
    .await;
    assert_eq!((channel.tier, channel.namespace.as_deref()), (Tier::Persistent.into(), Some("kept-")));
    let request = GetChannelRequest { app_id: app.app.clone(), name: "kept-c".to_owned() };
    let channel = answered(|| async { admin.channels().get_channel(request.clone()).await }).await.unwrap();
    let (mut read, mut page_token) = (Vec::new(), String::new());
    loop {
        let name = "kept-c".to_owned();
        let request = ReadHistoryRequest { app_id: app.app.clone(), name, page_size: 2, page_token, forwards: true };
        let page = answered(|| async { admin.channels().read_history(request.clone()).await }).await.unwrap();
        read.extend(page.messages);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let data: Vec<_> = read.iter().map(|message| String::from_utf8(message.data.clone()).unwrap()).collect();
    assert_eq!(data, ["one", "two", "three"]);
    assert_eq!(read[2].position, channel.position);
    let request = ReadHistoryRequest { app_id: app.app.clone(), name: "hello".to_owned(), ..Default::default() };
    let newest = answered(|| async { admin.channels().read_history(request.clone()).await }).await.unwrap();
    assert_eq!(newest.messages[0].data, b"x", "a recoverable channel has its short history");
}

async fn use_is_watched(admin: &Admin, app: &Credentials) {
    let request = WatchUsageRequest { app_id: app.app.clone() };
    let mut watch = admin.usage().watch_usage(request).await.unwrap().into_inner();
    loop {
        let live = within("live usage", watch.message()).await.unwrap().unwrap();
        if (live.connections, live.channels, live.nodes >= 3) == (3, 1, true) {
            break;
        }
    }
}

async fn connections_are_closed(admin: &Admin, app: &Credentials, clients: &mut [Subscriber]) {
    for (client, is_final, code) in [(0, false, 4200), (1, true, 4009)] {
        let id = clients[client].socket_id.clone();
        let request = CloseConnectionRequest { app_id: app.app.clone(), id, r#final: is_final };
        let close = || async { admin.connections().close_connection(request.clone()).await };
        // One that was slow to tell may have closed it by then.
        let told = answered(close).await;
        assert!(told.as_ref().err().is_none_or(|status| status.code() == Code::NotFound), "{told:?}");
        assert_eq!(clients[client].closed().await.code, code);
        let again = eventually("a closed connection to be gone", || async { answered(close).await.err() });
        assert_eq!(again.await.code(), Code::NotFound);
    }
}

/// Waits until each edge was told that there is a tail, which it is by and by.
async fn every_edge_is_in(tail: &mut BoxStream<'static, TailEvent>, cluster: &Cluster, app: &Credentials) {
    let mut told = BTreeSet::new();
    let all = async {
        while told.len() < cluster.edges.len() {
            for edge in 0..cluster.edges.len() {
                assert_eq!(cluster.publisher(edge, app).publish("bad name", "x").await.unwrap().status, 400);
            }
            while let Ok(event) = timeout(Duration::from_millis(200), tail.next()).await {
                told.insert(event.unwrap().node);
            }
        }
    };
    within("every edge to be in the tail", all).await;
}

/// What the tail has shown of everything above, and of some refusals.
async fn tails_tell(cluster: &Cluster, app: &Credentials, tail: &mut BoxStream<'static, TailEvent>) {
    let client = Subscriber::connect(cluster.edges[0].address(), &app.key).await.unwrap();
    client.send(json!({ "event": "pusher:subscribe", "data": { "channel": "private-x", "auth": "wrong" } }));
    let answer = cluster.publisher(2, app).publish("bad name", "x").await.unwrap();
    assert_eq!(answer.status, 400);
    let wanted = [
        (TailKind::Connected, ""),
        (TailKind::Subscribed, "kept-c"),
        (TailKind::Published, "kept-c"),
        (TailKind::Delivered, "kept-c"),
        (TailKind::Closed, ""),
        (TailKind::SubscribeRefused, "private-x"),
        (TailKind::PublishRefused, ""),
    ];
    let mut missing: BTreeSet<usize> = (0..wanted.len()).collect();
    let mut seen = Vec::new();
    while !missing.is_empty() {
        let event = timeout(PATIENCE, tail.next()).await;
        let Ok(Some(event)) = event else {
            panic!("missing: {:?}; seen: {seen:#?}", missing.iter().map(|index| wanted[*index]).collect::<Vec<_>>());
        };
        missing.retain(|index| {
            let (kind, channel) = wanted[*index];
            event.kind() != kind || !(channel.is_empty() || event.channel == channel)
        });
        match event.kind() {
            TailKind::SubscribeRefused => assert!(!event.reason.is_empty(), "{event:?}"),
            TailKind::PublishRefused => assert!(!event.reason.is_empty() && event.code == 400, "{event:?}"),
            TailKind::Closed => assert!([4200, 4009].contains(&event.code), "{event:?}"),
            _ => {}
        }
        assert!(!format!("{event:?}").contains("three"), "payloads are never told");
        seen.push(event);
    }
}

/// Why did this client not get that message? It does not read.
async fn drops_are_told(cluster: &Cluster, app: &Credentials, tail: &mut BoxStream<'static, TailEvent>) {
    let sleeper = Subscriber::on(cluster.edges[0].address(), &app.key, "slow-c").await;
    sleeper.sleep();
    let mut publisher = cluster.publisher(0, app);
    let (data, connection) = ("x".repeat(10_000), sleeper.socket_id.clone());
    let dropped = async {
        loop {
            let event = tail.next().await.unwrap();
            if event.kind() == TailKind::Dropped && event.connection == connection {
                return event;
            }
        }
    };
    let floods = async {
        loop {
            assert_eq!(publisher.publish_batch("slow-c", &[data.as_str(); 10]).await.unwrap().status, 200);
        }
    };
    let told = within("a drop to be told", async {
        tokio::select! { event = dropped => event, never = floods => never }
    });
    let told = told.await;
    assert!(told.count > 0 && told.channel == "slow-c" && !told.reason.is_empty(), "{told:?}");
}

async fn tail(admin: &Admin, app: &str) -> BoxStream<'static, TailEvent> {
    let request = TailRequest { app_id: app.to_owned(), events_per_second: 1_000, ..TailRequest::default() };
    let events = admin.tail().tail(request).await.unwrap().into_inner();
    events.map(|event| event.unwrap()).boxed()
}

async fn nodes_are_drained(cluster: &mut Cluster, admin: &Admin, app: &Credentials) {
    // Nodes report every second, and one that stands still for a while does not.
    let nodes = eventually("every node to have just reported", || async {
        let nodes = admin.nodes().list_nodes(ListNodesRequest {}).await.unwrap().into_inner().nodes;
        let is_new = |node: &wire::Node| node.state() == NodeState::Serving && node.age_ms < 5_000;
        nodes.iter().all(is_new).then_some(nodes)
    })
    .await;
    assert_eq!(nodes.len(), 7, "{nodes:?}");
    for node in &nodes {
        let load = node.load.unwrap();
        assert!(load.memory_bytes > 1_000_000 && load.time_ms > 0 && !node.version.is_empty(), "{node:?}");
    }
    let id = |name: &str| nodes.iter().find(|node| node.name == name).unwrap().id.clone();
    let drained = id("edge-1");
    let mut client = Subscriber::on(cluster.edges[1].address(), &app.key, "c").await;
    admin.nodes().drain_node(DrainNodeRequest { id: drained.clone() }).await.unwrap();
    assert_eq!(client.closed().await.code, 4200);
    assert!(cluster.edges[1].ended().await.success(), "as at a SIGTERM");
    eventually("a drained node to be gone", || async {
        let nodes = admin.nodes().list_nodes(ListNodesRequest {}).await.ok()?.into_inner().nodes;
        nodes.iter().all(|node| node.id != drained).then_some(())
    })
    .await;
    let gone = admin.nodes().drain_node(DrainNodeRequest { id: drained }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    cluster.edges[1].start();
    cluster.ready().await;
}
