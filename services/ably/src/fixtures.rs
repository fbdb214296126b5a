//! The app that tests talk to.

use channels::{App, AppId, Capability, ConnectionId, Limits, Namespaces, PusherSettings, Quota};

/// The connection of test sessions.
pub(crate) const CONNECTION: &str = "c0nnA";

pub(crate) fn app() -> App {
    App {
        id: AppId::new("app").unwrap(),
        name: "test".to_owned(),
        enabled: true,
        keys: Vec::new(),
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

pub(crate) fn connection() -> ConnectionId {
    ConnectionId::new(CONNECTION).unwrap()
}

/// The capability that `words` are: `channel=operation,operation channel=…`; a channel alone may be used for everything.
pub(crate) fn capability(words: &str) -> Capability {
    let entries = words.split_whitespace().map(|entry| {
        let (resource, operations) = entry.rsplit_once('=').unwrap_or((entry, "*"));
        (resource.to_owned(), operations.split(','))
    });
    Capability::new(entries).unwrap()
}
