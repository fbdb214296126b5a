//! Frames about a channel. `channel` is always the name that the client called it by, qualifiers included.

use bytes::Bytes;
use channels::{Member, MemberData, Position, Record};

use super::items::{Item, PresenceItem, push_error, push_message, push_presence};
use super::writer::{Map, Writer};
use crate::serial::frame_id;
use crate::wire::{Action, Flags, Format, Modes, PresenceAction};
use crate::{ErrorInfo, occupancy};

/// What ATTACHED tells (spec §5.2).
#[derive(Clone, Copy, Debug)]
pub struct Attached<'a> {
    /// From where live delivery continues; `None` if the channel stores nothing.
    pub at: Option<Position>,
    /// What is true of the attachment.
    pub flags: Flags,
    /// What it is granted.
    pub modes: Modes,
    /// The params that were understood.
    pub params: &'a [(&'a str, &'a str)],
    /// Why continuity is lost, or what else did not go as asked.
    pub error: Option<&'a ErrorInfo>,
}

fn frame<'w>(writer: &'w mut Writer, action: Action, channel: &str) -> Map<'w> {
    let mut map = writer.map();
    map.number("action", action.number().into());
    map.text("channel", channel);
    map
}

/// ATTACHED.
pub fn attached(format: Format, channel: &str, attached: &Attached<'_>) -> Bytes {
    let mut writer = Writer::new(format, 160 + channel.len());
    let mut map = frame(&mut writer, Action::Attached, channel);
    push_position(&mut map, attached.at);
    map.number("flags", (attached.flags.bits() | attached.modes.bits()).into());
    if !attached.params.is_empty() {
        let mut params = map.key("params").map();
        for (name, value) in attached.params {
            params.text(name, value);
        }
        params.end();
    }
    if let Some(error) = attached.error {
        push_error(map.key("error"), error);
    }
    map.end();
    writer.into_bytes()
}

/// DETACHED: the answer to DETACH, or with an error the server's word, upon which the client attaches anew.
pub fn detached(format: Format, channel: &str, error: Option<&ErrorInfo>) -> Bytes {
    failed(format, Action::Detached, channel, error)
}

/// ERROR with a channel: the attachment has failed, and the client does not try again.
pub fn channel_error(format: Format, channel: &str, error: &ErrorInfo) -> Bytes {
    failed(format, Action::Error, channel, Some(error))
}

fn failed(format: Format, action: Action, channel: &str, error: Option<&ErrorInfo>) -> Bytes {
    let mut writer = Writer::new(format, 160 + channel.len());
    let mut map = frame(&mut writer, action, channel);
    if let Some(error) = error {
        push_error(map.key("error"), error);
    }
    map.end();
    writer.into_bytes()
}

/// MESSAGE: a whole record at its position.
pub fn messages(format: Format, channel: &str, record: &Record, at: Option<Position>) -> Bytes {
    let items = (0..record.messages.len()).map(Item::whole);
    message_frame(format, channel, record, at, items)
}

/// MESSAGE: some of a record's messages, some of them perhaps as deltas. Not for an empty list: nobody would look for a
/// frame without messages.
pub fn messages_with(
    format: Format,
    channel: &str,
    record: &Record,
    at: Option<Position>,
    items: &[Item<'_>],
) -> Bytes {
    message_frame(format, channel, record, at, items.iter().copied())
}

fn message_frame<'a>(
    format: Format,
    channel: &str,
    record: &Record,
    at: Option<Position>,
    items: impl ExactSizeIterator<Item = Item<'a>>,
) -> Bytes {
    let payloads: usize =
        record.messages.iter().map(|message| message.data.len() + message.extras.len()).sum::<usize>();
    let room = 192 + channel.len() + record.messages.len() * 128 + payloads + payloads / 8;
    let mut writer = Writer::new(format, room);
    let mut map = frame(&mut writer, Action::Message, channel);
    push_source(&mut map, record, at);
    // Messages inherit `id:index`, with their index in the frame: those that are not where they were say their own.
    let mut list = map.key("messages").list(items.len());
    for (place, item) in items.enumerate() {
        push_message(list.item(), record, at, item, place);
    }
    list.end();
    map.end();
    writer.into_bytes()
}

/// What the messages of a record have in common.
fn push_source(map: &mut Map<'_>, record: &Record, at: Option<Position>) {
    if let Some(id) = frame_id(record, at) {
        map.text("id", &id);
    }
    push_position(map, at);
    map.text_if("connectionId", record.connection.as_ref().map(|connection| connection.as_str()));
    map.number("timestamp", record.timestamp_ms);
}

fn push_position(map: &mut Map<'_>, at: Option<Position>) {
    if let Some(at) = at {
        map.plain("channelSerial", at);
    }
}

/// PRESENCE: what members did, each item in full.
pub fn presence(
    format: Format,
    channel: &str,
    at: Option<Position>,
    frame_id: Option<&str>,
    items: &[PresenceItem<'_>],
) -> Bytes {
    let mut writer = Writer::new(format, 192 + channel.len() + items.iter().map(|item| item.room()).sum::<usize>());
    let mut map = frame(&mut writer, Action::Presence, channel);
    map.text_if("id", frame_id);
    push_position(&mut map, at);
    let mut list = map.key("presence").list(items.len());
    for item in items {
        push_presence(list.item(), item);
    }
    list.end();
    map.end();
    writer.into_bytes()
}

/// SYNC: some members of the set called `sync_id`, which is of `[A-Za-z0-9_-]`. With an empty `cursor` it was the last.
pub fn sync<'a>(
    format: Format,
    channel: &str,
    sync_id: &str,
    cursor: &str,
    members: impl ExactSizeIterator<Item = (&'a Member, &'a MemberData)>,
) -> Bytes {
    let mut writer = Writer::new(format, 192 + channel.len() + members.len() * 192);
    let mut map = frame(&mut writer, Action::Sync, channel);
    map.text("channelSerial", &format!("{sync_id}:{cursor}"));
    let mut list = map.key("presence").list(members.len());
    for (member, data) in members {
        push_presence(list.item(), &PresenceItem { action: PresenceAction::Present, member, data });
    }
    list.end();
    map.end();
    writer.into_bytes()
}

/// MESSAGE of the name `[meta]occupancy`, with the metrics as JSON text: it has no place in the channel's order.
pub fn occupancy(format: Format, channel: &str, id: &str, timestamp_ms: u64, metrics: &str) -> Bytes {
    let mut writer = Writer::new(format, 320 + channel.len());
    let mut map = frame(&mut writer, Action::Message, channel);
    map.text("id", id);
    map.number("timestamp", timestamp_ms);
    let mut list = map.key("messages").list(1);
    let mut message = list.item().map();
    message.text("name", occupancy::EVENT);
    message.text("data", metrics);
    message.text("encoding", "json");
    message.number("action", 0);
    message.end();
    list.end();
    map.end();
    writer.into_bytes()
}
