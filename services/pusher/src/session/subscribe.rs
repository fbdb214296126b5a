//! Subscribing and unsubscribing.

use auth::InvalidAuth;
use channels::{Access, App, ChannelKind, ChannelName, Key, Operation, SERVER_TO_USER};

use super::complaint::Complaint;
use super::denied::{Cause, Denied};
use super::identity::{BadData, Person};
use super::{Output, Session};
use crate::frame::{self, Subscribe};
use crate::{InvalidName, parse_channel_name};

/// Why a subscription was refused; told by `pusher:subscription_error` on its channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Auth(InvalidAuth),
    /// Shows what should have been signed, all of which the client knows, and never by which digest.
    #[error("invalid signature: expected KEY:HEX with the lower-case hex HMAC-SHA256 of {0}")]
    Signature(String),
    #[error("channel_data is missing, and the connection has not signed in")]
    NoMember,
    #[error(transparent)]
    Data(#[from] BadData),
    #[error("this channel is only for connections signed in as its user")]
    OtherUser,
    #[error("the key may not subscribe to this channel")]
    MayNotSubscribe,
    #[error("the key may not be present on this channel")]
    MayNotEnter,
    #[error("this connection already has {0} subscriptions, the most it may have")]
    TooManyChannels(usize),
    #[error("this channel already has {0} members, the most it may have")]
    Full(usize),
    #[error("{0}")]
    OverQuota(String),
}

impl Refusal {
    /// `type` and `status`: the words that peers of this protocol use, and pusher-js hands to applications.
    fn kind_and_status(&self) -> (&'static str, u16) {
        match self {
            Self::Name(_) => ("InvalidChannel", 400),
            Self::Auth(_)
            | Self::Signature(_)
            | Self::NoMember
            | Self::Data(BadData::Member | BadData::User)
            | Self::OtherUser => ("AuthError", 401),
            Self::MayNotSubscribe | Self::MayNotEnter => ("AuthError", 403),
            Self::Data(BadData::IdTooLong { .. } | BadData::InfoTooLarge(_)) => ("LimitReached", 413),
            Self::TooManyChannels(_) | Self::Full(_) | Self::OverQuota(_) => ("LimitReached", 4004),
        }
    }

    fn cause(&self) -> Cause {
        match self {
            Self::Name(_) | Self::Data(BadData::Member | BadData::User) => Cause::Invalid,
            Self::Data(BadData::IdTooLong { .. } | BadData::InfoTooLarge(_)) => Cause::TooLarge,
            Self::Auth(_)
            | Self::Signature(_)
            | Self::NoMember
            | Self::OtherUser
            | Self::MayNotSubscribe
            | Self::MayNotEnter => Cause::Unauthorized,
            Self::TooManyChannels(_) | Self::Full(_) => Cause::OverLimit,
            Self::OverQuota(_) => Cause::OverQuota,
        }
    }

    fn denial(&self, channel: &str) -> Output {
        let (kind, status) = self.kind_and_status();
        let reason = self.to_string();
        let text = frame::subscription_error(channel, kind, &reason, status);
        Output::Deny { text, denied: Denied::Subscribe(self.cause()), channel: channel.to_owned(), reason }
    }
}

/// A subscription that is let in.
struct Admitted {
    channel: ChannelName,
    access: Access,
    /// Whom the connection is to be present as.
    member: Option<Person>,
}

