//! The Ably protocol, version 6 in JSON, as far as a subscriber needs it (docs/protocols/ably.md).

use serde_json::{Value, json};
use tokio::time::Instant;

use super::EVENT;
use super::socket::{Ended, Socket};
use crate::admin::canary::dial::Stages;
use crate::admin::canary::target::Target;
use crate::admin::canary::trouble::Trouble;

const CONNECTED: u64 = 4;
const DISCONNECTED: u64 = 6;
const CLOSED: u64 = 8;
const ERROR: u64 = 9;
const ATTACH: u64 = 10;
const ATTACHED: u64 = 11;
const DETACHED: u64 = 13;
const MESSAGE: u64 = 15;

/// Connects and attaches.
pub(super) async fn open(target: &Target, stages: &mut Stages) -> Result<Socket, Trouble> {
    let begun = Instant::now();
    let mut socket = Socket::open(target, &target.ably_url(), Some(target.bearer()), stages).await?;
    wait_for(&mut socket, CONNECTED).await?;
    stages.open = Some(begun.elapsed());
    let since = Instant::now();
    let attach = json!({ "action": ATTACH, "channel": target.channel });
    socket.send(&attach).await.map_err(turned_away)?;
    wait_for(&mut socket, ATTACHED).await?;
    stages.subscribe = Some(since.elapsed());
    Ok(socket)
}

/// The data of the next message of a canary on `channel`.
pub(super) async fn next(socket: &mut Socket, channel: &str) -> Result<String, Trouble> {
    loop {
        if let Some(data) = socket.waiting.pop_front() {
            return Ok(data);
        }
        let frame = socket.frame().await.map_err(Ended::disconnected)?;
        match frame["action"].as_u64() {
            Some(MESSAGE) if frame["channel"] == channel => {
                let messages = frame["messages"].as_array().into_iter().flatten();
                let mine = messages.filter(|message| message["name"] == EVENT);
                socket.waiting.extend(mine.filter_map(|message| message["data"].as_str().map(str::to_owned)));
            }
            Some(DISCONNECTED | CLOSED | ERROR | DETACHED) => {
                return Err(Trouble::Disconnected(format!("the server ended the connection: {}", frame["error"])));
            }
            _ => {}
        }
    }
}

async fn wait_for(socket: &mut Socket, action: u64) -> Result<(), Trouble> {
    loop {
        let frame = socket.frame().await.map_err(turned_away)?;
        match frame["action"].as_u64() {
            Some(given) if given == action => return Ok(()),
            Some(DISCONNECTED | CLOSED | ERROR | DETACHED) => return Err(refusal(&frame["error"])),
            _ => {}
        }
    }
}

fn refusal(error: &Value) -> Trouble {
    let status = error["statusCode"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or_default();
    let (code, message) = (&error["code"], error["message"].as_str().unwrap_or_default());
    Trouble::of_status(status, format!("the server refused: {code} {message}"))
}

fn turned_away(ended: Ended) -> Trouble {
    Trouble::Unreachable(ended.text)
}
