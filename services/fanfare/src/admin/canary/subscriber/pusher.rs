//! The Pusher protocol, version 7, as far as a subscriber needs it (docs/protocols/pusher.md).

use serde_json::{Value, json};
use tokio::time::Instant;

use super::EVENT;
use super::socket::{Ended, Socket};
use crate::admin::canary::dial::Stages;
use crate::admin::canary::target::Target;
use crate::admin::canary::trouble::Trouble;

/// Connects and subscribes.
pub(super) async fn open(target: &Target, stages: &mut Stages) -> Result<Socket, Trouble> {
    let begun = Instant::now();
    let mut socket = Socket::open(target, &target.pusher_url(), None, stages).await?;
    let established = wait_for(&mut socket, "pusher:connection_established").await?;
    let socket_id = established["socket_id"].as_str().unwrap_or_default().to_owned();
    stages.open = Some(begun.elapsed());
    let since = Instant::now();
    let auth = target.subscription(&socket_id).unwrap_or_default();
    let data = json!({ "channel": target.channel, "auth": auth });
    socket.send(&json!({ "event": "pusher:subscribe", "data": data })).await.map_err(turned_away)?;
    wait_for(&mut socket, "pusher_internal:subscription_succeeded").await?;
    stages.subscribe = Some(since.elapsed());
    Ok(socket)
}

/// The data of the next event of a canary on `channel`.
pub(super) async fn next(socket: &mut Socket, channel: &str) -> Result<String, Trouble> {
    loop {
        let frame = socket.frame().await.map_err(Ended::disconnected)?;
        match (frame["event"].as_str(), frame["data"].as_str()) {
            (Some("pusher:ping"), _) => {
                socket.send(&json!({ "event": "pusher:pong", "data": {} })).await.map_err(Ended::disconnected)?;
            }
            (Some(EVENT), Some(data)) if frame["channel"] == channel => return Ok(data.to_owned()),
            _ => {}
        }
    }
}

/// The data of the next event `name`, which the server sends by itself.
async fn wait_for(socket: &mut Socket, name: &str) -> Result<Value, Trouble> {
    loop {
        let frame = socket.frame().await.map_err(turned_away)?;
        // In JSON, and inside it a text with JSON.
        let data = || frame["data"].as_str().and_then(|data| serde_json::from_str(data).ok());
        let data = data().unwrap_or_else(|| frame["data"].clone());
        match frame["event"].as_str() {
            Some(event) if event == name => return Ok(data),
            Some("pusher:subscription_error") => {
                let status = data["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or_default();
                return Err(Trouble::of_status(status, format!("the subscription was refused: {data}")));
            }
            _ => {}
        }
    }
}

/// What the end of a connection means that was not subscribed yet, by the ranges of close codes.
fn turned_away(ended: Ended) -> Trouble {
    match ended.code {
        // Unknown app or key, and unauthorized.
        Some(4001 | 4009) => Trouble::Denied(ended.text),
        Some(4000..=4099) => Trouble::Refused(ended.text),
        Some(_) | None => Trouble::Unreachable(ended.text),
    }
}
