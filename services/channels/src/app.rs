//! Apps (tenants) and their keys.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Capability, ChannelKind, ChannelName, Limits, Namespaces, OriginPattern, Quota, SlowConsumers, Tier, Webhook,
    WebhookEvent,
};

/// Longest app id in bytes; with the channel token it keeps subjects below 256 bytes.
const MAX_APP_ID_BYTES: usize = 32;

/// Longest key name in bytes.
const MAX_KEY_NAME_BYTES: usize = 128;

/// An app's id: 1 to 32 of `A-Z a-z 0-9 _ -`, safe in paths, subjects and KV keys. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(Arc<str>);

/// A text that is not an [`AppId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("app id must be 1 to {MAX_APP_ID_BYTES} letters, digits, '-' or '_'")]
pub struct InvalidAppId;

impl AppId {
    /// Checks `id`.
    pub fn new(id: &str) -> Result<Self, InvalidAppId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if id.is_empty() || id.len() > MAX_APP_ID_BYTES || !id.bytes().all(allowed) {
            return Err(InvalidAppId);
        }
        Ok(Self(id.into()))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key's public name, which clients put in the URL. Any printable ASCII without `:` (it travels as
/// `scheme://key:secret@host`), `/`, `?`, `#` or white space. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(Arc<str>);

/// A text that is not a [`KeyName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key name must be 1 to {MAX_KEY_NAME_BYTES} printable ASCII characters without ':', '/', '?', '#' or space")]
pub struct InvalidKeyName;

impl KeyName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidKeyName> {
        let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b':' | b'/' | b'?' | b'#');
        if name.is_empty() || name.len() > MAX_KEY_NAME_BYTES || !name.bytes().all(allowed) {
            return Err(InvalidKeyName);
        }
        Ok(Self(name.into()))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// So that keys are found by the text that a client sent.
impl Borrow<str> for KeyName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A signing secret. Its debug form never shows it, and it has no display form.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps `secret`; `None` if it is empty, since an empty secret signs for anybody.
    pub fn new(secret: &str) -> Option<Self> {
        (!secret.is_empty()).then(|| Self(secret.into()))
    }

    /// The secret itself, for signing only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A key of an app: who signs with `secret` may do what `capability` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Public name, unique in the cluster.
    pub name: KeyName,
    /// What signs.
    pub secret: Secret,
    /// What signed before the last rotation, and still does for a while.
    pub previous: Option<PreviousSecret>,
    /// What it allows.
    pub capability: Capability,
    /// Whether tokens that it signs can be revoked before they expire; they live for an hour at most, then.
    pub revocable_tokens: bool,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// The secret that a key had before it was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: Secret,
    /// Until when it signs, milliseconds since the Unix epoch.
    pub until_ms: u64,
}

impl Key {
    /// The secrets that sign at `now_ms`, newest first.
    pub fn secrets(&self, now_ms: u64) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.as_ref().filter(|previous| now_ms < previous.until_ms);
        std::iter::once(&self.secret).chain(previous.map(|previous| &previous.secret))
    }
}

/// Switches of the Pusher surface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PusherSettings {
    /// Whether clients may send client events. Off by default, as at Pusher.
    pub client_events: bool,
    /// Whether clients may sign in as a user. On by default.
    pub user_authentication: bool,
    /// Whether subscribers (and webhooks) are told how many subscribe to their channel. Off by default, as at Pusher.
    pub subscription_count: bool,
    /// Whether signed-in users may watch which others are online. Off by default, as at Pusher.
    pub watchlist: bool,
    /// If set, connections that have neither signed in nor joined a private or presence channel within this time are
    /// closed. Unset by default.
    pub authorized_connections: Option<Duration>,
    /// Whether delivered events carry their position, for clients that catch up after a reconnect. On by default.
    pub positions: bool,
    /// Whether connections without TLS are refused. Off by default.
    pub tls_only: bool,
    /// Where web pages that connect may come from; empty for anywhere.
    pub allowed_origins: Vec<OriginPattern>,
}

impl PusherSettings {
    /// Whether a page from `origin` may connect. Who sends no origin is no browser, and could send any.
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        self.allowed_origins.is_empty() || self.allowed_origins.iter().any(|pattern| pattern.matches(origin))
    }

    /// The time for [`Self::authorized_connections`] where only the switch is given: Pusher's "about 30 s".
    pub const AUTHORIZATION_TIMEOUT: Duration = Duration::from_secs(30);
}

