//! What subscribers of a presence channel are told of its members.
//!
//! Ids and what is known of users are data that applications choose: `__proto__` is a user id like any other. What is
//! known of a user is what it said as a member: JSON is passed on as it stands, text of another protocol becomes a JSON
//! string, and of anything else nothing is known, which is null in a list of users and left out of what tells of a single
//! one.

use std::borrow::Cow;

use bytes::Bytes;
use channels::{ChannelName, ClientId, MemberData};
use serde::de::IgnoredAny;

use super::server::{Event, SUBSCRIPTION_SUCCEEDED};
use crate::json::push_string;

/// The promise that everything published from now on will come, with who is present: distinct users, the new member
/// among them.
pub fn presence_succeeded<'a>(
    channel: &ChannelName,
    users: impl IntoIterator<Item = (&'a ClientId, &'a MemberData)>,
) -> String {
    let (mut ids, mut hash, mut count) = (String::new(), String::new(), 0_u64);
    for (user, data) in users {
        if count > 0 {
            ids.push(',');
            hash.push(',');
        }
        count += 1;
        push_string(&mut ids, user.as_str());
        push_string(&mut hash, user.as_str());
        hash.push(':');
        hash.push_str(known(data).as_deref().unwrap_or("null"));
    }
    let data = format!(r#"{{"presence":{{"ids":[{ids}],"hash":{{{hash}}},"count":{count}}}}}"#);
    Event::new(SUBSCRIPTION_SUCCEEDED, channel.as_str(), data.len() * 2).string(&data)
}

/// A user's first connection has come.
pub fn member_added(channel: &ChannelName, user: &ClientId, said: &MemberData) -> String {
    let mut data = String::from(r#"{"user_id":"#);
    push_string(&mut data, user.as_str());
    if let Some(info) = known(said) {
        data.push_str(r#","user_info":"#);
        data.push_str(&info);
    }
    data.push('}');
    Event::new("pusher_internal:member_added", channel.as_str(), data.len() * 2).string(&data)
}

/// A user's last connection has gone.
pub fn member_removed(channel: &ChannelName, user: &ClientId) -> String {
    let mut data = String::from(r#"{"user_id":"#);
    push_string(&mut data, user.as_str());
    data.push('}');
    Event::new("pusher_internal:member_removed", channel.as_str(), data.len() * 2).string(&data)
}

/// What a member of this protocol says: its `user_info`.
pub fn member_data(user_info: Bytes) -> MemberData {
    let encoding = if user_info.is_empty() { "" } else { "json" };
    MemberData { data: user_info, encoding: encoding.to_owned(), ..MemberData::default() }
}

/// `user_info` of a user who said this.
fn known(said: &MemberData) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(&said.data).ok().filter(|text| !text.is_empty())?;
    match said.encoding.as_str() {
        // Clients of another protocol may call anything JSON.
        "json" => serde_json::from_str::<IgnoredAny>(text).is_ok().then_some(Cow::Borrowed(text)),
        "" => {
            let mut string = String::with_capacity(text.len() + 2);
            push_string(&mut string, text);
            Some(string.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn channel() -> ChannelName {
        ChannelName::new("presence-a").unwrap()
    }

    fn said(data: &str, encoding: &str) -> MemberData {
        MemberData { data: data.to_owned().into(), encoding: encoding.to_owned(), ..MemberData::default() }
    }

    fn user(id: &str, info: &'static str) -> (ClientId, MemberData) {
        (ClientId::new(id).unwrap(), said(info, "json"))
    }

    #[test]
    fn what_members_of_other_protocols_say() {
        for (data, encoding, expected) in [
            ("a\"b", "", Some(r#""a\"b""#)),
            ("", "", None),
            ("{\"a\":1}", "json", Some("{\"a\":1}")),
            ("{\"a\":1}, \"x\": 2", "json", None),
            ("AQI=", "base64", None),
        ] {
            assert_eq!(known(&said(data, encoding)).as_deref(), expected, "{data} {encoding}");
        }
    }

    fn succeeded(users: &[(ClientId, MemberData)]) -> String {
        presence_succeeded(&channel(), users.iter().map(|(id, info)| (id, info)))
    }

    #[test]
    fn who_is_there() {
        let ann = user("u1", r#"{"name":"Ann"}"#);
        assert_eq!(
            succeeded(&[ann.clone(), user("u2", "")]),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{\"presence\":{\"ids\":[\"u1\",\"u2\"],\"hash\":{\"u1\":{\"name\":\"Ann\"},\"u2\":null},\"count\":2}}"}"#
        );
        assert_eq!(
            succeeded(&[]),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-a","data":"{\"presence\":{\"ids\":[],\"hash\":{},\"count\":0}}"}"#
        );
    }

    /// Spec §18, 9: the data is a string, and what is known of the user is not wrapped once more.
    #[test]
    fn who_comes_and_goes() {
        let (id, info) = user("u1", r#"{"name": "Ann"}"#);
        assert_eq!(
            member_added(&channel(), &id, &info),
            r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"u1\",\"user_info\":{\"name\": \"Ann\"}}"}"#
        );
        assert_eq!(
            member_added(&channel(), &id, &MemberData::default()),
            r#"{"event":"pusher_internal:member_added","channel":"presence-a","data":"{\"user_id\":\"u1\"}"}"#
        );
        assert_eq!(
            member_removed(&channel(), &id),
            r#"{"event":"pusher_internal:member_removed","channel":"presence-a","data":"{\"user_id\":\"u1\"}"}"#
        );
    }

    /// Spec §18, 44: plain data.
    #[test]
    fn names_that_mean_something_to_javascript() {
        let users = [user("__proto__", r#"{"__proto__":1}"#), user("constructor", "true")];
        let frame: Value = serde_json::from_str(&succeeded(&users)).unwrap();
        let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
        let hash = json!({"__proto__": {"__proto__": 1}, "constructor": true});
        assert_eq!(data, json!({"presence": {"ids": ["__proto__", "constructor"], "hash": hash, "count": 2}}));
    }

    proptest! {
        /// Spec §18, 37: ids are strings, whatever they look like.
        #[test]
        fn any_ids_and_infos_read_back(infos in proptest::collection::btree_map("\\PC{1,8}|[0-9]{1,3}", "\\PC{0,8}", 0..6)) {
            let users: Vec<_> = infos.iter().map(|(id, info)| {
                (ClientId::new(id).unwrap(), said(&serde_json::to_string_pretty(&[info]).unwrap(), "json"))
            }).collect();
            let frame: Value = serde_json::from_str(&succeeded(&users)).unwrap();
            let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
            let ids: Vec<_> = infos.keys().collect();
            let hash: Value = infos.iter().map(|(id, info)| (id.clone(), json!([info]))).collect::<serde_json::Map<_, _>>().into();
            prop_assert_eq!(data, json!({"presence": {"ids": ids, "hash": hash, "count": infos.len()}}));
        }
    }
}
