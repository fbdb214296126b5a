//! Frames about a connection.

use bytes::Bytes;

use super::items::push_error;
use super::writer::{Map, Writer};
use crate::ErrorInfo;
use crate::wire::{Action, Format};

/// What CONNECTED tells (spec §3.1).
#[derive(Clone, Copy, Debug)]
pub struct Connected<'a> {
    /// Public, and the same after a resume.
    pub connection_id: &'a str,
    /// Private, and new each time.
    pub connection_key: &'a str,
    /// Whom it may act as: `*` for anybody.
    pub client_id: Option<&'a str>,
    /// Most bytes of a publish.
    pub max_message_size: u64,
    /// Most bytes of a frame.
    pub max_frame_size: u64,
    /// Frames it may send in a second.
    pub max_inbound_rate: u64,
    /// Messages it is sent in a second at most.
    pub max_outbound_rate: u64,
    /// How long it may be away and be the same, in ms.
    pub connection_state_ttl_ms: u64,
    /// How long the server is silent at most, in ms.
    pub max_idle_interval_ms: u64,
    /// Which node serves it.
    pub server_id: &'a str,
    /// Why it is not the connection that it asked to be.
    pub error: Option<&'a ErrorInfo>,
}

/// How one frame is answered that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The serials of its messages; `None` where there is none.
    pub serials: Vec<Option<String>>,
}

fn frame(writer: &mut Writer, action: Action) -> Map<'_> {
    let mut map = writer.map();
    map.number("action", action.number().into());
    map
}

/// A frame of nothing but its action and perhaps an error.
fn plain(format: Format, action: Action, error: Option<&ErrorInfo>) -> Bytes {
    let mut writer = Writer::new(format, 128);
    let mut map = frame(&mut writer, action);
    if let Some(error) = error {
        push_error(map.key("error"), error);
    }
    map.end();
    writer.into_bytes()
}

/// CONNECTED: the first frame of all.
pub fn connected(format: Format, connected: &Connected<'_>) -> Bytes {
    let mut writer = Writer::new(format, 512);
    let mut map = frame(&mut writer, Action::Connected);
    map.text("connectionId", connected.connection_id);
    map.text("connectionKey", connected.connection_key);
    let mut details = map.key("connectionDetails").map();
    details.text_if("clientId", connected.client_id);
    details.text("connectionKey", connected.connection_key);
    details.number("maxMessageSize", connected.max_message_size);
    details.number("maxFrameSize", connected.max_frame_size);
    details.number("maxInboundRate", connected.max_inbound_rate);
    details.number("maxOutboundRate", connected.max_outbound_rate);
    details.number("connectionStateTtl", connected.connection_state_ttl_ms);
    details.number("maxIdleInterval", connected.max_idle_interval_ms);
    details.text("serverId", connected.server_id);
    details.end();
    if let Some(error) = connected.error {
        push_error(map.key("error"), error);
    }
    map.end();
    writer.into_bytes()
}

/// HEARTBEAT: of the server's own accord, or with the `id` of the one it answers.
pub fn heartbeat(format: Format, id: Option<&str>) -> Bytes {
    let mut writer = Writer::new(format, 64);
    let mut map = frame(&mut writer, Action::Heartbeat);
    map.text_if("id", id);
    map.end();
    writer.into_bytes()
}

/// ACK of as many frames from `first` on; without `res` if they were no publishes.
pub fn ack(format: Format, first: u64, count: u64, res: &[Acknowledged]) -> Bytes {
    let mut writer = Writer::new(format, 64 + res.iter().map(|frame| 16 + frame.serials.len() * 48).sum::<usize>());
    let mut map = frame(&mut writer, Action::Ack);
    map.number("msgSerial", first);
    map.number("count", count);
    if !res.is_empty() {
        let mut frames = map.key("res").list(res.len());
        for acknowledged in res {
            let mut one = frames.item().map();
            let mut serials = one.key("serials").list(acknowledged.serials.len());
            for serial in &acknowledged.serials {
                match serial {
                    Some(serial) => serials.item().plain(serial),
                    None => serials.item().json(b"null"),
                }
            }
            serials.end();
            one.end();
        }
        frames.end();
    }
    map.end();
    writer.into_bytes()
}

/// NACK of as many frames from `first` on.
pub fn nack(format: Format, first: u64, count: u64, error: &ErrorInfo) -> Bytes {
    let mut writer = Writer::new(format, 160);
    let mut map = frame(&mut writer, Action::Nack);
    map.number("msgSerial", first);
    map.number("count", count);
    push_error(map.key("error"), error);
    map.end();
    writer.into_bytes()
}

/// AUTH: the client's token expires soon, or will be revoked.
pub fn auth(format: Format) -> Bytes {
    plain(format, Action::Auth, None)
}

/// CLOSED: the answer to CLOSE.
pub fn closed(format: Format) -> Bytes {
    plain(format, Action::Closed, None)
}

/// DISCONNECTED: the client comes back and resumes.
pub fn disconnected(format: Format, error: &ErrorInfo) -> Bytes {
    plain(format, Action::Disconnected, Some(error))
}

/// ERROR without a channel, not even null: the connection has failed.
pub fn connection_error(format: Format, error: &ErrorInfo) -> Bytes {
    plain(format, Action::Error, Some(error))
}
