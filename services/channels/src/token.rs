//! The injective escape from names to subject tokens.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Longest escape that is kept whole, in bytes. NATS closes a connection whose protocol line passes 4,096 bytes and
/// its documentation advises subjects of at most 256.
const MAX_PLAIN_BYTES: usize = 200;

/// Bytes of the escape kept, for people who grep, in front of the hash of a long name.
const LONG_PREFIX_BYTES: usize = 96;

/// Longest token in bytes.
pub const MAX_TOKEN_BYTES: usize = MAX_PLAIN_BYTES;

/// One token of a NATS subject (and of a KV key) that stands for a name of any characters.
///
/// ```text
/// literal:  A-Z a-z 0-9 - _ /
/// other:    every byte of the UTF-8 name as =XX (two upper-case hex digits), "=" included
/// long:     if the result exceeds 200 bytes: its first 96 bytes (cut at a whole escape) + "==" + 43 characters
///           base64url(SHA-256(name)); "==" cannot occur otherwise
/// ```
///
/// A user-chosen byte in a subject would be a cross-tenant leak (`*` and `>` subscribe to other people's channels), so
/// this type has no constructor from a raw string: two different names always give two different tokens, and no token
/// holds `.`, `*`, `>` or white space.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectToken(Box<str>);

impl SubjectToken {
    /// Escapes `name`, which must not be empty: an empty token is no subject. The callers' types guarantee it.
    pub(crate) fn escape(name: &str) -> Self {
        debug_assert!(!name.is_empty(), "an empty name has no token");
        let mut token = String::with_capacity(name.len() + 16);
        let mut cut = 0;
        for byte in name.bytes() {
            if is_literal(byte) {
                token.push(char::from(byte));
            } else {
                token.push('=');
                token.push(upper_hex(byte >> 4));
                token.push(upper_hex(byte & 0x0F));
            }
            if token.len() <= LONG_PREFIX_BYTES {
                cut = token.len();
            }
        }
        if token.len() > MAX_PLAIN_BYTES {
            token.truncate(cut);
            token.push_str("==");
            token.push_str(&URL_SAFE_NO_PAD.encode(Sha256::digest(name.as_bytes())));
        }
        Self(token.into())
    }

    /// The token's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/')
}

fn upper_hex(nibble: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(nibble)])
}

impl fmt::Debug for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ChannelName;

    fn token(name: &str) -> String {
        ChannelName::new(name).unwrap().token().as_str().to_owned()
    }

    #[test]
    fn known_escapes() {
        assert_eq!(token("/room/a"), "/room/a");
        assert_eq!(token("presence-room.1"), "presence-room=2E1");
        assert_eq!(token("a=b"), "a=3Db");
        assert_eq!(token("é*>"), "=C3=A9=2A=3E");
    }

    #[test]
    fn a_long_name_keeps_a_readable_head_and_a_hash() {
        let long = token(&"x".repeat(201));
        assert_eq!(long.len(), 96 + 2 + 43);
        assert!(long.starts_with(&format!("{}==", "x".repeat(96))));
        assert_eq!(token(&"x".repeat(200)).len(), 200);
    }

    #[test]
    fn a_long_name_is_cut_at_a_whole_escape() {
        let long = token(&".".repeat(500));
        let head = long.split("==").next().unwrap();
        assert_eq!(head, "=2E".repeat(32));
        let offset = token(&format!("a{}", ".".repeat(500)));
        assert_eq!(offset.split("==").next().unwrap(), format!("a{}", "=2E".repeat(31)));
    }

    fn names() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z0-9_=@,.;*> /é-]{1,80}",
            "\\PC{1,300}",
            "[.=]{60,70}",
            // Long names that share everything but the tail.
            "x{200,260}[a-c.]{0,3}",
        ]
        .prop_filter("a channel name", |name| ChannelName::new(name).is_ok())
    }

    /// Names whose escape is kept whole. A character takes at most 12 bytes of it.
    fn short_names() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zA-Z0-9_=@,.;*> /é-]{1,33}", "\\PC{1,16}", "[.=]{1,66}", "x{1,196}[a-c.]?"]
            .prop_filter("a channel name", |name| ChannelName::new(name).is_ok())
    }

    proptest! {
        #[test]
        fn safe_in_a_subject(name in names()) {
            let token = token(&name);
            prop_assert!(!token.is_empty());
            prop_assert!(token.len() <= MAX_TOKEN_BYTES);
            prop_assert!(!token.contains(|c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control()));
            prop_assert!(token.bytes().all(|b| is_literal(b) || b == b'='), "also valid as a KV key");
        }

        #[test]
        fn injective(a in names(), b in names()) {
            prop_assert_eq!(a == b, token(&a) == token(&b));
        }

        #[test]
        fn a_short_token_gives_the_name_back(name in short_names()) {
            let token = token(&name);
            prop_assert!(!token.contains("=="), "it is whole");
            let mut bytes = Vec::new();
            let mut rest = token.as_bytes();
            while let Some((&first, tail)) = rest.split_first() {
                if first == b'=' {
                    let hex = std::str::from_utf8(&tail[..2]).unwrap();
                    bytes.push(u8::from_str_radix(hex, 16).unwrap());
                    rest = &tail[2..];
                } else {
                    bytes.push(first);
                    rest = tail;
                }
            }
            prop_assert_eq!(bytes, name.into_bytes());
        }
    }
}
