//! What the prefix of a channel's name makes of the channel.
//!
//! The prefixes are the Pusher protocol's, but what they mean for storage and for who is present holds on every surface:
//! a channel has one order, one history and one roster, whoever speaks of it.

/// In front of the user id in the name of a server-to-user channel.
pub const SERVER_TO_USER: &str = "#server-to-user-";

/// Who may subscribe to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// No special prefix: anybody with a key.
    Public,
    /// `private-`, `private-encrypted-` too: the subscription is signed. Encryption is between the clients; a server
    /// passes ciphertext on like any other data.
    Private,
    /// `presence-`: signed, and the subscriber becomes a member.
    Presence,
    /// `#server-to-user-…`: connections signed in as that user. No other name starts with `#`.
    User,
}

/// What a channel's prefix says of it. Only a prefix at the very start counts: `my-private-room` is public.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelKind {
    access: Access,
    cache: bool,
}

impl ChannelKind {
    /// The kind of the channel called `name`.
    pub fn of(name: &str) -> Self {
        if name.starts_with('#') {
            return Self { access: Access::User, cache: false };
        }
        let (access, rest) = if let Some(rest) = name.strip_prefix("presence-") {
            (Access::Presence, rest)
        } else if let Some(rest) = name.strip_prefix("private-") {
            (Access::Private, rest.strip_prefix("encrypted-").unwrap_or(rest))
        } else {
            (Access::Public, name)
        };
        Self { access, cache: rest.starts_with("cache-") }
    }

    /// Who may subscribe.
    pub fn access(self) -> Access {
        self.access
    }

    /// Whether its subscribers are members.
    pub fn is_presence(self) -> bool {
        self.access == Access::Presence
    }

    /// Whether its last event is kept and given to each new subscriber.
    pub fn is_cache(self) -> bool {
        self.cache
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_prefix_at_the_start_only() {
        use Access::{Presence, Private, Public, User};
        for (name, access, cache) in [
            ("ticker.acme", Public, false),
            ("my-private-room", Public, false),
            ("my-cache-room", Public, false),
            ("Private-room", Public, false),
            ("private", Public, false),
            ("encrypted-cache-a", Public, false),
            ("cache-rates", Public, true),
            ("private-orders.17", Private, false),
            ("private-my-cache-room", Private, false),
            ("private-encrypted-vault", Private, false),
            ("private-encryptedcache-x", Private, false),
            ("private-cache-rates", Private, true),
            ("private-encrypted-cache-rates", Private, true),
            ("presence-room", Presence, false),
            ("presence-cache-room", Presence, true),
            ("presence-encrypted-cache-room", Presence, false),
            ("#server-to-user-u1", User, false),
        ] {
            assert_eq!(ChannelKind::of(name), ChannelKind { access, cache }, "{name}");
        }
    }
}
