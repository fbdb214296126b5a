//! The Ably protocol, version 6, in JSON and MessagePack.

use serde::{Deserialize, Serialize};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::Word;
use crate::client::message::EVENT;
use crate::client::wire::client_frame;

const HEARTBEAT: u8 = 0;
const ACK: u8 = 1;
const NACK: u8 = 2;
const CONNECTED: u8 = 4;
const ATTACH: u8 = 10;
const ATTACHED: u8 = 11;
const PRESENCE: u8 = 14;
const MESSAGE: u8 = 15;
const SYNC: u8 = 16;

/// ATTACHED: everything behind the position that the client named follows.
const RESUMED: u32 = 4;

/// A frame, as far as we write and read it.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    action: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel_serial: Option<String>,
    #[serde(default, skip_serializing)]
    connection_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    msg_serial: Option<u64>,
    #[serde(default, skip_serializing)]
    count: Option<u64>,
    #[serde(default, skip_serializing)]
    flags: u32,
    #[serde(default, skip_serializing)]
    error: Option<Trouble>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", skip_deserializing)]
    presence: Vec<Member>,
}

#[derive(Debug, Default, Deserialize)]
struct Trouble {
    code: u32,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Serialize)]
struct Message {
    name: &'static str,
    data: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    action: u8,
    client_id: String,
    data: String,
}

/// Where a client connects.
pub(super) fn path(format: &str, key: &str, secret: &str, resume: Option<&str>) -> String {
    let resume = resume.map(|key| format!("&resume={key}")).unwrap_or_default();
    format!("/?v=6&format={format}&heartbeats=false&agent=loadtest&key={key}:{secret}{resume}")
}

/// Attaches to a channel, behind `position` if there is one.
pub(super) fn attach(packed: bool, channel: &str, position: Option<&str>) -> Vec<u8> {
    let (channel, channel_serial) = (Some(channel.to_owned()), position.map(str::to_owned));
    write(packed, &Frame { action: ATTACH, channel, channel_serial, ..Frame::default() })
}

/// Publishes `data` as the `serial`th frame of a connection.
pub(crate) fn publish(packed: bool, channel: &str, serial: u64, data: String) -> Vec<u8> {
    let messages = vec![Message { name: EVENT, data }];
    let channel = Some(channel.to_owned());
    write(packed, &Frame { action: MESSAGE, channel, msg_serial: Some(serial), messages, ..Frame::default() })
}

/// Enters (2) or leaves (3) as `client`, as the `serial`th frame of a connection.
pub(crate) fn presence(packed: bool, channel: &str, serial: u64, action: u8, client: String, data: String) -> Vec<u8> {
    let presence = vec![Member { action, client_id: client, data }];
    let channel = Some(channel.to_owned());
    write(packed, &Frame { action: PRESENCE, channel, msg_serial: Some(serial), presence, ..Frame::default() })
}

/// If `frame` acknowledges or refuses frames: the first of them, how many, and the reason of a refusal.
pub(crate) fn acknowledgement(packed: bool, frame: &[u8]) -> Option<(u64, u64, Option<String>)> {
    let frame = read(packed, frame)?;
    let why = match frame.action {
        ACK => None,
        NACK => frame.error.map(|error| format!("{} {}", error.code, error.message)).or(Some(String::new())),
        _ => return None,
    };
    Some((frame.msg_serial?, frame.count?, why))
}

/// What a frame says that is not about messages.
pub(super) fn word(packed: bool, frame: &[u8]) -> Word {
    let Some(frame) = read(packed, frame) else { return Word::Foreign };
    match frame.action {
        HEARTBEAT | SYNC | ACK => Word::Aside,
        CONNECTED if frame.error.is_none() => Word::Greeting { resume: frame.connection_key },
        ATTACHED => {
            let resumed = frame.error.is_none() && frame.flags & RESUMED != 0;
            Word::Confirmed { channel: frame.channel, resumed, position: frame.channel_serial }
        }
        _ => Word::Foreign,
    }
}

fn read(packed: bool, frame: &[u8]) -> Option<Frame> {
    if packed { rmp_serde::from_slice(frame).ok() } else { serde_json::from_slice(frame).ok() }
}

fn write(packed: bool, frame: &Frame) -> Vec<u8> {
    if packed {
        let bytes = rmp_serde::to_vec_named(frame).expect("names and numbers can be packed");
        client_frame(OpCode::Data(Data::Binary), &bytes)
    } else {
        let bytes = serde_json::to_vec(frame).expect("names and numbers are JSON");
        client_frame(OpCode::Data(Data::Text), &bytes)
    }
}

/// A member of a map in MessagePack whose value is a text.
pub(super) fn packed_member(name: &str, text: &str) -> Vec<u8> {
    [name, text].map(|text| rmp_serde::to_vec(text).expect("a text can be packed")).concat()
}

/// The text that `bytes` begin with, in MessagePack; positions are shorter than 256 bytes.
pub(super) fn packed_text(bytes: &[u8]) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0xa0..=0xbf => rest.get(..usize::from(first & 0x1f)),
        0xd9 => rest.get(1..1 + usize::from(*rest.first()?)),
        _ => None,
    }
}
