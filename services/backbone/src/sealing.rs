//! The cluster's keys: what seals secrets at rest, and what nodes show each other.
//!
//! Owns the sealed form and what is derived from the keys. Knows nothing of what is sealed: whoever seals says what the
//! secret belongs to, the *context*, and it can be opened as nothing else.
//!
//! Several keys may be known so that one can be replaced without an outage: the first seals, all open. A sealed secret is
//!
//! | bytes | what |
//! |-------|------|
//! | 1     | format, now 1 |
//! | 4     | which key: the first bytes of its SHA-256 |
//! | 12    | nonce, random |
//! | n     | the secret under AES-256-GCM |
//! | 16    | its tag, over the secret, the first five bytes and the context |
//!
//! With random nonces one key may seal 2³² secrets (NIST SP 800-38D, 8.3), far more than a registry writes in its life.

use std::fmt;
use std::str::FromStr;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{digest, hkdf, hmac};
use subtle::{Choice, ConstantTimeEq as _};

use crate::hex;

/// The sealed form.
const FORMAT: u8 = 1;

/// Bytes of a cluster key.
const KEY_BYTES: usize = 32;

/// Bytes in front of the secret: format, key id, nonce.
const HEADER_BYTES: usize = 5;
const PREFIX_BYTES: usize = HEADER_BYTES + NONCE_LEN;

/// What the keys for separate uses are derived with. Another use gets another label.
const SALT: &[u8] = b"fanfare cluster key v1";
const SEALING: &[u8] = b"sealing";
const CONNECTIONS: &[u8] = b"connection keys";

/// Bytes of the code that authenticates a connection key.
pub const CONNECTION_CODE_BYTES: usize = 16;

/// What a node token is the authentication code of.
const NODE_TOKEN: &[u8] = b"fanfare node token v1";

/// The keys of a cluster, at least one. Their debug form never shows them.
pub struct ClusterKeys {
    /// The first seals.
    keys: Vec<ClusterKey>,
}

struct ClusterKey {
    id: ClusterKeyId,
    sealing: LessSafeKey,
    connections: hmac::Key,
    node_token: String,
}

/// Which cluster key: 8 hex digits. Tells nothing of the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKeyId([u8; 4]);

/// Why a text is not a list of cluster keys. Never shows any of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClusterKeys {
    /// Nothing in it.
    #[error("there is no cluster key")]
    None,
    /// An item, counted from 1, is not 64 hex digits.
    #[error("cluster key {0} is not 64 hexadecimal digits")]
    Form(usize),
    /// Two items of one id: in all likelihood the same key.
    #[error("cluster key {0} is given twice")]
    Twice(ClusterKeyId),
}

/// Why a secret cannot be opened. Never holds one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not sealed by any key that is known here.
    #[error("it is sealed with cluster key {0}, which is not among those that this process was given")]
    UnknownKey(ClusterKeyId),
    /// Sealed in another way than is known here, or not sealed at all.
    #[error("it is sealed in a form that this process does not know")]
    UnknownForm,
    /// Damaged, or sealed as something else.
    #[error("its seal is broken: it was damaged or belongs elsewhere")]
    Broken,
}

impl ClusterKeys {
    /// A new key, known to nobody else.
    pub fn generate() -> Self {
        Self { keys: vec![ClusterKey::new(&rand::random())] }
    }

    /// A new key in the form that configuration takes, for whoever keeps it: 64 hex digits.
    pub fn generate_text() -> String {
        hex::encode(&rand::random::<[u8; KEY_BYTES]>())
    }

    /// Seals `plain` as what `context` says.
    pub fn seal(&self, context: &Context, plain: &[u8]) -> Vec<u8> {
        let key = self.first();
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(PREFIX_BYTES + plain.len() + AES_256_GCM.tag_len());
        sealed.push(FORMAT);
        sealed.extend(key.id.0);
        let aad = context.authenticated(&sealed);
        sealed.extend(nonce);
        sealed.extend(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.sealing.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed[PREFIX_BYTES..]);
        sealed.extend(tag.expect("secrets are shorter than 64 GiB").as_ref());
        sealed
    }

