//! A node among control replicas: real streams, replicas that do as they are told.

#![allow(clippy::unwrap_used, reason = "a test says unwrap")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::{Agent, Config};
use backbone::members::replica_lease_key;
use backbone::sealing::ClusterKeys;
use backbone::{Backbone, Lease};
use channels::{App, AppId, Limits, Namespaces, PusherSettings, Quota};
use futures_util::{Stream, stream};
use metering::Meters;
use prost::Message as _;
use proto::control::link_service_server::{LinkService, LinkServiceServer};
use proto::control::node_message::{Hello, Message, Report};
use proto::control::node_order::{ListConnections, Order, Shares};
use proto::control::{ControlReplica, NodeMessage, NodeOrder, Share};
use testkit::{free_port, within};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

/// A stream of a node, as a replica holds it.
struct Attached {
    token: String,
    messages: Streaming<NodeMessage>,
    orders: mpsc::Sender<Result<NodeOrder, Status>>,
}

impl Attached {
    async fn hello(&mut self) -> Hello {
        match within("a hello", self.messages.message()).await.unwrap().unwrap().message {
            Some(Message::Hello(hello)) => hello,
            other => panic!("{other:?}"),
        }
    }

    async fn report(&mut self) -> Report {
        loop {
            if let Some(Message::Report(report)) =
                within("a report", self.messages.message()).await.unwrap().unwrap().message
            {
                return report;
            }
        }
    }

    async fn order(&self, order: Option<Order>) {
        self.orders.send(Ok(NodeOrder { order })).await.unwrap();
    }

    /// Waits until every order so far is obeyed.
    async fn settle(&mut self) {
        self.order(Some(Order::ListConnections(ListConnections { id: 7, ..ListConnections::default() }))).await;
        loop {
            if let Some(Message::Answer(answer)) =
                within("an answer", self.messages.message()).await.unwrap().unwrap().message
            {
                assert_eq!(answer.id, 7);
                return;
            }
        }
    }

    async fn grant(&mut self, term: u64, app: &App, messages_in: f64) {
        let messages_in_per_second = Some(messages_in);
        let share = Share { app_id: app.id.to_string(), messages_in_per_second, ..Share::default() };
        self.order(Some(Order::Shares(Shares { term, shares: vec![share] }))).await;
        self.settle().await;
    }
}

/// Hands every stream to the test.
struct Service(mpsc::Sender<Attached>);

#[tonic::async_trait]
impl LinkService for Service {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<NodeOrder, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        let token = request.metadata().get("authorization").unwrap().to_str().unwrap().to_owned();
        let (orders, receiver) = mpsc::channel(16);
        let orders_to_send =
            stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|next| (next, receiver)) });
        self.0.send(Attached { token, messages: request.into_inner(), orders }).await.unwrap();
        Ok(Response::new(Box::pin(orders_to_send)))
    }
}

/// A replica; gone when dropped, its lease excepted.
struct Replica {
    attached: mpsc::Receiver<Attached>,
    _server: AbortOnDropHandle<()>,
}

impl Replica {
    fn start(address: SocketAddr) -> Self {
        let (sender, attached) = mpsc::channel(4);
        let router = tonic::transport::Server::builder().add_service(LinkServiceServer::new(Service(sender)));
        let serve = async move { router.serve(address).await.unwrap() };
        Self { attached, _server: AbortOnDropHandle::new(tokio::spawn(serve)) }
    }

