//! What there is: who is in a channel, how it is used, and which channels there are.

use ::channels::{ChannelName, Operation};
use ably::occupancy::{ChannelDetails, Metrics};
use ably::rest::{Answer, ChannelsBy, ChannelsQuery, PresenceQuery};
use ably::wire::to_vec;

use super::failure::unread;
use super::{Call, Caller, Failure, existing};

/// `GET /channels/{channel}/presence`.
pub(super) async fn members(call: &Call<'_>, caller: &Caller, name: &str) -> Result<Answer, Failure> {
    let channel = existing(name)?;
    may_see_members(caller, channel.as_str())?;
    let query = PresenceQuery::parse(&call.query)?;
    let members = call.shared.hub.members(&caller.app, &channel).await.map_err(|error| unread(&error))?;
    let page = query.page(&members);
    Ok(call.exchange.page(page.body(call.exchange.format), page.links))
}

/// Whether the caller may see who is in `channel`: who may subscribe learns that anyway.
pub(super) fn may_see_members(caller: &Caller, channel: &str) -> Result<(), ably::ErrorInfo> {
    caller.granted.permit(channel, Operation::Subscribe).or_else(|refused| {
        let present = caller.granted.permit(channel, Operation::Presence);
        present.map_err(|_| refused)
    })
}

/// `GET /channels/{channel}`.
pub(super) fn status(call: &Call<'_>, caller: &Caller, name: &str) -> Result<Answer, Failure> {
    let channel = existing(name)?;
    caller.granted.permit(channel.as_str(), Operation::ChannelMetadata)?;
    Ok(call.exchange.answer(200, &details(call, caller, &channel)))
}

fn details<'c>(call: &Call<'_>, caller: &Caller, channel: &'c ChannelName) -> ChannelDetails<'c> {
    told(channel.as_str(), call.shared.occupancy.metrics(&caller.app.id, channel))
}

fn told(name: &str, metrics: Metrics) -> ChannelDetails<'_> {
    ChannelDetails::new(name, metrics.connections > 0 || metrics.presence_members > 0, metrics)
}

/// `GET /channels`.
pub(super) fn list(call: &Call<'_>, caller: &Caller) -> Result<Answer, Failure> {
    caller.granted.permit_app_wide(Operation::ChannelMetadata)?;
    let query = ChannelsQuery::parse(&call.query, call.exchange.version)?;
    let occupied = call.shared.occupancy.occupied_metrics(&caller.app.id);
    // Metachannels are the server's, not the app's.
    let names = occupied.keys().map(|name| name.as_str()).filter(|name| !name.starts_with('['));
    let (names, links) = query.page(names);
    let format = call.exchange.format;
    let page = match query.by {
        ChannelsBy::Id => to_vec(format, &names),
        ChannelsBy::Value => {
            let known = names.iter().filter_map(|name| Some(told(name, *occupied.get(*name)?)));
            to_vec(format, &known.collect::<Vec<_>>())
        }
    };
    Ok(call.exchange.page(page.into(), links))
}
