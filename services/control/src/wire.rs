//! Between the messages of `control.proto` and the domain.

use backbone::dead_letters::DeadLetterId;
use backbone::registry::RegisteredApp;
use channels::{Capability, Key, KeyName, Secret};
use clock::unix_ms;
use proto::backbone::DeadLetter;
use proto::control as wire;

use crate::check;
use crate::mistakes::Mistakes;

mod settings;

pub(crate) use settings::{
    namespace, read_limits, read_namespace, read_namespaces, read_pusher, read_quota, read_webhooks, settings, tier,
};

pub(crate) fn app(registered: &RegisteredApp) -> wire::App {
    let RegisteredApp { app, revoked, created_ms, revision, .. } = registered;
    let active = app.keys.iter().map(key);
    let revoked = revoked.iter().map(|key| wire::Key {
        name: key.name.as_str().to_owned(),
        capability: Some(capability(&key.capability)),
        created_ms: key.created_ms,
        revoked_ms: key.revoked_ms,
        overlap_until_ms: 0,
        revocable_tokens: false,
    });
    let mut keys: Vec<_> = active.chain(revoked).collect();
    keys.sort_by_key(|key| key.created_ms);
    wire::App {
        id: app.id.as_str().to_owned(),
        enabled: app.enabled,
        keys,
        created_ms: *created_ms,
        revision: *revision,
        ..settings(app)
    }
}

/// The key called `name` as the app has it, active or revoked.
pub(crate) fn key_of(registered: &RegisteredApp, name: &KeyName) -> Option<wire::Key> {
    app(registered).keys.into_iter().find(|key| key.name == name.as_str())
}

pub(crate) fn key(key: &Key) -> wire::Key {
    let overlap = key.previous.as_ref().map_or(0, |previous| previous.until_ms);
    wire::Key {
        name: key.name.as_str().to_owned(),
        capability: Some(capability(&key.capability)),
        created_ms: key.created_ms,
        revoked_ms: 0,
        overlap_until_ms: if overlap > unix_ms() { overlap } else { 0 },
        revocable_tokens: key.revocable_tokens,
    }
}

/// A new key with its secret: the one answer that has it.
pub(crate) fn created_key(of: &Key) -> wire::CreateKeyResponse {
    wire::CreateKeyResponse { key: Some(key(of)), secret: of.secret.expose().to_owned() }
}

fn capability(capability: &Capability) -> wire::Capability {
    let resources = capability.iter().map(|(resource, operations)| {
        let operations = operations.into_iter().map(str::to_owned).collect();
        (resource.to_owned(), wire::capability::Operations { operations })
    });
    wire::Capability { resources: resources.collect() }
}

pub(crate) fn dead_letter(id: &DeadLetterId, letter: DeadLetter) -> wire::DeadLetter {
    let event = letter.event.unwrap_or_default();
    wire::DeadLetter {
        id: id.as_str().to_owned(),
        webhook_id: letter.webhook_id,
        url: letter.url,
        event: event.name,
        channel: event.channel,
        user_id: event.user_id,
        time_ms: event.time_ms,
        attempts: letter.attempts,
        reason: letter.reason,
        failed_ms: letter.failed_ms,
    }
}

/// What a key allows as one line of text.
pub(crate) fn allows_text(of: &Key) -> String {
    let resource = |(resource, operations): (&str, Vec<&str>)| format!("{resource:?}: {}", operations.join(" "));
    let capability = of.capability.iter().map(resource).collect::<Vec<_>>().join(", ");
    if of.revocable_tokens { format!("{capability}; tokens can be revoked") } else { capability }
}

/// A key as a request wants it; what is `None` is to be made up.
#[derive(Debug)]
pub(crate) struct WantedKey {
    pub(crate) name: Option<KeyName>,
    pub(crate) secret: Option<Secret>,
    pub(crate) capability: Capability,
    pub(crate) revocable_tokens: bool,
}

pub(crate) fn read_key(key: Option<wire::NewKey>, mistakes: &mut Mistakes) -> WantedKey {
    let wire::NewKey { name, secret, capability, revocable_tokens } = key.unwrap_or_default();
    let given = |text: String| (!text.is_empty()).then_some(text);
    let capability = capability.map(|capability| {
        let resources = capability.resources.into_iter().map(|(resource, words)| (resource, words.operations));
        check::capability(resources.collect())
    });
    WantedKey {
        name: given(name).and_then(|name| mistakes.keep("key.name", KeyName::new(&name))),
        secret: given(secret).and_then(|secret| mistakes.keep("key.secret", check::secret(&secret))),
        capability: capability
            .and_then(|capability| mistakes.keep("key.capability", capability))
            .unwrap_or_else(Capability::all),
        revocable_tokens,
    }
}
