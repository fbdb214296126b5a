//! Single messages and presence items, in frames, pages and events.

use bytes::Bytes;
use channels::{Member, MemberData, Message, Position, Record};

use super::writer::{Map, Writer};
use crate::ErrorInfo;
use crate::delta::Delta;
use crate::serial::{Serial, message_id};
use crate::wire::{Format, PresenceAction};

/// A message of a record as a subscriber is to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Which of the record's.
    pub index: usize,
    /// Instead of its payload, if it goes as a delta.
    pub delta: Option<&'a Delta>,
}

impl Item<'_> {
    /// The message as it is.
    pub fn whole(index: usize) -> Self {
        Self { index, delta: None }
    }
}

/// A message by where it is.
#[derive(Clone, Copy, Debug)]
pub struct MessageAt<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its position.
    pub at: Option<Position>,
    /// Which of its messages.
    pub index: usize,
}

/// What a member did, or that it is there.
#[derive(Clone, Copy, Debug)]
pub struct PresenceItem<'a> {
    /// What it did.
    pub action: PresenceAction,
    /// Who.
    pub member: &'a Member,
    /// What it said.
    pub data: &'a MemberData,
}

impl PresenceItem<'_> {
    /// About how many bytes it takes.
    pub(super) fn room(&self) -> usize {
        160 + self.data.data.len() + self.data.extras.len()
    }
}

/// `{code, statusCode, message, href}`.
pub(super) fn push_error(writer: &mut Writer, error: &ErrorInfo) {
    let mut map = writer.map();
    map.number("code", error.code.into());
    map.number("statusCode", error.status.into());
    map.text("message", &error.message);
    map.plain("href", error.href());
    map.end();
}

/// A message in a frame; at `place` it inherits what the frame says.
pub(super) fn push_message(writer: &mut Writer, record: &Record, at: Option<Position>, item: Item<'_>, place: usize) {
    let message = &record.messages[item.index];
    let mut map = writer.map();
    if message.id.is_some() || item.index != place {
        map.text_if("id", message_id(record, at, item.index).as_deref());
    }
    map.text_if("name", message.name.as_deref());
    match item.delta {
        None => map.payload(&message.data, &message.encoding),
        Some(delta) => map.bytes(&delta.data, &delta.encoding),
    }
    push_client(&mut map, record, message);
    push_serial(&mut map, record, at, item.index);
    push_extras(&mut map, item.delta.map_or(&message.extras, |delta| &delta.extras));
    map.end();
}

fn push_client(map: &mut Map<'_>, record: &Record, message: &Message) {
    let client = message.client.as_ref().or(record.client.as_ref());
    map.text_if("clientId", client.map(|client| client.as_str()));
}

fn push_serial(map: &mut Map<'_>, record: &Record, at: Option<Position>, index: usize) {
    if let Some(serial) = Serial::of(record, at, index) {
        map.plain("serial", serial);
    }
    map.number("action", 0);
}

fn push_extras(map: &mut Map<'_>, extras: &[u8]) {
    if !extras.is_empty() {
        map.key("extras").json(extras);
    }
}

/// A message that says everything itself. `channel` only where an event does not tell it otherwise.
fn push_message_alone(writer: &mut Writer, message: MessageAt<'_>, channel: Option<&str>) {
    let MessageAt { record, at, index } = message;
    let message = &record.messages[index];
    let mut map = writer.map();
    map.text_if("id", message_id(record, at, index).as_deref());
    map.text_if("channel", channel);
    map.text_if("name", message.name.as_deref());
    map.payload(&message.data, &message.encoding);
    push_client(&mut map, record, message);
    map.text_if("connectionId", record.connection.as_ref().map(|connection| connection.as_str()));
    map.number("timestamp", record.timestamp_ms);
    push_serial(&mut map, record, at, index);
    if let Some(serial) = Serial::of(record, at, index) {
        let mut version = map.key("version").map();
        version.plain("serial", serial);
        version.number("timestamp", record.timestamp_ms);
        version.end();
    }
    push_extras(&mut map, &message.extras);
    map.end();
}

/// A presence item, in full.
pub(super) fn push_presence(writer: &mut Writer, item: &PresenceItem<'_>) {
    push_presence_on(writer, item, None);
}

fn push_presence_on(writer: &mut Writer, item: &PresenceItem<'_>, channel: Option<&str>) {
    let PresenceItem { action, member, data } = item;
    let mut map = writer.map();
    map.text_if("id", (!data.id.is_empty()).then_some(&*data.id));
    map.text_if("channel", channel);
    map.number("action", action.number().into());
    map.text("clientId", member.user.as_str());
    map.text("connectionId", member.connection.as_str());
    map.payload(&data.data, &data.encoding);
    map.number("timestamp", data.timestamp_ms);
    push_extras(&mut map, &data.extras);
    map.end();
}

/// A page of messages: a bare list.
pub fn history(format: Format, messages: &[MessageAt<'_>]) -> Bytes {
    let payloads: usize = messages.iter().map(|message| message.record.messages[message.index].data.len() + 256).sum();
    let mut writer = Writer::new(format, 16 + payloads);
    let mut list = writer.list(messages.len());
    for message in messages {
        push_message_alone(list.item(), *message, None);
    }
    list.end();
    writer.into_bytes()
}

/// One message by itself, as in an event; with its channel, if that is not told otherwise.
pub fn message_item(format: Format, message: MessageAt<'_>, channel: Option<&str>) -> Bytes {
    let mut writer = Writer::new(format, 256 + message.record.messages[message.index].data.len());
    push_message_alone(&mut writer, message, channel);
    writer.into_bytes()
}

/// A page of presence items: a bare list.
pub fn presence_list(format: Format, items: &[PresenceItem<'_>]) -> Bytes {
    let mut writer = Writer::new(format, 16 + items.iter().map(PresenceItem::room).sum::<usize>());
    let mut list = writer.list(items.len());
    for item in items {
        push_presence(list.item(), item);
    }
    list.end();
    writer.into_bytes()
}

/// A page of members that are there.
pub fn member_list(format: Format, members: &[(&Member, &MemberData)]) -> Bytes {
    let present = |(member, data)| PresenceItem { action: PresenceAction::Present, member, data };
    presence_list(format, &members.iter().copied().map(present).collect::<Vec<_>>())
}

/// One presence item by itself, as in an event.
pub fn presence_item(format: Format, item: &PresenceItem<'_>, channel: Option<&str>) -> Bytes {
    let mut writer = Writer::new(format, item.room());
    push_presence_on(&mut writer, item, channel);
    writer.into_bytes()
}

/// `{"error": …}`, the body of a request that failed.
pub fn error_body(format: Format, error: &ErrorInfo) -> Bytes {
    let mut writer = Writer::new(format, 192);
    let mut map = writer.map();
    push_error(map.key("error"), error);
    map.end();
    writer.into_bytes()
}

/// An ErrorInfo by itself, as in an event or an entry of a batch.
pub fn error_item(format: Format, error: &ErrorInfo) -> Bytes {
    let mut writer = Writer::new(format, 192);
    push_error(&mut writer, error);
    writer.into_bytes()
}
