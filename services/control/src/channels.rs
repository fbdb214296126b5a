//! `ChannelService`: which channels of an app have subscribers, and what was published to them.

use std::sync::Arc;
use std::time::Duration;

use ::channels::{App, ChannelName, Message, Position, RecordKind, Tier};
use backbone::registry::Registry;
use backbone::{Backbone, Direction, History, HistoryError, HistoryQuery, StoredRecord};
use proto::control as wire;
use proto::control::node_order;
use tonic::{Code, Request, Response, Status};

use crate::access::{Caller, Guarded, OfApp};
use crate::apps::{existing, page_size};
use crate::link::{Link, Listed};
use crate::mistakes::Mistakes;
use crate::status::{Refusal, invalid, refusal, unavailable, within};
use crate::wire as convert;

/// Answers calls about channels.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    pub(crate) link: Guarded<Link>,
    pub(crate) registry: Guarded<Registry>,
    pub(crate) backbone: Guarded<Backbone>,
    pub(crate) patience: Duration,
}

impl Refusal for HistoryError {
    fn status(self) -> Status {
        match self {
            Self::NotStored => refusal(Code::FailedPrecondition, "NOT_STORED", self.to_string()),
            Self::OtherEpoch { .. } => refusal(Code::Aborted, "OTHER_EPOCH", self.to_string()),
            Self::Unavailable => unavailable("the backbone did not answer"),
        }
    }
}

impl Channels {
    /// Where the channel's history ends; empty if its tier stores nothing.
    async fn head(&self, app: &OfApp, name: &ChannelName, tier: Tier) -> Result<String, Status> {
        if tier == Tier::Ephemeral {
            return Ok(String::new());
        }
        let head = within(self.patience, self.backbone.open(app).head(app, name, tier)).await?;
        Ok(head.to_string())
    }
}

/// With what the app's rules say of it.
fn with_rules(channel: wire::Channel, app: &App) -> wire::Channel {
    let Ok(name) = ChannelName::new(&channel.name) else { return channel };
    let namespace = app.namespaces.rule(name.as_str()).map(|rule| rule.prefix.clone());
    wire::Channel { tier: convert::tier(app.tier(&name)).into(), namespace, ..channel }
}

fn read_name(field: &str, name: &str) -> Result<ChannelName, Status> {
    let mut mistakes = Mistakes::default();
    let name = mistakes.keep(field, ChannelName::new(name));
    mistakes.unless_any(name).map_err(invalid)
}

/// The messages of a record, in the order asked for.
fn messages(stored: &StoredRecord, forwards: bool) -> Vec<wire::HistoryMessage> {
    let record = Arc::clone(&stored.record);
    let message = |message: &Message| wire::HistoryMessage {
        position: stored.position.to_string(),
        time_ms: stored.stored_ms,
        name: message.name.as_deref().unwrap_or_default().to_owned(),
        data: message.data.clone().into(),
        encoding: message.encoding.to_string(),
        client_id: record.client.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let messages = record.messages.iter().map(message);
    if forwards { messages.collect() } else { messages.rev().collect() }
}

#[tonic::async_trait]
impl wire::channel_service_server::ChannelService for Channels {
    async fn list_channels(
        &self,
        request: Request<wire::ListChannelsRequest>,
    ) -> Result<Response<wire::ListChannelsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::ListChannelsRequest { app_id, page_size: size, page_token, prefix } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let mut mistakes = Mistakes::default();
        let size = page_size(size, &mut mistakes);
        let size = mistakes.unless_any(Some(size)).map_err(invalid)?;
        let registered = existing(&self.registry, &app, self.patience).await?.app;
        let order = node_order::ListChannels {
            app_id,
            after: page_token,
            most: u32::try_from(size).unwrap_or(u32::MAX),
            prefix,
            ..node_order::ListChannels::default()
        };
        let Listed { items, more, unreached } = self.link.open(&app).nodes().channels(order).await;
        let next_page_token = items.last().filter(|_| more).map(|last| last.name.clone()).unwrap_or_default();
        let channels = items.into_iter().map(|channel| with_rules(channel, &registered)).collect();
        Ok(Response::new(wire::ListChannelsResponse { channels, next_page_token, unreached }))
    }

    async fn get_channel(&self, request: Request<wire::GetChannelRequest>) -> Result<Response<wire::Channel>, Status> {
        let caller = Caller::of(&request)?;
        let wire::GetChannelRequest { app_id, name } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let name = read_name("name", &name)?;
        let registered = existing(&self.registry, &app, self.patience).await?.app;
        let position = self.head(&app, &name, registered.tier(&name)).await?;
        let channel = name.as_str().to_owned();
        let order = node_order::ListChannels { app_id, most: 1, channel, ..node_order::ListChannels::default() };
        let Listed { items, unreached, .. } = self.link.open(&app).nodes().channels(order).await;
        let found = match items.into_iter().next() {
            Some(channel) => channel,
            None if unreached.is_empty() => {
                wire::Channel { name: name.as_str().to_owned(), ..wire::Channel::default() }
            }
            None => return Err(unavailable(&format!("these nodes did not answer: {}", unreached.join(", ")))),
        };
        Ok(Response::new(with_rules(wire::Channel { position, ..found }, &registered)))
    }

    async fn read_history(
        &self,
        request: Request<wire::ReadHistoryRequest>,
    ) -> Result<Response<wire::ReadHistoryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let wire::ReadHistoryRequest { app_id, name, page_size: size, page_token, forwards } = request.into_inner();
        let app = caller.app("app_id", &app_id)?;
        let name = read_name("name", &name)?;
        let mut mistakes = Mistakes::default();
        let size = page_size(size, &mut mistakes);
        let from = match page_token.as_str() {
            "" => None,
            token => {
                mistakes.keep("page_token", token.parse::<Position>().map_err(|_| "is not from an earlier answer"))
            }
        };
        let (from, size) = mistakes.unless_any(Some((from, size))).map_err(invalid)?;
        let tier = existing(&self.registry, &app, self.patience).await?.app.tier(&name);
        let (after, before) = if forwards { (from, None) } else { (None, from) };
        let direction = if forwards { Direction::Forward } else { Direction::Backward };
        // A record may hold several messages, so that an answer may be a little longer than asked for.
        let query =
            HistoryQuery { after, before, direction, limit: size, ..HistoryQuery::all((*app).clone(), name, tier) };
        let History { records, more, .. } = within(self.patience, self.backbone.open(&app).history(query)).await?;
        let last = records.last().filter(|_| more).map(|last| last.position.to_string());
        // Members' comings and goings stand there, too.
        let published = records.iter().filter(|stored| stored.record.kind == RecordKind::Messages);
        let messages = published.flat_map(|stored| messages(stored, forwards)).collect();
        Ok(Response::new(wire::ReadHistoryResponse { messages, next_page_token: last.unwrap_or_default() }))
    }
}
