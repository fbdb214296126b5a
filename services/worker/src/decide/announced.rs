//! Announcements, as they are kept for the next worker.

use backbone::Entry;
use bytes::Bytes;
use channels::{AppId, ChannelName, ClientId, WebhookEvent};
use prost::Message as _;
use proto::backbone::{Announced, Confirmed};

use super::state::{Note, Place};

/// Format of an announcement.
const VERSION: u32 = 1;

/// The key of what was told of a channel, or of a user in it.
pub(super) fn key(place: &Place, user: Option<&ClientId>) -> String {
    match user {
        Some(user) => format!("{}.{}.{}", place.app, place.token, user.token()),
        None => format!("{}.{}", place.app, place.token),
    }
}

/// The value to store.
pub(super) fn encode(channel: &ChannelName, user: Option<&ClientId>, note: Note) -> Bytes {
    let value = Announced {
        version: VERSION,
        channel: channel.as_str().to_owned(),
        user_id: user.map(|user| user.as_str().to_owned()).unwrap_or_default(),
        event: note.event.name().to_owned(),
        subscription_count: note.count,
    };
    value.encode_to_vec().into()
}

/// An announcement as stored.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) channel: ChannelName,
    pub(super) user: Option<ClientId>,
    pub(super) note: Note,
    pub(super) revision: u64,
}

/// Reads an entry; `None` for what this process does not understand, and for the confirmation.
pub(super) fn decode(entry: Entry) -> Option<Stored> {
    let mut parts = entry.key.split('.');
    let app = AppId::new(parts.next()?).ok()?;
    let place = Place { app, token: parts.next()?.into() };
    let value = Announced::decode(entry.value).ok().filter(|value| value.version == VERSION)?;
    let channel = ChannelName::new(&value.channel).ok()?;
    let user = if value.user_id.is_empty() { None } else { Some(ClientId::new(&value.user_id).ok()?) };
    let note = Note { event: WebhookEvent::parse(&value.event)?, count: value.subscription_count };
    Some(Stored { place, channel, user, note, revision: entry.revision })
}

/// The key of the confirmation: how far announcements are certain to have been told. No announcement has it, since theirs
/// have a dot.
pub(super) const CONFIRMED: &str = "confirmed";

/// The value to store there.
pub(super) fn encode_confirmed(revision: u64) -> Bytes {
    Confirmed { version: VERSION, revision }.encode_to_vec().into()
}

/// Reads [`encode_confirmed`]; what this process does not understand confirms nothing.
pub(super) fn decode_confirmed(value: Bytes) -> u64 {
    let value = Confirmed::decode(value).ok().filter(|value| value.version == VERSION);
    value.map_or(0, |value| value.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_round_trip() {
        let channel = ChannelName::new("presence-a.b").unwrap();
        let user = ClientId::new("u.1").unwrap();
        let place = Place { app: AppId::new("1001").unwrap(), token: channel.token().as_str().into() };
        for (user, event) in [(None, WebhookEvent::SubscriptionCount), (Some(&user), WebhookEvent::MemberRemoved)] {
            let note = Note { event, count: 7 };
            let entry = Entry { key: key(&place, user), value: encode(&channel, user, note), revision: 3 };
            let (place, channel) = (place.clone(), channel.clone());
            assert_eq!(decode(entry), Some(Stored { place, channel, user: user.cloned(), note, revision: 3 }));
        }
        assert_eq!(key(&place, Some(&user)), "1001.presence-a=2Eb.u=2E1");
    }

    #[test]
    fn the_confirmation_is_no_announcement() {
        let value = encode_confirmed(9);
        assert_eq!(decode_confirmed(value.clone()), 9);
        assert_eq!(decode(Entry { key: CONFIRMED.to_owned(), value, revision: 1 }), None);
    }
}
