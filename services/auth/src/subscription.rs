//! The `auth` strings of Pusher clients: channel subscriptions and user sign-in.
//!
//! `auth = key ":" lower-hex(HMAC-SHA256(secret, string to sign))`, where the string to sign is
//!
//! | use | string |
//! | --- | --- |
//! | private channel, presence of a signed-in user | `SOCKET:CHANNEL` |
//! | presence channel | `SOCKET:CHANNEL:CHANNEL_DATA`, the data's characters as received |
//! | user sign-in | `SOCKET::user::USER_DATA` |
//!
//! No two uses can share a string: a channel name holds no `:` and is not empty.

use channels::{App, Key};

use crate::Signer;
use crate::mac::is_signed;

/// Why an `auth` string was refused. The texts tell an outsider nothing that is not in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAuth {
    /// Absent or empty.
    #[error("auth is missing")]
    Missing,
    /// Not of the form `KEY:HEX`.
    #[error("auth must have the form KEY:SIGNATURE")]
    Malformed,
    /// The key is not an active key of the app.
    #[error("auth names a key that is not an active key of this app")]
    UnknownKey,
    /// The signature is not that of the key over this socket and channel (or user).
    #[error("invalid signature")]
    BadSignature,
}

/// Checks a subscription's `auth`; `channel_data` is given for presence channels when the client sent it. Answers the
/// key that signed, with a secret that is good at `now_ms`, milliseconds since the Unix epoch.
pub fn check_channel<'a>(
    app: &'a App,
    auth: &str,
    socket_id: &str,
    channel: &str,
    channel_data: Option<&str>,
    now_ms: u64,
) -> Result<&'a Key, InvalidAuth> {
    match channel_data {
        None => check(app, auth, &[socket_id, ":", channel], now_ms),
        Some(data) => check(app, auth, &[socket_id, ":", channel, ":", data], now_ms),
    }
}

/// Checks a sign-in's `auth` over the characters of `user_data` as received. Answers the key that signed, with a secret
/// that is good at `now_ms`, milliseconds since the Unix epoch.
pub fn check_user<'a>(
    app: &'a App,
    auth: &str,
    socket_id: &str,
    user_data: &str,
    now_ms: u64,
) -> Result<&'a Key, InvalidAuth> {
    check(app, auth, &[socket_id, "::user::", user_data], now_ms)
}

fn check<'a>(app: &'a App, auth: &str, parts: &[&str], now_ms: u64) -> Result<&'a Key, InvalidAuth> {
    if auth.is_empty() {
        return Err(InvalidAuth::Missing);
    }
    let (name, signature) = auth.split_once(':').ok_or(InvalidAuth::Malformed)?;
    // The name is public, so finding the key by it may take any time; only the signature needs the constant one.
    let key = app.key(name).ok_or(InvalidAuth::UnknownKey)?;
    if is_signed(key, parts, signature, now_ms) { Ok(key) } else { Err(InvalidAuth::BadSignature) }
}

impl Signer {
    /// The `auth` of a subscription, as an application's auth endpoint answers it.
    pub fn channel(&self, socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
        match channel_data {
            None => self.auth(&[socket_id, ":", channel]),
            Some(data) => self.auth(&[socket_id, ":", channel, ":", data]),
        }
    }

