//! Channel names as Pusher knows them: alphabet, length, and the kinds that prefixes make.

use channels::{ChannelName, InvalidChannelName, Limits};

/// What a channel's prefix makes of it. Only a prefix at the very start counts: `my-private-room` is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelKind {
    /// No special prefix: anybody with a key may subscribe.
    Public,
    /// `private-`, `private-encrypted-` too: the subscription is signed. Encryption is between the clients; a server
    /// passes ciphertext on like any other data.
    Private,
    /// `presence-`, `presence-cache-` too. Not served yet.
    Presence,
    /// `cache-`, `private-cache-`, `private-encrypted-cache-`. Not served yet.
    Cache,
    /// `#server-to-user-…`. Not served yet. No other name starts with `#`.
    User,
}

impl ChannelKind {
    /// The kind of `name`.
    pub fn of(name: &str) -> Self {
        if name.starts_with('#') {
            return Self::User;
        }
        if name.starts_with("presence-") {
            return Self::Presence;
        }
        let private = name.strip_prefix("private-");
        let rest = private.map(|rest| rest.strip_prefix("encrypted-").unwrap_or(rest)).unwrap_or(name);
        match private {
            _ if rest.starts_with("cache-") => Self::Cache,
            Some(_) => Self::Private,
            None => Self::Public,
        }
    }

    /// Whether this server version serves channels of this kind.
    pub(crate) fn supported(self) -> bool {
        match self {
            Self::Public | Self::Private => true,
            Self::Presence | Self::Cache | Self::User => false,
        }
    }

    /// The kind in a sentence: "… channels".
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Presence => "presence",
            Self::Cache => "cache",
            Self::User => "server-to-user",
        }
    }
}

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
    /// Starts with `#` and is not one of the protocol's own.
    #[error("a channel name that starts with # must be #server-to-user- and a user id")]
    Reserved,
}

/// In front of the user id in the name of a server-to-user channel.
const SERVER_TO_USER: &str = "#server-to-user-";

/// Checks `name` against Pusher's alphabet and the app's length limit; a `#` may stand at the start, but only of the
/// names that the protocol itself has.
pub fn parse_channel_name(name: &str, limits: &Limits) -> Result<(ChannelName, ChannelKind), InvalidName> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'=' | b'@' | b',' | b'.' | b';');
    if !name.strip_prefix('#').unwrap_or(name).bytes().all(allowed) {
        return Err(InvalidName::Alphabet);
    }
    if name.starts_with('#') && name.strip_prefix(SERVER_TO_USER).is_none_or(str::is_empty) {
        return Err(InvalidName::Reserved);
    }
    // The alphabet is ASCII: characters are bytes.
    if name.len() > limits.channel_name_chars {
        return Err(InvalidName::TooLong(limits.channel_name_chars));
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
    fn kinds_by_prefix_at_the_start_only() {
        use ChannelKind::*;
        for (name, kind) in [
            ("ticker.acme", Public),
            ("my-private-room", Public),
            ("my-cache-room", Public),
            ("Private-room", Public),
            ("private", Public),
            ("encrypted-cache-a", Public),
            ("private-orders.17", Private),
            ("private-my-cache-room", Private),
            ("private-encrypted-vault", Private),
            ("private-encryptedcache-x", Private),
            ("presence-room", Presence),
            ("presence-cache-room", Presence),
            ("cache-rates", Cache),
            ("private-cache-rates", Cache),
            ("private-encrypted-cache-rates", Cache),
            ("#server-to-user-u1", User),
        ] {
            assert_eq!(parse(name), Ok(kind), "{name}");
        }
    }

    #[test]
    fn alphabet_and_length() {
        assert_eq!(parse("AZaz09_-=@,.;"), Ok(ChannelKind::Public));
        assert_eq!(parse("constructor"), Ok(ChannelKind::Public));
        assert_eq!(parse(&"x".repeat(200)), Ok(ChannelKind::Public));
        assert_eq!(parse(&"x".repeat(201)), Err(InvalidName::TooLong(200)));
        assert_eq!(parse(""), Err(InvalidName::Empty));
        for name in ["a b", "a/b", "a:b", "a#b", "##", "é", "a\n", "a*", "a>"] {
            assert_eq!(parse(name), Err(InvalidName::Alphabet), "{name}");
        }
        for name in ["#", "#other", "#private-a", "#server-to-user", "#server-to-user-", "#Server-to-user-u1"] {
            assert_eq!(parse(name), Err(InvalidName::Reserved), "{name}");
        }
        let wide = Limits { channel_name_chars: 5000, ..Limits::default() };
        assert_eq!(parse_channel_name(&"x".repeat(1025), &wide).unwrap_err(), InvalidName::TooLong(1024));
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
