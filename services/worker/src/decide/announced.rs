//! What was told, as it is kept for the next worker.

use backbone::Entry;
use channels::{AppId, ChannelName, ClientId};
use prost::Message as _;
use proto::backbone::Announced;

use super::state::{Note, Place};
use crate::clock::unix_ms;

/// Format of an announcement.
const VERSION: u32 = 1;

/// The key of what was told of a channel, or of a user in it.
pub(super) fn key(place: &Place, user: Option<&ClientId>) -> String {
    match user {
        Some(user) => format!("{}.{}.{}", place.app, place.token, user.token()),
        None => format!("{}.{}", place.app, place.token),
    }
}

/// The value to store; `None` for nothing.
pub(super) fn encode(channel: &ChannelName, user: Option<&ClientId>, note: Note) -> Option<bytes::Bytes> {
    let (gone_ms, subscription_count) = match note {
        Note::Here { count } => (0, count),
        Note::Gone => (unix_ms(), 0),
        Note::Nothing => return None,
    };
    let user_id = user.map(|user| user.as_str().to_owned()).unwrap_or_default();
    let channel = channel.as_str().to_owned();
    Some(Announced { version: VERSION, channel, user_id, gone_ms, subscription_count }.encode_to_vec().into())
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

/// Reads an entry; `None` for what this process does not understand.
pub(super) fn decode(entry: Entry) -> Option<Stored> {
    let mut parts = entry.key.split('.');
    let app = AppId::new(parts.next()?).ok()?;
    let place = Place { app, token: parts.next()?.into() };
    let value = Announced::decode(entry.value).ok().filter(|value| value.version == VERSION)?;
    let channel = ChannelName::new(&value.channel).ok()?;
    let user = if value.user_id.is_empty() { None } else { Some(ClientId::new(&value.user_id).ok()?) };
    let note = if value.gone_ms > 0 { Note::Gone } else { Note::Here { count: value.subscription_count } };
    Some(Stored { place, channel, user, note, revision: entry.revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_round_trip() {
        let channel = ChannelName::new("presence-a.b").unwrap();
        let user = ClientId::new("u.1").unwrap();
        let place = Place { app: AppId::new("1001").unwrap(), token: channel.token().as_str().into() };
        for (user, note) in [(None, Note::Here { count: 7 }), (Some(user.clone()), Note::Gone)] {
            let key = key(&place, user.as_ref());
            let value = encode(&channel, user.as_ref(), note).unwrap();
            let expected = Stored { place: place.clone(), channel: channel.clone(), user, note, revision: 3 };
            assert_eq!(decode(Entry { key, value, revision: 3 }), Some(expected));
        }
        assert_eq!(key(&place, Some(&user)), "1001.presence-a=2Eb.u=2E1");
        assert_eq!(encode(&channel, None, Note::Nothing), None);
    }
}
