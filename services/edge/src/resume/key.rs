//! Connection keys: what a client shows to resume its connection on whichever node it comes to.
//!
//! A key says what any node has to know of the connection, under a code that only nodes of the cluster can make; so nobody
//! keeps state for clients that are away. Its text is `{connection id}!{base64url}`, of
//!
//! | bytes | what |
//! |-------|------|
//! | 1     | format, now 1 |
//! | 4     | generation: how often the connection was resumed |
//! | 8     | when the key was made, milliseconds since the Unix epoch |
//! | 8     | random |
//! | 1 + n | length of the app's id, and the id |
//! | 1 + n | who its client is: 0 nobody, 1 whoever it says, 2 the client whose id is the rest |
//! | 16    | a code over the connection id, `!` and everything before the code |
//!
//! Numbers are big-endian. It is of no use without credentials for the app.

use ably::Identity;
use backbone::sealing::{CONNECTION_CODE_BYTES, ClusterKeys};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channels::{AppId, ClientId, ConnectionId};

const FORMAT: u8 = 1;

/// Random bytes of a connection id, which is four characters for each three of them.
const ID_BYTES: usize = 9;

/// Longest text that is looked at: the longest client id, and what is around it.
const MAX_BYTES: usize = 2048;

/// What a connection key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionKey {
    /// The connection.
    pub(crate) connection: ConnectionId,
    /// Its app.
    pub(crate) app: AppId,
    /// Who its client was.
    pub(crate) identity: Identity,
    /// How often it was resumed.
    pub(crate) generation: u32,
    /// When the key was made, milliseconds since the Unix epoch.
    pub(crate) issued_ms: u64,
}

/// A new connection's id: letters, digits, `-` and `_`.
pub(crate) fn new_id() -> ConnectionId {
    let text = URL_SAFE_NO_PAD.encode(rand::random::<[u8; ID_BYTES]>());
    ConnectionId::new(&text).expect("a dozen letters")
}

impl ConnectionKey {
    /// The text that its client gets; another one each time.
    pub(crate) fn sign(&self, keys: &ClusterKeys) -> String {
        let (kind, client) = match &self.identity {
            Identity::Anonymous => (0, ""),
            Identity::Any => (1, ""),
            Identity::Is(client) => (2, client.as_str()),
        };
        let app = self.app.as_str().as_bytes();
        let mut said = vec![FORMAT];
        said.extend(self.generation.to_be_bytes());
        said.extend(self.issued_ms.to_be_bytes());
        said.extend(rand::random::<[u8; 8]>());
        said.push(u8::try_from(app.len()).expect("ids of apps are short"));
        said.extend(app);
        said.push(kind);
        said.extend(client.as_bytes());
        let code = keys.authenticate_connection(&authenticated(&self.connection, &said));
        said.extend(code);
        format!("{}!{}", self.connection, URL_SAFE_NO_PAD.encode(said))
    }

    /// Reads a key of this cluster; `None` if it is none.
    pub(crate) fn read(keys: &ClusterKeys, text: &str) -> Option<Self> {
        let (connection, rest) = text.split_once('!').filter(|_| text.len() <= MAX_BYTES)?;
        let connection = ConnectionId::new(connection).ok()?;
        let rest = URL_SAFE_NO_PAD.decode(rest).ok()?;
        let (said, code) = rest.split_at_checked(rest.len().checked_sub(CONNECTION_CODE_BYTES)?)?;
        if !keys.is_of_connection(&authenticated(&connection, said), code) {
            return None;
        }
        let said = said.strip_prefix(&[FORMAT])?;
        let (generation, said) = said.split_first_chunk()?;
        let (issued, said) = said.split_first_chunk()?;
        let (_random, said) = said.split_first_chunk::<8>()?;
        let (app_length, said) = said.split_first()?;
        let (app, said) = said.split_at_checked(usize::from(*app_length))?;
        let (kind, client) = said.split_first()?;
        let identity = match kind {
            0 => Identity::Anonymous,
            1 => Identity::Any,
            2 => Identity::Is(ClientId::new(std::str::from_utf8(client).ok()?).ok()?),
            _ => return None,
        };
        Some(Self {
            connection,
            app: AppId::new(std::str::from_utf8(app).ok()?).ok()?,
            identity,
            generation: u32::from_be_bytes(*generation),
            issued_ms: u64::from_be_bytes(*issued),
        })
    }
}

pub(super) fn authenticated(connection: &ConnectionId, said: &[u8]) -> Vec<u8> {
    [connection.as_str().as_bytes(), b"!", said].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(identity: Identity) -> ConnectionKey {
        ConnectionKey {
            connection: new_id(),
            app: AppId::new("1001").unwrap(),
            identity,
            generation: 3,
            issued_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn what_was_signed_is_read_by_any_node() {
        let (keys, others) = (ClusterKeys::generate(), ClusterKeys::generate());
        let bob = Identity::Is(ClientId::new("Jürgen ☃").unwrap());
        for key in [Identity::Anonymous, Identity::Any, bob].map(key) {
            let text = key.sign(&keys);
            assert_ne!(text, key.sign(&keys), "the same key must not look the same twice");
            assert_eq!(ConnectionKey::read(&keys, &text), Some(key));
            assert_eq!(ConnectionKey::read(&others, &text), None);
        }
    }

    #[test]
    fn the_longest_key_is_read() {
        let keys = ClusterKeys::generate();
        let key = ConnectionKey {
            app: AppId::new(&"a".repeat(32)).unwrap(),
            ..key(Identity::Is(ClientId::new(&"c".repeat(1024)).unwrap()))
        };
        assert_eq!(ConnectionKey::read(&keys, &key.sign(&keys)), Some(key));
    }

    #[test]
    fn ids_are_what_sdks_take_apart() {
        let id = new_id();
        assert_eq!(id.as_str().len(), 12);
        assert!(id.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{id}");
        assert_ne!(id, new_id());
    }

    #[test]
    fn a_key_is_of_its_connection_only() {
        let keys = ClusterKeys::generate();
        let text = key(Identity::Any).sign(&keys);
        let (_, rest) = text.split_once('!').unwrap();
        for other in ["", "!", rest, &format!("!{rest}"), &format!("aaaaaaaaaaaa!{rest}"), &text[..text.len() - 1]] {
            assert_eq!(ConnectionKey::read(&keys, other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_not(text in "[a-zA-Z0-9_!-]{0,80}") {
            prop_assert_eq!(ConnectionKey::read(&ClusterKeys::generate(), &text), None);
        }

        #[test]
        fn a_changed_character_is_noticed(at in any::<prop::sample::Index>(), by in 1_u8..64) {
            let keys = ClusterKeys::generate();
            let mut text = key(Identity::Any).sign(&keys).into_bytes();
            let at = at.index(text.len());
            let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let index = alphabet.iter().position(|b| *b == text[at]).unwrap_or_default();
            text[at] = alphabet[(index + usize::from(by)) % 64];
            prop_assert_eq!(ConnectionKey::read(&keys, std::str::from_utf8(&text).unwrap()), None);
        }
    }
}