    async fn attached(&mut self) -> Attached {
        within("the node to attach", self.attached.recv()).await.unwrap()
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

async fn lease(backbone: &Backbone, id: &str, address: SocketAddr) -> Lease {
    let replica = ControlReplica { address: address.to_string(), node: id.to_owned(), ..ControlReplica::default() };
    let value = replica.encode_to_vec().into();
    backbone.lease(&replica_lease_key(id), value, Duration::from_secs(600)).await.unwrap()
}

/// A node without clients; gone when dropped.
struct Node {
    id: String,
    keys: Arc<ClusterKeys>,
    meters: Arc<Meters>,
    _agent: AbortOnDropHandle<()>,
}

impl Node {
    fn start(backbone: &Backbone) -> Self {
        let meters = Arc::new(Meters::new(Instant::now()));
        let keys = Arc::new(ClusterKeys::generate());
        let config = Config::new("n", &["worker"], "1.2.3", Arc::clone(&keys));
        let agent = Agent::new(config, backbone.clone(), Arc::clone(&meters), None);
        let id = agent.node_id().to_owned();
        let task = tokio::spawn(async move { agent.run(CancellationToken::new()).await });
        Self { id, keys, meters, _agent: AbortOnDropHandle::new(task) }
    }

    fn publishes(&self, app: &App) -> bool {
        self.meters.meter(app).publish(1, 1, None, Instant::now()).is_ok()
    }
}

fn memory() -> Backbone {
    Backbone::memory(&backbone::Config::default())
}

fn app(messages_in: Option<u64>) -> App {
    App {
        id: AppId::new("1").unwrap(),
        name: String::new(),
        enabled: true,
        keys: Vec::new(),
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota { messages_in_per_second: messages_in, ..Quota::default() },
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

#[tokio::test]
async fn a_node_says_who_it_is_and_goes_on_saying_how_it_is() {
    let (backbone, address) = (memory(), address());
    let mut replica = Replica::start(address);
    let _lease = lease(&backbone, "r1", address).await;
    let node = Node::start(&backbone);
    let mut attached = replica.attached().await;
    assert_eq!(attached.token, format!("Bearer {}", node.keys.node_token()));
    let hello = attached.hello().await;
    assert_eq!((hello.id, hello.name.as_str(), hello.version.as_str()), (node.id.clone(), "n", "1.2.3"));
    assert_eq!(hello.roles, ["worker"]);
    // Each second, of which a busy machine may miss some.
    let begun = Instant::now();
    for _ in 0..3 {
        let report = attached.report().await;
        assert!(report.load.unwrap().time_ms > 0 && report.edge_id.is_empty());
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn the_greatest_term_is_heeded_whoever_sends_it() {
    let backbone = memory();
    let addresses = [address(), address()];
    let (mut one, mut other) = (Replica::start(addresses[0]), Replica::start(addresses[1]));
    let _leases = (lease(&backbone, "r1", addresses[0]).await, lease(&backbone, "r2", addresses[1]).await);
    let node = Node::start(&backbone);
    let (mut one, mut other) = (one.attached().await, other.attached().await);
    let app = app(Some(1_000_000));
    other.grant(9, &app, 1e6).await;
    assert!(node.publishes(&app));
    one.grant(5, &app, 0.0).await;
    assert!(node.publishes(&app), "what a replaced leader says is not heeded");
    one.grant(10, &app, 0.0).await;
    assert!(!node.publishes(&app), "a new leader is, from whichever stream");
    other.grant(9, &app, 1e6).await;
    assert!(!node.publishes(&app));
}

#[tokio::test]
async fn an_order_of_a_newer_replica_is_passed_over() {
    let (backbone, address) = (memory(), address());
    let mut replica = Replica::start(address);
    let _lease = lease(&backbone, "r1", address).await;
    let _node = Node::start(&backbone);
    let mut attached = replica.attached().await;
    attached.order(None).await;
    attached.settle().await;
}

#[tokio::test]
async fn a_node_comes_back_to_a_replica_that_was_away_and_has_lost_nothing_of_what_it_counted() {
    let (backbone, address) = (memory(), address());
    // The lease is there before anybody listens.
    let lease = lease(&backbone, "r1", address).await;
    let node = Node::start(&backbone);
    let app = app(None);
    let mut published = 0;
    let mut publish = |times: u64| {
        (0..times).for_each(|_| assert!(node.publishes(&app)));
        published += times;
    };
    publish(5);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut replica = Replica::start(address);
    let mut told = 0;
    let mut attached = replica.attached().await;
    publish(6);
    while told < 11 {
        told += attached.report().await.apps.iter().map(|app| app.messages_in).sum::<u64>();
    }
    // The stream breaks, the replica stays.
    drop(attached);
    let mut attached = replica.attached().await;
    attached.hello().await;
    publish(8);
    while told < published {
        let report = attached.report().await;
        assert!(report.interval_ms > 0);
        told += report.apps.iter().map(|app| app.messages_in).sum::<u64>();
    }
    assert_eq!(told, 19);

    // It moves: its lease says where.
    lease.release().await.unwrap();
    drop((attached, replica));
    let elsewhere = self::address();
    let mut replica = Replica::start(elsewhere);
    let _lease = self::lease(&backbone, "r1", elsewhere).await;
    replica.attached().await.hello().await;
}
