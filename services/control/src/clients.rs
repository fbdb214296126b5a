//! `ConnectionService` and `TailService`: the clients of an app, wherever they are, and what happens to them.

use std::pin::Pin;
use std::time::Duration;

use backbone::registry::Registry;
use channels::ConnectionId;
use futures_util::{Stream, StreamExt as _, stream};
use proto::control as wire;
use proto::control::node_order;
use tonic::{Code, Request, Response, Status};

use crate::access::{Caller, Guarded};
use crate::apps::{existing, page_size};
use crate::audit::{Intent, Recorder};
use crate::link::{CloseError, Link, Listed, TooManyTails};
use crate::mistakes::Mistakes;
use crate::status::{Refusal, invalid, refusal, unavailable, within};

/// Most events in a second of each node, unless asked for fewer or more, and at most.
const TAIL_RATE: u32 = 100;
const MAX_TAIL_RATE: u32 = 1_000;

/// Answers calls about connections.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) link: Guarded<Link>,
    pub(crate) registry: Guarded<Registry>,
    pub(crate) recorder: Recorder,
    pub(crate) patience: Duration,
}

impl Refusal for CloseError {
    fn status(self) -> Status {
        match self {
            Self::Unknown => no_such_connection(),
            Self::Unreached(_) => unavailable(&self.to_string()),
        }
    }
}

impl Refusal for TooManyTails {
    fn status(self) -> Status {
        refusal(Code::ResourceExhausted, "TOO_MANY_TAILS", self.to_string())
    }
}

fn no_such_connection() -> Status {
    refusal(Code::NotFound, "NO_SUCH_CONNECTION", "there is no such connection")
}

/// The connection id in the field `field`.
fn read_connection(field: &str, id: &str) -> Result<ConnectionId, Status> {
    let mut mistakes = Mistakes::default();
    let id = mistakes.keep(field, ConnectionId::new(id));
    mistakes.unless_any(id).map_err(invalid)
}

#[tonic::async_trait]
impl wire::connection_service_server::ConnectionService for Clients {
    async fn list_connections(
        &self,
        request: Request<wire::ListConnectionsRequest>,
    ) -> Result<Response<wire::ListConnectionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::ListConnectionsRequest { app_id, page_size: size, page_token, user_id, channel } =
            request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let mut mistakes = Mistakes::default();
        let size = page_size(size, &mut mistakes);
        if !page_token.is_empty() {
            mistakes.keep("page_token", ConnectionId::new(&page_token).map_err(|_| "is not from an earlier answer"));
        }
        let size = mistakes.unless_any(Some(size)).map_err(invalid)?;
        existing(&self.registry, &app, self.patience).await?;
        let order = node_order::ListConnections {
            app_id,
            after: page_token,
            most: u32::try_from(size).unwrap_or(u32::MAX),
            user_id,
            channel,
            ..node_order::ListConnections::default()
        };
        let Listed { items, more, unreached } = self.link.open(&app).nodes().connections(order).await;
        let next_page_token = items.last().filter(|_| more).map(|last| last.id.clone()).unwrap_or_default();
        Ok(Response::new(wire::ListConnectionsResponse { connections: items, next_page_token, unreached }))
    }

    async fn get_connection(
        &self,
        request: Request<wire::GetConnectionRequest>,
    ) -> Result<Response<wire::Connection>, Status> {
        let caller = Caller::of(&request)?;
        let wire::GetConnectionRequest { app_id, id } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        read_connection("id", &id)?;
        existing(&self.registry, &app, self.patience).await?;
        let order =
            node_order::ListConnections { app_id, most: 1, connection: id, ..node_order::ListConnections::default() };
        let Listed { items, unreached, .. } = self.link.open(&app).nodes().connections(order).await;
        match items.into_iter().next() {
            Some(connection) => Ok(Response::new(connection)),
            None if unreached.is_empty() => Err(no_such_connection()),
            None => Err(CloseError::Unreached(unreached).status()),
        }
    }

    async fn close_connection(
        &self,
        request: Request<wire::CloseConnectionRequest>,
    ) -> Result<Response<wire::CloseConnectionResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::CloseConnectionRequest { app_id, id, r#final: is_final } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        read_connection("id", &id)?;
        let intent = Intent::of(&app, format!("connection {id}")).with(format!("final: {is_final}"));
        let work = async {
            existing(&self.registry, &app, self.patience).await?;
            within(self.patience, self.link.open(&app).nodes().close(&app_id, &id, is_final)).await?;
            Ok((wire::CloseConnectionResponse {}, 0))
        };
        self.recorder.record(&caller, intent, work).await.map(Response::new)
    }
}

/// Events until the caller leaves.
type Events = Pin<Box<dyn Stream<Item = Result<wire::TailEvent, Status>> + Send>>;

#[tonic::async_trait]
impl wire::tail_service_server::TailService for Clients {
    type TailStream = Events;

    async fn tail(&self, request: Request<wire::TailRequest>) -> Result<Response<Events>, Status> {
        let caller = Caller::of(&request)?;
        let mut request = request.into_inner();
        let app = caller.app("app_id", &request.app_id)?;
        let mut mistakes = Mistakes::default();
        if request.events_per_second > MAX_TAIL_RATE {
            mistakes.add("events_per_second", format!("must be at most {MAX_TAIL_RATE}"));
        }
        mistakes.unless_any(Some(())).map_err(invalid)?;
        if request.events_per_second == 0 {
            request.events_per_second = TAIL_RATE;
        }
        existing(&self.registry, &app, self.patience).await?;
        let link = self.link.open(&app);
        let tail = link.nodes().tail(request).map_err(Refusal::status)?;
        let events = stream::unfold(tail, async |mut tail| tail.next().await.map(|event| (Ok(event), tail)));
        Ok(Response::new(Box::pin(events.take_until(link.stopping().cancelled_owned()))))
    }
}