    /// Opens what was sealed as what `context` says.
    pub fn open(&self, context: &Context, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let id = sealed_by(sealed)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(OpenError::UnknownKey(id))?;
        let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or(OpenError::Broken)?;
        let (nonce, secret) = rest.split_first_chunk().ok_or(OpenError::Broken)?;
        let mut secret = secret.to_vec();
        let aad = Aad::from(context.authenticated(header));
        let opened = key.sealing.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut secret);
        let length = opened.map_err(|_| OpenError::Broken)?.len();
        secret.truncate(length);
        Ok(secret)
    }

    /// Whether `sealed` is to be sealed anew, because the key that sealed it is no longer the first.
    pub fn needs_reseal(&self, sealed: &[u8]) -> bool {
        sealed_by(sealed) != Ok(self.first().id)
    }

    /// The keys' ids, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = ClusterKeyId> {
        self.keys.iter().map(|key| key.id)
    }

    /// Whether the key is known.
    pub fn knows(&self, id: ClusterKeyId) -> bool {
        self.ids().any(|known| known == id)
    }

    /// What this node shows to prove that it is one of the cluster.
    pub fn node_token(&self) -> &str {
        &self.first().node_token
    }

    /// Whether `token` is that of a node that knows one of the keys. Takes the same time for every wrong one.
    pub fn is_node_token(&self, token: &str) -> bool {
        let matches = |key: &ClusterKey| key.node_token.as_bytes().ct_eq(token.as_bytes());
        self.keys.iter().fold(Choice::from(0), |any, key| any | matches(key)).into()
    }

    /// The code by which every node of the cluster knows that one of them gave `key` to a client, to resume its connection
    /// with.
    pub fn authenticate_connection(&self, key: &[u8]) -> [u8; CONNECTION_CODE_BYTES] {
        connection_code(&self.first().connections, key)
    }

    /// Whether `code` is that of `key`, by any of the keys. Takes the same time for every wrong one.
    pub fn is_of_connection(&self, key: &[u8], code: &[u8]) -> bool {
        let matches = |known: &ClusterKey| connection_code(&known.connections, key).ct_eq(code);
        self.keys.iter().fold(Choice::from(0), |any, known| any | matches(known)).into()
    }

    fn first(&self) -> &ClusterKey {
        self.keys.first().expect("there is always one")
    }
}

impl ClusterKey {
    fn new(secret: &[u8; KEY_BYTES]) -> Self {
        let hash = digest::digest(&digest::SHA256, secret);
        let id = *hash.as_ref().first_chunk().expect("a hash of 32 bytes");
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret);
        let sealing = derived.expand(&[SEALING], &AES_256_GCM).expect("as long as a hash");
        let connections = derived.expand(&[CONNECTIONS], hmac::HMAC_SHA256).expect("as long as a hash");
        let token = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), NODE_TOKEN);
        Self {
            id: ClusterKeyId(id),
            sealing: LessSafeKey::new(UnboundKey::from(sealing)),
            connections: connections.into(),
            node_token: format!("node_{}", hex::encode(token.as_ref())),
        }
    }
}

fn connection_code(with: &hmac::Key, key: &[u8]) -> [u8; CONNECTION_CODE_BYTES] {
    let code = hmac::sign(with, key);
    *code.as_ref().first_chunk().expect("a code of 32 bytes")
}

/// Which key sealed it.
pub(crate) fn sealed_by(sealed: &[u8]) -> Result<ClusterKeyId, OpenError> {
    match sealed {
        [FORMAT, id @ ..] => id.first_chunk().map(|id| ClusterKeyId(*id)).ok_or(OpenError::Broken),
        _ => Err(OpenError::UnknownForm),
    }
}

impl FromStr for ClusterKeys {
    type Err = InvalidClusterKeys;

    /// Reads keys of 64 hex digits, separated by commas or white space.
    fn from_str(text: &str) -> Result<Self, InvalidClusterKeys> {
        let items = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|item| !item.is_empty());
        let mut keys: Vec<ClusterKey> = Vec::new();
        for (index, item) in items.enumerate() {
            let secret = hex::decode(item).ok_or(InvalidClusterKeys::Form(index + 1))?;
            let key = ClusterKey::new(&secret);
            if keys.iter().any(|known| known.id == key.id) {
                return Err(InvalidClusterKeys::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(InvalidClusterKeys::None) } else { Ok(Self { keys }) }
    }
}

impl fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClusterKeys").field(&self.ids().collect::<Vec<_>>()).finish()
    }
}

impl ClusterKeyId {
    /// Reads 8 hex digits; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }
}

impl fmt::Display for ClusterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for ClusterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a sealed secret belongs to: a kind, and names without control characters.
#[derive(Clone, Debug)]
pub struct Context(Vec<u8>);

impl Context {
    /// The secret called `names` among those of one kind.
    pub fn new(kind: &str, names: &[&str]) -> Self {
        let mut context = kind.as_bytes().to_vec();
        for name in names {
            context.push(0);
            context.extend(name.as_bytes());
        }
        Self(context)
    }

    fn authenticated(&self, header: &[u8]) -> Vec<u8> {
        [header, &self.0].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const TWO: &str = "f00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn keys(text: &str) -> ClusterKeys {
        text.parse().unwrap()
    }

    fn context() -> Context {
        Context::new("key", &["1001", "k1"])
    }

