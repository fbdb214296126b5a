use std::collections::BTreeMap;
use std::sync::Arc;

use channels::{
    InvalidNamespaces, Key, Limits, Namespace, Namespaces, OriginPattern, PreviousSecret, PusherSettings, Quota,
    Secret, Tier, Webhook, WebhookEvent, WebhookEvents,
};
use proptest::prelude::*;
use prost::Message as _;
use proto::backbone::StoredApp;
use testkit::{Nats, Proxy, eventually, within};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::formats::rules;
use crate::sealing::OpenError;
use crate::{Backbone, Config, NatsConfig};

mod keeping;
mod once;

fn registry() -> Registry {
    Registry::new(&Backbone::memory(&Config::default()), keys())
}

/// The cluster's keys.
fn keys() -> Arc<ClusterKeys> {
    keys_of("ab")
}

/// The keys that consist of these bytes, each given as two digits.
fn keys_of(bytes: &str) -> Arc<ClusterKeys> {
    let keys: Vec<_> = bytes.split(' ').map(|byte| byte.repeat(32)).collect();
    Arc::new(keys.join(",").parse().unwrap())
}

fn id(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

fn name(name: &str) -> KeyName {
    KeyName::new(name).unwrap()
}

fn key(key: &str) -> Key {
    let secret = Secret::new("secret-of-a-key").unwrap();
    let capability = Capability::all();
    Key { name: name(key), secret, previous: None, capability, revocable_tokens: false, created_ms: 5 }
}

fn app(app: &str, keys: &[&str]) -> App {
    App {
        id: id(app),
        name: "demo".to_owned(),
        enabled: true,
        keys: keys.iter().map(|name| key(name)).collect(),
        pusher: PusherSettings::default(),
        limits: Limits::default(),
        quota: Quota::default(),
        namespaces: Namespaces::default(),
        webhooks: Vec::new(),
    }
}

fn registered(app: App, revoked: Vec<RevokedKey>) -> RegisteredApp {
    RegisteredApp { app, revoked, created_ms: 0, revision: 1, made_by: Bytes::new(), is_partial: false }
}

fn webhook(id: &str) -> Webhook {
    Webhook {
        id: id.to_owned(),
        url: format!("https://example.com/{id}"),
        events: WebhookEvents::ALL,
        prefix: String::new(),
        batch: None,
        headers: Vec::new(),
    }
}

fn disable() -> AppChange {
    AppChange { enabled: Some(false), ..AppChange::default() }
}

fn key_names(app: &App) -> Vec<&str> {
    app.keys.iter().map(|key| key.name.as_str()).collect()
}

mod stored_form {
    use super::*;

    fn round_trip(app: &RegisteredApp) -> RegisteredApp {
        stored::decode(&app.app.id, &stored::encode(app, &keys()), app.revision, &keys()).unwrap()
    }

    #[test]
    fn everything_survives() {
        let capability = Capability::new([("chat:*".to_owned(), ["publish", "subscribe"])]).unwrap();
        let mut full = app("1001", &["k1"]);
        full.keys[0].capability = capability.clone();
        full.keys[0].revocable_tokens = true;
        full.enabled = false;
        full.pusher = PusherSettings {
            client_events: true,
            user_authentication: false,
            subscription_count: true,
            watchlist: true,
            authorized_connections: Some(Duration::from_millis(1_500)),
            positions: false,
            tls_only: true,
            allowed_origins: vec![OriginPattern::new("*.example.com").unwrap()],
        };
        full.webhooks = vec![
            webhook("w1"),
            Webhook {
                events: [WebhookEvent::MemberAdded, WebhookEvent::CacheMiss].into_iter().collect(),
                prefix: "presence-".to_owned(),
                batch: Some(Duration::from_millis(50)),
                headers: vec![("X-B".to_owned(), "1".to_owned()), ("X-A".to_owned(), "2".to_owned())],
                ..webhook("w2")
            },
        ];
        full.keys[0].previous =
            Some(PreviousSecret { secret: Secret::new("the-secret-before").unwrap(), until_ms: 99 });
        full.quota = Quota {
            connections: Some(0),
            channels: Some(1),
            messages_in_per_second: Some(2),
            messages_out_per_second: Some(3),
            history_bytes: Some(4),
            presence_members: Some(5),
            webhooks_per_second: Some(6),
        };
        full.limits = Limits {
            channel_name_chars: 1,
            event_name_chars: 2,
            event_data_bytes: 3,
            message_bytes: 15,
            channels_per_publish: 4,
            events_per_batch: 5,
            client_events_per_second: 0,
            channels_per_connection: 7,
            presence_members: 8,
            presence_user_id_chars: 9,
            presence_user_info_bytes: 0,
            user_id_chars: 11,
            watchlist_users: 0,
            cache_ttl: Duration::from_secs(60),
            auth_timestamp_window: Duration::from_secs(14),
        };
        full.namespaces = Namespaces::new(rules().to_vec()).unwrap();
        let revoked = vec![RevokedKey { name: name("k0"), capability, created_ms: 1, revoked_ms: 2 }];
        let full = RegisteredApp {
            created_ms: 3,
            revision: 9,
            made_by: Bytes::from_static(b"m"),
            ..registered(full, revoked)
        };
        assert_eq!(round_trip(&full), full);

        let plain = registered(app("x", &[]), Vec::new());
        assert_eq!(round_trip(&plain), plain);
    }

    /// The bytes of an app as they were written before there were more switches than one, more limits than seven, and
    /// webhooks.
    #[test]
    fn an_app_that_was_stored_before_has_the_defaults() {
        let mut old = Vec::new();
        old.extend(b"\x08\x01\x12\x041001\x1a\x04demo\x20\x01"); // version 1, id, name, enabled
        old.extend(b"\x2a\x1d\x0a\x01k\x12\x0ea-known-secret\x1a\x06\x0a\x01*\x12\x01*\x20\x05"); // a key
        old.extend(b"\x32\x02\x08\x01"); // pusher: client_events
        old.extend(b"\x3a\x02\x08\x09"); // quota: 9 connections
        old.extend(b"\x4a\x03\x18\xa0\x1f"); // limits: 4000 bytes of event data
        old.extend(b"\x50\x4d"); // created_ms 77
        let read = stored::decode(&id("1001"), &old, 3, &keys()).unwrap();
        assert_eq!(read.app.pusher, PusherSettings { client_events: true, ..PusherSettings::default() });
        assert!(read.app.pusher.user_authentication && read.app.pusher.positions);
        assert_eq!(read.app.limits, Limits { event_data_bytes: 4_000, ..Limits::default() });
        assert_eq!((read.app.quota.connections, read.app.webhooks.len(), read.created_ms), (Some(9), 0, 77));
        assert_eq!(key_names(&read.app), ["k"]);
        assert_eq!(read.app.keys[0].secret.expose(), "a-known-secret");
    }

    /// An app with a rotated key and a webhook, each with secrets.
    fn secretive() -> RegisteredApp {
        let mut app = app("1", &["k"]);
        app.keys[0].previous = Some(PreviousSecret { secret: Secret::new("old-secret").unwrap(), until_ms: 9 });
        let headers = vec![("X-Token".to_owned(), "secret-header".to_owned())];
        app.webhooks = vec![Webhook { headers, ..webhook("w") }];
        registered(app, Vec::new())
    }

    #[test]
    fn no_secret_is_stored_as_it_is() {
        let stored = stored::encode(&secretive(), &keys());
        assert!(!stored.windows(6).any(|bytes| bytes == b"secret"));
        let found = stored.windows(7).any(|bytes| bytes == b"X-Token");
        assert!(found, "the search must be able to find something");
    }

    #[test]
    fn a_secret_cannot_be_moved() {
        let broken = |spoil: fn(&mut StoredApp)| {
            let mut stored = stored::form(&secretive(), &keys());
            spoil(&mut stored);
            let id = id(&stored.id);
            let read = stored::decode(&id, &stored.encode_to_vec(), 1, &keys());
            let Err(Unreadable::Secret { source, .. } | Unreadable::Header { source, .. }) = read else {
                panic!("{read:?}")
            };
            assert_eq!(source, OpenError::Broken);
        };
        broken(|app| app.id = "2".to_owned());
        broken(|app| app.keys[0].name = "other".to_owned());
        broken(|app| app.keys[0].sealed_secret = app.keys[0].sealed_previous.clone());
        broken(|app| app.webhooks[0].id = "other".to_owned());
        broken(|app| app.webhooks[0].headers[0].name = "X-Other".to_owned());
        broken(|app| app.webhooks[0].headers[0].sealed_value = app.keys[0].sealed_secret.clone());
    }

    #[test]
    fn secrets_open_with_any_known_key() {
        let app = secretive();
        let sealed = stored::encode(&app, &keys_of("ab"));
        let read = |keys: &str| stored::decode(&id("1"), &sealed, 1, &keys_of(keys));
        assert_eq!(read("cd ab").unwrap(), app);
        let of_ab = keys_of("ab").ids().next().unwrap();
        let refused = read("cd").unwrap_err();
        assert_eq!(refused, Unreadable::Secret { key: name("k"), source: OpenError::UnknownKey(of_ab) });
        assert!(refused.to_string().contains(&of_ab.to_string()), "{refused}");
    }

    #[test]
    fn a_plain_secret_counts_only_where_secrets_were_plain() {
        let mut stored = stored::form(&secretive(), &keys());
        stored.keys[0].secret = "planted".to_owned();
        stored.keys[0].sealed_secret.clear();
        let read = stored::decode(&id("1"), &stored.encode_to_vec(), 1, &keys());
        assert!(matches!(read, Err(Unreadable::Secret { source: OpenError::UnknownForm, .. })), "{read:?}");
    }

    #[test]
    fn a_default_is_not_stored() {
        let plain = registered(app("x", &[]), Vec::new());
        let stored = StoredApp::decode(stored::encode(&plain, &keys())).unwrap();
        assert_eq!(stored.pusher, Some(proto::backbone::stored_app::PusherSettings::default()));
        assert_eq!(stored.limits, Some(proto::backbone::stored_app::Limits::default()));
    }

    #[test]
    fn a_revoked_secret_is_forgotten() {
        let revoked = vec![RevokedKey { name: name("k"), capability: Capability::all(), created_ms: 1, revoked_ms: 2 }];
        let stored = stored::encode(&registered(app("1", &[]), revoked), &keys());
        assert_eq!(StoredApp::decode(stored).unwrap().keys[0].secret, "");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let good = registered(app("1", &["a", "b"]), Vec::new());
        let check = |spoil: fn(&mut StoredApp), expected: Unreadable| {
            let mut stored = StoredApp::decode(stored::encode(&good, &keys())).unwrap();
            spoil(&mut stored);
            assert_eq!(stored::decode(&id("1"), &stored.encode_to_vec(), 1, &keys()), Err(expected));
        };
        check(|app| app.version = 3, Unreadable::Format(3));
        check(|app| app.version = 0, Unreadable::Format(0));
        check(|app| app.id = "2".to_owned(), Unreadable::Misplaced("2".to_owned()));
        check(|app| app.keys[0].name = "a:b".to_owned(), Unreadable::KeyName(channels::InvalidKeyName));
        check(
            |app| app.keys[0].sealed_secret.clear(),
            Unreadable::Secret { key: name("a"), source: OpenError::UnknownForm },
        );
        check(|app| app.keys[1].name = "a".to_owned(), Unreadable::DuplicateKey(name("a")));
        check(
            |app| app.keys[0].capability[0].operations = vec!["fly".to_owned()],
            Unreadable::Capability(channels::InvalidCapability::UnknownOperation("fly".to_owned())),
        );
        check(
            |app| app.namespaces = vec![proto::backbone::stored_app::Namespace { tier: 9, ..Default::default() }],
            Unreadable::Tier(9),
        );
        check(
            |app| app.namespaces = vec![proto::backbone::stored_app::Namespace::default(); 2],
            Unreadable::Namespaces(InvalidNamespaces::DuplicatePrefix(String::new())),
        );
        fn hook(app: &mut StoredApp, id: &str) {
            app.webhooks.push(proto::backbone::stored_app::Webhook {
                id: id.to_owned(),
                url: "https://example.com/".to_owned(),
                ..Default::default()
            });
        }
        check(|app| hook(app, "a.b"), Unreadable::Webhook(channels::InvalidWebhook::Id));
        check(
            |app| {
                hook(app, "w");
                hook(app, "w");
            },
            Unreadable::DuplicateWebhook("w".to_owned()),
        );
        check(
            |app| {
                hook(app, "w");
                app.webhooks[0].events = vec!["client_event".to_owned(), "rain".to_owned()];
            },
            Unreadable::WebhookEvent("rain".to_owned()),
        );
        assert!(matches!(stored::decode(&id("1"), b"\xff", 1, &keys()), Err(Unreadable::Malformed(_))));
        assert_eq!(stored::decode(&id("1"), b"", 1, &keys()), Err(Unreadable::Format(0)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_app_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = stored::decode(&id("1"), &bytes, 1, &keys()) {
                prop_assert_eq!(read.app.id.as_str(), "1");
            }
        }

        /// Arbitrary bytes rarely get past the first field; one changed byte of a good value goes deeper.
        #[test]
        fn a_damaged_app_is_an_app_or_an_error(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let good = registered(app("1", &["a", "b"]), Vec::new());
            let mut bytes = stored::encode(&good, &keys()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = stored::decode(&id("1"), &bytes, 1, &keys()) {
                prop_assert_eq!(read.app.id.as_str(), "1");
            }
        }

        #[test]
        fn different_names_have_different_claims(a in "[!-~]{1,128}", b in "[!-~]{1,128}") {
            if let (Ok(a), Ok(b)) = (KeyName::new(&a), KeyName::new(&b)) {
                let (of_a, of_b) = (names::claim_entry(&a), names::claim_entry(&b));
                prop_assert_eq!(a == b, of_a == of_b);
                let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=' | b'.');
                prop_assert!(of_a.bytes().all(allowed));
            }
        }
    }
}

mod apps_and_revisions {
    use super::*;

    #[tokio::test]
    async fn create_get_delete() {
        let registry = registry();
        assert_eq!(registry.get(&id("1")).await.unwrap(), None);
        let created = registry.create(app("1", &["a", "b"]), 77).await.unwrap();
        assert_eq!(registry.get(&id("1")).await.unwrap(), Some(created.clone()));
        assert_eq!((created.created_ms, key_names(&created.app)), (77, vec!["a", "b"]));
        let again = registry.create(app("1", &["c"]), 0).await;
        assert!(matches!(again, Err(RegistryError::AppExists(_))), "{again:?}");
        registry.delete(&id("1")).await.unwrap();
        assert_eq!(registry.get(&id("1")).await.unwrap(), None);
        assert!(matches!(registry.delete(&id("1")).await, Err(RegistryError::NoSuchApp(_))));
        assert_eq!(registry.apps.entries().await.unwrap(), [], "nothing may stay behind");
    }

    #[tokio::test]
    async fn a_change_needs_the_current_revision_if_it_names_one() {
        let registry = registry();
        let created = registry.create(app("1", &[]), 0).await.unwrap();
        let disabled = registry.update(&id("1"), Some(created.revision), &disable()).await.unwrap();
        assert!(!disabled.app.enabled && disabled.revision > created.revision);
        let stale = registry.update(&id("1"), Some(created.revision), &disable()).await;
        assert!(
            matches!(stale, Err(RegistryError::Stale { current, .. }) if current == disabled.revision),
            "{stale:?}"
        );
        let same = registry.update(&id("1"), None, &disable()).await.unwrap();
        assert_eq!(same.revision, disabled.revision, "no change is no new revision");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_concurrent_change_lands() {
        let registry = registry();
        registry.create(app("1", &[]), 0).await.unwrap();
        let adders = (0..20).map(|n| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.add_key(&id("1"), key(&format!("k{n}"))).await })
        });
        for adder in adders.collect::<Vec<_>>() {
            adder.await.unwrap().unwrap();
        }
        assert_eq!(registry.get(&id("1")).await.unwrap().unwrap().app.keys.len(), 20);
    }

    #[tokio::test]
    async fn pages_are_ordered_and_skip_nothing() {
        let registry = registry();
        for n in ["3", "1", "2", "10", "a", "A"] {
            registry.create(app(n, &[&format!("k{n}")]), 0).await.unwrap();
        }
        registry.apps.put("app.bad", Bytes::from_static(b"\x08\x03")).await.unwrap();
        let (mut after, mut seen, mut unreadable) = (None, Vec::new(), 0);
        loop {
            let page = registry.list(after.as_ref(), 2).await.unwrap();
            seen.extend(page.apps.into_iter().map(|app| app.app.id.to_string()));
            unreadable += page.unreadable.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["1", "10", "2", "3", "A", "a"]);
        assert_eq!(unreadable, 1);
    }

    #[tokio::test]
    async fn an_app_that_is_too_large_is_refused() {
        let registry = registry();
        registry.create(app("1", &[]), 0).await.unwrap();
        let prefix = |n: usize| Namespace::new(&format!("{n:0>1000}"), Tier::Ephemeral);
        let namespaces = Some(Namespaces::new((0..600).map(prefix).collect()).unwrap());
        let refused = registry.update(&id("1"), None, &AppChange { namespaces, ..AppChange::default() }).await;
        assert!(matches!(refused, Err(RegistryError::TooLarge(_))), "{refused:?}");
        registry.update(&id("1"), None, &disable()).await.unwrap();
    }

    #[tokio::test]
    async fn a_page_of_large_apps_is_short() {
        let registry = registry();
        let prefix = |n: usize| Namespace::new(&format!("{n:0>1000}"), Tier::Ephemeral);
        let namespaces = Namespaces::new((0..400).map(prefix).collect()).unwrap();
        for n in ["1", "2", "3"] {
            registry.create(App { namespaces: namespaces.clone(), ..app(n, &[]) }, 0).await.unwrap();
        }
        let first = registry.list(None, 10).await.unwrap();
        assert_eq!((first.apps.len(), first.next.clone()), (2, Some(id("2"))));
        let second = registry.list(first.next.as_ref(), 10).await.unwrap();
        assert_eq!((second.apps.len(), second.next), (1, None));
    }

    #[tokio::test]
    async fn an_unreadable_app_is_not_touched() {
        let registry = registry();
        let newer = Bytes::from(StoredApp { version: 3, id: "1".to_owned(), ..StoredApp::default() }.encode_to_vec());
        registry.apps.put("app.1", newer.clone()).await.unwrap();
        let unreadable =
            |result| matches!(result, Err(RegistryError::Unreadable { source: Unreadable::Format(3), .. }));
        assert!(unreadable(registry.update(&id("1"), None, &disable()).await));
        assert!(unreadable(registry.add_key(&id("1"), key("k")).await));
        assert!(unreadable(registry.delete(&id("1")).await.map(|()| unreachable!())));
        assert_eq!(registry.apps.get("app.1").await.unwrap().unwrap().value, newer);
    }
}

mod key_names {
    use super::*;

    fn taken_by(result: Result<RegisteredApp, RegistryError>, expected: &str) -> bool {
        matches!(result, Err(RegistryError::KeyTaken { owner, .. }) if owner == id(expected))
    }

    #[tokio::test]
    async fn a_name_has_one_app() {
        let registry = registry();
        registry.create(app("1", &["a"]), 0).await.unwrap();
        registry.create(app("2", &[]), 0).await.unwrap();
        assert!(taken_by(registry.add_key(&id("2"), key("a")).await, "1"));
        assert!(taken_by(registry.add_key(&id("1"), key("a")).await, "1"));
        assert!(taken_by(registry.create(app("3", &["b", "a"]), 0).await, "1"));
        assert_eq!(registry.get(&id("3")).await.unwrap(), None, "a refused app is not there");
        registry.add_key(&id("2"), key("b")).await.unwrap();
    }

    #[tokio::test]
    async fn revoked_names_stay_taken_and_deleted_ones_are_free() {
        let registry = registry();
        registry.create(app("1", &["a"]), 0).await.unwrap();
        registry.create(app("2", &[]), 0).await.unwrap();
        let revoked = registry.revoke_key(&id("1"), &name("a"), 9).await.unwrap();
        assert_eq!((revoked.app.keys.len(), revoked.revoked[0].revoked_ms), (0, 9));
        let again = registry.revoke_key(&id("1"), &name("a"), 10).await.unwrap();
        assert_eq!(again, revoked);
        assert!(matches!(registry.revoke_key(&id("2"), &name("a"), 9).await, Err(RegistryError::NoSuchKey { .. })));
        assert!(taken_by(registry.add_key(&id("2"), key("a")).await, "1"));
        registry.delete(&id("1")).await.unwrap();
        registry.add_key(&id("2"), key("a")).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_that_want_one_name_one_gets_it() {
        for round in 0..30 {
            let registry = registry();
            for n in 0..6 {
                registry.create(app(&n.to_string(), &[]), 0).await.unwrap();
            }
            // In odd rounds the name has an owner that died before it used it.
            if round % 2 == 1 {
                registry.claim(&id("0"), &name("a")).await.unwrap();
            }
            let writers = (0..12).map(|n| {
                let registry = registry.clone();
                tokio::spawn(async move { registry.add_key(&id(&(n % 6).to_string()), key("a")).await.is_ok() })
            });
            let mut won = 0;
            for writer in writers.collect::<Vec<_>>() {
                won += usize::from(writer.await.unwrap());
            }
            assert_eq!(won, 1);
            let apps = registry.list(None, 100).await.unwrap().apps;
            assert_eq!(apps.iter().map(|app| app.app.keys.len()).sum::<usize>(), 1);
        }
    }

    #[tokio::test]
    async fn an_unused_claim_gives_way() {
        let registry = registry();
        registry.create(app("1", &[]), 0).await.unwrap();
        registry.create(app("2", &[]), 0).await.unwrap();
        registry.claim(&id("1"), &name("a")).await.unwrap();
        registry.claim(&id("gone"), &name("b")).await.unwrap();
        registry.add_key(&id("2"), key("a")).await.unwrap();
        registry.add_key(&id("2"), key("b")).await.unwrap();
        assert!(taken_by(registry.add_key(&id("1"), key("a")).await, "2"));
    }

    /// The dangerous order: a writer that had claimed the name sleeps, and another one takes the claim over.
    #[tokio::test]
    async fn a_writer_that_slept_through_a_takeover_fails() {
        let registry = registry();
        registry.create(app("1", &[]), 0).await.unwrap();
        registry.create(app("2", &[]), 0).await.unwrap();
        let mut slow = registry.existing(&id("1")).await.unwrap();
        registry.claim(&id("1"), &name("a")).await.unwrap();
        registry.add_key(&id("2"), key("a")).await.unwrap();
        slow.app.keys.push(key("a"));
        assert_eq!(registry.replace(slow).await.unwrap(), None);
    }

    /// The same, with the slow writer's app deleted and made anew in between.
    #[tokio::test]
    async fn a_writer_that_slept_through_a_rebirth_fails() {
        let registry = registry();
        registry.create(app("1", &[]), 0).await.unwrap();
        registry.create(app("2", &[]), 0).await.unwrap();
        let mut slow = registry.existing(&id("1")).await.unwrap();
        registry.claim(&id("1"), &name("a")).await.unwrap();
        registry.delete(&id("1")).await.unwrap();
        registry.create(app("1", &[]), 0).await.unwrap();
        registry.add_key(&id("2"), key("a")).await.unwrap();
        slow.app.keys.push(key("a"));
        assert_eq!(registry.replace(slow).await.unwrap(), None);
    }

    /// A touch by somebody who takes a claim over is no reason to leave a refused app behind.
    #[tokio::test]
    async fn a_refused_app_is_withdrawn_although_it_was_touched() {
        let registry = registry();
        let touched = registry.create(app("1", &[]), 0).await.unwrap();
        registry.claim(&id("1"), &name("a")).await.unwrap();
        registry.create(app("2", &["a"]), 0).await.unwrap();
        assert_ne!(registry.existing(&id("1")).await.unwrap().revision, touched.revision);
        registry.withdraw(touched).await.unwrap();
        assert_eq!(registry.get(&id("1")).await.unwrap(), None);
        let changed = registry.create(app("3", &[]), 0).await.unwrap();
        registry.update(&id("3"), None, &disable()).await.unwrap();
        registry.withdraw(changed).await.unwrap();
        assert!(registry.get(&id("3")).await.unwrap().is_some(), "it is somebody else's now");
    }

    #[tokio::test]
    async fn an_unreadable_app_keeps_its_names() {
        let registry = registry();
        registry.create(app("1", &["a"]), 0).await.unwrap();
        registry.create(app("2", &[]), 0).await.unwrap();
        registry.apps.put("app.1", Bytes::from_static(b"\x08\x03")).await.unwrap();
        assert!(taken_by(registry.add_key(&id("2"), key("a")).await, "1"));
    }
}

mod live {
    use super::*;

    struct Live {
        registry: Registry,
        apps: Apps,
        _driver: AbortOnDropHandle<()>,
    }

    impl Live {
        async fn new(registry: Registry) -> Self {
            let apps = Apps::watch(registry.clone());
            Self::over(registry, apps).await
        }

        async fn over(registry: Registry, apps: Apps) -> Self {
            let driver = AbortOnDropHandle::new(tokio::spawn(apps.run(CancellationToken::new())));
            apps.ready().await;
            Self { registry, apps, _driver: driver }
        }

        /// Waits until the snapshot is as `expected`.
        async fn until(&self, what: &str, expected: impl Fn(&Snapshot) -> bool) {
            let mut changed = self.apps.changed();
            let seen = async {
                while !expected(&self.apps.snapshot()) {
                    changed.changed().await.unwrap();
                }
            };
            within(what, seen).await;
        }
    }

    #[tokio::test]
    async fn every_change_is_seen() {
        let live = Live::new(registry()).await;
        let (one, registry) = (id("1"), &live.registry);
        registry.create(app("1", &["a"]), 0).await.unwrap();
        live.until("the key", |apps| apps.by_key("a").is_some_and(|key| key.app().id == one)).await;
        registry.update(&one, None, &disable()).await.unwrap();
        live.until("disabled", |apps| apps.get(&one).is_some_and(|app| !app.enabled)).await;
        registry.add_key(&one, key("b")).await.unwrap();
        live.until("the second key", |apps| apps.by_key("b").is_some_and(|key| key.key().name == name("b"))).await;
        registry.revoke_key(&one, &name("a"), 1).await.unwrap();
        live.until("revoked", |apps| apps.by_key("a").is_none() && apps.by_key("b").is_some()).await;
        registry.delete(&one).await.unwrap();
        live.until("deleted", |apps| apps.get(&one).is_none() && apps.by_key("b").is_none()).await;
        assert!(live.apps.age().unwrap() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn the_first_snapshot_is_whole() {
        let registry = registry();
        for n in 0..50 {
            registry.create(app(&n.to_string(), &[&format!("k{n}")]), 0).await.unwrap();
        }
        let idle = Apps::watch(registry.clone());
        assert!(!idle.is_ready() && idle.age().is_none() && idle.get(&id("1")).is_none());
        let live = Live::new(registry).await;
        assert_eq!(live.apps.snapshot().iter().count(), 50);
        assert!(live.apps.is_ready());
        assert_eq!(*live.apps.changed().borrow(), 1);
    }

    #[tokio::test]
    async fn an_unreadable_app_goes_alone_and_comes_back() {
        let live = Live::new(registry()).await;
        live.registry.create(app("1", &["a"]), 0).await.unwrap();
        live.registry.create(app("2", &["b"]), 0).await.unwrap();
        live.until("both", |apps| apps.iter().count() == 2).await;
        let two = live.apps.get(&id("2")).unwrap();
        let good = live.registry.apps.get("app.1").await.unwrap().unwrap().value;
        live.registry.apps.put("app.1", Bytes::from_static(b"rubbish")).await.unwrap();
        live.until("it gone", |apps| apps.get(&id("1")).is_none() && apps.unreadable() == 1).await;
        assert!(live.apps.by_key("a").is_none());
        assert!(Arc::ptr_eq(&two, &live.apps.get(&id("2")).unwrap()), "an app that did not change is the same");
        live.registry.apps.put("app.1", good).await.unwrap();
        live.until("it back", |apps| apps.by_key("a").is_some() && apps.unreadable() == 0).await;
    }

    #[tokio::test]
    async fn a_doubled_key_name_goes_to_who_had_it_first() {
        let registry = registry();
        let store = async |name: &str, created_ms| {
            let mut app = app(name, &["a"]);
            app.keys[0].created_ms = created_ms;
            let app = registered(app, Vec::new());
            registry.apps.put(&app_entry(&app.app.id), stored::encode(&app, &keys())).await.unwrap();
        };
        store("1", 30).await;
        store("2", 10).await;
        store("3", 20).await;
        let live = Live::new(registry.clone()).await;
        assert_eq!(live.apps.by_key("a").unwrap().app().id, id("2"));
        // When that one goes, it is that of the next; and when it comes back, its own again.
        let two = registry.apps.get("app.2").await.unwrap().unwrap().value;
        registry.apps.remove("app.2", None).await.unwrap();
        live.until("the next", |apps| apps.by_key("a").is_some_and(|key| key.app().id == id("3"))).await;
        registry.apps.put("app.2", two).await.unwrap();
        live.until("the first", |apps| apps.by_key("a").is_some_and(|key| key.app().id == id("2"))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn age_is_refreshed_while_nothing_changes() {
        let live = Live::new(registry()).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(live.apps.age().unwrap() <= Duration::from_secs(11));
    }

    /// The marker of a removal is gone when the connection is back, as after a long outage.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_app_removed_during_an_outage_is_gone() {
        let nats = Nats::start().await;
        let proxy = Proxy::start(nats.client_port()).await;
        let config = Config { shards: 1, replicas: 1, ignore_discovered_servers: true, ..Config::default() };
        let connect = async |url: String| {
            let nats = NatsConfig { urls: vec![url], ..NatsConfig::default() };
            let connect = || async { Backbone::connect(&config, &nats).await.ok() };
            Registry::new(&eventually("the backbone to start", connect).await, keys())
        };
        let elsewhere = connect(nats.url()).await;
        elsewhere.create(app("1", &["a"]), 0).await.unwrap();
        let here = connect(proxy.nats_url()).await;
        let apps = Apps::watch_probing(here.clone(), Duration::from_millis(50));
        let live = Live::over(here.clone(), apps).await;
        live.until("the app", |apps| apps.by_key("a").is_some()).await;

        proxy.cut();
        elsewhere.delete(&id("1")).await.unwrap();
        let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
        context.get_stream("KV_fanfare-apps").await.unwrap().purge().await.unwrap();
        // A probe takes as long to fail as these, so one has failed when both have.
        for _ in 0..2 {
            here.get(&id("1")).await.unwrap_err();
        }
        assert!(live.apps.by_key("a").is_some(), "what is known is served while the backbone is away");
        proxy.mend();
        live.until("it gone", |apps| apps.get(&id("1")).is_none() && apps.by_key("a").is_none()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_snapshot_ends_equal_to_the_registry() {
        let live = Live::new(registry()).await;
        let writers = (0..4).map(|writer| {
            let registry = live.registry.clone();
            tokio::spawn(async move {
                for round in 0..50_u32 {
                    let id = id(&((round * 7 + writer) % 10).to_string());
                    let key = key(&format!("k{writer}-{round}"));
                    if registry.create(app(id.as_str(), &[]), 0).await.is_err() {
                        let outcome = if round % 3 == 0 {
                            registry.delete(&id).await
                        } else {
                            registry.add_key(&id, key).await.map(|_| ())
                        };
                        // Others delete and create the same apps.
                        assert!(matches!(outcome, Ok(()) | Err(RegistryError::NoSuchApp(_))), "{outcome:?}");
                    }
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let apps = live.registry.list(None, 1_000).await.unwrap().apps;
        let expected: BTreeMap<AppId, App> = apps.into_iter().map(|app| (app.app.id.clone(), app.app)).collect();
        let all = |snapshot: &Snapshot| snapshot.iter().map(|app| (app.id.clone(), (**app).clone())).collect();
        live.until("all of it", |snapshot| -> bool {
            let seen: BTreeMap<AppId, App> = all(snapshot);
            seen == expected
        })
        .await;
        assert!(expected.values().flat_map(|app| &app.keys).all(|key| live.apps.by_key(key.name.as_str()).is_some()));
    }
}
