//! The stream to one control replica.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clock::{Backoff, millis};
use futures_util::stream;
use proto::control::link_service_client::LinkServiceClient;
use proto::control::node_message::{Answer, Hello, Message, Report, TailBatch};
use proto::control::node_order::Order;
use proto::control::{ControlReplica, NodeMessage, NodeOrder};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

use crate::agent::Node;
use crate::dial::{self, DialError};
use crate::outbox::Outbox;
use crate::shares;
use crate::tap::{TapEvents, tap};

/// Messages that wait for the stream to take them. Who has another one waits: answers and tails for room, reports until
/// what they say can be added to the next one.
const OUTGOING: usize = 16;

/// How long a replica may take to accept the stream once there is a connection.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(3);

/// Pauses between attempts. The longest bounds how much later than a replica its nodes are back.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// A stream that lasted for so long was a good one: after it attempts begin with short pauses again.
const GOOD: Duration = Duration::from_secs(10);

/// Most tails on one stream, and most answers that wait to be taken; then no more orders are read.
const MAX_TAILS: usize = 16;
const MAX_ANSWERS: usize = 64;

/// Most items of a listing that is asked for without saying how many.
const LISTING: u32 = 100;

/// What tails have seen is sent when there is so much, or so long after the first.
const TAIL_BATCH: usize = 100;
const TAIL_WINDOW: Duration = Duration::from_millis(50);

/// Why there is no stream to a replica, or no longer.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    /// There is no way there.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It does not answer.
    #[error("it did not accept the stream in time")]
    Slow,
    /// It refuses the stream, or has ended it with an error.
    #[error("it refused or broke the stream: {}", .0.message())]
    Status(#[from] Box<Status>),
}

/// Keeps a stream to the replica with this id, until `stop`, or until there is neither a stream nor a lease of it.
pub(crate) async fn keep(node: Arc<Node>, id: String, outbox: Arc<Outbox>, stop: CancellationToken) {
    let mut members = node.members.subscribe();
    let mut backoff = BACKOFF;
    let mut is_known_bad = false;
    loop {
        let Some(replica) = members.borrow_and_update().replicas.get(&id).cloned() else { return };
        let begun = Instant::now();
        let ended = attach(&node, &replica, &outbox, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        if begun.elapsed() >= GOOD {
            (backoff, is_known_bad) = (BACKOFF, false);
        }
        let address = &replica.address;
        match ended {
            Ok(()) => tracing::debug!(%address, "a control replica ended the stream"),
            Err(error) if is_known_bad => {
                tracing::debug!(%address, error = &error as &dyn std::error::Error, "still no control replica there");
            }
            Err(error) => {
                is_known_bad = true;
                tracing::warn!(%address, error = &error as &dyn std::error::Error, "no stream to a control replica");
            }
        }
        let address = address.clone();
        let moved = members.wait_for(|members| members.replicas.get(&id).is_none_or(|now| now.address != address));
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(backoff.pause()) => {}
            _ = moved => {}
        }
    }
}

/// One stream from its beginning to its end.
async fn attach(
    node: &Arc<Node>,
    replica: &ControlReplica,
    outbox: &Outbox,
    stop: &CancellationToken,
) -> Result<(), LinkError> {
    let (out, outgoing) = mpsc::channel(OUTGOING);
    let messages =
        stream::unfold(outgoing, |mut outgoing| async { outgoing.recv().await.map(|next| (next, outgoing)) });
    let mut request = Request::new(messages);
    request.metadata_mut().insert("authorization", bearer(node)?);
    let attaching = async {
        let mut client = LinkServiceClient::new(dial::connect(replica, &node.config.trust).await?);
        let response = timeout(ATTACH_TIMEOUT, client.attach(request)).await.map_err(|_| LinkError::Slow)?;
        Ok::<_, LinkError>(response.map_err(Box::new)?.into_inner())
    };
    // There is room: it is the first.
    out.try_send(message(Message::Hello(hello(node)))).ok();
    let mut orders = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        orders = attaching => orders?,
    };
    tracing::info!(address = %replica.address, "attached to a control replica");
    let links = telemetry::metrics::CONTROL_LINKS.handle();
    links.increment(1.0);
    let ended = async {
        let mut duties =
            Duties { node, out: &out, answers: JoinSet::new(), tails: JoinSet::new(), taps: HashMap::new() };
        let mut reporting = pin!(report(outbox, &out));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = &mut reporting => return Ok(()),
                order = orders.message(), if duties.answers.len() < MAX_ANSWERS => {
                    match order.map_err(Box::new)? {
                        Some(NodeOrder { order: Some(order) }) => duties.obey(order),
                        // Of a newer replica.
                        Some(NodeOrder { order: None }) => {}
                        None => return Ok(()),
                    }
                }
                Some(_) = duties.answers.join_next() => {}
                Some(_) = duties.tails.join_next() => duties.taps.retain(|_, tail| !tail.is_finished()),
            }
        }
    }
    .await;
    links.decrement(1.0);
    ended
}

