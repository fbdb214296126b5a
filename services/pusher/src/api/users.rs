//! Users: who is in a presence channel, and whose connections are to end.

use channels::{ChannelName, ClientId, Operation, SERVER_TO_USER};

use super::{ApiError, Authenticated};
use crate::json;

/// Checks `GET /channels/{name}/users`: the key must be allowed to subscribe, and the channel to have users.
pub fn parse_users(name: &str, signed: &Authenticated<'_>) -> Result<ChannelName, ApiError> {
    let (channel, kind) = signed.channel(name, Operation::Subscribe)?;
    if kind.is_presence() { Ok(channel) } else { Err(ApiError::NotPresence) }
}

/// The answer: every user once. Ids are strings, whatever they were when their owners joined.
pub fn users_answer<'a>(users: impl IntoIterator<Item = &'a ClientId>) -> String {
    let mut out = String::from(r#"{"users":["#);
    let mut separator = "";
    for user in users {
        out.push_str(separator);
        out.push_str(r#"{"id":"#);
        json::push_string(&mut out, user.as_str());
        out.push('}');
        separator = ",";
    }
    out.push_str("]}");
    out
}

/// Checks `POST /users/{id}/terminate_connections`: whose connections are to end. That takes the right to send to the
/// user; an id that nobody is signed in as is none of the caller's mistakes.
pub fn parse_terminate(id: &str, signed: &Authenticated<'_>) -> Result<ClientId, ApiError> {
    let limit = signed.app.limits.user_id_chars;
    let user = ClientId::new(id).ok().filter(|_| id.chars().count() <= limit).ok_or(ApiError::UserId { limit })?;
    signed.permit(&format!("{SERVER_TO_USER}{id}"), Operation::Publish)?;
    Ok(user)
}

#[cfg(test)]
mod tests {
    use auth::Query;
    use channels::Key;

    use super::*;
    use crate::fixtures::{self, KEY, capability, key};

    fn with_key<T>(key: &Key, parse: impl FnOnce(&Authenticated<'_>) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let app = fixtures::app();
        parse(&Authenticated { app: &app, key, query: Query::parse("").unwrap() })
    }

    fn refused<T>(key: &Key, parse: impl FnOnce(&Authenticated<'_>) -> Result<T, ApiError>) -> (u16, String) {
        let error = with_key(key, parse).map(|_| ()).unwrap_err();
        (error.status(), error.to_string())
    }

    #[test]
    fn users_of_presence_channels_only() {
        let all = &fixtures::app().keys[0];
        for name in ["presence-a", "presence-cache-a"] {
            assert_eq!(with_key(all, |signed| parse_users(name, signed)).unwrap().as_str(), name);
        }
        for name in ["a", "private-presence-a", "#server-to-user-u"] {
            let expected = (400, "only presence channels have users".to_owned());
            assert_eq!(refused(all, |signed| parse_users(name, signed)), expected, "{name}");
        }
        assert_eq!(refused(all, |signed| parse_users("presence-a b", signed)).0, 400);
        let publisher = key(KEY, capability("*", "publish"));
        assert_eq!(refused(&publisher, |signed| parse_users("presence-a", signed)).0, 403);
    }

    #[test]
    fn users_are_objects_with_string_ids() {
        let users = ["10", "a\"b"].map(|id| ClientId::new(id).unwrap());
        assert_eq!(users_answer(&users), r#"{"users":[{"id":"10"},{"id":"a\"b"}]}"#);
        assert_eq!(users_answer([]), r#"{"users":[]}"#);
    }

    #[test]
    fn terminating_takes_an_id_and_the_right_to_send_to_it() {
        let all = &fixtures::app().keys[0];
        for id in ["u-42", "apps", "Zoë 🚀", &"é".repeat(200)] {
            assert_eq!(with_key(all, |signed| parse_terminate(id, signed)).unwrap().as_str(), id);
        }
        for id in ["", "a\nb", &"é".repeat(201)] {
            let expected = "user id must have 1 to 200 characters, none of them a control character";
            assert_eq!(refused(all, |signed| parse_terminate(id, signed)), (400, expected.to_owned()), "{id}");
        }
        let listener = key(KEY, capability("*", "subscribe"));
        let text = r##"the key may not publish on channel "#server-to-user-u""##;
        assert_eq!(refused(&listener, |signed| parse_terminate("u", signed)), (403, text.to_owned()));
    }
}
