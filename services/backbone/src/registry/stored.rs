//! The stored form of an app: `StoredApp` of `backbone.proto`.
//!
//! Reading is strict. What this process does not fully understand it refuses, since a half-understood app is one that
//! serves somebody it should not.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use channels::{
    App, AppId, Capability, DEFAULT_RETENTION, InvalidAppId, InvalidCapability, InvalidKeyName, InvalidNamespaces,
    InvalidOriginPattern, InvalidWebhook, Key, KeyName, Namespace, Namespaces, Quota, Secret, Tier,
};
use prost::Message as _;
use proto::backbone::{StoredApp, stored_app};

use super::{RegisteredApp, RevokedKey};

mod settings;
mod webhooks;

/// The newest format that this process reads, and the one it writes.
const VERSION: u32 = 1;

/// Why a stored app cannot be used. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a version of Fanfare that this one does not know.
    #[error("it is stored in format {0} and this process knows only format {VERSION}; a newer fanfare wrote it")]
    Format(u32),
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
    /// Two keys of one name.
    #[error("it has two keys called {0}")]
    DuplicateKey(KeyName),
    /// A capability that this process does not understand.
    #[error("it has a key with an invalid capability")]
    Capability(#[from] InvalidCapability),
    /// A tier that this process does not know.
    #[error("a namespace has the unknown tier {0}")]
    Tier(i32),
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

/// The bytes to store for `app`. The revision is not part of them.
pub(super) fn encode(app: &RegisteredApp) -> Bytes {
    let RegisteredApp { app, revoked, created_ms, revision: _ } = app;
    let active = app.keys.iter().map(|key| stored_app::StoredKey {
        name: key.name.as_str().to_owned(),
        secret: key.secret.expose().to_owned(),
        capability: grants(&key.capability),
        created_ms: key.created_ms,
        revoked_ms: 0,
    });
    let revoked = revoked.iter().map(|key| stored_app::StoredKey {
        name: key.name.as_str().to_owned(),
        secret: String::new(),
        capability: grants(&key.capability),
        created_ms: key.created_ms,
        // 0 means active.
        revoked_ms: key.revoked_ms.max(1),
    });
    let mut keys: Vec<_> = active.chain(revoked).collect();
    keys.sort_by_key(|key| key.created_ms);
    let stored = StoredApp {
        version: VERSION,
        id: app.id.as_str().to_owned(),
        name: app.name.clone(),
        enabled: app.enabled,
        keys,
        pusher: Some(settings::pusher(&app.pusher)),
        quota: Some(stored_app::Quota { connections: app.quota.connections }),
        namespaces: app.namespaces.iter().map(namespace).collect(),
        limits: Some(settings::limits(&app.limits)),
        created_ms: *created_ms,
        webhooks: app.webhooks.iter().map(webhooks::webhook).collect(),
    };
    stored.encode_to_vec().into()
}

/// Reads what is stored for the app `id` at `revision`.
pub(super) fn decode(id: &AppId, value: &[u8], revision: u64) -> Result<RegisteredApp, Unreadable> {
    let stored = StoredApp::decode(value)?;
    if stored.version != VERSION {
        return Err(Unreadable::Format(stored.version));
    }
    if stored.id != id.as_str() {
        return Err(Unreadable::Misplaced(stored.id));
    }
    let mut names = HashSet::new();
    let mut keys = Vec::new();
    let mut revoked = Vec::new();
    for key in stored.keys {
        let name = KeyName::new(&key.name)?;
        if !names.insert(name.clone()) {
            return Err(Unreadable::DuplicateKey(name));
        }
        let capability = Capability::new(key.capability.into_iter().map(|grant| (grant.resource, grant.operations)))?;
        let created_ms = key.created_ms;
        if key.revoked_ms == 0 {
            let secret = Secret::new(&key.secret).ok_or_else(|| Unreadable::NoSecret(name.clone()))?;
            keys.push(Key { name, secret, previous: None, capability, created_ms });
        } else {
            revoked.push(RevokedKey { name, capability, created_ms, revoked_ms: key.revoked_ms });
        }
    }
    let namespaces = stored.namespaces.into_iter().map(read_namespace).collect::<Result<_, _>>()?;
    let app = App {
        id: id.clone(),
        name: stored.name,
        enabled: stored.enabled,
        keys,
        pusher: settings::read_pusher(stored.pusher.unwrap_or_default())?,
        limits: settings::read_limits(stored.limits.unwrap_or_default()),
        quota: Quota { connections: stored.quota.unwrap_or_default().connections, ..Quota::default() },
        namespaces: Namespaces::new(namespaces)?,
        webhooks: webhooks::read(stored.webhooks)?,
    };
    Ok(RegisteredApp { app, revoked, created_ms: stored.created_ms, revision })
}

fn grants(capability: &Capability) -> Vec<stored_app::Grant> {
    let grant = |(resource, operations): (&str, Vec<&str>)| stored_app::Grant {
        resource: resource.to_owned(),
        operations: operations.into_iter().map(str::to_owned).collect(),
    };
    capability.iter().map(grant).collect()
}

fn namespace(rule: &Namespace) -> stored_app::Namespace {
    let (tier, retention) = match rule.tier {
        Tier::Ephemeral => (stored_app::Tier::Ephemeral, Duration::ZERO),
        Tier::Recoverable => (stored_app::Tier::Recoverable, Duration::ZERO),
        Tier::Persistent { retention } => (stored_app::Tier::Persistent, retention),
    };
    stored_app::Namespace { prefix: rule.prefix.clone(), tier: tier.into(), retention_seconds: retention.as_secs() }
}

fn read_namespace(stored: stored_app::Namespace) -> Result<Namespace, Unreadable> {
    let tier = match stored_app::Tier::try_from(stored.tier) {
        Ok(stored_app::Tier::Ephemeral) => Tier::Ephemeral,
        Ok(stored_app::Tier::Unspecified | stored_app::Tier::Recoverable) => Tier::Recoverable,
        Ok(stored_app::Tier::Persistent) if stored.retention_seconds == 0 => {
            Tier::Persistent { retention: DEFAULT_RETENTION }
        }
        Ok(stored_app::Tier::Persistent) => {
            Tier::Persistent { retention: Duration::from_secs(stored.retention_seconds) }
        }
        Err(_) => return Err(Unreadable::Tier(stored.tier)),
    };
    Ok(Namespace::new(&stored.prefix, tier))
}