    #[test]
    fn what_was_sealed_opens() {
        let keys = keys(ONE);
        let (first, second) = (keys.seal(&context(), b"hush"), keys.seal(&context(), b"hush"));
        assert_ne!(first, second, "the same secret must not look the same twice");
        assert_eq!(keys.open(&context(), &first).unwrap(), b"hush");
        assert_eq!(keys.open(&context(), &second).unwrap(), b"hush");
        assert_eq!(keys.open(&context(), &keys.seal(&context(), b"")).unwrap(), b"");
        assert!(!first.windows(4).any(|bytes| bytes == b"hush"));
    }

    #[test]
    fn it_opens_only_as_what_it_is() {
        let keys = keys(ONE);
        let sealed = keys.seal(&context(), b"hush");
        for other in [("key", ["1001", "k2"]), ("key", ["1002", "k1"]), ("header", ["1001", "k1"])] {
            assert_eq!(keys.open(&Context::new(other.0, &other.1), &sealed), Err(OpenError::Broken), "{other:?}");
        }
        assert_eq!(keys.open(&Context::new("key", &["1001k1"]), &sealed), Err(OpenError::Broken));
        assert_eq!(keys.open(&context(), b""), Err(OpenError::UnknownForm));
        assert_eq!(keys.open(&context(), b"hush-hush"), Err(OpenError::UnknownForm));
        assert_eq!(keys.open(&context(), &sealed[..3]), Err(OpenError::Broken));
        assert_eq!(keys.open(&context(), &sealed[..20]), Err(OpenError::Broken));
    }

    #[test]
    fn a_key_is_replaced_in_steps() {
        let (old, new) = (keys(ONE), keys(TWO));
        let (adding, replacing) = (keys(&format!("{ONE},{TWO}")), keys(&format!("{TWO}\n{ONE}\n")));
        let sealed = old.seal(&context(), b"hush");
        assert_eq!(new.open(&context(), &sealed), Err(OpenError::UnknownKey(old.first().id)));
        assert!(!adding.needs_reseal(&sealed) && replacing.needs_reseal(&sealed));
        let opened = replacing.open(&context(), &sealed).unwrap();
        let resealed = replacing.seal(&context(), &opened);
        assert!(!replacing.needs_reseal(&resealed));
        for keys in [&adding, &new] {
            assert_eq!(keys.open(&context(), &resealed).unwrap(), b"hush");
        }
    }

    #[test]
    fn a_node_of_any_known_key_is_one_of_us() {
        let (one, two, both) = (keys(ONE), keys(TWO), keys(&format!("{ONE} {TWO}")));
        assert!(both.is_node_token(one.node_token()) && both.is_node_token(two.node_token()));
        assert!(one.is_node_token(both.node_token()));
        assert!(!one.is_node_token(two.node_token()) && !one.is_node_token("") && !one.is_node_token("node_"));
        assert!(one.node_token().starts_with("node_") && one.node_token().len() == 69);
    }

    #[test]
    fn a_connection_key_is_known_to_all_who_know_the_cluster_key() {
        let (one, two, both) = (keys(ONE), keys(TWO), keys(&format!("{ONE} {TWO}")));
        let of = |keys: &ClusterKeys| keys.authenticate_connection(b"key");
        assert!(both.is_of_connection(b"key", &of(&one)) && both.is_of_connection(b"key", &of(&two)));
        assert!(one.is_of_connection(b"key", &of(&both)));
        assert!(!one.is_of_connection(b"key", &of(&two)) && !one.is_of_connection(b"kez", &of(&one)));
        assert!(!one.is_of_connection(b"key", &of(&one)[1..]) && !one.is_of_connection(b"key", b""));
    }

    #[test]
    fn texts() {
        assert_eq!(keys(&format!(" {ONE} ,\n{TWO}\t")).ids().count(), 2);
        assert_eq!(keys(ONE).first().id, keys(&ONE.to_uppercase()).first().id);
        let refused = |text: &str| text.parse::<ClusterKeys>().unwrap_err();
        assert_eq!(refused(" , "), InvalidClusterKeys::None);
        assert_eq!(refused(&ONE[1..]), InvalidClusterKeys::Form(1));
        assert_eq!(refused(&format!("{ONE},{}g", &TWO[1..])), InvalidClusterKeys::Form(2));
        assert_eq!(refused(&format!("{ONE},{ONE}")), InvalidClusterKeys::Twice(keys(ONE).first().id));
        assert_eq!(keys(&ClusterKeys::generate_text()).ids().count(), 1);
        let id = keys(ONE).first().id;
        assert_eq!(ClusterKeyId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn keys_do_not_show_themselves() {
        let keys = keys(ONE);
        let shown = format!("{keys:?} {}", format!("{ONE},x").parse::<ClusterKeys>().unwrap_err());
        assert!(!shown.contains("0001") && !shown.contains(keys.node_token()), "{shown}");
        assert!(shown.contains(&keys.first().id.to_string()), "{shown}");
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8) {
            let keys = keys(ONE);
            let mut sealed = keys.seal(&context(), b"hush-hush");
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert!(keys.open(&context(), &sealed).is_err());
        }
    }
}
