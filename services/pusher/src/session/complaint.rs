//! What a client is told by `pusher:error` while its connection stays open.

use super::Output;
use super::denied::{Cause, Denied};
use crate::ErrorCode;
use crate::frame::{self, Unusable};

/// Why a frame did nothing. A refused subscription is told on its channel instead, see `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Complaint {
    #[error(transparent)]
    Frame(#[from] Unusable),
    #[error("Existing subscription to channel {0}")]
    AlreadySubscribed(String),
    #[error("Signing in is not enabled for this app")]
    SignInDisabled,
    #[error("This connection is signed in as another user")]
    OtherUser,
    #[error("Client events are not enabled for this channel")]
    ClientEventsDisabled,
    #[error("Client events are only for private and presence channels that this connection is subscribed to")]
    NotOnThisChannel,
    #[error("The key of this connection may not publish on this channel")]
    MayNotPublish,
    #[error("Event name is longer than {0} characters")]
    NameTooLong(usize),
    #[error("Event data is larger than {0} bytes")]
    DataTooLarge(usize),
    #[error("Event data is a string that is not Unicode")]
    DataNotUnicode,
    #[error("More than {0} client events in a second, this one was dropped")]
    TooManyClientEvents(u32),
    #[error("{0}")]
    OverQuota(String),
}

impl Complaint {
    /// The code beside the text. Null tells clients no more than that; only what they are documented to act on has one.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::TooManyClientEvents(_) | Self::OverQuota(_) => Some(ErrorCode::ClientEventRate),
            Self::Frame(_)
            | Self::AlreadySubscribed(_)
            | Self::SignInDisabled
            | Self::OtherUser
            | Self::ClientEventsDisabled
            | Self::NotOnThisChannel
            | Self::MayNotPublish
            | Self::NameTooLong(_)
            | Self::DataTooLarge(_)
            | Self::DataNotUnicode => None,
        }
    }

    /// What it denies, unless the frame asked for nothing that is counted.
    pub(super) fn denied(&self) -> Option<Denied> {
        match self {
            Self::Frame(_) | Self::SignInDisabled | Self::OtherUser => None,
            Self::AlreadySubscribed(_) => Some(Denied::Subscribe(Cause::Invalid)),
            Self::ClientEventsDisabled | Self::NotOnThisChannel | Self::MayNotPublish => {
                Some(Denied::ClientEvent(Cause::Unauthorized))
            }
            Self::NameTooLong(_) | Self::DataNotUnicode => Some(Denied::ClientEvent(Cause::Invalid)),
            Self::DataTooLarge(_) => Some(Denied::ClientEvent(Cause::TooLarge)),
            Self::TooManyClientEvents(_) => Some(Denied::ClientEvent(Cause::OverLimit)),
            Self::OverQuota(_) => Some(Denied::ClientEvent(Cause::OverQuota)),
        }
    }

    /// How the client is told, who asked for something of `channel`.
    pub(super) fn output(&self, channel: &str) -> Output {
        let reason = self.to_string();
        let text = frame::error(self.code().map(ErrorCode::number), &reason);
        match self.denied() {
            Some(denied) => Output::Deny { text, denied, channel: channel.to_owned(), reason },
            None => Output::Send(text),
        }
    }
}