/// Tells what the outbox holds whenever there is something, for ever; returns when the stream takes nothing more.
async fn report(outbox: &Outbox, out: &mpsc::Sender<NodeMessage>) {
    loop {
        outbox.filled().await;
        let Ok(room) = out.reserve().await else { return };
        let pending = outbox.take();
        let interval_ms = millis(pending.interval);
        let load = pending.load.clone();
        let (draining, edge_id) = (load.is_draining, load.edge_id);
        let apps = pending.into_apps();
        room.send(message(Message::Report(Report { load: Some(load.load), draining, apps, interval_ms, edge_id })));
    }
}

/// What a stream has to do beside reporting.
struct Duties<'a> {
    node: &'a Arc<Node>,
    out: &'a mpsc::Sender<NodeMessage>,
    /// Answers that wait to be taken.
    answers: JoinSet<()>,
    tails: JoinSet<()>,
    /// By the order that began it.
    taps: HashMap<u64, AbortHandle>,
}

impl Duties<'_> {
    fn obey(&mut self, order: Order) {
        let host = self.node.host.as_deref();
        match order {
            Order::Shares(shares) => {
                let granted = shares.shares.iter().filter_map(shares::read);
                if !self.node.meters.apply(shares.term, granted, Instant::now().into_std()) {
                    tracing::debug!(term = shares.term, "shares of a leader that was replaced");
                }
            }
            Order::ListConnections(mut order) => {
                order.most = if order.most == 0 { LISTING } else { order.most };
                let mut page = host.map(|host| host.connections(&order)).unwrap_or_default();
                page.items.iter_mut().for_each(|connection| connection.node.clone_from(&self.node.config.id));
                self.answer(Answer { connections: page.items, more: page.more, ..answer(order.id) });
            }
            Order::ListChannels(mut order) => {
                order.most = if order.most == 0 { LISTING } else { order.most };
                let page = host.map(|host| host.channels(&order)).unwrap_or_default();
                self.answer(Answer { channels: page.items, more: page.more, ..answer(order.id) });
            }
            Order::CloseConnection(order) => {
                let close =
                    |host: &dyn crate::Host| host.close_connection(&order.app_id, &order.connection, order.r#final);
                let error = if host.is_some_and(close) { "" } else { NOT_HERE };
                self.answer(Answer { error: error.to_owned(), ..answer(order.id) });
            }
            Order::BeginTail(order) => {
                let Some(host) = host else { return self.answer(answer(order.id)) };
                if self.taps.len() >= MAX_TAILS {
                    let error = format!("this node has {MAX_TAILS} tails already");
                    return self.answer(Answer { error, ..answer(order.id) });
                }
                let (tap, events) = tap(order.request.unwrap_or_default());
                host.tail(tap);
                let forwarding = forward(order.id, self.node.config.id.clone(), events, self.out.clone());
                if let Some(before) = self.taps.insert(order.id, self.tails.spawn(forwarding)) {
                    before.abort();
                }
                self.answer(answer(order.id));
            }
            Order::EndTail(order) => {
                if let Some(tail) = self.taps.remove(&order.id) {
                    tail.abort();
                }
            }
            Order::Drain(order) => {
                tracing::info!("ordered to drain");
                self.node.drain.cancel();
                self.answer(answer(order.id));
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        let out = self.out.clone();
        self.answers.spawn(async move { drop(out.send(message(Message::Answer(answer))).await) });
    }
}

/// What is said of a connection that is not here.
const NOT_HERE: &str = "not here";

/// Sends what a tail sees, until it is over or the stream is.
async fn forward(id: u64, node: String, mut events: TapEvents, out: mpsc::Sender<NodeMessage>) {
    loop {
        let mut batch = events.batch(TAIL_WINDOW, TAIL_BATCH).await;
        if batch.is_empty() {
            return;
        }
        batch.iter_mut().for_each(|event| event.node.clone_from(&node));
        if out.send(message(Message::Tail(TailBatch { id, events: batch }))).await.is_err() {
            return;
        }
    }
}

fn hello(node: &Node) -> Hello {
    let config = &node.config;
    Hello {
        id: config.id.clone(),
        name: config.name.clone(),
        roles: config.roles.clone(),
        version: config.version.clone(),
        started_ms: node.started_ms,
        edge_id: node.host.as_deref().map(crate::Host::edge_id).unwrap_or_default(),
    }
}

fn bearer(node: &Node) -> Result<MetadataValue<Ascii>, LinkError> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", node.config.keys.node_token())
        .parse()
        .map_err(|_| Box::new(Status::new(Code::Internal, "the node token is no header")))?;
    value.set_sensitive(true);
    Ok(value)
}

fn message(message: Message) -> NodeMessage {
    NodeMessage { message: Some(message) }
}

fn answer(id: u64) -> Answer {
    Answer { id, ..Answer::default() }
}
