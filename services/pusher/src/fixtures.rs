//! The app that tests talk to.

use auth::Signer;
use channels::{App, AppId, Capability, Key, KeyName, Limits, Namespaces, PusherSettings, Quota, Secret};

/// Its key; also the one that signs in the protocol's documentation.
pub(crate) const KEY: &str = "9f2c4be1d07a4c3e8b51";

/// The socket id of test connections.
pub(crate) const SOCKET_ID: &str = "418372.90513377";

pub(crate) fn app() -> App {
    App {
        id: AppId::new("3301").unwrap(),
        name: "test".to_owned(),
        enabled: true,
        keys: vec![key(KEY, Capability::all())],
        pusher: PusherSettings { client_events: true, ..PusherSettings::default() },
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

pub(crate) fn key(name: &str, capability: Capability) -> Key {
    let secret = Secret::new("4b7e0c9a62d1f5833ae6").unwrap();
    let name = KeyName::new(name).unwrap();
    Key { name, secret, previous: None, capability, revocable_tokens: false, created_ms: 0 }
}

pub(crate) fn capability(resource: &str, word: &str) -> Capability {
    Capability::new([(resource.to_owned(), [word])]).unwrap()
}

pub(crate) fn signer() -> Signer {
    Signer::from(&app().keys[0])
}
