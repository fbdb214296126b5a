//! What each protocol says, as far as a subscriber that counts needs it.
//!
//! Deliberately shares no decoder with the server: a fault in one would be invisible to the other.

mod ably;
mod pusher;
mod sse;

use std::net::SocketAddr;

use clap::ValueEnum;
use memchr::memmem::{self, Finder};
use serde::Serialize;
use tungstenite::protocol::frame::coding::{Data, OpCode};

pub(crate) use ably::{acknowledgement as ably_acknowledgement, presence as ably_presence, publish as ably_publish};
pub(crate) use pusher::{subscribe as pusher_subscribe, unsubscribe as pusher_unsubscribe};

use super::wire::{Form, client_frame};
use crate::error::Error;
use crate::target::{Surface, Target};

/// How a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    /// Pusher Channels, version 7
    #[default]
    Pusher,
    /// Ably, in JSON
    AblyJson,
    /// Ably, in MessagePack
    AblyMsgpack,
    /// Server-sent events
    Sse,
}

/// What a piece is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages.
    Message,
    /// Who came or went.
    Presence,
    /// The connection itself, or a subscription.
    Control,
}

/// What a server says besides messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The connection is there. Under `resume`, what makes another one go on from it.
    Greeting { resume: Option<String> },
    /// A channel is subscribed. `resumed` is no if the client asked to go on and something is lost.
    Confirmed { channel: Option<String>, resumed: bool, position: Option<String> },
    /// Nothing that matters.
    Aside,
    /// A refusal, or nothing that we know.
    Foreign,
}

/// What clients of one protocol say to a target about a set of channels, and how they find things in what they get.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) protocol: Protocol,
    key: String,
    secret: String,
    pub(super) channels: Vec<Channel>,
    message: Finder<'static>,
    presence: Finder<'static>,
    position: Finder<'static>,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: String,
    /// Says in a frame that it is of this channel.
    needle: Finder<'static>,
}

impl Dialect {
    /// Fails if `target` does not speak `protocol`.
    pub(super) fn new(target: &Target, protocol: Protocol, channels: &[String]) -> Result<Self, Error> {
        if target.surface == Surface::Pusher && protocol != Protocol::Pusher {
            return Err(Error::Unspoken { server: target.name.clone(), protocol });
        }
        let (message, presence, position): (&[u8], &[u8], &[u8]) = match protocol {
            Protocol::Pusher => (b"\"event\":\"load\"", b"\"event\":\"pusher_internal:member_", b"\"position\":\""),
            Protocol::AblyJson => (b"\"action\":15,", b"\"action\":14,", b"\"channelSerial\":\""),
            Protocol::AblyMsgpack => (b"\xa6action\x0f", b"\xa6action\x0e", b"\xadchannelSerial"),
            Protocol::Sse => (b"event: message\n", b"event: presence\n", b"id: "),
        };
        let channel = |name: &String| Channel {
            needle: Finder::new(&match protocol {
                Protocol::AblyMsgpack => ably::packed_member("channel", name),
                Protocol::Pusher | Protocol::AblyJson | Protocol::Sse => format!("\"channel\":\"{name}\"").into_bytes(),
            })
            .into_owned(),
            name: name.clone(),
        };
        Ok(Self {
            protocol,
            key: target.key.as_str().to_owned(),
            secret: target.secret.expose().to_owned(),
            channels: channels.iter().map(channel).collect(),
            message: Finder::new(message),
            presence: Finder::new(presence),
            position: Finder::new(position),
        })
    }

    /// What streams of it are made of.
    pub(super) fn form(&self) -> Form {
        match self.protocol {
            Protocol::Pusher | Protocol::AblyJson | Protocol::AblyMsgpack => Form::WebSocket,
            Protocol::Sse => Form::Events,
        }
    }

    /// The first thing that a client of `channels` sends; `resume` is where it goes on.
    pub(super) fn request(&self, address: SocketAddr, channels: &[u32], resume: Option<&str>) -> Vec<u8> {
        let (path, more) = match self.protocol {
            Protocol::Pusher => (pusher::path(&self.key), UPGRADE),
            Protocol::AblyJson => (ably::path("json", &self.key, &self.secret, resume), UPGRADE),
            Protocol::AblyMsgpack => (ably::path("msgpack", &self.key, &self.secret, resume), UPGRADE),
            Protocol::Sse => {
                let names = channels.iter().map(|channel| self.channels[*channel as usize].name.as_str());
                (sse::path(&self.key, &self.secret, names, resume), "accept: text/event-stream\r\n")
            }
        };
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{more}\r\n").into_bytes()
    }

    /// What subscribes to `channel`, from `position` on if there is one; nothing for streams, whose request says it.
    pub(super) fn subscribe(&self, channel: u32, position: Option<&str>) -> Vec<u8> {
        let name = &self.channels[channel as usize].name;
        match self.protocol {
            Protocol::Pusher => client_frame(OpCode::Data(Data::Text), pusher::subscribe(name, None).as_bytes()),
            Protocol::AblyJson | Protocol::AblyMsgpack => ably::attach(self.is_packed(), name, position),
            Protocol::Sse => Vec::new(),
        }
    }

    /// What `frame` is about.
    pub(super) fn kind(&self, frame: &[u8]) -> Kind {
        // All servers name it among the first members.
        if self.message.find(frame).is_some() {
            Kind::Message
        } else if self.presence.find(frame).is_some() {
            Kind::Presence
        } else {
            Kind::Control
        }
    }

    /// Whether `frame` says that it is of `channel`.
    pub(super) fn is_of(&self, frame: &[u8], channel: u32) -> bool {
        self.channels[channel as usize].needle.find(frame).is_some()
    }

    /// Where the client stands behind `frame`, if that says so.
    pub(super) fn position<'a>(&self, frame: &'a [u8]) -> Option<&'a str> {
        let at = &frame[self.position.find(frame)? + self.position.needle().len()..];
        let text = match self.protocol {
            Protocol::Pusher | Protocol::AblyJson => &at[..memmem::find(at, b"\"")?],
            Protocol::AblyMsgpack => ably::packed_text(at)?,
            Protocol::Sse => at.split(|byte| *byte == b'\n').next()?,
        };
        str::from_utf8(text).ok()
    }

    /// What a frame says that is not about messages.
    pub(super) fn word(&self, frame: &[u8]) -> Word {
        match self.protocol {
            Protocol::Pusher => pusher::word(frame),
            Protocol::AblyJson | Protocol::AblyMsgpack => ably::word(self.is_packed(), frame),
            Protocol::Sse => sse::word(frame),
        }
    }

    fn is_packed(&self) -> bool {
        self.protocol == Protocol::AblyMsgpack
    }
}

/// The key is that of the RFC's example: nobody here caches.
const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[cfg(test)]
mod tests;
