//! The stored form of an app: `StoredApp` of `backbone.proto`.
//!
//! Reading is strict. What this process does not fully understand it refuses, since a half-understood app is one that
//! serves somebody it should not.
//!
//! Secrets are sealed, each as that of its own key or header, so that none can be moved to where somebody else may use
//! it. Apps of format 1, in which they were not, are read; what is written is format 2.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;
use channels::{
    App, AppId, InvalidAppId, InvalidCapability, InvalidKeyName, InvalidNamespaces, InvalidOriginPattern,
    InvalidWebhook, KeyName, Namespaces,
};
use prost::Message as _;
use proto::backbone::StoredApp;

use super::{RegisteredApp, RevokedKey};
use crate::sealing::{ClusterKeyId, ClusterKeys, Context, OpenError, sealed_by};

mod keys;
mod namespaces;
mod settings;
mod webhooks;

pub(super) use keys::{key, read_key};

/// The newest format that this process reads, and the one it writes.
const VERSION: u32 = 2;

/// The format in which secrets were not sealed yet.
const PLAIN: u32 = 1;

/// Why a stored app cannot be used. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a version of Fanfare that this one does not know.
    #[error("it is stored in format {0} and this process knows only those up to {VERSION}; a newer fanfare wrote it")]
    Format(u32),
    /// It holds more than this version knows, which would be lost if it were written back.
    #[error("a newer fanfare has given it settings that this one does not know; change it through that one")]
    MoreThanKnown,
    /// Not protobuf.
    #[error("it is damaged")]
    Malformed(#[from] prost::DecodeError),
    /// The entry of one app holds another.
    #[error("its entry holds app {0:?}")]
    Misplaced(String),
    /// An app id that is none.
    #[error("it names an invalid app id")]
    AppId(#[from] InvalidAppId),
    /// A key name that is none.
    #[error("it has a key with an invalid name")]
    KeyName(#[from] InvalidKeyName),
    /// An active key that anybody could sign with.
    #[error("its key {0} has no secret")]
    NoSecret(KeyName),
    /// A secret that cannot be opened here.
    #[error("the secret of its key {key} cannot be opened: {source}")]
    Secret {
        /// The key.
        key: KeyName,
        /// Why not.
        source: OpenError,
    },
    /// A header of a webhook that cannot be opened here.
    #[error("the header {header} of its webhook {webhook} cannot be opened: {source}")]
    Header {
        /// The webhook.
        webhook: String,
        /// The header's name.
        header: String,
        /// Why not.
        source: OpenError,
    },
    /// What is remembered of a create cannot be opened here.
    #[error("the request that made it cannot be opened: {0}")]
    Request(OpenError),
    /// Two keys of one name.
    #[error("it has two keys called {0}")]
    DuplicateKey(KeyName),
    /// A capability that this process does not understand.
    #[error("it has a key with an invalid capability")]
    Capability(#[from] InvalidCapability),
    /// A tier that this process does not know.
    #[error("a namespace has the unknown tier {0}")]
    Tier(i32),
    /// A policy for slow consumers that this process does not know.
    #[error("a namespace has the unknown policy {0} for slow consumers")]
    SlowConsumers(i32),
    /// An origin that is none.
    #[error("it allows an invalid origin")]
    Origin(#[from] InvalidOriginPattern),
    /// Namespaces that contradict each other.
    #[error("its namespaces are invalid")]
    Namespaces(#[from] InvalidNamespaces),
    /// A webhook that could not be set.
    #[error("it has an invalid webhook")]
    Webhook(#[from] InvalidWebhook),
    /// A webhook wants to be told of something that this process does not know.
    #[error("a webhook wants the unknown event {0:?}")]
    WebhookEvent(String),
    /// Two webhooks of one id.
    #[error("it has two webhooks called {0}")]
    DuplicateWebhook(String),
}

/// Seals and opens the secrets of one app.
pub(super) struct Seal<'a> {
    keys: &'a ClusterKeys,
    app: &'a AppId,
    /// The format of what is opened.
    version: u32,
}

impl<'a> Seal<'a> {
    /// For writing, and for what this version of Fanfare has written.
    pub(super) fn new(keys: &'a ClusterKeys, app: &'a AppId) -> Self {
        Self { keys, app, version: VERSION }
    }

    fn seal(&self, kind: &str, names: &[&str], secret: &str) -> Bytes {
        self.keys.seal(&self.context(kind, names), secret.as_bytes()).into()
    }

    /// The secret, from whichever of the two is that of the format.
    fn open(&self, kind: &str, names: &[&str], plain: String, sealed: &[u8]) -> Result<String, OpenError> {
        if self.version == PLAIN {
            return Ok(plain);
        }
        let secret = self.keys.open(&self.context(kind, names), sealed)?;
        // Only texts are sealed.
        String::from_utf8(secret).map_err(|_| OpenError::Broken)
    }

    fn context(&self, kind: &str, names: &[&str]) -> Context {
        Context::new(kind, &[&[self.app.as_str()], names].concat())
    }
}

/// The bytes to store for `app`. The revision is not part of them.
pub(super) fn encode(app: &RegisteredApp, keys: &ClusterKeys) -> Bytes {
    form(app, keys).encode_to_vec().into()
}

/// What is stored for `app`.
pub(super) fn form(app: &RegisteredApp, keys: &ClusterKeys) -> StoredApp {
    let RegisteredApp { app, revoked, created_ms, revision: _, made_by, is_partial: _ } = app;
    let seal = Seal::new(keys, &app.id);
    let mut stored_keys: Vec<_> = app.keys.iter().map(|of| key(of, &seal)).collect();
    stored_keys.extend(revoked.iter().map(keys::revoked));
    stored_keys.sort_by_key(|key| key.created_ms);
    StoredApp {
        version: VERSION,
        id: app.id.as_str().to_owned(),
        name: app.name.clone(),
        enabled: app.enabled,
        keys: stored_keys,
        pusher: Some(settings::pusher(&app.pusher)),
        quota: Some(settings::quota(&app.quota)),
        namespaces: app.namespaces.iter().map(namespaces::namespace).collect(),
        limits: Some(settings::limits(&app.limits)),
        created_ms: *created_ms,
        webhooks: app.webhooks.iter().map(|of| webhooks::webhook(of, &seal)).collect(),
        made_by: made_by.clone(),
    }
}

/// Reads what is stored for the app `id` at `revision`.
pub(super) fn decode(id: &AppId, value: &[u8], revision: u64, keys: &ClusterKeys) -> Result<RegisteredApp, Unreadable> {
    let stored = StoredApp::decode(value)?;
    // Fields that are not known are passed over.
    let is_partial = stored.encoded_len() < value.len();
    Ok(RegisteredApp { is_partial, ..read(id, stored, revision, keys)? })
}

/// Reads `stored`, which is to be the app `id`.
pub(super) fn read(
    id: &AppId,
    stored: StoredApp,
    revision: u64,
    keys: &ClusterKeys,
) -> Result<RegisteredApp, Unreadable> {
    check_version(stored.version)?;
    if stored.id != id.as_str() {
        return Err(Unreadable::Misplaced(stored.id));
    }
    let seal = Seal { keys, app: id, version: stored.version };
    let mut names = HashSet::new();
    let mut active = Vec::new();
    let mut revoked = Vec::new();
    for key in stored.keys {
        let name = KeyName::new(&key.name)?;
        if !names.insert(name.clone()) {
            return Err(Unreadable::DuplicateKey(name));
        }
        if key.revoked_ms == 0 {
            active.push(read_key(name, key, &seal)?);
        } else {
            let capability = keys::read_capability(key.capability)?;
            let (created_ms, revoked_ms) = (key.created_ms, key.revoked_ms);
            revoked.push(RevokedKey { name, capability, created_ms, revoked_ms });
        }
    }
    let rules = stored.namespaces.into_iter().map(namespaces::read).collect::<Result<_, _>>()?;
    let app = App {
        id: id.clone(),
        name: stored.name,
        enabled: stored.enabled,
        keys: active,
        pusher: settings::read_pusher(stored.pusher.unwrap_or_default())?,
        limits: settings::read_limits(stored.limits.unwrap_or_default()),
        quota: settings::read_quota(stored.quota.unwrap_or_default()),
        namespaces: Namespaces::new(rules)?,
        webhooks: webhooks::read(stored.webhooks, &seal)?,
    };
    let (created_ms, made_by) = (stored.created_ms, stored.made_by);
    Ok(RegisteredApp { app, revoked, created_ms, revision, made_by, is_partial: false })
}

fn check_version(version: u32) -> Result<(), Unreadable> {
    if (PLAIN..=VERSION).contains(&version) { Ok(()) } else { Err(Unreadable::Format(version)) }
}

/// How the secrets of a stored app are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Whether it is of a format in which they were not sealed.
    pub(super) plain: bool,
    /// The cluster keys that they are sealed with.
    pub(super) sealed_by: BTreeSet<ClusterKeyId>,
    /// When the first of those that were replaced expires.
    pub(super) expires_ms: Option<u64>,
}

/// How the secrets in `value` are kept. Opens none.
pub(super) fn kept(value: &[u8]) -> Result<Kept, Unreadable> {
    let stored = StoredApp::decode(value)?;
    check_version(stored.version)?;
    let of_keys = stored.keys.iter().flat_map(|key| [&key.sealed_secret, &key.sealed_previous]);
    let of_headers = stored.webhooks.iter().flat_map(|webhook| &webhook.headers).map(|header| &header.sealed_value);
    let sealed = of_keys.chain(of_headers).filter_map(|sealed| sealed_by(sealed).ok());
    let sealed_by = sealed.collect();
    let expires_ms = stored.keys.iter().map(|key| key.previous_until_ms).filter(|until_ms| *until_ms > 0).min();
    Ok(Kept { plain: stored.version == PLAIN, sealed_by, expires_ms })
}