impl Default for PusherSettings {
    fn default() -> Self {
        Self {
            client_events: false,
            user_authentication: true,
            subscription_count: false,
            watchlist: false,
            authorized_connections: None,
            positions: true,
            tls_only: false,
            allowed_origins: Vec::new(),
        }
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// A name for people.
    pub name: String,
    /// A disabled app refuses every connection and request.
    pub enabled: bool,
    /// Active keys, oldest first. A revoked key is not here.
    pub keys: Vec<Key>,
    /// Pusher surface switches.
    pub pusher: PusherSettings,
    /// Per-item limits.
    pub limits: Limits,
    /// Quotas.
    pub quota: Quota,
    /// Rules by channel-name prefix.
    pub namespaces: Namespaces,
    /// Who is told of what happens in its channels.
    pub webhooks: Vec<Webhook>,
}

impl App {
    /// The active key called `name`.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name.as_str() == name)
    }

    /// What the backbone promises for `channel`: what its namespace says, and for a cache channel at least that its last
    /// event is stored for as long as it is to be cached.
    pub fn tier(&self, channel: &ChannelName) -> Tier {
        let tier = self.namespaces.tier(channel.as_str());
        if !ChannelKind::of(channel.as_str()).is_cache() {
            return tier;
        }
        let cached = self.limits.cache_ttl.max(Namespaces::SHORTEST_RETENTION);
        match tier {
            Tier::Persistent { retention } => Tier::Persistent { retention: retention.max(cached) },
            Tier::Ephemeral | Tier::Recoverable => Tier::Persistent { retention: cached },
        }
    }

    /// Whether clients may send client events to `channel`.
    pub fn client_events(&self, channel: &ChannelName) -> bool {
        let rule = self.namespaces.rule(channel.as_str());
        rule.and_then(|rule| rule.client_events).unwrap_or(self.pusher.client_events)
    }

    /// Most distinct users in `channel`, if it is a presence channel.
    pub fn presence_members(&self, channel: &ChannelName) -> usize {
        let rule = self.namespaces.rule(channel.as_str());
        rule.and_then(|rule| rule.presence_members).unwrap_or(self.limits.presence_members)
    }

    /// What becomes of subscribers of `channel` that do not read fast enough.
    pub fn slow_consumers(&self, channel: &ChannelName) -> SlowConsumers {
        self.namespaces.rule(channel.as_str()).map(|rule| rule.slow_consumers).unwrap_or_default()
    }

    /// Whether webhooks that ask for it are told of `event` in `channel`.
    pub fn tells_webhooks(&self, channel: &ChannelName, event: WebhookEvent) -> bool {
        self.namespaces.tells_webhooks(channel.as_str(), event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_ids() {
        for id in ["1001", "a_B-9", &"9".repeat(32)] {
            assert_eq!(AppId::new(id).unwrap().as_str(), id);
        }
        for id in ["", "a.b", "a*", "a b", "é", &"9".repeat(33)] {
            assert_eq!(AppId::new(id), Err(InvalidAppId), "{id}");
        }
    }

    #[test]
    fn key_names() {
        for name in ["9f2c4be1d07a4c3e8b51", "1001.AbC-1_2", "app-key"] {
            assert_eq!(KeyName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a:b", "a b", "a/b", "ключ", &"k".repeat(129)] {
            assert_eq!(KeyName::new(name), Err(InvalidKeyName), "{name}");
        }
    }

    #[test]
    fn a_previous_secret_signs_until_its_end() {
        let secret = |text| Secret::new(text).unwrap();
        let mut key = Key {
            name: KeyName::new("k").unwrap(),
            secret: secret("new"),
            previous: None,
            capability: Capability::all(),
            revocable_tokens: false,
            created_ms: 0,
        };
        let signing = |key: &Key, now| key.secrets(now).map(|secret| secret.expose().to_owned()).collect::<Vec<_>>();
        assert_eq!(signing(&key, 0), ["new"]);
        key.previous = Some(PreviousSecret { secret: secret("old"), until_ms: 10 });
        assert_eq!(signing(&key, 9), ["new", "old"]);
        assert_eq!(signing(&key, 10), ["new"]);
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hush-hush").unwrap();
        assert!(!format!("{secret:?}").contains("hush"));
        assert_eq!(Secret::new(""), None);
    }
}
