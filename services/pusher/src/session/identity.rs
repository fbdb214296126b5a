//! Who a connection is known as: what its application signs for it, and what is remembered of that.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use channels::{ChannelName, ClientId, Limits};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;

/// Who a connection is known as. Most are nobody, so a session holds it behind a pointer.
#[derive(Debug, Default)]
pub(super) struct Identity {
    /// The user it has signed in as.
    pub(super) user: Option<Person>,
    /// Its user's ids in the presence channels it is in.
    pub(super) members: BTreeMap<ChannelName, ClientId>,
}

/// A user, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) id: ClientId,
    /// JSON text as it was signed; empty if nothing is known.
    pub(super) info: Bytes,
}

/// A user who signs in.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) user: Person,
    /// Whose presence it wants to be told of: at most as many as the app allows.
    pub(super) watchlist: Vec<ClientId>,
    /// There were more.
    pub(super) cut: bool,
}

/// What signed data lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadData {
    #[error(
        "channel_data must be the JSON text of an object with user_id, an integer or a string of 1 to 1024 bytes \
         without control characters"
    )]
    Member,
    #[error(
        "user_data must be the JSON text of an object with id, a string of 1 to 1024 bytes without control characters, \
         and watchlist, if any, an array of ids"
    )]
    User,
    #[error("{member} is longer than {limit} characters")]
    IdTooLong { member: &'static str, limit: usize },
    #[error("user_info is larger than {0} bytes")]
    InfoTooLarge(usize),
}

#[derive(Deserialize)]
struct RawMember<'a> {
    #[serde(borrow)]
    user_id: &'a RawValue,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawUser<'a> {
    #[serde(borrow)]
    id: json::Text<'a>,
    #[serde(borrow)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow)]
    watchlist: Option<&'a RawValue>,
}

impl Person {
    /// Reads `channel_data`.
    pub(super) fn from_channel_data(text: &str, limits: &Limits) -> Result<Self, BadData> {
        let raw: RawMember<'_> = json::object(text).map_err(|_| BadData::Member)?;
        let id = decimal_or_text(raw.user_id.get()).ok_or(BadData::Member)?;
        let person = Self { id: ClientId::new(&id).map_err(|_| BadData::Member)?, info: owned(raw.user_info) };
        person.check_member(limits)?;
        Ok(person)
    }

    /// Whether it may be a member of a presence channel.
    pub(super) fn check_member(&self, limits: &Limits) -> Result<(), BadData> {
        check_length("user_id", self.id.as_str(), limits.presence_user_id_chars)?;
        if self.info.len() > limits.presence_user_info_bytes {
            return Err(BadData::InfoTooLarge(limits.presence_user_info_bytes));
        }
        Ok(())
    }
}

impl Arrival {
    /// Reads `user_data`; the watchlist only if it is `watched`.
    pub(super) fn from_user_data(text: &str, watched: bool, limits: &Limits) -> Result<Self, BadData> {
        let raw: RawUser<'_> = json::object(text).map_err(|_| BadData::User)?;
        let id = ClientId::new(&raw.id.0).map_err(|_| BadData::User)?;
        check_length("id", id.as_str(), limits.user_id_chars)?;
        let watchlist: Vec<&RawValue> = match raw.watchlist {
            Some(list) if watched => serde_json::from_str(list.get()).map_err(|_| BadData::User)?,
            Some(_) | None => Vec::new(),
        };
        let first = watchlist.iter().take(limits.watchlist_users);
        let ids = first.map(|raw| ClientId::new(&decimal_or_text(raw.get())?).ok());
        Ok(Self {
            watchlist: ids.collect::<Option<_>>().ok_or(BadData::User)?,
            cut: watchlist.len() > limits.watchlist_users,
            user: Person { id, info: owned(raw.user_info) },
        })
    }
}

/// An id: a string, or the digits of an integer as they were written.
fn decimal_or_text(json: &str) -> Option<Cow<'_, str>> {
    if json.starts_with('"') {
        return serde_json::from_str::<json::Text<'_>>(json).ok().map(|text| text.0);
    }
    let digits = json.strip_prefix('-').unwrap_or(json);
    let integer = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    integer.then_some(Cow::Borrowed(json))
}

fn check_length(member: &'static str, id: &str, limit: usize) -> Result<(), BadData> {
    if id.chars().count() > limit { Err(BadData::IdTooLong { member, limit }) } else { Ok(()) }
}

fn owned(json: Option<&RawValue>) -> Bytes {
    json.map_or_else(Bytes::new, |json| Bytes::copy_from_slice(json.get().as_bytes()))
}
