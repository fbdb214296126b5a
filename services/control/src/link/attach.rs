//! The service that nodes attach to.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, stream};
use proto::control::link_service_server::LinkService;
use proto::control::node_message::{Hello, Message};
use proto::control::{NodeMessage, NodeOrder};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use super::Link;
use super::nodes::Seat;
use crate::status::refusal;

/// How long a node may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The most characters of a node's id.
const MAX_ID: usize = 64;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Attach {
    pub(crate) link: Link,
}

/// One node's stream. It is read and written by whoever polls the orders, so that it ends with its connection and a node
/// that takes no orders is not listened to either.
struct Attached {
    link: Link,
    seat: Seat,
    messages: Streaming<NodeMessage>,
    orders: mpsc::Receiver<NodeOrder>,
}

#[tonic::async_trait]
impl LinkService for Attach {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<NodeOrder, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        if self.link.shared.stop.is_cancelled() {
            return Err(refusal(Code::Unavailable, "STOPPING", "this replica is about to end"));
        }
        let mut messages = request.into_inner();
        let hello = hello(&mut messages).await?;
        tracing::info!(node = hello.id, name = hello.name, version = hello.version, "a node has attached");
        let (seat, orders) = self.link.nodes().seat(hello);
        let attached = Attached { link: self.link.clone(), seat, messages, orders };
        Ok(Response::new(Box::pin(stream::unfold(attached, Attached::next))))
    }
}

async fn hello(messages: &mut Streaming<NodeMessage>) -> Result<Hello, Status> {
    let wrong = |why: &str| refusal(Code::InvalidArgument, "HELLO", why);
    let first = timeout(HELLO_TIMEOUT, messages.message()).await;
    let first = first.map_err(|_| wrong("a node says who it is at once"))??;
    let Some(NodeMessage { message: Some(Message::Hello(hello)) }) = first else {
        return Err(wrong("a node says first who it is"));
    };
    if hello.id.is_empty() || hello.id.len() > MAX_ID || !hello.id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(wrong("a node's id is letters and digits"));
    }
    Ok(hello)
}

impl Attached {
    /// The next order, when there is one; meanwhile what the node says is taken. `None` when the stream is over.
    async fn next(mut self) -> Option<(Result<NodeOrder, Status>, Self)> {
        loop {
            tokio::select! {
                () = self.link.shared.stop.cancelled() => return None,
                () = self.seat.node.over() => return None,
                order = self.orders.recv() => return Some((Ok(order?), self)),
                said = self.messages.message() => match said {
                    Ok(Some(NodeMessage { message: Some(said) })) => self.take(said),
                    // Of a newer node.
                    Ok(Some(NodeMessage { message: None })) => {}
                    Ok(None) => return None,
                    Err(status) => {
                        tracing::debug!(node = self.seat.node.hello.id, reason = status.message(), "a node's stream broke");
                        return None;
                    }
                },
            }
        }
    }

    fn take(&self, said: Message) {
        let node = &self.seat.node;
        match said {
            // Once is enough.
            Message::Hello(_) => {}
            Message::Report(report) => self.link.reported(node, report),
            Message::Answer(answer) => node.answered(answer),
            Message::Tail(batch) => self.link.nodes().tails().saw(batch),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        tracing::info!(node = self.seat.node.hello.id, "a node's stream has ended");
    }
}
