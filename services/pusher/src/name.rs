//! Channel names as Pusher knows them: alphabet and length.

use channels::{ChannelKind, ChannelName, InvalidChannelName, Limits, SERVER_TO_USER};

/// Why a text is not a Pusher channel name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The empty text.
    #[error("channel name is empty")]
    Empty,
    /// Longer than the app allows.
    #[error("channel name is longer than {0} characters")]
    TooLong(usize),
    /// Holds something outside the alphabet.
    #[error("channel name may hold only A-Z a-z 0-9 _ - = @ , . ;")]
    Alphabet,
    /// A server-to-user channel of a longer user id than the app allows.
    #[error("user id in channel name is longer than {0} characters")]
    UserTooLong(usize),
    /// Starts with `#` and is not one of the protocol's own.
    #[error("a channel name that starts with # must be #server-to-user- and a user id")]
    Reserved,
}

/// Checks `name` against Pusher's alphabet and the app's length limit.
///
/// A `#` may stand only at the start of `#server-to-user-ID`. The id there has no alphabet but a length limit of its
/// own, the one of the ids that users sign in with: whoever could sign in can also be reached.
pub fn parse_channel_name(name: &str, limits: &Limits) -> Result<(ChannelName, ChannelKind), InvalidName> {
    if name.starts_with('#') {
        match name.strip_prefix(SERVER_TO_USER) {
            None | Some("") => return Err(InvalidName::Reserved),
            Some(user) if user.chars().count() > limits.user_id_chars => {
                return Err(InvalidName::UserTooLong(limits.user_id_chars));
            }
            Some(_) => {}
        }
    } else {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'=' | b'@' | b',' | b'.' | b';');
        if !name.bytes().all(allowed) {
            return Err(InvalidName::Alphabet);
        }
        // The alphabet is ASCII: characters are bytes.
        if name.len() > limits.channel_name_chars {
            return Err(InvalidName::TooLong(limits.channel_name_chars));
        }
    }
    let checked = ChannelName::new(name).map_err(|invalid| match invalid {
        InvalidChannelName::Empty => InvalidName::Empty,
        InvalidChannelName::TooLong => InvalidName::TooLong(channels::MAX_CHANNEL_NAME_BYTES),
        InvalidChannelName::Control => InvalidName::Alphabet,
    })?;
    Ok((checked, ChannelKind::of(name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(name: &str) -> Result<ChannelKind, InvalidName> {
        parse_channel_name(name, &Limits::default()).map(|(_, kind)| kind)
    }

    #[test]
    fn alphabet_and_length() {
        let public = ChannelKind::of("a");
        for name in ["AZaz09_-=@,.;", "constructor", &"x".repeat(200)] {
            assert_eq!(parse(name), Ok(public));
        }
        assert_eq!(parse(&"x".repeat(201)), Err(InvalidName::TooLong(200)));
        assert_eq!(parse(""), Err(InvalidName::Empty));
        for name in ["a b", "a/b", "a:b", "a#b", "é", "a\n", "a*", "a>"] {
            assert_eq!(parse(name), Err(InvalidName::Alphabet), "{name}");
        }
        let wide = Limits { channel_name_chars: 5000, ..Limits::default() };
        assert_eq!(parse_channel_name(&"x".repeat(1025), &wide).unwrap_err(), InvalidName::TooLong(1024));
    }

    #[test]
    fn only_users_have_names_with_a_hash() {
        let user = ChannelKind::of("#server-to-user-u1");
        for id in ["u1", "auth0|5f7c", "ann@example.com", "Zoë", "a b", &"é".repeat(200)] {
            assert_eq!(parse(&format!("#server-to-user-{id}")), Ok(user), "{id}");
        }
        assert_eq!(parse("#server-to-user-a\nb"), Err(InvalidName::Alphabet));
        assert_eq!(parse(&format!("#server-to-user-{}", "é".repeat(201))), Err(InvalidName::UserTooLong(200)));
        for name in ["#", "##", "#other", "#private-a", "#server-to-user", "#server-to-user-", "#Server-to-user-u1"] {
            assert_eq!(parse(name), Err(InvalidName::Reserved), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered(name in prop_oneof!["\\PC{0,250}", "#?(server-to-user-|private-|cache-|encrypted-|presence-|x){0,5}"]) {
            if let Ok((checked, kind)) = parse_channel_name(&name, &Limits::default()) {
                prop_assert_eq!(checked.as_str(), &name);
                prop_assert_eq!(kind, ChannelKind::of(&name));
            }
        }
    }
}
