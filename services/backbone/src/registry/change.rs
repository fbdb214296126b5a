//! New settings of an app that is there.

use std::time::Duration;

use channels::{App, Limits, Namespaces, OriginPattern, PusherSettings, Quota, Webhook};

/// New settings of an app; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppChange {
    /// A name for people.
    pub name: Option<String>,
    /// Whether the app is served.
    pub enabled: Option<bool>,
    /// Pusher surface switches.
    pub pusher: PusherChange,
    /// Quotas.
    pub quota: Option<Quota>,
    /// Per-item limits.
    pub limits: Option<Limits>,
    /// Rules by channel-name prefix.
    pub namespaces: Option<Namespaces>,
    /// All webhooks.
    pub webhooks: Option<Vec<Webhook>>,
}

/// New switches of the Pusher surface; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PusherChange {
    /// Whether clients may send client events.
    pub client_events: Option<bool>,
    /// Whether clients may sign in as a user.
    pub user_authentication: Option<bool>,
    /// Whether subscribers are told how many they are.
    pub subscription_count: Option<bool>,
    /// Whether signed-in users may watch others.
    pub watchlist: Option<bool>,
    /// Within what time connections must be authorized; `Some(None)`: never.
    pub authorized_connections: Option<Option<Duration>>,
    /// Whether delivered events carry their position.
    pub positions: Option<bool>,
    /// Whether connections without TLS are refused.
    pub tls_only: Option<bool>,
    /// Where web pages that connect may come from.
    pub allowed_origins: Option<Vec<OriginPattern>>,
}

impl AppChange {
    /// Makes the change.
    pub fn apply(&self, app: &mut App) {
        set(&mut app.name, self.name.as_ref());
        set(&mut app.enabled, self.enabled.as_ref());
        self.pusher.apply(&mut app.pusher);
        set(&mut app.quota, self.quota.as_ref());
        set(&mut app.limits, self.limits.as_ref());
        set(&mut app.namespaces, self.namespaces.as_ref());
        set(&mut app.webhooks, self.webhooks.as_ref());
    }
}

impl PusherChange {
    fn apply(&self, pusher: &mut PusherSettings) {
        set(&mut pusher.client_events, self.client_events.as_ref());
        set(&mut pusher.user_authentication, self.user_authentication.as_ref());
        set(&mut pusher.subscription_count, self.subscription_count.as_ref());
        set(&mut pusher.watchlist, self.watchlist.as_ref());
        set(&mut pusher.authorized_connections, self.authorized_connections.as_ref());
        set(&mut pusher.positions, self.positions.as_ref());
        set(&mut pusher.tls_only, self.tls_only.as_ref());
        set(&mut pusher.allowed_origins, self.allowed_origins.as_ref());
    }
}

fn set<T: Clone>(field: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}
