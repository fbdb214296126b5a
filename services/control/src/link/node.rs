//! One node that is attached.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metering::NodeId;
use parking_lot::Mutex;
use proto::control::node_message::{Answer, Hello, Report};
use proto::control::node_order::Order;
use proto::control::{AppReport, NodeLoad, NodeOrder};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Orders that wait for a node's stream to take them. What comes while so many wait is not sent: shares come again,
/// whoever asks something is told that the node cannot be reached.
const WAITING_ORDERS: usize = 64;

/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// A node does not answer, or its stream takes no more orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node does not answer")]
pub(super) struct Unreached;

/// A node that is attached.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) hello: Hello,
    orders: mpsc::Sender<NodeOrder>,
    asked: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    said: Mutex<Said>,
    /// Cancelled when its stream is to end, or has.
    over: CancellationToken,
}

/// What it said last.
#[derive(Debug)]
struct Said {
    /// When; at first when it attached.
    at: Instant,
    load: NodeLoad,
    is_draining: bool,
    edge_id: String,
    apps: HashMap<String, AppReport>,
    interval: Duration,
}

/// What of a node is told to those who ask.
#[derive(Clone, Debug)]
pub(super) struct Glance {
    pub(super) load: NodeLoad,
    pub(super) is_draining: bool,
    pub(super) age: Duration,
}

impl Node {
    /// A node, and the orders that it is to be sent.
    pub(super) fn new(hello: Hello) -> (Arc<Self>, mpsc::Receiver<NodeOrder>) {
        let (orders, receiver) = mpsc::channel(WAITING_ORDERS);
        let said = Said {
            at: Instant::now(),
            load: NodeLoad::default(),
            is_draining: false,
            edge_id: hello.edge_id.clone(),
            apps: HashMap::new(),
            interval: Duration::ZERO,
        };
        let over = CancellationToken::new();
        (Arc::new(Self { hello, orders, asked: Mutex::default(), said: Mutex::new(said), over }), receiver)
    }

    /// Takes a report. Returns the id under which its shares were divided before, if that is another one now.
    pub(super) fn take(&self, report: Report) -> Option<NodeId> {
        let before = self.sharer();
        let mut said = self.said.lock();
        *said = Said {
            at: Instant::now(),
            load: report.load.unwrap_or_default(),
            is_draining: report.draining,
            edge_id: report.edge_id,
            apps: report.apps.into_iter().map(|app| (app.app_id.clone(), app)).collect(),
            interval: Duration::from_millis(report.interval_ms),
        };
        drop(said);
        (before != self.sharer()).then_some(before)
    }

    /// What it is called where quotas are divided: an edge by the name under which it holds its lease.
    pub(super) fn sharer(&self) -> NodeId {
        let said = self.said.lock();
        if said.edge_id.is_empty() { self.hello.id.as_str().into() } else { said.edge_id.as_str().into() }
    }

    /// Its id as an edge, if it is one and has said so.
    pub(super) fn edge_id(&self) -> Option<String> {
        Some(self.said.lock().edge_id.clone()).filter(|id| !id.is_empty())
    }

    pub(super) fn has_role(&self, role: &str) -> bool {
        self.hello.roles.iter().any(|own| own == role)
    }

    pub(super) fn glance(&self) -> Glance {
        let said = self.said.lock();
        Glance { load: said.load, is_draining: said.is_draining, age: said.at.elapsed() }
    }

    /// What it said of an app, how long ago, and of how much time.
    pub(super) fn app(&self, app: &str) -> Option<(AppReport, Duration, Duration)> {
        let said = self.said.lock();
        Some((said.apps.get(app)?.clone(), said.at.elapsed(), said.interval))
    }

    /// How long ago it said anything.
    pub(super) fn age(&self) -> Duration {
        self.said.lock().at.elapsed()
    }

    /// Sends an order without an answer, if there is room.
    pub(super) fn tell(&self, order: Order) -> Result<(), Unreached> {
        self.orders.try_send(NodeOrder { order: Some(order) }).map_err(|_| Unreached)
    }

    /// Sends the order with this id and waits for its answer.
    pub(super) async fn ask(&self, id: u64, order: Order) -> Result<Answer, Unreached> {
        let (answer, answered) = oneshot::channel();
        self.asked.lock().insert(id, answer);
        let answer = match self.tell(order) {
            Ok(()) => timeout(ANSWER_TIMEOUT, answered).await.ok().and_then(Result::ok),
            Err(Unreached) => None,
        };
        self.asked.lock().remove(&id);
        answer.ok_or(Unreached)
    }

    /// Sends the order with this id, on which the node ends. Its stream may be over before its answer is here, all the
    /// more as this replica may end with it: either will do.
    pub(super) async fn ask_to_end(&self, id: u64, order: Order) -> Result<(), Unreached> {
        if self.over.is_cancelled() {
            return Err(Unreached);
        }
        tokio::select! {
            biased;
            () = self.over() => Ok(()),
            answer = self.ask(id, order) => answer.map(drop),
        }
    }

    /// Takes an answer. One that nobody waits for any more is dropped.
    pub(super) fn answered(&self, answer: Answer) {
        let asked = self.asked.lock().remove(&answer.id);
        match asked {
            Some(waiting) => drop(waiting.send(answer)),
            None if answer.error.is_empty() => {}
            None => tracing::info!(node = self.hello.id, error = answer.error, "a node did not obey"),
        }
    }

    /// Ends its stream, if it has not ended: whoever waits for answers waits in vain.
    pub(super) fn detach(&self) {
        self.over.cancel();
        self.asked.lock().clear();
    }

    /// Waits until its stream is to end.
    pub(super) async fn over(&self) {
        self.over.cancelled().await;
    }
}
