//! Subscribing and unsubscribing.

use auth::InvalidAuth;
use channels::{App, ChannelName, Operation};

use super::complaint::Complaint;
use super::denied::{Cause, Denied};
use super::{Output, Session};
use crate::frame::{self, Subscribe};
use crate::{ChannelKind, InvalidName, parse_channel_name};

/// Why a subscription was refused; told by `pusher:subscription_error` on its channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("{0} channels are not supported by this server version")]
    NotSupported(&'static str),
    #[error(transparent)]
    Auth(InvalidAuth),
    /// Shows what should have been signed, all of which the client knows, and never by which digest.
    #[error("invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of {0}")]
    Signature(String),
    #[error("the key may not subscribe to this channel")]
    MayNotSubscribe,
    #[error("this connection already has {0} subscriptions, the most it may have")]
    TooManyChannels(usize),
}

impl Refusal {
    /// `type` and `status`: the words that peers of this protocol use, and pusher-js hands to applications.
    fn kind_and_status(&self) -> (&'static str, u16) {
        match self {
            Self::Name(_) => ("InvalidChannel", 400),
            Self::NotSupported(_) => ("NotSupported", 501),
            Self::Auth(_) | Self::Signature(_) => ("AuthError", 401),
            Self::MayNotSubscribe => ("AuthError", 403),
            Self::TooManyChannels(_) => ("LimitReached", 4004),
        }
    }

    fn cause(&self) -> Cause {
        match self {
            Self::Name(_) | Self::NotSupported(_) => Cause::Invalid,
            Self::Auth(_) | Self::Signature(_) | Self::MayNotSubscribe => Cause::Unauthorized,
            Self::TooManyChannels(_) => Cause::OverLimit,
        }
    }
}

impl Session {
    pub(super) fn subscribe(
        &mut self,
        request: &Subscribe<'_>,
        app: &App,
        out: &mut Vec<Output>,
    ) -> Result<(), Complaint> {
        if self.channels.contains(request.channel.as_ref()) {
            return Err(Complaint::AlreadySubscribed(request.channel.clone().into_owned()));
        }
        match self.admit(request, app) {
            Ok(channel) => {
                self.channels.insert(channel.clone());
                let confirmation = frame::subscription_succeeded(channel.as_str());
                out.push(Output::Subscribe { channel, confirmation });
            }
            Err(refusal) => {
                let (kind, status) = refusal.kind_and_status();
                let text = frame::subscription_error(&request.channel, kind, &refusal.to_string(), status);
                out.push(Output::Deny { text, denied: Denied::Subscribe(refusal.cause()) });
            }
        }
        Ok(())
    }

    /// Nobody waits for an answer, and a channel that is not subscribed to is left already.
    pub(super) fn unsubscribe(&mut self, channel: &str, out: &mut Vec<Output>) {
        if let Some(channel) = self.channels.take(channel) {
            out.push(Output::Unsubscribe { channel });
        }
    }

    fn admit(&self, request: &Subscribe<'_>, app: &App) -> Result<ChannelName, Refusal> {
        let (channel, kind) = parse_channel_name(&request.channel, &app.limits)?;
        let may_subscribe = |key: &channels::Key| key.capability.permits(channel.as_str(), Operation::Subscribe);
        let signed_by = match kind {
            ChannelKind::Public => None,
            ChannelKind::Private => {
                let checked = auth::check_channel(app, &request.auth, self.socket_id.as_str(), channel.as_str(), None);
                Some(checked.map_err(|invalid| self.auth_refusal(invalid, &channel))?)
            }
            ChannelKind::Presence | ChannelKind::Cache | ChannelKind::User => {
                return Err(Refusal::NotSupported(kind.word()));
            }
        };
        // A signature adds no rights to the connection's key, nor has it any that its signer lacks.
        let connected_by = app.key(self.key.as_str());
        if !connected_by.is_some_and(may_subscribe) || !signed_by.is_none_or(may_subscribe) {
            return Err(Refusal::MayNotSubscribe);
        }
        if self.channels.len() >= app.limits.channels_per_connection {
            return Err(Refusal::TooManyChannels(app.limits.channels_per_connection));
        }
        Ok(channel)
    }

    fn auth_refusal(&self, invalid: InvalidAuth, channel: &ChannelName) -> Refusal {
        match invalid {
            InvalidAuth::BadSignature => Refusal::Signature(format!("{}:{channel}", self.socket_id)),
            InvalidAuth::Missing | InvalidAuth::Malformed | InvalidAuth::UnknownKey => Refusal::Auth(invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_refusal() {
        const PAGE: &str = include_str!("../../../../docs/protocols/pusher.md");
        for refusal in [
            Refusal::Name(InvalidName::Empty),
            Refusal::NotSupported("presence"),
            Refusal::Auth(InvalidAuth::Missing),
            Refusal::Signature(String::new()),
            Refusal::MayNotSubscribe,
            Refusal::TooManyChannels(1),
        ] {
            let (kind, status) = refusal.kind_and_status();
            assert!(PAGE.contains(&format!("\n| {kind} | {status} |")), "{refusal:?}");
        }
    }
}