impl Session {
    pub(super) fn subscribe(
        &mut self,
        request: &Subscribe<'_>,
        app: &App,
        now_ms: u64,
        out: &mut Vec<Output>,
    ) -> Result<(), Complaint> {
        if self.channels.contains(request.channel.as_ref()) {
            return Err(Complaint::AlreadySubscribed(request.channel.clone().into_owned()));
        }
        let Admitted { channel, access, member } = match self.admit(request, app, now_ms) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                out.push(refusal.denial(&request.channel));
                return Ok(());
            }
        };
        self.authorized |= matches!(access, Access::Private | Access::Presence);
        self.channels.insert(channel.clone());
        out.push(match member {
            None => {
                let confirmation = frame::subscription_succeeded(channel.as_str());
                Output::Subscribe { channel, confirmation }
            }
            Some(Person { id: user, info }) => {
                self.identity.get_or_insert_default().members.insert(channel.clone(), user.clone());
                Output::Join { channel, user, info }
            }
        });
        Ok(())
    }

    /// Nobody waits for an answer, and a channel that is not subscribed to is left already.
    pub(super) fn unsubscribe(&mut self, channel: &str, out: &mut Vec<Output>) {
        if let Some(channel) = self.forget(channel) {
            out.push(Output::Unsubscribe { channel });
        }
    }

    /// Takes back an [`Output::Join`] that found the channel full, as its app has it now. Nothing is left to be
    /// unsubscribed from. Does nothing if the client has left by itself.
    pub fn refuse_join(&mut self, channel: &ChannelName, app: &App, out: &mut Vec<Output>) {
        self.take_back(channel, &Refusal::Full(app.presence_members(channel)), out);
    }

    /// Takes back an [`Output::Subscribe`] or [`Output::Join`] for which a quota of the app leaves no room, as `text` says.
    /// Nothing is left to be unsubscribed from. Does nothing if the client has left by itself.
    pub fn refuse_subscription(&mut self, channel: &ChannelName, text: String, out: &mut Vec<Output>) {
        self.take_back(channel, &Refusal::OverQuota(text), out);
    }

    fn take_back(&mut self, channel: &ChannelName, refusal: &Refusal, out: &mut Vec<Output>) {
        if !self.closed && self.forget(channel.as_str()).is_some() {
            // It was let in nowhere by that.
            let needs_authority = |name: &ChannelName| {
                matches!(ChannelKind::of(name.as_str()).access(), Access::Private | Access::Presence)
            };
            self.authorized = self.user().is_some() || self.channels.iter().any(needs_authority);
            out.push(refusal.denial(channel.as_str()));
        }
    }

    fn forget(&mut self, channel: &str) -> Option<ChannelName> {
        if let Some(identity) = &mut self.identity {
            identity.members.remove(channel);
        }
        self.channels.take(channel)
    }

    fn admit(&self, request: &Subscribe<'_>, app: &App, now_ms: u64) -> Result<Admitted, Refusal> {
        let (channel, kind) = parse_channel_name(&request.channel, &app.limits)?;
        let access = kind.access();
        let (signed_by, member) = match access {
            Access::Public => (None, None),
            Access::Private => (Some(self.vouching_key(&channel, request, None, app, now_ms)?), None),
            Access::Presence => {
                let data = request.channel_data.as_deref();
                let key = self.vouching_key(&channel, request, data, app, now_ms)?;
                (Some(key), Some(self.member(data, app)?))
            }
            Access::User => {
                let user = channel.as_str().strip_prefix(SERVER_TO_USER);
                if self.user().is_none_or(|known| Some(known.as_str()) != user) {
                    return Err(Refusal::OtherUser);
                }
                (None, None)
            }
        };
        // A signature adds no rights to the connection's key, nor has it any that its signer lacks.
        let connected_by = app.key(self.key.as_str());
        let allowed = |operation| {
            let may = |key: &Key| key.capability.permits(channel.as_str(), operation);
            connected_by.is_some_and(may) && signed_by.is_none_or(may)
        };
        if !allowed(Operation::Subscribe) {
            return Err(Refusal::MayNotSubscribe);
        }
        if member.is_some() && !allowed(Operation::Presence) {
            return Err(Refusal::MayNotEnter);
        }
        if self.channels.len() >= app.limits.channels_per_connection {
            return Err(Refusal::TooManyChannels(app.limits.channels_per_connection));
        }
        Ok(Admitted { channel, access, member })
    }

    /// The key that signed the subscription.
    fn vouching_key<'a>(
        &self,
        channel: &ChannelName,
        request: &Subscribe<'_>,
        channel_data: Option<&str>,
        app: &'a App,
        now_ms: u64,
    ) -> Result<&'a Key, Refusal> {
        let socket_id = self.socket_id.as_str();
        let checked = auth::check_channel(app, &request.auth, socket_id, channel.as_str(), channel_data, now_ms);
        checked.map_err(|invalid| match invalid {
            InvalidAuth::BadSignature => {
                let data = if channel_data.is_some() { " and : and channel_data" } else { "" };
                Refusal::Signature(format!("{}:{channel}{data}", self.socket_id))
            }
            InvalidAuth::Missing | InvalidAuth::Malformed | InvalidAuth::UnknownKey => Refusal::Auth(invalid),
        })
    }

    /// Whom `channel_data` describes, or else the user it has signed in as.
    fn member(&self, channel_data: Option<&str>, app: &App) -> Result<Person, Refusal> {
        if let Some(data) = channel_data {
            return Ok(Person::from_channel_data(data, &app.limits)?);
        }
        let user = self.identity.as_ref().and_then(|identity| identity.user.clone()).ok_or(Refusal::NoMember)?;
        user.check_member(&app.limits)?;
        Ok(user)
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
            Refusal::Auth(InvalidAuth::Missing),
            Refusal::Signature(String::new()),
            Refusal::NoMember,
            Refusal::Data(BadData::Member),
            Refusal::Data(BadData::InfoTooLarge(1)),
            Refusal::OtherUser,
            Refusal::MayNotSubscribe,
            Refusal::MayNotEnter,
            Refusal::TooManyChannels(1),
            Refusal::Full(1),
            Refusal::OverQuota(String::new()),
        ] {
            let (kind, status) = refusal.kind_and_status();
            assert!(PAGE.contains(&format!("\n| {kind} | {status} |")), "{refusal:?}");
        }
    }
}