    /// The `auth` of a sign-in.
    pub fn user(&self, socket_id: &str, user_data: &str) -> String {
        self.auth(&[socket_id, "::user::", user_data])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors::{SOCKET_ID, app, signer};

    #[test]
    fn refusals_say_what_is_wrong() {
        let app = app();
        let check = |auth: &str| check_channel(&app, auth, SOCKET_ID, "private-orders.17", None, 0).map(|_| ());
        let good = signer().channel(SOCKET_ID, "private-orders.17", None);
        assert_eq!(check(&good), Ok(()));
        assert_eq!(check(""), Err(InvalidAuth::Missing));
        assert_eq!(check("no colon"), Err(InvalidAuth::Malformed));
        assert_eq!(check(&format!("other{}", &good[5..])), Err(InvalidAuth::UnknownKey));
        assert_eq!(check(&good.to_uppercase()), Err(InvalidAuth::UnknownKey));
        assert_eq!(check(&good[..good.len() - 1]), Err(InvalidAuth::BadSignature));
        assert_eq!(check(&format!("{good}0")), Err(InvalidAuth::BadSignature));
    }

    #[test]
    fn one_use_does_not_serve_another() {
        let app = app();
        let data = r#"{"user_id":"u1"}"#;
        let private = signer().channel(SOCKET_ID, "presence-a", None);
        let presence = signer().channel(SOCKET_ID, "presence-a", Some(data));
        let user = signer().user(SOCKET_ID, data);
        assert!(check_channel(&app, &private, SOCKET_ID, "presence-a", Some(data), 0).is_err());
        assert!(check_channel(&app, &presence, SOCKET_ID, "presence-a", None, 0).is_err());
        assert!(check_user(&app, &presence, SOCKET_ID, data, 0).is_err());
        assert!(check_channel(&app, &user, SOCKET_ID, "presence-a", Some(data), 0).is_err());
    }

    #[test]
    fn every_active_key_may_sign() {
        let mut app = app();
        let mut second = app.keys[0].clone();
        second.name = channels::KeyName::new("second").unwrap();
        second.secret = channels::Secret::new("another").unwrap();
        let auth = Signer::from(&second).channel(SOCKET_ID, "private-a", None);
        assert_eq!(check_channel(&app, &auth, SOCKET_ID, "private-a", None, 0), Err(InvalidAuth::UnknownKey));
        app.keys.push(second);
        let key = check_channel(&app, &auth, SOCKET_ID, "private-a", None, 0).unwrap();
        assert_eq!(key.name.as_str(), "second");
    }

    /// The way of a key through a rotation: both secrets sign, then the new one alone.
    #[test]
    fn a_rotated_secret_signs_until_its_end() {
        let mut app = app();
        let old = signer();
        let before = app.keys[0].secret.clone();
        app.keys[0].secret = channels::Secret::new("the new secret").unwrap();
        app.keys[0].previous = Some(channels::PreviousSecret { secret: before, until_ms: 10_000 });
        let new = Signer::from(&app.keys[0]);
        for (signer, good_after) in [(&old, false), (&new, true)] {
            let channel = signer.channel(SOCKET_ID, "private-a", None);
            let user = signer.user(SOCKET_ID, "{}");
            for (now_ms, good) in [(0, true), (9999, true), (10_000, good_after), (u64::MAX, good_after)] {
                assert_eq!(check_channel(&app, &channel, SOCKET_ID, "private-a", None, now_ms).is_ok(), good);
                assert_eq!(check_user(&app, &user, SOCKET_ID, "{}", now_ms).is_ok(), good);
            }
        }
        let signed = |now_ms| Signer::for_receivers(&app.keys[0], now_ms).webhook(b"body");
        assert_eq!(signed(9999), old.webhook(b"body"));
        assert_eq!(signed(10_000), new.webhook(b"body"));
    }

    proptest! {
        #[test]
        fn any_changed_byte_of_auth_is_refused(at in 0_usize..85, new in any::<char>()) {
            let auth = signer().channel(SOCKET_ID, "private-a", None);
            prop_assert_eq!(auth.len(), 85);
            let tampered = format!("{}{}{}", &auth[..at], new, &auth[at + 1..]);
            prop_assume!(tampered != auth);
            prop_assert!(check_channel(&app(), &tampered, SOCKET_ID, "private-a", None, 0).is_err());
        }

        #[test]
        fn a_signature_is_good_for_what_was_signed_only(
            socket in "[0-9.]{1,6}", channel in "[a-z-]{1,4}", data in proptest::option::of("[a-z:]{0,4}"),
            other_socket in "[0-9.]{1,6}", other_channel in "[a-z-]{1,4}", other_data in proptest::option::of("[a-z:]{0,4}"),
        ) {
            let auth = signer().channel(&socket, &channel, data.as_deref());
            let same = (&socket, &channel, &data) == (&other_socket, &other_channel, &other_data);
            let app = app();
            let checked = check_channel(&app, &auth, &other_socket, &other_channel, other_data.as_deref(), 0);
            prop_assert_eq!(checked.is_ok(), same);
        }

        #[test]
        fn any_auth_is_answered(auth in "\\PC*") {
            prop_assert!(check_channel(&app(), &auth, SOCKET_ID, "private-a", None, 0).is_err());
        }
    }
}
