//! What the edge has to do.

use std::sync::Arc;

use bytes::Bytes;
use channels::{ChannelName, ClientId, MemberData, Position, PresenceAction, Record};

use super::{Denied, Parting};
use crate::serial::Unreadable;
use crate::{ChannelParams, ErrorInfo, Modes, Name};

/// What the edge has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this frame.
    Send(Bytes),
    /// Send a WebSocket ping.
    Ping,
    /// Attach, or attach anew with what has changed. The hub sends ATTACHED, and what follows it. If it cannot be, say so
    /// by [`super::Session::refuse_attach`].
    Attach(Box<Attach>),
    /// The modes of an attachment are others now. Its client is not told.
    Modes {
        /// As the client wrote it.
        name: Arc<str>,
        /// All that it has.
        modes: Modes,
    },
    /// Take leave of the channel, and of its members; nothing of it is sent behind this. What its client is told of it
    /// comes next.
    Detach {
        /// As the client wrote it.
        name: Arc<str>,
    },
    /// Send the channel's members once more.
    Sync {
        /// As the client wrote it.
        name: Arc<str>,
    },
    /// Publish, in the order of these outputs for each channel, and tell how it went by [`super::Session::published`].
    Publish(Box<Publish>),
    /// Have members enter, update and leave, and tell how it went by [`super::Session::presence_done`].
    Presence(Box<Presence>),
    /// Judge this token of AUTH, and answer by [`super::Session::authorized`] before the next frame is handled.
    Verify {
        /// As it was sent.
        token: String,
    },
    /// Count a refusal; its client is told by a frame.
    Denied {
        /// What was asked for.
        denied: Denied,
        /// The channel it was asked for, as the client wrote it.
        channel: String,
        /// Why it is denied.
        error: ErrorInfo,
    },
    /// Close the socket once everything is written. Nothing follows; channels are left without a word. With what the client
    /// was told, unless it took its leave itself.
    Close(Parting, Option<ErrorInfo>),
}

/// An attachment as its client wants it, as far as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// The channel, and what its name says.
    pub name: Name,
    /// What is granted.
    pub modes: Modes,
    /// How it is to be told.
    pub params: ChannelParams,
    /// From where the client wants it, if it was there before.
    pub serial: Option<Result<Position, Unreadable>>,
    /// Whether it is there again, though it has no serial: nothing is rewound.
    pub resume: bool,
    /// Whether it gets its connection's own messages.
    pub echo: bool,
    /// Whether it is attached, and only something of it changes.
    pub again: bool,
}

/// A publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// What it is answered by.
    pub msg_serial: u64,
    /// The channel.
    pub channel: ChannelName,
    /// What is published, whole.
    pub record: Record,
    /// What makes a repeat the same.
    pub key: String,
    /// Whether it is delivered and not stored, whatever the channel's tier.
    pub ephemeral: bool,
    /// How large it counts as.
    pub bytes: usize,
}

/// What members do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// What it is answered by.
    pub msg_serial: u64,
    /// The channel as the client wrote it: the attachment that this is of.
    pub name: Arc<str>,
    /// The channel.
    pub channel: ChannelName,
    /// At least one.
    pub changes: Vec<Change>,
}

/// What one member does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which client's member of this connection.
    pub client: ClientId,
    /// What it does.
    pub action: PresenceAction,
    /// What it says. A leave may say nothing ([`crate::data::is_absent`]): then it is what was said last.
    pub data: MemberData,
}
